package scan

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOpenFile: what took a file's place after it was listed is not read, and
// nobody waits for it.
func TestOpenFile(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	for _, path := range []string{filepath.Join(dir, "file"), filepath.Join(outside, "file")} {
		require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
	}
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	require.NoError(t, os.Symlink("file", filepath.Join(dir, "link")))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "out")))
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	for _, name := range []string{"pipe", ".", "out/file", "../x"} {
		_, err := openFile(root, name)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), dir, "the path is told by who asks")
	}
	for _, name := range []string{"pipe", "link", "."} {
		_, err := openFile(nil, filepath.Join(dir, name))
		require.Error(t, err, name)
	}
	f, err := openFile(root, "file")
	require.NoError(t, err)
	require.NoError(t, f.Close())
}
