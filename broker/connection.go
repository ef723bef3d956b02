package broker

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"secretctl/broker/lease"
	"secretctl/sock"
)

// connection reads the requests of one connection and has them answered, one
// after the other. It is in the place of net/http's server, of which it keeps
// the reader: that one spends more on a request than everything else here does,
// and an answer with a value must pass no buffer of anybody's.
type connection struct {
	v     *server
	ctx   context.Context // done when the broker stops
	conn  *sock.Conn
	state atomic.Int32

	// Of whoever reads, of whom there is one at a time.
	r        *bufio.Reader // over Read
	left     int64         // bytes that may still be read
	deadline time.Time     // for what is read
	told     time.Time     // the deadline that the kernel keeps
	failed   error         // what ended the reading, if not the caller's words

	w         response
	spare     [1]byte   // for what should not come
	patientTo time.Time // the deadline that the kernel keeps for writes; zero: none

	bound []lease.ID // leases that end with it, unless another has taken them over
}

// The states of a connection.
const (
	idle int32 = iota // nothing of a request has come
	busy              // a request is being read or answered
	over              // closed by the broker
)

// Limits of a connection.
const (
	headerTime = 5 * time.Second        // to send a request whole
	idleTime   = 60 * time.Second       // between requests
	lingerTime = 500 * time.Millisecond // to take in the last answer
	maxHeader  = 16 << 10               // bytes
	maxUnread  = 256 << 10              // bytes of a request nobody wanted that are read all the same
)

func newConnection(ctx context.Context, v *server, conn *sock.Conn) *connection {
	c := &connection{v: v, ctx: ctx, conn: conn}
	c.r = bufio.NewReaderSize(c, 4<<10)
	c.w = response{c: c, header: make(http.Header)}
	v.add(c)
	return c
}

// serve answers until either side has had enough.
func (c *connection) serve() {
	defer c.v.remove(c)
	defer c.unbind()
	defer c.conn.Close()
	for wait := headerTime; c.await(wait) && c.answer(); wait = idleTime {
	}
}

// bind has a lease end with the connection.
func (c *connection) bind(id lease.ID) {
	if before, _ := c.v.b.bound.Swap(id, c); before != c {
		c.bound = append(c.bound, id)
	}
	if len(c.bound) == cap(c.bound) { // before it grows, those that are over may go
		now := c.v.b.now()
		c.bound = slices.DeleteFunc(c.bound, func(id lease.ID) bool {
			_, lives := c.v.b.table.Get(id, now)
			return !lives && c.v.b.bound.CompareAndDelete(id, c)
		})
	}
}

// unbind ends the leases that are bound to the connection, but not when it is
// the broker that stops: then they go on, and their holder finds the next one.
func (c *connection) unbind() {
	for _, id := range c.bound {
		if !c.v.b.bound.CompareAndDelete(id, c) || c.v.stopping.Load() {
			continue
		}
		if l, ok := c.v.b.table.Get(id, c.v.b.now()); ok {
			c.v.b.release(nil, &l, "hung_up")
		}
	}
}

// Read reads from the connection within what is left of the limits.
func (c *connection) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errHeaderSize
	}
	if early := c.deadline.Sub(c.told); early < 0 || early > soonEnough {
		if c.failed = c.conn.SetReadDeadline(c.deadline); c.failed != nil {
			return 0, c.failed
		}
		c.told = c.deadline
	}
	n, err := c.conn.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if err != nil {
		c.failed = err
	}
	return n, err
}

// within bounds the time of what is read next. The kernel is told when there is
// anything to wait for: mostly a request has come whole.
func (c *connection) within(d time.Duration) { c.deadline = time.Now().Add(d) }

// soonEnough is how much earlier than it should a deadline may be: on a busy
// connection it is not told anew at each request.
const soonEnough = 250 * time.Millisecond

// await waits for a request to begin.
func (c *connection) await(d time.Duration) bool {
	c.left, c.failed = maxHeader, nil
	c.within(d)
	c.state.Store(idle)
	if c.v.stopping.Load() {
		return false
	}
	if _, err := c.r.Peek(1); err != nil || !c.state.CompareAndSwap(idle, busy) {
		return false
	}
	if d > headerTime {
		c.within(headerTime)
	}
	return true
}

// answer reads a request and has it answered. It reports whether another may
// follow.
func (c *connection) answer() bool {
	req, err := http.ReadRequest(c.r)
	if err != nil && c.failed != nil {
		return false // gone, too slow, or somebody else's words
	}
	c.left = math.MaxInt64 // who reads a body has a limit of its own
	c.w.begin(req)
	switch {
	case err == errHeaderSize:
		c.w.WriteHeader(http.StatusRequestHeaderFieldsTooLarge)
	case err != nil:
		err = badRequest("the request is not HTTP/1.1", "")
	case req.ProtoMajor != 1 || !wellFormed(req.Header):
		err = badRequest("the request is not HTTP/1.1", "")
	case !c.expects(req):
		err = badRequest("an Expect other than 100-continue cannot be met", "leave the header out")
	}
	if err != nil {
		fail(&c.w, err)
		c.w.last = true
	} else if !c.route(req) {
		return false
	}
	if req != nil && !c.drained(req) {
		c.w.last = true
	}
	if c.w.end() != nil {
		return false
	}
	if c.w.last {
		c.linger()
	}
	return !c.w.last
}

