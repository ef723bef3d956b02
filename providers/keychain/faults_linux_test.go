package keychain_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/keybase/dbus"
	"github.com/keybase/go-keychain/secretservice"
	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/keychain"
	"secretctl/providers/keychain/keychaintest"
	"secretctl/providers/servertest"
)

// minted makes a value.
func minted(t *testing.T, label string) secret.Value {
	t.Helper()
	v, err := secret.New([]byte(canary.New(t, label)))
	require.NoError(t, err)
	t.Cleanup(v.Clear)
	return v
}

// put puts a version, which must work.
func put(t *testing.T, store providers.Store, name secret.Name, version uint64, label string) providers.Sum {
	t.Helper()
	sum, err := store.Put(t.Context(), name, version, minted(t, label))
	require.NoError(t, err)
	return sum
}

// requireHas checks that a version is there.
func requireHas(t *testing.T, store providers.Store, name secret.Name, version uint64, label string, want providers.Sum) {
	t.Helper()
	v, err := store.Get(t.Context(), name, version, want)
	require.NoError(t, err)
	defer v.Clear()
	require.True(t, v.Equal(minted(t, label)))
}

// requireFails checks that all that a store can be asked fails in one way, with
// something to type, soon.
func requireFails(t *testing.T, store providers.Store, kind error, problem, remedy string) {
	t.Helper()
	for what, do := range map[string]func(context.Context) error{
		"get":    func(ctx context.Context) error { _, err := store.Get(ctx, "a", 1, providers.Sum{}); return err },
		"sum":    func(ctx context.Context) error { _, err := store.Sum(ctx, "none", 1); return err },
		"put":    func(ctx context.Context) error { _, err := store.Put(ctx, "b", 1, minted(t, "b")); return err },
		"delete": func(ctx context.Context) error { return store.Delete(ctx, "a", 1) },
		"list": func(ctx context.Context) error {
			return store.List(ctx, func(secret.Name, uint64, providers.Sum) error { return nil })
		},
		"health": store.Health,
	} {
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		began := time.Now()
		err := do(ctx)
		stop()
		require.Less(t, time.Since(began), 3*time.Second, what)
		var failed *providers.StoreError
		require.ErrorAs(t, err, &failed, what)
		require.Equal(t, kind, failed.Kind, "%s: %v", what, err)
		require.Contains(t, failed.Error(), problem, what)
		require.Contains(t, failed.Remedy, remedy, what)
	}
}

// A locked keyring is not an empty one, and nothing opens a window to unlock it.
func TestLocked(t *testing.T) {
	s := keychaintest.Gnome(t)
	s.Enter(t)
	store := open(t, nil)
	sum := put(t, store, "a", 1, "a")
	s.Lock(keychaintest.GnomeCollection)
	requireFails(t, store, providers.ErrLocked, "the keyring is locked", "secret-tool search --unlock")
	requireFails(t, open(t, nil), providers.ErrLocked, "the keyring is locked", "gnome-keyring-daemon --replace --unlock")
	s.Unlock()
	requireHas(t, store, "a", 1, "a", sum)
}

func TestLockedKeePassXC(t *testing.T) {
	keychain.SetSettle(t, 0)
	s := keychaintest.KeePassXC(t, keychaintest.WriteLater)
	s.Enter(t)
	store := open(t, nil)
	put(t, store, "a", 1, "a")
	s.Lock(keychaintest.KeePassCollection)
	requireFails(t, store, providers.ErrLocked, "the keyring is locked", "unlock it")
}

// A keyring that was restarted has forgotten the session.
func TestRestarted(t *testing.T) {
	s := keychaintest.Gnome(t)
	s.Enter(t)
	store := open(t, nil)
	sum := put(t, store, "a", 1, "a")
	for _, restart := range []func(){s.Restart, s.RestartBus} {
		restart()
		requireHas(t, store, "a", 1, "a", sum)
		restart()
		put(t, store, "b", 1, "b")
		restart()
		require.NoError(t, store.Delete(t.Context(), "b", 1))
		restart()
		require.NoError(t, store.Health(t.Context()))
	}
}

