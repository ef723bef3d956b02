package sock_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"secretctl/sock"
)

// TestStaleSocket: what a killed broker left is replaced.
func TestStaleSocket(t *testing.T) {
	needRoot(t)
	path := filepath.Join(shortDir(t), "s")
	b := broker(t, path, 0, &syscall.SysProcAttr{})
	b.hear()
	_, err := sock.Listen(path, sock.ListenOptions{})
	require.ErrorIs(t, err, sock.ErrInUse, "while it lives")
	require.NoError(t, b.cmd.Process.Kill())
	_ = b.cmd.Wait()
	require.Equal(t, fs.ModeSocket, modeOf(t, path).Type(), "it was left")
	l := listenAt(t, path, sock.ListenOptions{})
	dial(t, path)
	accept(t, l)
}

// A live broker's socket is never taken over, even where it cannot be seen.
func TestLiveSocketIsNotStolen(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{})
	client := dial(t, path)
	conn := accept(t, l)
	for _, meanwhile := range []func() error{
		func() error { return nil },
		func() error { return os.Remove(path) },
		func() error { return os.WriteFile(path, nil, 0o600) },
	} {
		require.NoError(t, meanwhile())
		_, err := sock.Listen(path, sock.ListenOptions{})
		require.ErrorIs(t, err, sock.ErrInUse)
	}
	_, err := client.Write([]byte("mine"))
	require.NoError(t, err)
	reads(t, conn, "mine")
	require.NoError(t, l.Close())
	require.NoError(t, l.Close(), "twice")
	listenAt(t, path, sock.ListenOptions{})
}

// Nothing but a socket is ever replaced, and a failure leaves nothing behind.
func TestNotASocketIsNotReplaced(t *testing.T) {
	for name, c := range map[string]struct {
		make func(path string) error
		is   fs.FileMode
	}{
		"a file":             {func(p string) error { return os.WriteFile(p, []byte("mine"), 0o600) }, 0},
		"a directory":        {func(p string) error { return os.Mkdir(p, 0o700) }, fs.ModeDir},
		"a link to nothing":  {func(p string) error { return os.Symlink("nothing", p) }, fs.ModeSymlink},
		"a link to a socket": {func(p string) error { return errors.Join(mksocket(p+"2"), os.Symlink(p+"2", p)) }, fs.ModeSymlink},
		"a pipe":             {func(p string) error { return unix.Mkfifo(p, 0o600) }, fs.ModeNamedPipe},
	} {
		t.Run(name, func(t *testing.T) {
			dir := shortDir(t)
			path := filepath.Join(dir, "s")
			require.NoError(t, c.make(path))
			require.NoError(t, os.WriteFile(path+".lock", nil, 0o600))
			before := names(t, dir)
			_, err := sock.Listen(path, sock.ListenOptions{})
			require.ErrorContains(t, err, "not a socket")
			require.Equal(t, c.is, modeOf(t, path).Type())
			require.Equal(t, before, names(t, dir))
			require.NoError(t, os.Remove(path))
			listenAt(t, path, sock.ListenOptions{}) // and the lock was let go of
		})
	}
}

// The lock is a file beside the socket; anything else there is left alone.
func TestLockIsAFile(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"a link":      func(p string) error { return os.Symlink("elsewhere", p) },
		"a directory": func(p string) error { return os.Mkdir(p, 0o700) },
	} {
		dir := shortDir(t)
		path := filepath.Join(dir, "s")
		require.NoError(t, make(path+".lock"))
		_, err := sock.Listen(path, sock.ListenOptions{})
		require.Error(t, err, name)
		require.Equal(t, []string{"s.lock"}, names(t, dir))
	}
}

// mksocket leaves a socket that nobody listens on.
func mksocket(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Close(fd))
}

func names(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func modeOf(t testing.TB, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	require.NoError(t, err)
	return info.Mode()
}
