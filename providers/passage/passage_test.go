package passage_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	plain "filippo.io/age"
	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/passage"
	"secretctl/providers/storetest"
)

// place makes an empty passage directory with an identity, and returns the home
// of both.
func place(t testing.TB) string {
	t.Helper()
	home := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(home, "store"), 0o700))
	id, err := plain.GenerateX25519Identity()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(home, "identities"), []byte(id.String()+"\n"), 0o600))
	return home
}

func storeIn(home string) *passage.Store { return passage.New(filepath.Join(home, "store"), "") }

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		home := place(t)
		away := filepath.Join(home, "away")
		return storetest.Subject{
			Store: storeIn(home),
			Break: func() func() {
				require.NoError(t, os.Rename(filepath.Join(home, "store"), away))
				return func() { require.NoError(t, os.Rename(away, filepath.Join(home, "store"))) }
			},
		}
	})
}

func put(t testing.TB, s *passage.Store, name secret.Name, version uint64, text string) providers.Sum {
	t.Helper()
	v, err := secret.New([]byte(text))
	require.NoError(t, err)
	defer v.Clear()
	sum, err := s.Put(t.Context(), name, version, v)
	require.NoError(t, err)
	return sum
}

func requireHolds(t *testing.T, s *passage.Store, name secret.Name, version uint64, sum providers.Sum, want string) {
	t.Helper()
	v, err := s.Get(t.Context(), name, version, sum)
	require.NoError(t, err)
	defer v.Clear()
	require.NoError(t, v.Use(func(b []byte) error { require.Equal(t, want, string(b)); return nil }))
}

// script runs the real passage, from the path in SECRETCTL_TEST_PASSAGE.
func script(t *testing.T, home, in string, args ...string) string {
	t.Helper()
	path := os.Getenv("SECRETCTL_TEST_PASSAGE")
	if path == "" {
		t.Skip("SECRETCTL_TEST_PASSAGE names no passage")
	}
	cmd := exec.CommandContext(t.Context(), "bash", append([]string{path}, args...)...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + home, "PASSAGE_DIR=" + filepath.Join(home, "store"), "PASSAGE_IDENTITIES_FILE=" + filepath.Join(home, "identities")}
	cmd.Stdin = strings.NewReader(in)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%v: %s", args, out)
	return string(out)
}

// TestRealPassage: passage shows what we put, and we have what it put, changed
// and removed.
func TestRealPassage(t *testing.T) {
	home := place(t)
	s := storeIn(home)
	one, two, three := canary.New(t, "one"), canary.New(t, "two"), canary.New(t, "three")
	first := put(t, s, "mail/work", 1, one)
	require.Equal(t, one+"\n", script(t, home, "", "show", "mail/work"))
	put(t, s, "mail/work", 2, two)
	require.Equal(t, two+"\n", script(t, home, "", "show", "mail/work"))
	require.NotContains(t, script(t, home, "", "ls"), "@")

	script(t, home, three+"\n", "insert", "--echo", "bank")
	requireHolds(t, s, "bank", 1, providers.Sum{}, three)
	put(t, s, "bank", 2, two)
	requireHolds(t, s, "bank", 1, providers.Sum{}, three)

	sum, err := s.Sum(t.Context(), "mail/work", 2)
	require.NoError(t, err)
	script(t, home, three+"\n", "insert", "--force", "--echo", "mail/work")
	_, err = s.Get(t.Context(), "mail/work", 2, sum)
	require.ErrorIs(t, err, providers.ErrChanged)
	requireHolds(t, s, "mail/work", 2, providers.Sum{}, three)
	requireHolds(t, s, "mail/work", 1, first, one)

	script(t, home, "", "rm", "--force", "mail/work")
	_, err = s.Sum(t.Context(), "mail/work", 2)
	require.ErrorIs(t, err, providers.ErrAbsent)
	requireHolds(t, s, "mail/work", 1, first, one)
}

