package keychain_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/keybase/go-keychain/secretservice"
	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/keychain"
	"secretctl/providers/keychain/keychaintest"
	"secretctl/providers/servertest"
)

func list(t *testing.T, store providers.Store) (names []secret.Name) {
	t.Helper()
	require.NoError(t, store.List(t.Context(), func(n secret.Name, _ uint64, _ providers.Sum) error {
		names = append(names, n)
		return nil
	}))
	return names
}

// Two homes in one keyring do not see each other's secrets, nor those of other
// programs.
func TestLabels(t *testing.T) {
	s := keychaintest.Gnome(t)
	s.Enter(t)
	other, mine := open(t, map[string]any{"label": "other"}), open(t, nil)
	sum := put(t, other, "a", 1, "theirs")
	item(t, s, map[string]string{"name": "a", "version": "1"}, "somebody's")
	require.Empty(t, list(t, mine))
	_, err := mine.Get(t.Context(), "a", 1, providers.Sum{})
	require.ErrorIs(t, err, providers.ErrAbsent)
	require.NoError(t, mine.Delete(t.Context(), "a", 1))
	put(t, mine, "a", 1, "mine")
	require.NoError(t, mine.Delete(t.Context(), "a", 1))
	requireHas(t, other, "a", 1, "theirs", sum)
	require.Equal(t, []secret.Name{"a"}, list(t, other))
}

// item makes an item, by the library.
func item(t *testing.T, s *keychaintest.Session, attributes map[string]string, value string) {
	t.Helper()
	srv, err := secretservice.NewService()
	require.NoError(t, err)
	session, err := srv.OpenSession(secretservice.AuthenticationInsecurePlain)
	require.NoError(t, err)
	sealed, err := session.NewSecret([]byte(value))
	require.NoError(t, err)
	_, err = srv.CreateItem(keychaintest.Collection(keychaintest.GnomeCollection), secretservice.NewSecretProperties("x", attributes), sealed, secretservice.ReplaceBehaviorDoNotReplace)
	require.NoError(t, err)
}

// Items that say they are ours and cannot be are passed over.
func TestStrangeItems(t *testing.T) {
	s := keychaintest.Gnome(t)
	s.Enter(t)
	store := open(t, nil)
	put(t, store, "a", 1, "a")
	const salt = "00112233445566778899aabbccddeeff"
	for _, with := range []map[string]string{
		{}, {"name": "b"}, {"name": "b", "version": "0", "salt": salt}, {"name": "b", "version": "01", "salt": salt}, {"name": "b", "version": "-1", "salt": salt},
		{"name": "B", "version": "1", "salt": salt}, {"name": "b", "version": "1", "salt": "00"}, {"name": "b", "version": "1", "salt": "x"}, {"name": "b", "version": "1"},
	} {
		with["application"], with["label"] = "secretctl", "keychain"
		item(t, s, with, "x")
	}
	require.Equal(t, []secret.Name{"a"}, list(t, store))
	_, err := store.Sum(t.Context(), "b", 1)
	require.ErrorIs(t, err, providers.ErrAbsent)
	_, err = store.Put(t.Context(), "b", 1, minted(t, "b"))
	require.ErrorIs(t, err, providers.ErrExists)
}

// A version that is there twice, since a Put was given up as it was done, is the
// one that the ledger knows, and goes as one.
func TestTwice(t *testing.T) {
	s := keychaintest.Gnome(t)
	s.Enter(t)
	store := open(t, nil)
	sum := put(t, store, "a", 1, "a")
	for _, salt := range []string{"00112233445566778899aabbccddeeff", "ff112233445566778899aabbccddeeff"} {
		item(t, s, map[string]string{"application": "secretctl", "label": "keychain", "name": "a", "version": "1", "salt": salt}, "another")
	}
	requireHas(t, store, "a", 1, "a", sum)
	_, err := store.Get(t.Context(), "a", 1, providers.Sum{1})
	require.ErrorIs(t, err, providers.ErrChanged)
	require.NoError(t, store.Delete(t.Context(), "a", 1))
	require.Empty(t, list(t, store))
}

