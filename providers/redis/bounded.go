package redis

import (
	"bytes"
	"errors"
	"net"
	"strconv"
)

// Bounds on what a server may announce of one reply, in bytes and elements: far
// above what any of our commands is answered with.
const (
	maxBulk  = 1 << 20
	maxArray = 1 << 14
)

// errReply ends a connection whose server announces too much.
var errReply = errors.New("the server announces a reply that is too long")

// bounded is a connection that ends when a reply announces more than the bounds:
// the library makes room for whatever is announced, and so much can end the
// process.
type bounded struct {
	net.Conn
	line []byte // the beginning of a line that is not whole
	skip int    // bytes of a bulk string, with its line end, still to come
	err  error
}

func (c *bounded) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.Conn.Read(p)
	if c.err = c.look(p[:n]); c.err != nil {
		_ = c.Close()
		return 0, c.err
	}
	return n, err
}

// look follows what is read.
func (c *bounded) look(b []byte) error {
	for len(b) > 0 {
		if c.skip > 0 {
			n := min(c.skip, len(b))
			c.skip, b = c.skip-n, b[n:]
			continue
		}
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			c.line = append(c.line, b...)
			if len(c.line) > maxBulk {
				return errReply
			}
			return nil
		}
		line := append(c.line, b[:i]...)
		c.line, b = c.line[:0], b[i+1:]
		if err := c.header(line); err != nil {
			return err
		}
	}
	return nil
}

// header reads a line that may announce something.
func (c *bounded) header(line []byte) error {
	if len(line) == 0 || line[0] != '$' && line[0] != '*' {
		return nil
	}
	n, err := strconv.Atoi(string(bytes.TrimRight(line[1:], "\r")))
	switch {
	case err != nil, line[0] == '$' && n > maxBulk, line[0] == '*' && n > maxArray:
		return errReply
	case line[0] == '$' && n >= 0:
		c.skip = n + len("\r\n")
	}
	return nil
}
