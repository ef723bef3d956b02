package sock_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/sock"
)

// A file is the pinned one by its device as well as by its number, of which
// every file system has one.
func TestSameNumberOnAnotherDevice(t *testing.T) {
	needRoot(t)
	var paths []string
	var numbers []uint64
	for _, name := range []string{"a", "b"} {
		dir := mkdir(t, filepath.Join(trustedDir(t), name), 0, 0o755)
		require.NoError(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=755,size=64m"))
		t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
		path := program(t, dir, "program")
		info, err := os.Stat(path)
		require.NoError(t, err)
		paths, numbers = append(paths, path), append(numbers, info.Sys().(*syscall.Stat_t).Ino)
	}
	require.Equal(t, numbers[0], numbers[1])
	l, at := listen(t, sock.ListenOptions{})
	p := startProgram(t, agent, paths[1], nil)
	p.do("dial", at)
	conn := accept(t, l)
	require.NoError(t, conn.Peer().Runs(pins(t, paths[1])))
	require.ErrorIs(t, conn.Peer().Runs(pins(t, paths[0])), sock.ErrOtherExecutable)
	p.end() // before what it runs is unmounted
}

// A directory in the pinned file's place is not what the config named.
func TestPinBecomesADirectory(t *testing.T) {
	path := program(t, trustedDir(t), "allowed")
	pinned := pins(t, path)
	_, conn := pair(t, sock.ListenOptions{})
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Mkdir(path, 0o755))
	err := conn.Peer().Runs(pinned)
	require.ErrorContains(t, err, "not a regular file")
	require.ErrorIs(t, err, sock.ErrOtherExecutable)
}