// What a person changes in the keyring is not given out as what was put there.
func TestChangedByHand(t *testing.T) {
	s := keychaintest.Gnome(t)
	s.Enter(t)
	store := open(t, nil)
	sum := put(t, store, "a", 1, "a")
	srv, err := secretservice.NewService()
	require.NoError(t, err)
	items, err := srv.SearchCollection(keychaintest.Collection(keychaintest.GnomeCollection), secretservice.Attributes{"name": "a"})
	require.NoError(t, err)
	require.Len(t, items, 1)
	session, err := srv.OpenSession(secretservice.AuthenticationInsecurePlain)
	require.NoError(t, err)
	sealed, err := session.NewSecret([]byte("changed"))
	require.NoError(t, err)
	require.NoError(t, srv.Obj(items[0]).Call("org.freedesktop.Secret.Item.SetSecret", 0, sealed).Err)
	_, err = store.Get(t.Context(), "a", 1, sum)
	require.ErrorIs(t, err, providers.ErrChanged)
	now, err := store.Sum(t.Context(), "a", 1)
	require.NoError(t, err)
	require.NotEqual(t, sum, now)
}

// Another collection than the default one is known by its label or its path.
func TestCollection(t *testing.T) {
	s := keychaintest.Gnome(t)
	s.Enter(t)
	name := s.Create("For secretctl")
	byLabel, byPath := open(t, map[string]any{"collection": "For secretctl"}), open(t, map[string]any{"collection": name})
	sum := put(t, byLabel, "a", 1, "a")
	requireHas(t, byPath, "a", 1, "a", sum)
	require.Empty(t, list(t, open(t, nil)))
	requireFails(t, open(t, map[string]any{"collection": "none"}), providers.ErrUnavailable, `the keyring's collection "none" is not there`, "busctl --user tree")
	s.Lock(name)
	requireFails(t, byLabel, providers.ErrLocked, `the keyring's collection "For secretctl" is locked`, "unlock it")

	kind := keychain.Kind()
	o, err := kind.NewOptions(map[string]any{"collection": "session"})
	require.NoError(t, err)
	_, err = kind.Open(providers.StoreSetup{Name: "keychain", Options: o})
	require.ErrorContains(t, err, "is forgotten when you log out")
}

// Identities are where no store of a config is, each known by its name alone.
func TestIdentities(t *testing.T) {
	s := keychaintest.Gnome(t)
	s.Enter(t)
	ring := keychain.Identities()
	t.Cleanup(func() { require.NoError(t, ring.(io.Closer).Close()) })
	versions := func(name secret.Name) []uint64 {
		all, err := ring.Versions(t.Context(), name)
		require.NoError(t, err)
		return all
	}
	require.Empty(t, versions("a"))
	for _, n := range []uint64{2, 10, 1} {
		put(t, ring, "a", n, "a")
	}
	put(t, ring, "b", 7, "b")
	require.Equal(t, []uint64{1, 2, 10}, versions("a"))
	require.Equal(t, []uint64{7}, versions("b"))
	require.Empty(t, list(t, open(t, nil)))

	words := strings.Fields(keychain.RemoveIdentity("a", 2))
	cmd := exec.Command(servertest.Program(t, words[0]), words[1:]...)
	cmd.Env = s.Environ()
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, []uint64{1, 10}, versions("a"))

	kind := keychain.Kind()
	o, err := kind.NewOptions(map[string]any{"label": "vault/identity"})
	require.NoError(t, err)
	_, err = kind.Open(providers.StoreSetup{Name: "keychain", Options: o})
	require.ErrorContains(t, err, "where the identities of vaults are")
}

// What we say to type unlocks a keyring where there is no screen.
func TestRemedyUnlocks(t *testing.T) {
	s := keychaintest.Gnome(t)
	s.Enter(t)
	store := open(t, nil)
	sum := put(t, store, "a", 1, "a")
	s.Lock(keychaintest.GnomeCollection)
	err := store.Health(t.Context())
	var failed *providers.StoreError
	require.ErrorAs(t, err, &failed)
	command := regexp.MustCompile(`gnome-keyring-daemon [^,]*`).FindString(failed.Remedy)
	s.Replace(command)
	requireHas(t, store, "a", 1, "a", sum)
}

// As another user everything is as it is as root.
func TestAsAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		servertest.Missing(t, "needs root: a second uid")
	}
	account := servertest.Unprivileged(t)
	dir := account.Dir(t)
	self := filepath.Join(dir, "test")
	copyFile(t, "/proc/self/exe", self)
	account.Give(t, self)
	cmd := account.Command(t, dir, self, "-test.v", "-test.run=^(TestGnomeKeyring|TestKeePassXC|TestLocked|TestRestarted)$/^(values|concurrency|list|exists|deleted|health)?$")
	cmd.Env = append(cmd.Env, "TMPDIR="+dir, "SECRETCTL_TEST_STRICT=1", "GORACE=atexit_sleep_ms=10", canary.Environ())
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: TestGnomeKeyring/values")
	require.Contains(t, string(out), "--- PASS: TestKeePassXC/values")
}

