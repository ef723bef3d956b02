package age_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/age"
)

// What is in a version's place and is no file of ours is an error: not a value,
// not absent, not overwritten, not passed over, not waited for.
func TestVersionOfAnotherKind(t *testing.T) {
	for name, place := range map[string]func(file, whole string) error{
		"link to a version":  func(file, whole string) error { return os.Symlink(whole, file) },
		"link in the folder": func(file, _ string) error { return os.Symlink("@1.age", file) },
		"dangling link":      func(file, _ string) error { return os.Symlink("nowhere", file) },
		"fifo":               func(file, _ string) error { return syscall.Mkfifo(file, 0o600) },
		"directory":          func(file, _ string) error { return os.Mkdir(file, 0o700) },
		"very large": func(file, _ string) error {
			return errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, 1<<40))
		},
	} {
		t.Run(name, func(t *testing.T) {
			disk, dir := newHome(t)
			s := age.New(disk, "vault")
			v, err := secret.New([]byte(canary.New(t, "horse")))
			require.NoError(t, err)
			defer v.Clear()
			sum, err := s.Put(t.Context(), "a", 1, v)
			require.NoError(t, err)
			whole := filepath.Join(dir, "vault/a/@1.age")
			require.NoError(t, place(filepath.Join(dir, "vault/a/@2.age"), whole))

			for _, want := range []providers.Sum{{}, sum} {
				_, err = s.Get(t.Context(), "a", 2, want)
				require.EqualError(t, err, "opening vault/a/@2.age: it is not a file of ours")
			}
			_, err = s.Sum(t.Context(), "a", 2)
			require.ErrorContains(t, err, "not a file of ours")
			_, err = s.Put(t.Context(), "a", 2, v)
			require.ErrorIs(t, err, providers.ErrExists)
			err = s.List(t.Context(), func(secret.Name, uint64, providers.Sum) error { return nil })
			require.ErrorContains(t, err, "not a file of ours")

			require.NoError(t, s.Delete(t.Context(), "a", 2))
			_, err = s.Sum(t.Context(), "a", 2)
			require.ErrorIs(t, err, providers.ErrAbsent)
			got, err := s.Get(t.Context(), "a", 1, sum)
			require.NoError(t, err, "what a link led to is left alone")
			got.Clear()
		})
	}
}

// A folder that cannot be looked into is not one that has nothing in it.
func TestFolderOfAnotherKind(t *testing.T) {
	for name, place := range map[string]func(dir string) error{
		"a file":           func(dir string) error { return os.WriteFile(dir, nil, 0o600) },
		"a link to itself": func(dir string) error { return os.Symlink("a", dir) },
		"a link outside":   func(dir string) error { return os.Symlink("/etc", dir) },
	} {
		disk, dir := newHome(t)
		require.NoError(t, os.Mkdir(filepath.Join(dir, "vault"), 0o700))
		require.NoError(t, place(filepath.Join(dir, "vault/a")), name)
		s := age.New(disk, "vault")
		v, err := secret.New([]byte(canary.New(t, "horse")))
		require.NoError(t, err)
		defer v.Clear()

		_, err = s.Get(t.Context(), "a", 1, providers.Sum{})
		require.Error(t, err, name)
		require.NotErrorIs(t, err, providers.ErrAbsent, name)
		_, err = s.Sum(t.Context(), "a", 1)
		require.Error(t, err, name)
		require.NotErrorIs(t, err, providers.ErrAbsent, name)
		_, err = s.Put(t.Context(), "a", 1, v)
		require.Error(t, err, name)
		require.Error(t, s.Delete(t.Context(), "a", 1), name)
	}
}

// Only versions of ours are listed; what else lies about is left alone.
func TestListPassesOver(t *testing.T) {
	disk, dir := newHome(t)
	s := age.New(disk, "vault")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "vault/a/UPPER"), 0o700))
	for _, file := range []string{
		"@1.age", ".DS_Store", "a/notes.txt", "a/1.age", "a/@1", "a/@0.age", "a/@01.age", "a/@-1.age", "a/@+1.age", "a/@1.age.tmp",
		"a/@18446744073709551616.age", "a/@x.age", "a/@.age", "a/@1.AGE", "a/UPPER/@1.age",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "vault", file), []byte("not age"), 0o600))
	}
	v, err := secret.New([]byte(canary.New(t, "horse")))
	require.NoError(t, err)
	defer v.Clear()
	_, err = s.Put(t.Context(), "a", 1, v) // which two of them could be taken for
	require.NoError(t, err)
	var seen []uint64
	require.NoError(t, s.List(t.Context(), func(n secret.Name, version uint64, _ providers.Sum) error {
		require.Equal(t, secret.Name("a"), n)
		seen = append(seen, version)
		return nil
	}))
	require.Equal(t, []uint64{1}, seen)
}

// Folders go with the last version in them, and only then.
func TestFoldersGo(t *testing.T) {
	disk, dir := newHome(t)
	s := age.New(disk, "vault")
	v, err := secret.New([]byte(canary.New(t, "horse")))
	require.NoError(t, err)
	defer v.Clear()
	for _, n := range []secret.Name{"a/b/c", "a/b"} {
		_, err = s.Put(t.Context(), n, 1, v)
		require.NoError(t, err)
	}
	info, err := os.Stat(filepath.Join(dir, "vault/a/b"))
	require.NoError(t, err)
	require.Equal(t, os.ModeDir|0o700, info.Mode())
	info, err = os.Stat(filepath.Join(dir, "vault/a/b/@1.age"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())

	require.NoError(t, s.Delete(t.Context(), "a/b/c", 1))
	require.NoDirExists(t, filepath.Join(dir, "vault/a/b/c"))
	require.FileExists(t, filepath.Join(dir, "vault/a/b/@1.age"))
	require.NoError(t, s.Delete(t.Context(), "a/b", 1))
	require.NoDirExists(t, filepath.Join(dir, "vault/a"))
	require.DirExists(t, filepath.Join(dir, "vault"))
}
