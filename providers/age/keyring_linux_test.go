package age_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	plain "filippo.io/age"
	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/age"
	"secretctl/providers/keychain"
	"secretctl/providers/keychain/keychaintest"
	"secretctl/providers/servertest"
	"secretctl/providers/storetest"
)

const inKeyring = "keychain:vault"

// kept puts an identity into the keyring.
func kept(t testing.TB, version uint64, text string) {
	t.Helper()
	ring := keychain.Identities()
	v, err := secret.New([]byte(text))
	require.NoError(t, err)
	defer v.Clear()
	_, err = ring.Put(context.Background(), "vault", version, v)
	require.NoError(t, err)
	require.NoError(t, ring.(io.Closer).Close())
}

// versions are those of the identity.
func versions(t *testing.T) []uint64 {
	t.Helper()
	ring := keychain.Identities()
	all, err := ring.Versions(t.Context(), "vault")
	require.NoError(t, err)
	require.NoError(t, ring.(io.Closer).Close())
	return all
}

// withKeyring opens a store whose identity is in the user's keyring.
func withKeyring(disk durable.Disk) *age.Store {
	return age.Open(age.Options{Disk: disk, Dir: "vault", Identity: inKeyring, Keyring: keychain.Identities()})
}

func keyrings() map[string]func(testing.TB) *keychaintest.Session {
	return map[string]func(testing.TB) *keychaintest.Session{
		"gnome-keyring": keychaintest.Gnome,
		"KeePassXC":     func(t testing.TB) *keychaintest.Session { return keychaintest.KeePassXC(t) },
	}
}

func TestContractInKeyring(t *testing.T) {
	for name, start := range keyrings() {
		t.Run(name, func(t *testing.T) {
			start(t).Enter(t)
			kept(t, 1, testIdentity)
			storetest.Run(t, func(t *testing.T) storetest.Subject {
				d := &failing{Disk: durable.NewMem()}
				return storetest.Subject{
					Store: withKeyring(d),
					Break: func() func() { d.broken.Store(true); return func() { d.broken.Store(false) } },
				}
			})
		})
	}
}

// As another user everything is as it is as root.
func TestKeyringAsAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		missing(t, "needs root: a second uid")
	}
	account := servertest.Unprivileged(t)
	dir := account.Dir(t)
	self := filepath.Join(dir, "test")
	in, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(self, in, 0o755))
	account.Give(t, self)
	cmd := account.Command(t, dir, self, "-test.v", "-test.run=^(TestContractInKeyring|TestKeyringTrouble)$/./^(values|concurrency|list|health|many)?$")
	cmd.Env = append(cmd.Env, "TMPDIR="+dir, "SECRETCTL_TEST_STRICT=1", "GORACE=atexit_sleep_ms=10", canary.Environ())
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: TestContractInKeyring/gnome-keyring/values")
	require.Contains(t, string(out), "--- PASS: TestContractInKeyring/KeePassXC/values")
	require.Contains(t, string(out), "--- PASS: TestKeyringTrouble/stuck")
}

// requireTrouble checks that all that needs the identity fails in one way, with
// something to type, soon, and that what needs none does not fail.
func requireTrouble(t *testing.T, s *age.Store, kind error, problem, remedy string) {
	t.Helper()
	v := value(t, canary.New(t, "a"))
	for what, do := range map[string]func(context.Context) error{
		"put":    func(ctx context.Context) error { _, err := s.Put(ctx, "b", 1, v); return err },
		"get":    func(ctx context.Context) error { _, err := s.Get(ctx, "a", 1, providers.Sum{}); return err },
		"health": s.Health,
		"unlock": func(context.Context) error { return s.Unlock() },
	} {
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		began := time.Now()
		err := do(ctx)
		stop()
		require.Less(t, time.Since(began), 3*time.Second, what)
		var failed *providers.StoreError
		require.ErrorAs(t, err, &failed, what)
		require.Equal(t, kind, failed.Kind, "%s: %v", what, err)
		require.Contains(t, failed.Error(), "opening vault: the identity is keychain:vault, and "+problem, what)
		require.Contains(t, failed.Remedy, remedy, what)
	}
	_, err := s.Sum(t.Context(), "a", 1)
	require.NoError(t, err)
	require.False(t, s.HasPassphrase())
}