func copyFile(t *testing.T, from, to string) {
	in, err := os.Open(from)
	require.NoError(t, err)
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	require.NoError(t, err)
	_, err = io.Copy(out, in)
	require.NoError(t, err)
	require.NoError(t, out.Close())
}

// No copy of a value that was cleared is left in memory; the library leaves one.
func TestNoCopiesAreLeft(t *testing.T) {
	s := keychaintest.Gnome(t)
	s.Enter(t)
	store := open(t, nil)
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // nothing is cleared by being collected
	const n = 4 << 10
	seed := rand.Uint64()
	v, err := secret.Fill(n, func(b []byte) error { spell(seed, b); return nil })
	require.NoError(t, err)
	sum, err := store.Put(t.Context(), "a", 1, v)
	require.NoError(t, err)
	v.Clear()
	got, err := store.Get(t.Context(), "a", 1, sum)
	require.NoError(t, err)
	require.Equal(t, n, got.Len())
	got.Clear()
	_, err = store.Sum(t.Context(), "a", 1)
	require.NoError(t, err)
	require.NotEmpty(t, list(t, store))
	require.Zero(t, copies(t, seed))

	// One that is there is found, and that is what the library leaves.
	session := secretservice.Session{Mode: secretservice.AuthenticationDHAES, AESKey: make([]byte, 16)}
	b := make([]byte, n)
	spell(seed, b)
	sealed, err := session.NewSecret(b)
	require.NoError(t, err)
	clear(b)
	require.NotZero(t, copies(t, seed), "the library no longer does: testdata/upstream-reports")
	runtime.KeepAlive(sealed)
}

// spell writes what is looked for, which follows from the seed.
func spell(seed uint64, b []byte) {
	for i := range b {
		seed = seed*6364136223846793005 + 1442695040888963407
		b[i] = byte(seed >> 56)
	}
}

// copies counts how often the beginning of what spell writes is in Go's heap.
// Values themselves are elsewhere.
func copies(t *testing.T, seed uint64) (found int) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	mem, err := os.Open("/proc/self/mem")
	require.NoError(t, err)
	defer mem.Close()
	needle, part := make([]byte, 64), make([]byte, 1<<20)
	spell(seed, needle)
	for i := range needle {
		needle[i] ^= 0xff
	}
	heap := fmt.Sprintf("%p", part)[len("0x"):]
	for _, m := range regexp.MustCompile(`(?m)^(`+heap[:len(heap)-8]+`[0-9a-f]{8})-([0-9a-f]+) rw`).FindAllSubmatch(maps, -1) {
		from, err := strconv.ParseInt(string(m[1]), 16, 64)
		require.NoError(t, err)
		to, err := strconv.ParseInt(string(m[2]), 16, 64)
		require.NoError(t, err)
		for at := from; at < to; at += int64(len(part) - len(needle)) {
			n, _ := mem.ReadAt(part[:min(int64(len(part)), to-at)], at)
			for i := range part[:n] {
				part[i] ^= 0xff // so that what was read is no copy
			}
			found += bytes.Count(part[:n], needle)
		}
	}
	return found
}

// What goes while it is being listed is passed over.
func TestListMeanwhile(t *testing.T) {
	s := keychaintest.Gnome(t)
	s.Enter(t)
	store := open(t, nil)
	sum := put(t, store, "a", 1, "a")
	v := minted(t, "b")
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for _, name := range []secret.Name{"b", "c", "d", "e"} {
		all.Go(func() {
			for ctx.Err() == nil {
				if _, err := store.Put(t.Context(), name, 1, v); err != nil {
					t.Errorf("putting meanwhile: %v", err)
				}
				if err := store.Delete(t.Context(), name, 1); err != nil {
					t.Errorf("deleting meanwhile: %v", err)
				}
			}
		})
	}
	for range 300 {
		require.Contains(t, list(t, store), secret.Name("a"))
	}
	stop()
	all.Wait()
	requireHas(t, store, "a", 1, "a", sum)
}
