package sock

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Body is an answer that leaves without passing anybody else's buffers: given
// to [Conn.ReadFrom], each chunk goes out in one write.
type Body interface {
	io.Reader // so that it can be given to io.Copy; never called by Conn
	// NextChunk returns what to write next, valid until the next call. io.EOF ends.
	NextChunk() ([]byte, error)
	// Done is called once when no chunk is in use any more.
	Done()
}

// maxHeld bounds what [Conn.Hold] keeps, in bytes: response headers.
const maxHeld = 8 << 10

// chunkTime is how long one chunk of a Body may take to write. A reader that
// takes none of it in that time does not want it.
const chunkTime = 500 * time.Millisecond

// Conn is a connection from a peer that was let in. Read checks that the peer
// itself wrote what is read.
type Conn struct {
	*net.UnixConn
	peer    *Peer
	release func() // gives the peer's place back

	control [controlSize]byte // for Read, of which there is one at a time
	foreign atomic.Bool       // somebody else wrote: nothing is read any more

	mu      sync.Mutex // guards what follows
	holding bool
	held    []byte
}

// Peer returns the process at the other end.
func (c *Conn) Peer() *Peer { return c.peer }

// Read reads what the peer wrote. Bytes of any other process, even one that
// has its uid, end the connection with [ErrOtherSender].
func (c *Conn) Read(b []byte) (int, error) {
	if c.foreign.Load() {
		return 0, ErrOtherSender
	}
	if len(b) == 0 {
		return 0, nil // ReadMsgUnix would take a byte and drop it
	}
	n, m, flags, _, err := c.ReadMsgUnix(b, c.control[:])
	switch {
	case errors.Is(err, io.EOF):
		return 0, io.EOF // ReadMsgUnix wraps it
	case err != nil:
		return 0, err // n is -1
	}
	if err := checkSender(c.peer, c.control[:m], flags); err != nil {
		closePassed(c.control[:m])
		clear(b[:n])
		c.foreign.Store(true)
		return 0, err
	}
	return n, nil
}

// Hold keeps what is written from now on, so that it goes out in one write with
// the first chunk of the next [Body], or with Flush.
func (c *Conn) Hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holding = true
}

// Write writes, or keeps, b.
func (c *Conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	if c.holding && len(c.held)+len(b) <= maxHeld {
		c.held = append(c.held, b...)
		c.mu.Unlock()
		return len(b), nil
	}
	err := c.flushLocked()
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return c.UnixConn.Write(b)
}

// Flush writes what was kept.
func (c *Conn) Flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flushLocked()
}

func (c *Conn) flushLocked() error {
	c.holding = false
	if len(c.held) == 0 {
		return nil
	}
	_, err := c.UnixConn.Write(c.held)
	c.held = c.held[:0]
	return err
}

// ReadFrom writes all of r. net/http hands an answer's body to it once the
// header has been written, so a [Body] goes from its own memory to the kernel.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	if lr, ok := r.(*io.LimitedReader); ok {
		if _, ok := lr.R.(Body); ok {
			return 0, errors.New("a body must be given whole")
		}
	}
	body, ok := r.(Body)
	if !ok {
		return io.Copy(writer{c}, r)
	}
	defer body.Done()
	defer c.SetWriteDeadline(time.Time{})
	var total int64
	for {
		chunk, err := body.NextChunk()
		if err == io.EOF {
			return total, c.Flush()
		}
		if err != nil {
			return total, err
		}
		if err := c.SetWriteDeadline(time.Now().Add(chunkTime)); err != nil {
			return total, err
		}
		n, err := c.writeWithHeld(chunk)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
}

// writeWithHeld writes what was kept and the chunk in one write, without
// copying the chunk.
func (c *Conn) writeWithHeld(chunk []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holding = false
	if len(c.held) == 0 {
		return c.UnixConn.Write(chunk)
	}
	held := len(c.held)
	both := net.Buffers{c.held, chunk}
	n, err := both.WriteTo(c.UnixConn)
	c.held = c.held[:0]
	return max(int(n)-held, 0), err
}

// writer hides ReadFrom from io.Copy.
type writer struct{ io.Writer }

// Close ends the connection.
func (c *Conn) Close() error {
	c.release()
	return errors.Join(c.peer.Close(), c.UnixConn.Close())
}
