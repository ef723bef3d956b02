package servertest

import (
	"bytes"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Proxy is a line to a server that can be cut.
type Proxy struct {
	listener        net.Listener
	network, target string

	mu    sync.Mutex // protects what is below
	mode  mode
	left  int          // bytes before the cut, of mode cutting
	sent  bytes.Buffer // to the server
	conns map[net.Conn]bool
	all   sync.WaitGroup
}

type mode int

const (
	passing mode = iota
	cutting      // the connection is reset once so many bytes have gone through
	hanging      // connections are taken, and nothing goes through
)

// NewProxy starts a line to an address, on a port of this machine.
func NewProxy(t testing.TB, network, target string) *Proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &Proxy{listener: l, network: network, target: target, conns: make(map[net.Conn]bool)}
	p.all.Go(p.serve)
	t.Cleanup(func() {
		p.Refuse()
		p.all.Wait()
	})
	return p
}

// Addr is where the line begins, "127.0.0.1:port".
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Port is the port of Addr.
func (p *Proxy) Port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// Pass lets everything through.
func (p *Proxy) Pass() { p.set(passing, 0) }

// Cut resets every connection after n more bytes, of both directions together.
func (p *Proxy) Cut(n int) { p.set(cutting, n) }

// Hang takes connections, and lets nothing through.
func (p *Proxy) Hang() { p.set(hanging, 0) }

// Whole reports whether a cut that was asked for has not come to pass.
func (p *Proxy) Whole() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.left > 0
}

// Sent is all that went through to the server.
func (p *Proxy) Sent() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent.String()
}

// Refuse ends the line: nothing listens any more.
func (p *Proxy) Refuse() {
	_ = p.listener.Close() // it may be closed
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *Proxy) set(m mode, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode, p.left = m, n
}

func (p *Proxy) serve() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		s, err := net.Dial(p.network, p.target)
		if err != nil {
			_ = c.Close()
			continue
		}
		p.mu.Lock()
		p.conns[c], p.conns[s] = true, true
		p.mu.Unlock()
		p.all.Go(func() { p.carry(c, s, &p.sent) })
		p.all.Go(func() { p.carry(s, c, nil) })
	}
}

// carry copies one direction, and keeps what went through.
func (p *Proxy) carry(from, to net.Conn, kept *bytes.Buffer) {
	defer p.drop(from, to)
	for b := make([]byte, 32<<10); ; {
		n, err := from.Read(b)
		n, cut := p.allow(b[:n], kept)
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil || cut {
			return
		}
	}
}

// allow says how many of these bytes may go through.
func (p *Proxy) allow(b []byte, kept *bytes.Buffer) (n int, cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch n = len(b); p.mode {
	case hanging:
		return 0, false
	case cutting:
		n = min(n, p.left)
		p.left -= n
		cut = p.left == 0
	}
	if kept != nil {
		kept.Write(b[:n])
	}
	return n, cut
}

func (p *Proxy) drop(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.mode == cutting {
			if tcp, ok := c.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0) // a reset, not an end
			}
		}
		delete(p.conns, c)
		_ = c.Close()
	}
}