// Whatever is the matter with the keyring, it is said, with what to do; and once
// that is done the same store opens the vault.
func TestKeyringTrouble(t *testing.T) {
	const locked, again = "the keyring is locked", "unlock it: secret-tool search --unlock"
	for name, c := range map[string]struct {
		start           func(testing.TB) *keychaintest.Session
		spoil, mend     func(*testing.T, *keychaintest.Session)
		kind            error
		problem, remedy string
	}{
		"locked": {keychaintest.Gnome,
			func(_ *testing.T, s *keychaintest.Session) { s.Lock(keychaintest.GnomeCollection) },
			func(_ *testing.T, s *keychaintest.Session) { s.Unlock() },
			providers.ErrLocked, locked, again},
		"locked KeePassXC": {keyrings()["KeePassXC"],
			func(_ *testing.T, s *keychaintest.Session) { s.Lock(keychaintest.KeePassCollection) },
			func(_ *testing.T, s *keychaintest.Session) { s.Restart() },
			providers.ErrLocked, locked, again},
		"asks": {func(t testing.TB) *keychaintest.Session { return keychaintest.KeePassXC(t, keychaintest.AskToOpen) },
			func(*testing.T, *keychaintest.Session) {}, nil,
			providers.ErrRefused, "the keyring would have to ask somebody whether we may", "have it not ask"},
		"no item": {keychaintest.Gnome,
			func(t *testing.T, _ *keychaintest.Session) {
				require.NoError(t, keychain.Identities().Delete(t.Context(), "vault", 1))
			},
			func(t *testing.T, _ *keychaintest.Session) { kept(t, 1, testIdentity) },
			providers.ErrUnavailable, "the keyring has no such item", "secretctl identity move --from FILE keychain:vault"},
		"no keyring": {keychaintest.Gnome,
			func(_ *testing.T, s *keychaintest.Session) { s.Keyring.Kill() },
			func(_ *testing.T, s *keychaintest.Session) { s.Restart() },
			providers.ErrUnavailable, "no keyring runs in this session", "gnome-keyring-daemon --start"},
		"no bus": {keychaintest.Gnome,
			func(t *testing.T, s *keychaintest.Session) {
				t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
				t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
			},
			func(t *testing.T, s *keychaintest.Session) { s.Enter(t) },
			providers.ErrUnavailable, "there is no session bus", "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$(id -u)/bus"},
		"stuck": {keychaintest.Gnome,
			func(_ *testing.T, s *keychaintest.Session) { s.Keyring.Pause() },
			func(_ *testing.T, s *keychaintest.Session) { s.Keyring.Resume() },
			providers.ErrUnavailable, "the keyring does not answer", "pgrep"},
	} {
		t.Run(name, func(t *testing.T) {
			age.KeyringTime(t, time.Second)
			session := c.start(t)
			session.Enter(t)
			kept(t, 1, testIdentity)
			disk := placed(t, testIdentity)
			sum, err := age.New(disk, "vault").Put(t.Context(), "a", 1, value(t, canary.New(t, "a")))
			require.NoError(t, err)
			c.spoil(t, session)
			s := withKeyring(disk)
			requireTrouble(t, s, c.kind, c.problem, c.remedy)
			if c.mend == nil {
				return
			}
			c.mend(t, session)
			v, err := s.Get(t.Context(), "a", 1, sum)
			require.NoError(t, err)
			require.True(t, v.Equal(value(t, canary.New(t, "a"))))
			v.Clear()
			c.spoil(t, session) // once it was read it is not asked for again
			defer c.mend(t, session)
			require.NoError(t, s.Health(t.Context()))
		})
	}
}

