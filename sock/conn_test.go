package sock_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/sock"
)

// The end of a connection is io.EOF itself, which is how io.Reader says it.
func TestReadAtTheEnd(t *testing.T) {
	client, conn := pair(t, sock.ListenOptions{})
	_, err := client.Write([]byte("mine"))
	require.NoError(t, err)
	require.NoError(t, client.CloseWrite())
	reads(t, conn, "mine")
	for range 2 {
		n, err := conn.Read(make([]byte, 8))
		require.Zero(t, n)
		require.Equal(t, io.EOF, err)
	}
}

// Whatever goes wrong, the count is one that a reader can take.
func TestReadErrors(t *testing.T) {
	t.Run("too late", func(t *testing.T) {
		_, conn := pair(t, sock.ListenOptions{})
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(-time.Second)))
		_, err := bufio.NewReader(conn).ReadByte() // panics at -1
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	})
	t.Run("too late, while waiting", func(t *testing.T) {
		_, conn := pair(t, sock.ListenOptions{})
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
		_, err := bufio.NewReader(conn).ReadByte()
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	})
	t.Run("cut off", func(t *testing.T) {
		client, conn := pair(t, sock.ListenOptions{})
		_, err := conn.Write([]byte("never read"))
		require.NoError(t, err)
		require.NoError(t, client.Close())
		n, err := conn.Read(make([]byte, 8))
		require.Error(t, err)
		require.Zero(t, n)
	})
	t.Run("closed", func(t *testing.T) {
		_, conn := pair(t, sock.ListenOptions{})
		require.NoError(t, conn.Close())
		n, err := conn.Read(make([]byte, 8))
		require.Error(t, err)
		require.Zero(t, n)
	})
}

// A read of nothing takes nothing.
func TestReadOfNothing(t *testing.T) {
	client, conn := pair(t, sock.ListenOptions{})
	n, err := conn.Read(nil) // at once, though there is nothing
	require.NoError(t, err)
	require.Zero(t, n)
	_, err = client.Write([]byte("mine"))
	require.NoError(t, err)
	n, err = conn.Read([]byte{})
	require.NoError(t, err)
	require.Zero(t, n)
	reads(t, conn, "mine")
}

// A client too slow to say what it wants is cut off by net/http without a panic.
func TestSlowClientUnderHTTP(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{})
	var logged bytes.Buffer
	server := &http.Server{ReadHeaderTimeout: 50 * time.Millisecond, ErrorLog: newLog(&logged)}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	client := dial(t, path)
	_, err := client.Write([]byte("GET / HT"))
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, client)
	if err != nil {
		require.ErrorIs(t, err, syscall.ECONNRESET)
	}
	require.NoError(t, server.Close())
	require.ErrorIs(t, <-done, http.ErrServerClosed)
	require.Empty(t, logged.String())
}

// A long message arrives whole, with its sender on every part.
func TestReadLong(t *testing.T) {
	client, conn := pair(t, sock.ListenOptions{})
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	wrote := make(chan error, 1)
	go func() {
		_, err := client.Write(sent)
		wrote <- errors.Join(err, client.CloseWrite())
	}()
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.NoError(t, <-wrote)
	require.True(t, bytes.Equal(sent, got))
}

// A client that is done writing still reads, and one that no longer reads is an
// error to write to.
func TestHalfClose(t *testing.T) {
	client, conn := pair(t, sock.ListenOptions{})
	require.NoError(t, client.CloseWrite())
	_, err := read(conn)
	require.ErrorIs(t, err, io.EOF)
	_, err = conn.Write([]byte("answer"))
	require.NoError(t, err)
	reads(t, client, "answer")
	require.NoError(t, conn.Peer().Alive())
	require.NoError(t, client.CloseRead())
	_, err = conn.Write([]byte("more"))
	require.ErrorIs(t, err, syscall.EPIPE)
}

// Close ends the connection once; a second time there is nothing to close.
func TestCloseTwice(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{MaxPerUID: func(uint32) int { return 1 }})
	client := dial(t, path)
	conn := accept(t, l)
	require.NoError(t, conn.Close())
	require.Error(t, conn.Close())
	require.ErrorIs(t, conn.Peer().Alive(), sock.ErrGone)
	require.NoError(t, conn.Peer().Close())
	_, err := read(client)
	require.ErrorIs(t, err, io.EOF)
	for range 3 { // one place, each time
		dial(t, path)
		require.NoError(t, accept(t, l).Close())
	}
}

// An Accept that waits ends when the listener is closed.
func TestCloseEndsAccept(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{})
	ended := make(chan error, 1)
	go func() { _, err := l.Accept(); ended <- err }()
	require.NoError(t, l.Close())
	require.Error(t, <-ended)
	_, err := os.Lstat(path)
	require.ErrorIs(t, err, os.ErrNotExist)
}
