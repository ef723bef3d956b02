package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"secretctl/sock"
)

// Socket says through which socket a method is offered.
type Socket string

// The sockets.
const (
	AgentSocket Socket = "agent"
	OwnerSocket Socket = "owner"
)

// Method is one thing that can be asked over a socket. The table of them is
// the whole of the API: what is not in it does not exist.
type Method struct {
	Socket  Socket
	Pattern string // "POST /v1/leases", as net/http's ServeMux reads it
	handle  func(*request) error
}

// Methods returns the API of both sockets.
func Methods() []Method { return append(agentMethods(), ownerMethods()...) }

// request is one request with who asks.
type request struct {
	*http.Request
	w   *response
	b   *Broker
	c   *Caller
	ctx context.Context
}

// Context is done when the broker stops and, where a method waits, when the
// caller hangs up.
func (r *request) Context() context.Context { return r.ctx }

// reply writes an answer without a value.
func (r *request) reply(code int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	r.w.Header().Set("Content-Type", "application/json")
	r.w.WriteHeader(code)
	_, err = r.w.Write(append(body, '\n'))
	return err
}

// router finds the method of a request on one socket.
type router struct {
	exact map[string]func(*response, *http.Request) // "POST /v1/leases" → for patterns that are no more than that
	all   *http.ServeMux
}

func (b *Broker) router(s Socket) *router {
	r := &router{make(map[string]func(*response, *http.Request)), http.NewServeMux()}
	for _, m := range Methods() {
		if m.Socket != s {
			continue
		}
		serve := func(w *response, r *http.Request) { b.serve(w, r, m) }
		if !strings.Contains(m.Pattern, "{") {
			r.exact[m.Pattern] = serve
		}
		r.all.HandleFunc(m.Pattern, func(w http.ResponseWriter, r *http.Request) { serve(w.(*response), r) })
	}
	r.all.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, badRequest("there is no such method on the "+string(s)+"'s socket", otherSocket[s]))
	})
	return r
}

// otherSocket is what to do about a method that a socket does not have.
var otherSocket = map[Socket]string{
	AgentSocket: "only an owner can do this; an owner runs: unset SECRETCTL_SOCKET",
	OwnerSocket: "the broker is of another version: secretctl version, secretctl status",
}

func (r *router) serve(w *response, req *http.Request) {
	if serve, ok := r.exact[req.Method+" "+req.URL.Path]; ok {
		serve(w, req)
		return
	}
	r.all.ServeHTTP(w, req)
}

// serve names the caller again, as at every request, and calls the method.
func (b *Broker) serve(w *response, r *http.Request, m Method) {
	name := b.AsAgent
	if m.Socket == OwnerSocket {
		name = b.AsOwner
	}
	c, err := name(w.c.conn.Peer())
	if err == nil {
		err = m.handle(&request{Request: r, w: w, b: b, c: c, ctx: w.c.ctx})
	}
	if err != nil {
		fail(w, err)
	}
}

// waiting is a method that waits for something to happen, or for a reader, and
// ends when the caller hangs up. Its requests have no body.
func waiting(handle func(*request) error) func(*request) error {
	return func(r *request) error {
		ctx, stop := r.w.c.watch()
		defer stop()
		r.ctx = ctx
		return handle(r)
	}
}

// fail answers with an error.
func fail(w http.ResponseWriter, err error) {
	e := asError(err)
	body, err := json.Marshal(struct {
		Error *Error `json:"error"`
	}{e})
	if err != nil {
		panic("broker: an error of strings always marshals: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status[e.Code])
	_, _ = w.Write(append(body, '\n')) // the caller may be gone
}

// refusal is what a connection is told that is not let in: it is written before
// anything of it is read. It says how long it is, since closing a connection of
// which something was not read cuts it off with a reset, not an end.
var refusal = func() []byte {
	body := `{"error":{"code":"denied","message":"` + errStranger.Message + `","hint":"` + errStranger.Hint + `"}}` + "\n"
	return fmt.Appendf(nil, "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
}()

// Listen makes one of the sockets.
func (b *Broker) Listen(s Socket, path string) (*sock.Listener, error) {
	admit, limit := b.AsAgent, b.connectionLimit
	if s == OwnerSocket {
		admit, limit = b.AsOwner, nil
	}
	return sock.Listen(path, sock.ListenOptions{
		Admit:     func(p *sock.Peer) error { _, err := admit(p); return err },
		Refusal:   refusal,
		MaxPerUID: limit,
	})
}

// connectionLimit is how many connections an agent may have: what the config
// says, and never so many that the others, or the owner, find no descriptor
// left.
func (b *Broker) connectionLimit(uint32) int {
	s := b.settings.Load()
	share := (openFiles() - reservedFiles) / filesEach / max(len(s.agents), 1)
	return max(min(s.Broker.MaxConnections, share), 1)
}

// reservedFiles are the descriptors kept from agents: the files of the home,
// the listeners and the owner's connections.
const reservedFiles = 40

// filesEach is how many descriptors a connection costs: it and its peer's pidfd.
const filesEach = 2

// server is one socket being served.
type server struct {
	b      *Broker
	router *router

	stopping atomic.Bool
	serving  sync.WaitGroup // connections

	mu    sync.Mutex
	conns map[*connection]struct{}
}

// stopTime is how long the requests that are being answered have to finish once
// the broker stops.
const stopTime = 2 * time.Second

// Serve answers on a socket until ctx is done, then lets the requests that are
// being answered finish for a moment.
func (b *Broker) Serve(ctx context.Context, s Socket, l *sock.Listener) error {
	v := &server{b: b, router: b.router(s), conns: make(map[*connection]struct{})}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	err := v.accept(ctx, l)
	if ctx.Err() == nil {
		v.cut()
		return err
	}
	v.stop()
	return nil
}

// accept serves each connection that is let in, until there is none any more.
func (v *server) accept(ctx context.Context, l *sock.Listener) error {
	const longest = time.Second
	for wait := 5 * time.Millisecond; ; {
		c, err := l.Accept()
		switch {
		case err == nil:
			wait = 5 * time.Millisecond
			v.serving.Go(newConnection(ctx, v, c.(*sock.Conn)).serve)
		case passes(err):
			// Whoever waits is let in once others have gone.
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return ctx.Err()
			}
			wait = min(2*wait, longest)
		default:
			return err
		}
	}
}

// passes reports whether the machine may be able to accept again.
func passes(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// stop ends the connections on which nothing is being answered at once, and the
// others when they are done or their time is over.
func (v *server) stop() {
	v.stopping.Store(true)
	v.each(func(c *connection) {
		if c.state.CompareAndSwap(idle, over) {
			c.conn.Close()
		}
	})
	done := make(chan struct{})
	go func() { v.serving.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(stopTime):
		v.cut()
	}
}

// cut ends all connections.
func (v *server) cut() { v.each(func(c *connection) { c.conn.Close() }) }

func (v *server) each(f func(*connection)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for c := range v.conns {
		f(c)
	}
}

func (v *server) add(c *connection) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.conns[c] = struct{}{}
}

func (v *server) remove(c *connection) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.conns, c)
}