// Whoever waits while another waits for the keyring waits no longer than they want
// to.
func TestKeyringStuckForMany(t *testing.T) {
	session := keychaintest.Gnome(t)
	session.Enter(t)
	kept(t, 1, testIdentity)
	disk := placed(t, testIdentity)
	_, err := age.New(disk, "vault").Put(t.Context(), "a", 1, value(t, canary.New(t, "a")))
	require.NoError(t, err)
	session.Keyring.Pause()
	defer session.Keyring.Resume()
	s := withKeyring(disk)
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	age.KeyringTime(t, 6*time.Second)
	first := make(chan error)
	go func() { first <- s.Unlock() }() // which has more time
	began := time.Now()
	const n = 32
	failed := make(chan error, n)
	for range n {
		go func() { _, err := s.Get(ctx, "a", 1, providers.Sum{}); failed <- err }()
	}
	for range n {
		require.ErrorIs(t, <-failed, providers.ErrUnavailable)
	}
	require.Less(t, time.Since(began), 3*time.Second)
	require.ErrorIs(t, <-first, providers.ErrUnavailable)
}

// An item that is no identity, or has a passphrase, is said, and none is guessed
// of several.
func TestKeyringHasAnother(t *testing.T) {
	keychaintest.Gnome(t).Enter(t)
	s := withKeyring(durable.NewMem())
	for i, c := range []struct{ text, problem string }{
		{string(horse), "keychain:vault is not a file with an age identity"},
		{sealedIdentity(), "an identity in the keyring has no passphrase"},
	} {
		kept(t, uint64(i+1), c.text)
		require.ErrorContains(t, s.Unlock(), c.problem)
		require.NoError(t, keychain.Identities().Delete(t.Context(), "vault", uint64(i+1)))
	}
	for n := range uint64(3) {
		kept(t, n+1, testIdentity)
	}
	require.ErrorContains(t, s.Unlock(), "the keyring has 3 identities called keychain:vault")
}

// Nothing is left open once the identity was read: what is unlocked is asked for
// anew by whoever needs it.
func TestKeyringIsLeft(t *testing.T) {
	session := keychaintest.Gnome(t)
	session.Enter(t)
	kept(t, 1, testIdentity)
	watch, err := session.Connect()
	require.NoError(t, err)
	defer watch.Close()
	clients := func() int {
		var names []string
		require.NoError(t, watch.BusObject().Call("org.freedesktop.DBus.ListNames", 0).Store(&names))
		return len(slices.DeleteFunc(names, func(n string) bool { return n[0] != ':' }))
	}
	require.Eventually(t, func() bool { return clients() == 2 }, 5*time.Second, 5*time.Millisecond, "the keyring and we")
	s := withKeyring(durable.NewMem())
	require.NoError(t, s.CheckIdentity())
	require.NoError(t, s.Unlock())
	require.Eventually(t, func() bool { return clients() == 2 }, 5*time.Second, 5*time.Millisecond)
}

// shaky is a keyring that fails from one change on, before it is made or after.
type shaky struct {
	keychain.Items
	left  int // changes that work
	after bool
}

var errShaken = errors.New("shaken")

func (s *shaky) change(do func() error) error {
	s.left--
	if s.left < 0 && !s.after {
		return errShaken
	}
	if err := do(); err != nil {
		return err
	}
	if s.left < 0 {
		return errShaken
	}
	return nil
}

func (s *shaky) Put(ctx context.Context, name secret.Name, version uint64, v secret.Value) (sum providers.Sum, err error) {
	err = s.change(func() error { sum, err = s.Items.Put(ctx, name, version, v); return err })
	return sum, err
}

func (s *shaky) Delete(ctx context.Context, name secret.Name, version uint64) error {
	return s.change(func() error { return s.Items.Delete(ctx, name, version) })
}

