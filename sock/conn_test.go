package sock_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
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

// silent says that there is nothing to read yet.
func silent(t *testing.T, c interface {
	io.Reader
	SetReadDeadline(time.Time) error
}) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(5*time.Millisecond)))
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
}

// What is held leaves with Flush, once, and in order.
func TestHold(t *testing.T) {
	client, conn := pair(t, sock.ListenOptions{})
	require.NoError(t, conn.Flush(), "nothing is held")
	conn.Hold()
	for _, part := range []string{"a", "b", "c"} {
		n, err := conn.Write([]byte(part))
		require.NoError(t, err)
		require.Equal(t, 1, n)
	}
	silent(t, client)
	require.NoError(t, conn.Flush())
	reads(t, client, "abc")
	require.NoError(t, conn.Flush())
	_, err := conn.Write([]byte("d"))
	require.NoError(t, err)
	reads(t, client, "d")
}

// What is held has a limit, beyond which all of it leaves.
func TestHoldIsBounded(t *testing.T) {
	client, conn := pair(t, sock.ListenOptions{})
	conn.Hold()
	full := strings.Repeat("h", 8<<10)
	_, err := conn.Write([]byte(full))
	require.NoError(t, err)
	silent(t, client)
	_, err = conn.Write([]byte("!"))
	require.NoError(t, err)
	got := make([]byte, len(full)+1)
	_, err = io.ReadFull(client, got)
	require.NoError(t, err)
	require.Equal(t, full+"!", string(got))
}

// To a peer that is gone neither what is held nor what comes after it is
// written.
func TestHoldForNobody(t *testing.T) {
	client, conn := pair(t, sock.ListenOptions{})
	require.NoError(t, client.Close())
	conn.Hold()
	full := make([]byte, 8<<10)
	_, err := conn.Write(full)
	require.NoError(t, err)
	n, err := conn.Write([]byte("!"))
	require.ErrorIs(t, err, syscall.EPIPE)
	require.Zero(t, n)
}

// body is a Body of some chunks.
type body struct {
	chunks []string
	err    error         // after the last; nil: io.EOF
	wait   time.Duration // before each
	done   int
}

func (b *body) Read([]byte) (int, error) { panic("a body is not read") }
func (b *body) Done()                    { b.done++ }

func (b *body) NextChunk() ([]byte, error) {
	<-time.After(b.wait)
	if len(b.chunks) == 0 {
		if b.err == nil {
			return nil, io.EOF
		}
		return nil, b.err
	}
	chunk := b.chunks[0]
	b.chunks = b.chunks[1:]
	return []byte(chunk), nil
}

// A body goes out after what was held, and only its own bytes count.
func TestBody(t *testing.T) {
	for name, held := range map[string]string{"with a header": "header ", "without": ""} {
		t.Run(name, func(t *testing.T) {
			client, conn := pair(t, sock.ListenOptions{})
			conn.Hold()
			_, err := conn.Write([]byte(held))
			require.NoError(t, err)
			b := &body{chunks: []string{"one ", "two ", "three"}}
			n, err := conn.ReadFrom(b)
			require.NoError(t, err)
			require.Equal(t, int64(len("one two three")), n)
			require.Equal(t, 1, b.done)
			reads(t, client, held+"one two three")
			_, err = conn.Write([]byte("next")) // nothing is held any more
			require.NoError(t, err)
			reads(t, client, "next")
		})
	}
}

// An empty body lets go of what was held.
func TestEmptyBody(t *testing.T) {
	client, conn := pair(t, sock.ListenOptions{})
	conn.Hold()
	_, err := conn.Write([]byte("header"))
	require.NoError(t, err)
	b := &body{}
	n, err := conn.ReadFrom(b)
	require.NoError(t, err)
	require.Zero(t, n)
	require.Equal(t, 1, b.done)
	reads(t, client, "header")
}

