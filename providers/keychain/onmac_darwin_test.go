//go:build cgo

package keychain_test

import (
	"context"
	"crypto/rand"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/keychain"
	"secretctl/providers/storetest"
)

// onMac opens a store under a label that nobody else has, and empties it when the
// test ends.
func onMac(t *testing.T) providers.Store {
	t.Helper()
	kind := keychain.Kind()
	o, err := kind.NewOptions(map[string]any{"label": "test-" + rand.Text()})
	require.NoError(t, err)
	store, err := kind.Open(providers.StoreSetup{Name: "keychain", Options: o})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx := context.Background() // that of the test has ended
		type version struct {
			name   secret.Name
			number uint64
		}
		var all []version
		require.NoError(t, store.List(ctx, func(n secret.Name, v uint64, _ providers.Sum) error {
			all = append(all, version{n, v})
			return nil
		}))
		for _, v := range all {
			require.NoError(t, store.Delete(ctx, v.name, v.number))
		}
	})
	return store
}

// TestOnMac is for a person with a Mac, whose login keychain it uses:
//
//	go test -v -run TestOnMac ./providers/keychain
//
// What it prints is what we would like to be sent.
func TestOnMac(t *testing.T) {
	report(t)
	t.Run("contract", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Subject { return storetest.Subject{Store: onMac(t)} })
	})
	t.Run("times", times)
	t.Run("another program", byAnother)
}

// report prints what the rest depends on.
func report(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	t.Logf("%s, %s", runtime.Version(), runtime.GOARCH)
	for _, command := range []string{"sw_vers", "security default-keychain", "security show-keychain-info", "launchctl managername", "codesign -dv " + exe} {
		words := strings.Fields(command)
		out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
		t.Logf("%s: %v\n%s", command, err, out)
	}
}

// times prints how long each call takes.
func times(t *testing.T) {
	store := onMac(t)
	for n := range uint64(5) {
		v, err := secret.New([]byte(canary.New(t, "a")))
		require.NoError(t, err)
		began := time.Now()
		sum, err := store.Put(t.Context(), "a", n+1, v)
		require.NoError(t, err)
		put := time.Since(began)
		got, err := store.Get(t.Context(), "a", n+1, sum)
		require.NoError(t, err)
		require.True(t, got.Equal(v))
		t.Logf("put %v, get %v", put, time.Since(began)-put)
		got.Clear()
		v.Clear()
	}
	began := time.Now()
	require.NoError(t, store.List(t.Context(), func(secret.Name, uint64, providers.Sum) error { return nil }))
	t.Logf("list of 5: %v", time.Since(began))
}

// byAnother prints what happens when another program asks for an item of ours:
// somebody should be asked at the screen, or it be refused where there is none.
func byAnother(t *testing.T) {
	kind := keychain.Kind()
	label := "test-" + rand.Text()
	o, err := kind.NewOptions(map[string]any{"label": label})
	require.NoError(t, err)
	store, err := kind.Open(providers.StoreSetup{Name: "keychain", Options: o})
	require.NoError(t, err)
	v, err := secret.New([]byte(canary.New(t, "a")))
	require.NoError(t, err)
	defer v.Clear()
	_, err = store.Put(t.Context(), "a", 1, v)
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "security", "find-generic-password", "-w", "-s", "secretctl/"+label)
	began := time.Now()
	out, err := cmd.Output()
	t.Logf("security(1) was given %d bytes after %v: %v", len(out), time.Since(began), err)
	require.NoError(t, store.Delete(t.Context(), "a", 1))
}