// A vault is sealed to a new identity in the keyring, wherever that is cut short:
// by a keyring that fails, before it has done what it was asked or after, and by one
// that is killed and started again. At every moment all of it opens.
func TestResealInKeyring(t *testing.T) {
	session := keychaintest.Gnome(t)
	session.Enter(t)
	names := []secret.Name{"a", "b/c", "d"}
	for _, after := range []bool{false, true} {
		for changes := range 3 { // the new one, the old one's end, and all that there is
			t.Run(strconv.Itoa(changes)+" "+strconv.FormatBool(after), func(t *testing.T) {
				for _, n := range versions(t) {
					require.NoError(t, keychain.Identities().Delete(t.Context(), "vault", n))
				}
				kept(t, 3, testIdentity)
				disk := durable.NewMem()
				ring := &shaky{keychain.Identities(), changes, after}
				s := age.Open(age.Options{Disk: disk, Dir: "vault", Identity: inKeyring, Keyring: ring})
				for _, n := range names {
					_, err := s.Put(t.Context(), n, 1, value(t, canary.New(t, string(n))))
					require.NoError(t, err)
				}
				done := resealed(t, s, disk, names)
				require.Equal(t, changes == 2, done)
				opensInKeyring(t, disk)
				session.Restart()
				opensInKeyring(t, disk)

				s = withKeyring(disk)
				halfway := s.Halfway()
				if !done {
					require.Equal(t, changes+map[bool]int{true: 1}[after] == 1, halfway)
					require.True(t, resealed(t, s, disk, names))
				}
				opensInKeyring(t, disk)
				left := versions(t)
				require.Len(t, left, 1)
				require.Greater(t, left[0], uint64(3))
				require.False(t, withKeyring(disk).Halfway())
				old := age.Open(age.Options{Disk: placed(t, testIdentity)})
				_, err := old.Open(must1(durable.ReadFile(disk, s.File("a", 1))))
				require.Error(t, err, "the old one opens nothing any more")
				_, err = disk.Stat(age.NextFile)
				require.Error(t, err, "no identity is on the disk")
			})
		}
	}
}

// resealed seals a vault anew, and reports whether it came to the end.
func resealed(t *testing.T, s *age.Store, disk durable.Disk, names []secret.Name) bool {
	t.Helper()
	r, err := s.Reseal(start, age.Wanted{})
	if err != nil {
		require.ErrorIs(t, err, errShaken)
		return false
	}
	for _, n := range names {
		stage(t, r, n)
		opensInKeyring(t, disk)
	}
	if err := r.Finish(); err != nil {
		require.ErrorIs(t, err, errShaken)
		return false
	}
	return true
}

// opensInKeyring is opens for a vault whose identity is in the keyring.
func opensInKeyring(t *testing.T, disk durable.Disk) {
	t.Helper()
	opensAll(t, withKeyring(disk))
}

// lying is a keyring that puts something else than it is given.
type lying struct{ keychain.Items }

func (l lying) Put(ctx context.Context, name secret.Name, version uint64, v secret.Value) (providers.Sum, error) {
	other, err := secret.New([]byte(must1(plain.GenerateX25519Identity()).String()))
	if err != nil {
		return providers.Sum{}, err
	}
	defer other.Clear()
	return l.Items.Put(ctx, name, version, other)
}

// What was put is read back, before anybody depends on it.
func TestKeyringIsReadBack(t *testing.T) {
	keychaintest.Gnome(t).Enter(t)
	const problem = "what the keyring returns as keychain:vault is not what was put there"
	s := age.Open(age.Options{Disk: placed(t, testIdentity), Dir: "vault", Keyring: lying{keychain.Identities()}})
	_, err := s.CopyIdentity(t.Context(), inKeyring)
	require.ErrorContains(t, err, problem)
	s = age.Open(age.Options{Disk: durable.NewMem(), Identity: inKeyring, Keyring: lying{keychain.Identities()}})
	_, err = s.Reseal(start, age.Wanted{})
	require.ErrorContains(t, err, problem)
}

// What the keyring cannot have is refused before anything is written.
func TestResealInKeyringRefuses(t *testing.T) {
	age.WorkFactor(t, 1)
	keychaintest.Gnome(t).Enter(t)
	kept(t, 1, testIdentity)
	sealed := filepath.Join(t.TempDir(), "sealed")
	require.NoError(t, os.WriteFile(sealed, []byte(sealedIdentity()), 0o600))
	for what, want := range map[string]age.Wanted{
		"a passphrase":           {Passphrase: value(t, "horse")},
		"a file with one":        {From: sealed},
		"the one that we have":   {From: file(t, testIdentity)},
		"no kind that is made":   {Kind: "rsa"},
		"a file that is nowhere": {From: "/nowhere"},
	} {
		s := age.Open(age.Options{Disk: durable.NewMem(), Identity: inKeyring, Keyring: keychain.Identities(), Passphrase: says("horse")})
		_, err := s.Reseal(start, want)
		require.Error(t, err, what)
		require.Equal(t, []uint64{1}, versions(t), what)
	}
	for name, text := range identities(t) {
		if name == "passphrase" || name == "plugin" {
			continue
		}
		r, err := withKeyring(durable.NewMem()).Reseal(start, age.Wanted{From: file(t, text)})
		require.NoError(t, err, name)
		require.NoError(t, r.Finish(), name)
		public, _, err := withKeyring(durable.NewMem()).Identity()
		require.NoError(t, err)
		require.Equal(t, name, public.Kind)
	}
}