// What a keyring said it has, it has when it is killed.
func TestDurable(t *testing.T) {
	s := keychaintest.Gnome(t)
	s.Enter(t)
	store := open(t, nil)
	for n := range uint64(5) {
		sum := put(t, store, "a", n+1, "a")
		s.Restart()
		requireHas(t, store, "a", n+1, "a", sum)
	}
}

// KeePassXC does not bear a change while it writes its file, and what is not in
// it yet is lost with it.
func TestKeePassXCWrites(t *testing.T) {
	s := keychaintest.KeePassXC(t)
	s.Enter(t)
	store := open(t, nil)
	const n = 6
	began := time.Now()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			v, err := secret.New([]byte(canary.New(t, "a")))
			if err == nil {
				defer v.Clear()
				_, err = store.Put(t.Context(), secret.Name(fmt.Sprintf("a/%d", i)), 1, v)
			}
			if err != nil {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	all.Wait()
	require.Greater(t, time.Since(began), n*keychain.Settle(), "two at once")
	s.Restart()
	for i := range n {
		requireHas(t, store, secret.Name(fmt.Sprintf("a/%d", i)), 1, "a", providers.Sum{})
	}
}

// Without a keyring, without a bus, and with none that works, it is said which.
func TestMissing(t *testing.T) {
	s := keychaintest.Gnome(t)
	s.Enter(t)
	store := open(t, nil)
	put(t, store, "a", 1, "a")
	s.Keyring.Kill()
	requireFails(t, store, providers.ErrUnavailable, "no keyring runs in this session", "gnome-keyring-daemon --start")
	s.Bus.Kill()
	requireFails(t, store, providers.ErrUnavailable, "the session bus at", "log in again")
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "tcp:host=localhost,port=1")
	requireFails(t, open(t, nil), providers.ErrUnavailable, "it is not at a unix socket", "DBUS_SESSION_BUS_ADDRESS=unix:path=")
}

// No bus is started where there is none, as the library does: on such a one there
// is no keyring, and it outlives us.
func TestNoBus(t *testing.T) {
	dir := canary.Dir(t)
	marker := filepath.Join(dir, "started")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "dbus-launch"), []byte("#!/bin/sh\n: >"+marker+"\nexit 1\n"), 0o755))
	t.Setenv("PATH", dir)
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	t.Setenv("XDG_RUNTIME_DIR", dir)
	store := open(t, nil)
	requireFails(t, store, providers.ErrUnavailable, "there is no session bus", "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$(id -u)/bus")
	require.NoFileExists(t, marker)
	_, err := secretservice.NewService()
	require.Error(t, err)
	require.FileExists(t, marker, "the library no longer does: testdata/upstream-reports")
}

// Without an address the bus is looked for where systemd puts it.
func TestUsualBus(t *testing.T) {
	s := keychaintest.Gnome(t)
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	t.Setenv("XDG_RUNTIME_DIR", filepath.Join(s.Dir, "run"))
	put(t, open(t, nil), "a", 1, "a")
}

// The bus of another user is none to tell secrets on, whoever may use it.
func TestForeignBus(t *testing.T) {
	if os.Getuid() != 0 {
		servertest.Missing(t, "needs root: a second uid")
	}
	s := keychaintest.Foreign(t)
	s.Enter(t)
	requireFails(t, open(t, nil), providers.ErrRefused, "the session bus is that of uid", "run the broker as the user")
}

// Whatever stands still, nobody waits longer than they want to, nor is anything
// lost by it.
func TestStuck(t *testing.T) {
	s := keychaintest.Gnome(t)
	s.Enter(t)
	store := open(t, nil)
	sum := put(t, store, "a", 1, "a")
	for _, p := range []*servertest.Process{s.Keyring, s.Bus} {
		p.Pause()
		requireFails(t, store, providers.ErrUnavailable, "does not answer", "pgrep")
		requireFails(t, open(t, nil), providers.ErrUnavailable, "does not answer", "pgrep")
		p.Resume()
		requireHas(t, store, "a", 1, "a", sum)
	}
}