// A version that passage changed is not lost when the next is put.
func TestChangedIsKept(t *testing.T) {
	home := place(t)
	s := storeIn(home)
	put(t, s, "a", 1, "one")
	put(t, s, "b", 1, "other")
	other, err := os.ReadFile(filepath.Join(home, "store/b.age"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(home, "store/a.age"), other, 0o600))
	put(t, s, "a", 2, "two")
	requireHolds(t, s, "a", 1, providers.Sum{}, "other")
	requireHolds(t, s, "a", 2, providers.Sum{}, "two")
	require.NoError(t, s.Delete(t.Context(), "a", 2))
	again, err := os.ReadFile(filepath.Join(home, "store/a.age"))
	require.NoError(t, err)
	require.Equal(t, other, again, "passage shows the one before")
	require.NoError(t, s.Delete(t.Context(), "a", 1))
	require.NoFileExists(t, filepath.Join(home, "store/a.age"))
	require.NoDirExists(t, filepath.Join(home, "store/.secretctl/a"))
}

// A crash between the two files of a version: each is what it was put as.
func TestBetweenTheFiles(t *testing.T) {
	home := place(t)
	s := storeIn(home)
	one := put(t, s, "a", 1, "one")
	before, err := os.ReadFile(filepath.Join(home, "store/a.age"))
	require.NoError(t, err)
	two := put(t, s, "a", 2, "two")
	require.NoError(t, os.WriteFile(filepath.Join(home, "store/a.age"), before, 0o600))
	requireHolds(t, s, "a", 1, one, "one")
	requireHolds(t, s, "a", 2, two, "two")
	require.NoError(t, s.Delete(t.Context(), "a", 2))
	requireHolds(t, s, "a", 1, one, "one")
}

// What is sealed is sealed to whom the nearest directory names, and to nobody
// where somebody else could have written that.
func TestRecipients(t *testing.T) {
	home := place(t)
	s := storeIn(home)
	team, err := plain.GenerateX25519Identity()
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(home, "store/team/deep"), 0o700))
	file := filepath.Join(home, "store/team/.age-recipients")
	require.NoError(t, os.WriteFile(file, []byte("# us\n"+team.Recipient().String()+"\n\n"), 0o644))
	put(t, s, "team/deep/key", 1, "value")
	put(t, s, "own", 1, "value")
	for path, ours := range map[string]bool{"team/deep/key.age": true, ".secretctl/team/deep/key/@1.age": true, "own.age": false} {
		b, err := os.Open(filepath.Join(home, "store", path))
		require.NoError(t, err)
		defer b.Close()
		_, err = plain.Decrypt(b, team)
		require.Equal(t, ours, err == nil, path)
	}
	_, err = s.Get(t.Context(), "team/deep/key", 1, providers.Sum{})
	require.ErrorContains(t, err, "another identity")

	v, err := secret.New([]byte("value"))
	require.NoError(t, err)
	defer v.Clear()
	require.NoError(t, os.Chmod(file, 0o666))
	_, err = s.Put(t.Context(), "team/other", 1, v)
	require.ErrorContains(t, err, "could be changed by others")
	require.NoError(t, os.Chmod(file, 0o644))
	for _, text := range []string{"", "# nobody\n", "age1x\n"} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		_, err = s.Put(t.Context(), "team/other", 1, v)
		require.Error(t, err, text)
	}
	require.NoError(t, os.Chmod(filepath.Join(home, "store"), 0o777))
	require.ErrorContains(t, s.Health(t.Context()), "could be changed by others")
}

// Names that are none of ours are passed over, and what is no file is an error.
func TestOddNames(t *testing.T) {
	home := place(t)
	s := storeIn(home)
	put(t, s, "a", 1, "value")
	b, err := os.ReadFile(filepath.Join(home, "store/a.age"))
	require.NoError(t, err)
	for _, name := range []string{"Upper", "under_score", "with space", ".hidden"} {
		require.NoError(t, os.WriteFile(filepath.Join(home, "store", name+".age"), b, 0o600))
	}
	require.NoError(t, os.MkdirAll(filepath.Join(home, "store/.git"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(home, "store/.git/b.age"), b, 0o600))
	var names []secret.Name
	require.NoError(t, s.List(t.Context(), func(n secret.Name, _ uint64, _ providers.Sum) error { names = append(names, n); return nil }))
	require.Equal(t, []secret.Name{"a"}, names)
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(home, "store/link.age")))
	_, err = s.Sum(t.Context(), "link", 1)
	require.ErrorContains(t, err, "not a file of ours")
}