// file writes a file that nobody else may read.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "identity")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// The identity is copied as it is, to where nothing else is, and only when it opens
// the vault.
func TestCopyIdentity(t *testing.T) {
	keychaintest.Gnome(t).Enter(t)
	disk := placed(t, testIdentity)
	fromFile := age.Open(age.Options{Disk: disk, Dir: "vault", Keyring: keychain.Identities()})
	_, err := fromFile.Put(t.Context(), "a", 1, value(t, canary.New(t, "a")))
	require.NoError(t, err)
	for range 2 { // once more is no error
		public, err := fromFile.CopyIdentity(t.Context(), inKeyring)
		require.NoError(t, err)
		require.Equal(t, ours.Recipient().String(), public.Recipient)
		require.Equal(t, []uint64{1}, versions(t))
	}
	require.NoError(t, durable.Remove(disk, age.IdentityFile))
	s := withKeyring(disk)
	v, err := s.Get(t.Context(), "a", 1, providers.Sum{})
	require.NoError(t, err)
	v.Clear()

	back := filepath.Join(t.TempDir(), "back.txt")
	for range 2 {
		_, err = s.CopyIdentity(t.Context(), back)
		require.NoError(t, err)
		text, err := os.ReadFile(back)
		require.NoError(t, err)
		require.Equal(t, testIdentity, string(text)) // none but this test's
		info, err := os.Stat(back)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
	}

	another := must1(plain.GenerateX25519Identity()).String() + "\n"
	open := t.TempDir()
	require.NoError(t, os.Chmod(open, 0o777))
	for what, c := range map[string]struct {
		identity, to, problem string
	}{
		"it opens nothing":          {file(t, another), "keychain:other", "opens nothing in the vault"},
		"another is in the file":    {inKeyring, file(t, another), "is another file"},
		"others can write there":    {inKeyring, filepath.Join(open, "identity"), "could be changed by others"},
		"there is no such folder":   {inKeyring, "/nowhere/identity", "is not there"},
		"there is nothing to copy":  {"keychain:other", back, "the keyring has no such item"},
		"the file has a passphrase": {file(t, sealedIdentity()), "keychain:other", "an identity in the keyring has no passphrase"},
	} {
		s := age.Open(age.Options{Disk: disk, Dir: "vault", Identity: c.identity, Keyring: keychain.Identities(), Passphrase: says("horse")})
		_, err := s.CopyIdentity(t.Context(), c.to)
		require.ErrorContains(t, err, c.problem, what)
		all, err := keychain.Identities().Versions(t.Context(), "other")
		require.NoError(t, err)
		require.Empty(t, all, what)
	}

	// Another is in the keyring, alone or beside the right one; and one of two is
	// not the vault's alone.
	kept(t, 2, another)
	_, err = age.Open(age.Options{Disk: disk, Dir: "vault", Identity: back, Keyring: keychain.Identities()}).CopyIdentity(t.Context(), inKeyring)
	require.ErrorContains(t, err, "has another identity called keychain:vault")
	_, err = withKeyring(disk).CopyIdentity(t.Context(), filepath.Join(t.TempDir(), "x"))
	require.ErrorContains(t, err, "a rotation of the identity was cut short")
	_, err = age.Open(age.Options{Disk: disk, Dir: "vault", Identity: back}).CopyIdentity(t.Context(), inKeyring)
	require.ErrorContains(t, err, "no keyring is asked here")
}