// A bus that takes nothing more holds up nobody but the one who has too much for it.
func TestStuckWriting(t *testing.T) {
	s := keychaintest.Gnome(t)
	s.Enter(t)
	l := open(t, nil)
	sum := put(t, l, "a", 1, "a")
	s.Bus.Pause()
	defer s.Bus.Resume()
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	began := time.Now()
	err := keychain.Fill(ctx, l, make([]byte, 512<<10)) // more than the kernel holds for the bus
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(began), 3*time.Second)
	s.Bus.Resume()
	requireHas(t, l, "a", 1, "a", sum)
}

// A keyring that asks somebody who is not there is not waited for for ever.
func TestAsks(t *testing.T) {
	keychain.SetSettle(t, 0)
	s := keychaintest.KeePassXC(t, keychaintest.WriteLater, keychaintest.AskToDelete, keychaintest.AskToRecycle)
	s.Enter(t)
	store := open(t, nil)
	sum := put(t, store, "a", 1, "a")
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	began := time.Now()
	err := store.Delete(ctx, "a", 1)
	require.Less(t, time.Since(began), 3*time.Second)
	var failed *providers.StoreError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, providers.ErrRefused, failed.Kind)
	require.Contains(t, failed.Error(), "asks whether we may")
	require.Contains(t, failed.Remedy, "answer its window")
	requireHas(t, store, "a", 1, "a", sum)
}

// A keyring that would have to ask before it gives something out opens no window.
func TestAsksToOpen(t *testing.T) {
	keychain.SetSettle(t, 0)
	s := keychaintest.KeePassXC(t, keychaintest.WriteLater, keychaintest.AskToOpen)
	s.Enter(t)
	put(t, open(t, nil), "a", 1, "a")
	_, err := open(t, nil).Get(t.Context(), "a", 1, providers.Sum{})
	var failed *providers.StoreError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, providers.ErrRefused, failed.Kind)
	require.Contains(t, failed.Error(), "would have to ask somebody")
	require.Contains(t, failed.Remedy, "have it not ask")
}

// sessions is how many are opened on a keyring.
func sessions(long int) int {
	if os.Getenv("SECRETCTL_LONG") != "" {
		return long
	}
	return 200
}

// Whatever the keys that are agreed on, nothing is written or read wrongly.
func TestSessions(t *testing.T) {
	keychain.SetSettle(t, 0)
	for name, keyring := range map[string]struct {
		start func() *keychaintest.Session
		long  int
	}{
		"gnome-keyring": {func() *keychaintest.Session { return keychaintest.Gnome(t) }, 4000},
		// KeePassXC 2.7.4 was gone before 4,000, and slow long before.
		"KeePassXC": {func() *keychaintest.Session { return keychaintest.KeePassXC(t, keychaintest.WriteLater) }, 600},
	} {
		t.Run(name, func(t *testing.T) {
			s := keyring.start()
			s.Enter(t)
			done := 0
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("after %d sessions the keyring has said:\n%s", done, s.Log())
				}
			})
			for ; done < sessions(keyring.long); done++ {
				inSession(t, done)
			}
		})
	}
}

// inSession puts with one session and gets with the next.
func inSession(t *testing.T, i int) {
	store := open(t, nil).(interface {
		providers.Store
		Close() error
	})
	if i > 0 {
		requireHas(t, store, "a", uint64(i), fmt.Sprint(i-1), providers.Sum{})
		require.NoError(t, store.Delete(t.Context(), "a", uint64(i)))
	}
	put(t, store, "a", uint64(i+1), fmt.Sprint(i))
	require.NoError(t, store.Close())
}

// A shared number that begins with a zero is one of 128 bytes like any other.
func TestShortKey(t *testing.T) {
	s := keychaintest.NewSession(t)
	s.Enter(t)
	peer := keychaintest.StartPeer(t, s)
	for i := range uint64(8) {
		store := open(t, nil)
		sum := put(t, store, "a", i+1, "a")
		requireHas(t, store, "a", i+1, "a", sum)
	}
	for _, half := range peer.Publics() {
		require.Len(t, half, 128)
	}
	for _, v := range peer.Values() {
		require.True(t, bytes.Equal(v, []byte(canary.New(t, "a"))))
	}
}

