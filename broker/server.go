package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
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
	w    http.ResponseWriter
	b    *Broker
	conn *sock.Conn
	c    *Caller
}

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

// Limits of a connection.
const (
	headerTime = 5 * time.Second  // to send a request whole
	idleTime   = 60 * time.Second // between requests
	maxHeader  = 16 << 10         // bytes
)

type connKey struct{}

// Handler returns the HTTP handler of one socket. Its connections must be of
// this package's listeners: a request on any other is refused.
func (b *Broker) Handler(s Socket) http.Handler {
	mux := http.NewServeMux()
	for _, m := range Methods() {
		if m.Socket == s {
			mux.HandleFunc(m.Pattern, func(w http.ResponseWriter, r *http.Request) { b.serve(w, r, m) })
		}
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, badRequest("there is no such method on the "+string(s)+"'s socket", "see secretctl help, and unset SECRETCTL_SOCKET"))
	})
	return mux
}

// serve names the caller again, as at every request, and calls the method.
func (b *Broker) serve(w http.ResponseWriter, r *http.Request, m Method) {
	conn, ok := r.Context().Value(connKey{}).(*sock.Conn)
	if !ok {
		fail(w, errStranger)
		return
	}
	name := b.AsAgent
	if m.Socket == OwnerSocket {
		name = b.AsOwner
	}
	c, err := name(conn.Peer())
	if err == nil {
		err = m.handle(&request{Request: r, w: w, b: b, conn: conn, c: c})
	}
	if err != nil {
		fail(w, err)
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

// Serve answers on a socket until ctx is done, then lets the requests that are
// being answered finish for a moment.
func (b *Broker) Serve(ctx context.Context, s Socket, l *sock.Listener) error {
	server := &http.Server{
		Handler:           b.Handler(s),
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          nil,
		// A request of a person's, such as a long poll, ends when the broker does.
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		err := server.Shutdown(grace)
		if errors.Is(err, context.DeadlineExceeded) {
			err = server.Close()
		}
		stopped <- err
	})
	err := server.Serve(l)
	if stop() || !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}