var errHeaderSize = &Error{CodeTooLarge, fmt.Sprintf("the header of the request is larger than %d bytes", maxHeader), ""}

// wellFormed reports whether the fields are what HTTP says. The reader lets
// through what others would understand differently, such as a space before the
// colon.
func wellFormed(h http.Header) bool {
	for name, values := range h {
		for i := range len(name) {
			if c := name[i]; !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
				return false
			}
		}
		for _, v := range values {
			for i := range len(v) {
				if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
					return false
				}
			}
		}
	}
	return true
}

// expects has a caller that waits to be asked for its body be asked when the
// body is wanted. It reports whether the request expects nothing else.
func (c *connection) expects(req *http.Request) bool {
	switch strings.ToLower(req.Header.Get("Expect")) {
	case "":
		return true
	case "100-continue":
		if req.ContentLength != 0 && req.ProtoAtLeast(1, 1) {
			req.Body = &awaited{req.Body, c}
		}
		return true
	}
	return false
}

// awaited is a body that comes when it is asked for.
type awaited struct {
	io.ReadCloser
	c *connection // nil: it has been asked for
}

func (a *awaited) Read(p []byte) (int, error) {
	if a.c != nil {
		if !a.c.w.sent {
			if err := a.c.write([]byte("HTTP/1.1 100 Continue\r\n\r\n")); err != nil {
				return 0, err
			}
		}
		a.c = nil
	}
	return a.ReadCloser.Read(p)
}

// route has the request answered, and reports whether the connection is still
// of use. A panic ends the connection, not the broker: it serves others.
func (c *connection) route(req *http.Request) (alive bool) {
	defer func() {
		if p := recover(); p != nil {
			c.v.b.Warn(fmt.Sprintf("answering %s %q: panic: %v\n%s", req.Method, req.URL.Path, p, debug.Stack()))
			alive = false
		}
	}()
	c.v.router.serve(&c.w, req)
	return c.w.err == nil
}

// drained reads what nobody wanted of a request, so that the next can be read.
// It reports whether that is all.
func (c *connection) drained(req *http.Request) bool {
	if req.Body == http.NoBody {
		return true
	}
	if a, ok := req.Body.(*awaited); ok && a.c != nil {
		return false // it was never asked for, and may come or not
	}
	if req.ContentLength > maxUnread && c.w.code >= 300 {
		return false // the answer does not wait for it
	}
	if n, err := req.Body.Read(c.spare[:]); n == 0 && err == io.EOF {
		return true // mostly it was wanted
	}
	n, err := io.CopyN(io.Discard, req.Body, maxUnread)
	return err == io.EOF && n < maxUnread
}

// linger lets the caller read the last answer: to close a connection of which
// something was not read would cut the answer off.
func (c *connection) linger() {
	if c.conn.CloseWrite() != nil {
		return
	}
	c.left = math.MaxInt64
	c.within(lingerTime)
	_, _ = io.Copy(io.Discard, c.r)
}

// watch returns a context that is also done when the caller hangs up. Nothing
// else may be read until stop has been called.
func (c *connection) watch() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(c.ctx)
	watched := make(chan struct{})
	c.deadline, c.told = time.Time{}, time.Time{}
	_ = c.conn.SetReadDeadline(time.Time{}) // fails once closed: so does reading
	go func() {
		defer close(watched)
		if _, err := c.r.Peek(1); err != nil {
			cancel()
		}
	}()
	return ctx, func() {
		_ = c.conn.SetReadDeadline(time.Unix(1, 0)) // wakes the reader; fails once closed, which does too
		<-watched
		cancel()
		c.told = time.Unix(1, 0)
		c.within(headerTime)
	}
}

// write writes b and waits as long as it takes.
func (c *connection) write(b []byte) error {
	if !c.patientTo.IsZero() {
		if err := c.conn.SetWriteDeadline(time.Time{}); err != nil {
			return err
		}
		c.patientTo = time.Time{}
	}
	_, err := c.conn.Write(b)
	return err
}

// chunkTime is how long one chunk of a value may take to write. A reader that
// takes none of it in that time does not want it.
const chunkTime = 500 * time.Millisecond

// writeChunk writes a chunk of a value within a bounded time.
func (c *connection) writeChunk(b []byte) error { return c.writeWithin(b, chunkTime) }

// writeWithin writes b within d, or up to an eighth less: on a busy connection
// the kernel is not told anew at each answer.
func (c *connection) writeWithin(b []byte, d time.Duration) error {
	until := time.Now().Add(d)
	if early := until.Sub(c.patientTo); early < 0 || early > d/8 {
		if err := c.conn.SetWriteDeadline(until); err != nil {
			return err
		}
		c.patientTo = until
	}
	_, err := c.conn.Write(b)
	return err
}