// What is interrupted is done once more, and not twice.
func TestInterrupted(t *testing.T) {
	s := keychaintest.NewSession(t)
	s.Enter(t)
	peer := keychaintest.StartPeer(t, s)
	store := open(t, nil)
	peer.LoseAnswer()
	sum := put(t, store, "a", 1, "a")
	require.Len(t, peer.Values(), 1)
	requireHas(t, store, "a", 1, "a", sum)
	put(t, store, "b", 1, "b")
	put(t, store, "c", 1, "c")
	peer.ForgetAfter(2)
	require.ElementsMatch(t, []secret.Name{"a", "b", "c"}, list(t, store))
}

// The library does not take it so: see testdata/upstream-reports.
func TestLibraryShortKey(t *testing.T) {
	s := keychaintest.NewSession(t)
	s.Enter(t)
	peer := keychaintest.StartPeer(t, s)
	srv, err := secretservice.NewService()
	require.NoError(t, err)
	wrong, refused := 0, 0
	for range 32 {
		session, err := srv.OpenSession(secretservice.AuthenticationDHAES)
		require.NoError(t, err)
		sealed, err := session.NewSecret([]byte("horse"))
		require.NoError(t, err)
		var p, item dbus.ObjectPath
		err = srv.Obj("/org/freedesktop/secrets/collection/peer").Call("org.freedesktop.Secret.Collection.CreateItem", 0,
			secretservice.NewSecretProperties("a", nil), sealed, false).Store(&item, &p)
		if err != nil {
			refused++
		}
	}
	for _, v := range peer.Values() {
		if string(v) != "horse" {
			wrong++
		}
	}
	require.Equal(t, 32, wrong+refused)
	require.NotZero(t, refused)
}

// Nor does it give up on a keyring that stands still.
func TestLibraryHangs(t *testing.T) {
	s := keychaintest.Gnome(t)
	s.Enter(t)
	srv, err := secretservice.NewService()
	require.NoError(t, err)
	s.Keyring.Pause()
	done := make(chan error, 1)
	go func() {
		_, err := srv.SearchCollection(keychaintest.Collection(keychaintest.GnomeCollection), nil)
		done <- err
	}()
	select {
	case <-done:
		t.Fatal("the library no longer does: testdata/upstream-reports")
	case <-time.After(3 * time.Second):
	}
	s.Keyring.Resume()
	require.NoError(t, <-done)
}

// Nor does it hear that a prompt of KeePassXC's has ended.
func TestLibraryPrompts(t *testing.T) {
	s := keychaintest.KeePassXC(t, keychaintest.WriteLater)
	s.Enter(t)
	srv, err := secretservice.NewService()
	require.NoError(t, err)
	session, err := srv.OpenSession(secretservice.AuthenticationInsecurePlain)
	require.NoError(t, err)
	sealed, err := session.NewSecret([]byte("x"))
	require.NoError(t, err)
	done := make(chan error, 1)
	collection := keychaintest.Collection(keychaintest.KeePassCollection)
	go func() {
		_, err := srv.CreateItem(collection, secretservice.NewSecretProperties("x", secretservice.Attributes{"x": "y"}), sealed, secretservice.ReplaceBehaviorDoNotReplace)
		done <- err
	}()
	require.True(t, s.Keyring.Ready(func() bool {
		items, err := srv.SearchCollection(collection, secretservice.Attributes{"x": "y"})
		return err == nil && len(items) == 1
	}))
	select {
	case <-done:
		t.Fatal("the library no longer does: testdata/upstream-reports")
	case <-time.After(3 * time.Second):
	}
	if os.Getenv("SECRETCTL_LONG") == "" {
		s.Bus.Kill() // rather than wait for its 30 s
		require.Error(t, <-done)
		return
	}
	require.ErrorContains(t, <-done, "prompt timed out")
}
