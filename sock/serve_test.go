package sock_test

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/sock"
)

// patience bounds every wait of the tests.
const patience = time.Minute

// listen makes a socket in a directory of its own.
func listen(t testing.TB, o sock.ListenOptions) (l *sock.Listener, path string) {
	t.Helper()
	path = filepath.Join(shortDir(t), "s")
	return listenAt(t, path, o), path
}

func listenAt(t testing.TB, path string, o sock.ListenOptions) *sock.Listener {
	t.Helper()
	l, err := sock.Listen(path, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

// accept returns the next connection that is let in.
func accept(t testing.TB, l *sock.Listener) *sock.Conn {
	t.Helper()
	late := time.AfterFunc(patience, func() { _ = l.Close() })
	defer late.Stop()
	c, err := l.Accept()
	require.NoError(t, err)
	conn := c.(*sock.Conn)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	return conn
}

// dial connects this process, as anybody would.
func dial(t testing.TB, path string) *net.UnixConn {
	t.Helper()
	c, err := net.Dial("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
	return c.(*net.UnixConn)
}

// pair returns a connection from this process to itself.
func pair(t testing.TB, o sock.ListenOptions) (client *net.UnixConn, server *sock.Conn) {
	t.Helper()
	l, path := listen(t, o)
	client = dial(t, path)
	return client, accept(t, l)
}

// read returns what one Read of a connection gives.
func read(c net.Conn) (string, error) {
	b := make([]byte, 4096)
	n, err := c.Read(b)
	return string(b[:n]), err
}

// reads says that the next thing to be read is this.
func reads(t testing.TB, c net.Conn, want string) {
	t.Helper()
	got, err := read(c)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// refuses says that nothing is read from the connection, now or later.
func refuses(t testing.TB, c *sock.Conn) {
	t.Helper()
	got, err := read(c)
	require.ErrorIs(t, err, sock.ErrOtherSender)
	require.Empty(t, got)
	got, err = read(c)
	require.ErrorIs(t, err, sock.ErrOtherSender, "the second time")
	require.Empty(t, got)
}

// pause lets others run for a moment, by waiting for what does not come.
func pause() {
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	defer w.Close()
	defer r.Close()
	_ = r.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err = r.Read(make([]byte, 1))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		panic(err)
	}
}

// serve answers HTTP on a listener until the test ends.
func serve(t testing.TB, l net.Listener, h http.HandlerFunc) {
	server := &http.Server{Handler: h, ReadHeaderTimeout: patience, ErrorLog: newLog(t.Output())}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-done, http.ErrServerClosed)
	})
}

func newLog(w io.Writer) *log.Logger { return log.New(w, "http: ", 0) }
