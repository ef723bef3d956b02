package sock_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The uids of the tests, of which nothing else belongs to any.
const (
	agent    = 60011
	agentTwo = 60012
	stranger = 60013
	nobody   = 65534
)

// shortDir returns a directory that everybody may pass, with a path that leaves
// room for a socket's name.
func shortDir(t testing.TB) string { return dirIn(t, "") }

// trustedDir is a shortDir that has no sticky directory above it.
func trustedDir(t testing.TB) string {
	needRoot(t)
	return dirIn(t, "/var/lib")
}

func dirIn(t testing.TB, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "sock")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	chmod(t, dir, 0o755)
	return dir
}

// mkdir makes a directory of a uid with exactly this mode.
func mkdir(t testing.TB, path string, uid int, mode os.FileMode) string {
	t.Helper()
	require.NoError(t, os.Mkdir(path, 0o700))
	if os.Getuid() == 0 {
		require.NoError(t, os.Chown(path, uid, uid))
	}
	chmod(t, path, mode)
	return path
}

// write makes a file with exactly this mode.
func write(t testing.TB, path, content string, mode os.FileMode) string {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	chmod(t, path, mode)
	return path
}

func symlink(t testing.TB, target, path string, uid int) string {
	t.Helper()
	require.NoError(t, os.Symlink(target, path))
	if os.Getuid() == 0 {
		require.NoError(t, os.Lchown(path, uid, uid))
	}
	return path
}

func chmod(t testing.TB, path string, mode os.FileMode) {
	t.Helper()
	require.NoError(t, os.Chmod(path, mode))
}

// program returns a new copy of this program, a file of its own that every uid
// can run.
func program(t testing.TB, dir, name string) string {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	in, err := os.Open(self)
	require.NoError(t, err)
	defer in.Close()
	path := filepath.Join(dir, name)
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	require.NoError(t, err)
	_, err = io.Copy(out, in)
	require.NoError(t, err)
	require.NoError(t, out.Close())
	chmod(t, path, 0o755)
	return path
}
