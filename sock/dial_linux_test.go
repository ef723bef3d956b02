package sock_test

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"secretctl/sock"
)

// named is how these tests dial: their sockets are below a sticky directory.
var named = sock.DialOptions{AllowSticky: true}

// Nobody there, in all its forms, is the same answer.
func TestDialNotRunning(t *testing.T) {
	dir := shortDir(t)
	require.NoError(t, mksocket(filepath.Join(dir, "stale")))
	write(t, filepath.Join(dir, "file"), "", 0o666)
	for _, name := range []string{"nothing", "stale", "file", "file/s", "nothing/s"} {
		_, err := sock.Dial(t.Context(), filepath.Join(dir, name), named)
		require.ErrorIs(t, err, sock.ErrNotRunning, name)
		require.ErrorContains(t, err, filepath.Join(dir, name))
	}
}

// A live socket is dialled where everything is right.
func TestDial(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{})
	c, err := sock.Dial(t.Context(), path, named)
	require.NoError(t, err)
	defer c.Close()
	conn := accept(t, l)
	_, err = c.Write([]byte("mine"))
	require.NoError(t, err)
	reads(t, conn, "mine")
	require.Equal(t, path, l.Addr().String())
}

// A relative path works on both ends.
func TestRelativePath(t *testing.T) {
	t.Chdir(shortDir(t))
	l := listenAt(t, "s", sock.ListenOptions{})
	c, err := sock.Dial(t.Context(), "s", named)
	require.NoError(t, err)
	defer c.Close()
	accept(t, l)
}

// What the kernel would not take for the path of a file is refused by both ends:
// an abstract name has no directory that anybody could own.
func TestPathOfAFile(t *testing.T) {
	squatter, err := net.Listen("unix", "@secretctl-sock-test")
	require.NoError(t, err)
	defer squatter.Close()
	t.Chdir(shortDir(t))
	for _, path := range []string{"", "@secretctl-sock-test", "\x00secretctl-sock-test", "s\x00x"} {
		_, err := sock.Dial(t.Context(), path, named)
		require.ErrorContains(t, err, "is not the path of a file", "%q", path)
		_, err = sock.Listen(path, sock.ListenOptions{})
		require.ErrorContains(t, err, "is not the path of a file", "%q", path)
	}
	require.Empty(t, names(t, "."))
}

// TestPathTooLong: the longest path there is works, one more byte says what the
// limit is and what can be done.
func TestPathTooLong(t *testing.T) {
	const limit = 107
	dir := shortDir(t)
	at := func(n int) string { return filepath.Join(dir, strings.Repeat("s", n-len(dir)-1)) }
	listenAt(t, at(limit), sock.ListenOptions{})
	c, err := sock.Dial(t.Context(), at(limit), named)
	require.NoError(t, err)
	require.NoError(t, c.Close())

	for verb, try := range map[string]func() error{
		"listening on":             func() error { _, err := sock.Listen(at(limit+1), sock.ListenOptions{}); return err },
		"connecting to the broker": func() error { _, err := sock.Dial(t.Context(), at(limit+1), named); return err },
	} {
		err := try()
		require.ErrorContains(t, err, verb)
		require.ErrorContains(t, err, fmt.Sprintf("the path is %d bytes long, and a socket's can have %d here", limit+1, limit))
		require.ErrorContains(t, err, "use a shorter SECRETCTL_HOME")
	}
}

// A directory in which the socket would fit, but not the name it is bound under,
// is too long, and not a matter of luck.
func TestDirectoryTooLong(t *testing.T) {
	dir := shortDir(t)
	deep := mkdir(t, filepath.Join(dir, strings.Repeat("d", 107-len("/s")-len(dir)-1)), os.Getuid(), 0o755)
	_, err := sock.Listen(filepath.Join(deep, "s"), sock.ListenOptions{})
	require.ErrorContains(t, err, "use a shorter SECRETCTL_HOME")
	require.Empty(t, names(t, deep))
}

// A way that is closed is not an absent broker.
func TestListenWhereOneMayNot(t *testing.T) {
	_, err := sock.Listen(filepath.Join(shortDir(t), "nothing", "s"), sock.ListenOptions{})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "listening on ")
}

// full makes a socket whose queue is full. accept takes one out of it.
func full(t *testing.T) (path string, accept func()) {
	t.Helper()
	path = filepath.Join(mkdir(t, filepath.Join(shortDir(t), "run"), os.Getuid(), 0o755), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	require.NoError(t, unix.Listen(fd, 0))
	dial(t, path)
	_, err = net.Dial("unix", path)
	require.ErrorIs(t, err, syscall.EAGAIN, "the queue is not full")
	return path, func() {
		c, _, err := unix.Accept(fd)
		require.NoError(t, err)
		require.NoError(t, unix.Close(c))
	}
}

// A client whose turn has not come waits for it.
func TestDialWaitsInTheQueue(t *testing.T) {
	path, accept := full(t)
	dialled := make(chan error, 1)
	go func() {
		c, err := sock.Dial(t.Context(), path, named)
		if err == nil {
			err = c.Close()
		}
		dialled <- err
	}()
	for range 10 {
		pause()
	}
	select {
	case err := <-dialled:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	accept()
	require.NoError(t, <-dialled)
}

// It does not wait longer than it is told to.
func TestDialStopsWaiting(t *testing.T) {
	path, _ := full(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := sock.Dial(ctx, path, named)
	require.ErrorContains(t, err, "connecting to the broker")
	require.NotErrorIs(t, err, sock.ErrNotRunning)
}