// A body that fails is done with, and what was held for it is not sent.
func TestFailingBody(t *testing.T) {
	errRevoked := errors.New("revoked")
	client, conn := pair(t, sock.ListenOptions{})
	conn.Hold()
	_, err := conn.Write([]byte("header"))
	require.NoError(t, err)
	b := &body{err: errRevoked}
	_, err = conn.ReadFrom(b)
	require.ErrorIs(t, err, errRevoked)
	require.Equal(t, 1, b.done)
	require.NoError(t, conn.Close())
	_, err = read(client)
	require.ErrorIs(t, err, io.EOF)

	client, conn = pair(t, sock.ListenOptions{})
	b = &body{chunks: []string{"one "}, err: errRevoked}
	n, err := conn.ReadFrom(b)
	require.ErrorIs(t, err, errRevoked)
	require.Equal(t, int64(len("one ")), n)
	require.Equal(t, 1, b.done)
	reads(t, client, "one ")
}

// A body that cannot be written is done with, and says how much was.
func TestBodyForNobody(t *testing.T) {
	client, conn := pair(t, sock.ListenOptions{})
	require.NoError(t, client.Close())
	conn.Hold()
	_, err := conn.Write([]byte("header"))
	require.NoError(t, err)
	b := &body{chunks: []string{"one"}}
	n, err := conn.ReadFrom(b)
	require.ErrorIs(t, err, syscall.EPIPE)
	require.Zero(t, n)
	require.Equal(t, 1, b.done)

	require.NoError(t, conn.Close())
	b = &body{chunks: []string{"one"}}
	_, err = conn.ReadFrom(b)
	require.Error(t, err)
	require.Equal(t, 1, b.done)
}

// Part of a body is refused: the rest could not be cleared.
func TestPartOfABody(t *testing.T) {
	client, conn := pair(t, sock.ListenOptions{})
	b := &body{chunks: []string{"one"}}
	_, err := conn.ReadFrom(io.LimitReader(b, 1))
	require.Error(t, err)
	require.Len(t, b.chunks, 1)
	n, err := conn.ReadFrom(io.LimitReader(strings.NewReader("ordinary"), 3))
	require.NoError(t, err)
	require.Equal(t, int64(3), n)
	reads(t, client, "ord")
}

// TestReaderTakesNothing: who takes none of a chunk is cut off after a moment.
func TestReaderTakesNothing(t *testing.T) {
	_, conn := pair(t, sock.ListenOptions{})
	b := &body{chunks: []string{strings.Repeat("v", 4<<20)}}
	start := time.Now()
	n, err := conn.ReadFrom(b)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Less(t, n, int64(4<<20))
	require.Equal(t, 1, b.done)
	took := time.Since(start)
	require.True(t, took > 400*time.Millisecond && took < 2*time.Second, "after %s", took)
}

// The moment is each chunk's: a long body may take longer, and so may what is
// written afterwards.
func TestMomentIsEachChunks(t *testing.T) {
	client, conn := pair(t, sock.ListenOptions{})
	b := &body{chunks: []string{"one ", "two "}, wait: 260 * time.Millisecond}
	_, err := conn.ReadFrom(b)
	require.NoError(t, err)
	<-time.After(520 * time.Millisecond)
	_, err = conn.Write([]byte("three"))
	require.NoError(t, err)
	reads(t, client, "one two three")
}

// Under net/http an answer leaves by chunks, and the connection goes on.
func TestBodyUnderHTTP(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{})
	conns := make(chan *sock.Conn, 1)
	serve(t, &noting{l, conns}, func(w http.ResponseWriter, r *http.Request) {
		conn := <-conns
		conns <- conn
		w.Header().Set("Content-Length", "7")
		conn.Hold()
		if err := http.NewResponseController(w).Flush(); err != nil {
			panic(err)
		}
		if _, err := w.(io.ReaderFrom).ReadFrom(&body{chunks: []string{"one", " two"}}); err != nil {
			panic(err)
		}
	})
	client := dial(t, path)
	answers := bufio.NewReader(client)
	for range 3 {
		_, err := client.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
		require.NoError(t, err)
		r, err := http.ReadResponse(answers, nil)
		require.NoError(t, err)
		got, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.Equal(t, "one two", string(got))
	}
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
