package ssh_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/providers"
	"secretctl/providers/servertest"
	"secretctl/providers/ssh/sshtest"
)

// TestDiskFull: there is no room for a copy, and the file stays as it is.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		servertest.Missing(t, "needs root: a small file system")
	}
	dir := t.TempDir()
	require.NoError(t, syscall.Mount("none", dir, "tmpfs", 0, "size=64k"))
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, 0)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	path := filepath.Join(dir, "authorized_keys")
	h := sshtest.Start(t, "StrictModes no", "AuthorizedKeysFile "+path)
	chown(t, h, dir)
	w := newWorldOf(t, true, []*sshtest.Host{h}, map[string]any{"authorized_keys": path})
	// There is no room for a copy, or for one that is a line longer.
	for _, size := range []int{48 << 10, 32 << 10} {
		text := w.line + "\n" + strings.Repeat("#", size-len(w.line)-2) + "\n"
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		chown(t, h, path)
		c := w.call()
		_, err := w.rotator.Check(t.Context(), c)
		require.NoError(t, err)
		_, err = w.rotator.Issue(t.Context(), c, w.choose(c))
		w.fails(err, providers.DefinitelyNot, providers.CodeUnavailable, "no copy of")
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, text == string(b))
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, left, 1)
	}
	require.NoError(t, os.WriteFile(path, []byte(w.line+"\n"), 0o600))
	w.rotate()
}
