package sock_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/sock"
)

// A group can change what its bit in the mode lets it, and no more.
func TestWritableByItsGroup(t *testing.T) {
	dir := trustedDir(t)
	for mode, want := range map[os.FileMode]bool{0o755: false, 0o775: true, 0o750: false, 0o620: true} {
		path := write(t, filepath.Join(dir, mode.String()), "", mode)
		require.NoError(t, os.Chown(path, 0, agentTwo))
		_, may := sock.Writable(path, agent, []uint32{agentTwo})
		require.Equal(t, want, may, "%v", mode)
		_, may = sock.Writable(path, agent, []uint32{agent})
		require.False(t, may, "%v, in another group", mode)
	}
}
