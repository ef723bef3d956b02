package sock

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
)

// Conn is a connection from a peer that was let in. Read checks that the peer
// itself wrote what is read.
type Conn struct {
	*net.UnixConn
	peer    *Peer
	release func() // gives the peer's place back

	control [controlSize]byte // for Read, of which there is one at a time
	foreign atomic.Bool       // somebody else wrote: nothing is read any more
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

// Close ends the connection.
func (c *Conn) Close() error {
	c.release()
	return errors.Join(c.peer.Close(), c.UnixConn.Close())
}
