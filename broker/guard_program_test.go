package broker_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// programs makes copies of the test binary in a directory that only root can
// change and every uid can reach.
func programs(t *testing.T, names ...string) (paths []string) {
	needRoot(t)
	dir, err := os.MkdirTemp("/var/lib", "sc")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	from, err := stage()
	require.NoError(t, err)
	for _, name := range names {
		self, err := os.Open(from)
		require.NoError(t, err)
		path := filepath.Join(dir, name)
		out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o755)
		require.NoError(t, err)
		_, err = io.Copy(out, self)
		require.NoError(t, err)
		require.NoError(t, self.Close())
		require.NoError(t, out.Close())
		paths = append(paths, path)
	}
	return paths
}
