// Package services has the providers of credentials at services with an HTTP
// API, one a file, and the one client through which they call.
//
// It guards against a value that goes anywhere but to the service the owner
// named: no redirect is followed, no proxy or other setting is taken from the
// environment, nothing but TLS leaves the machine, and of what a service answers
// only the fields a provider names are kept, never shown. It guards as well
// against a call that is taken for undone, or for done, when nobody knows.
package services

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"sync"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// Limits of what a service may answer, in bytes. They are sanity checks: the
// longest answer in use is a list of a hundred entries.
const (
	maxAnswer  = 1 << 20
	maxHeaders = 64 << 10
)

// testOnlyRoots replaces the system's certificates in tests.
var testOnlyRoots *x509.CertPool

// client calls one service.
type client struct {
	service   string // as a person knows it
	option    string // that says where it is
	base      *url.URL
	headers   map[string]string // sent with every request
	denied    string            // the remedy when the managing credential is refused
	transport http.RoundTripper
}

// newClient makes a client of the service that an option says the address of.
func newClient(service, option, address string) (*client, error) {
	base, err := url.Parse(address)
	wrong := func(problem string) error {
		return &providers.OptionError{Option: option, Problem: problem, Remedy: option + ` = "https://…"`}
	}
	switch {
	case err != nil || base.Host == "" || base.Hostname() == "":
		return nil, wrong(fmt.Sprintf("%q is not the address of a service", option))
	case base.User != nil || base.RawQuery != "" || base.ForceQuery || base.Fragment != "":
		return nil, wrong(fmt.Sprintf("%q has a password, a query or a fragment in it; it is an address alone", option))
	case base.Scheme == "http" && !loopback(base.Hostname()):
		return nil, wrong(fmt.Sprintf("%q would send credentials in the clear: http is for this machine alone", option))
	case base.Scheme != "https" && base.Scheme != "http":
		return nil, wrong(fmt.Sprintf("%q must begin with https://", option))
	}
	return &client{service: service, option: option, base: base, transport: newTransport()}, nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// newTransport makes what sends requests. It is used without an [http.Client],
// which would follow redirects and keep cookies.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy: nil, // not the one of the environment
		// A connection serves one request: one that is used again is, when it breaks,
		// silently replaced and the request repeated. Repeating is not decided here.
		DisableKeepAlives:      true,
		DisableCompression:     true, // else the limit of an answer would be of what it unpacks to
		MaxResponseHeaderBytes: maxHeaders,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: testOnlyRoots},
	}
}

// request is one call.
type request struct {
	method string
	path   []string // segments, as they are; they are escaped
	query  url.Values
	auth   auth // nil: none
	// self: what authenticates is the credential in question, so that being refused
	// says something about it.
	self bool
	body func(dst []byte) ([]byte, error) // appends it to locked memory; nil: none
	want int                              // the status of success
	into answer                           // nil: what comes with success is not read
}

// answer is what is kept of a service's answer: the fields that are named, and
// no others.
type answer interface {
	// usable reports whether all that is needed was there.
	usable() bool
}

// do sends a request, once, and returns the headers of the answer. Every error
// is a [providers.CallError].
func (c *client) do(ctx context.Context, r request) (http.Header, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A connection comes after the look-up, the dialling and the handshake: before
	// it, nothing of the request can have left.
	sent := false
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent = true }})
	req, body, err := c.request(traced, r)
	switch {
	case errors.Is(err, errNotSent):
		return nil, providers.Not(providers.CodeBadValue, "preparing a call of %s: %v", c.service, err)
	case err != nil:
		return nil, providers.Not(providers.CodeUnavailable, "preparing a call of %s: %v", c.service, err)
	}
	defer body.release(cancel)
	defer clear(req.Header)
	resp, err := c.transport.RoundTrip(req)
	switch {
	case err != nil && !sent:
		return nil, c.unreachable(ctx, err)
	case err != nil:
		return nil, c.silent(ctx)
	}
	defer resp.Body.Close()
	if resp.StatusCode != r.want {
		return resp.Header, c.refusal(r, resp)
	}
	if r.into == nil {
		return resp.Header, nil
	}
	return resp.Header, c.read(ctx, resp, r.into)
}

// request makes a request and its body, which has to be released.
//
// The header with the credential is a string on the heap, and net/http copies it
// and the body into its own buffers: there is no other way into that library.
// They live as long as the call, in a process that allows no core dump.
func (c *client) request(ctx context.Context, r request) (*http.Request, *body, error) {
	escaped := make([]string, len(r.path))
	for i, segment := range r.path {
		escaped[i] = url.PathEscape(segment)
	}
	at := c.base.JoinPath(escaped...)
	at.RawQuery = r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.method, at.String(), nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("User-Agent", "secretctl")
	req.Header.Set("Accept", "application/json")
	for name, value := range c.headers {
		req.Header.Set(name, value)
	}
	if r.auth != nil {
		if err := r.auth(req.Header); err != nil {
			return nil, nil, err
		}
	}
	if r.body == nil {
		return req, nil, nil
	}
	b, err := newBody(r.body)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Body, req.ContentLength = b, int64(len(b.buffer.B))
	return req, b, nil
}

// body is the body of a request in locked memory.
type body struct {
	*bytes.Reader
	buffer *secret.Buffer
	once   sync.Once
	closed chan struct{}
}

func newBody(write func([]byte) ([]byte, error)) (*body, error) {
	buffer, err := secret.GetBuffer()
	if err != nil {
		return nil, err
	}
	if buffer.B, err = write(buffer.B); err != nil {
		buffer.Release()
		return nil, err
	}
	return &body{Reader: bytes.NewReader(buffer.B), buffer: buffer, closed: make(chan struct{})}, nil
}

// Close tells that the transport reads no more.
func (b *body) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
}

// release clears the body once the transport is done with it, which may be after
// its answer came.
func (b *body) release(cancel context.CancelFunc) {
	if b == nil {
		return
	}
	cancel()
	<-b.closed
	b.buffer.Release()
}

// read takes what is wanted out of an answer. The whole of it is read into locked
// memory, since it may hold a value.
func (c *client) read(ctx context.Context, resp *http.Response, into answer) error {
	all, err := secret.Read(resp.Body, maxAnswer)
	switch {
	case errors.Is(err, secret.ErrTooLong):
		return providers.Maybe(providers.CodeUnavailable, "%s answers with more than %d MiB", c.service, maxAnswer>>20)
	case errors.Is(err, secret.ErrFull):
		return providers.Maybe(providers.CodeUnavailable, "there is no locked memory for the answer of %s", c.service)
	case err != nil:
		return c.silent(ctx)
	}
	defer all.Clear()
	err = all.Use(func(b []byte) error { return json.Unmarshal(b, into) })
	if err != nil || !into.usable() {
		if v, ok := into.(interface{ clear() }); ok {
			v.clear()
		}
		return providers.Maybe(providers.CodeUnavailable, "%s answers with something else than its documentation says", c.service)
	}
	return nil
}

// sealed is a string of an answer that is a value: it goes from the answer to
// locked memory of its own without being a string in between.
type sealed struct{ secret.Value }

var errNotAValue = errors.New("not a value")

// UnmarshalJSON takes printable ASCII without escapes alone. All values are that,
// or they could not be sent in a header.
func (s *sealed) UnmarshalJSON(b []byte) error {
	if len(b) < 3 || b[0] != '"' || !s.IsZero() {
		return errNotAValue
	}
	b = b[1 : len(b)-1]
	for _, c := range b {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return errNotAValue
		}
	}
	v, err := secret.Fill(len(b), func(mem []byte) error { copy(mem, b); return nil })
	s.Value = v
	return err
}

// auth sets the header that authenticates a request.
type auth func(http.Header) error

// errNotSent is the error of a value that was not sent, since it would mean
// something else where it goes.
var errNotSent = errors.New("the credential has characters that none of its kind has")

// withHeader authenticates by a header of its own, after a prefix.
func withHeader(name, prefix string, v secret.Value) auth {
	return func(h http.Header) error {
		return v.Use(func(b []byte) error {
			for _, c := range b {
				if c <= ' ' || c > '~' {
					return errNotSent
				}
			}
			h.Set(name, prefix+string(b))
			return nil
		})
	}
}

// bearer authenticates by a token.
func bearer(v secret.Value) auth { return withHeader("Authorization", "Bearer ", v) }

// basic authenticates by a password.
func basic(user string, v secret.Value) auth {
	return func(h http.Header) error {
		pair, err := secret.GetBuffer()
		if err != nil {
			return err
		}
		defer pair.Release()
		return v.Use(func(b []byte) error {
			pair.B = append(append(append(pair.B, user...), ':'), b...)
			h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString(pair.B))
			return nil
		})
	}
}

// unreachable is the error of a request that did not leave.
func (c *client) unreachable(ctx context.Context, err error) error {
	problem, remedy := fmt.Sprintf("%s cannot be reached at %s", c.service, c.base.Host), "see whether this machine has a network"
	certificate := (*tls.CertificateVerificationError)(nil)
	lookup := (*net.DNSError)(nil)
	dial := (*net.OpError)(nil)
	switch {
	case ctx.Err() != nil:
		problem += " in the time there was"
	case errors.As(err, &certificate):
		problem = fmt.Sprintf("the certificate of %s is not one for %s that this machine trusts", c.service, c.base.Hostname())
		remedy = "see that the clock is right and nothing stands between"
	case errors.As(err, &lookup):
		problem = fmt.Sprintf("the name %s cannot be looked up", c.base.Hostname())
	case !errors.As(err, &dial) || dial.Op != "dial":
		problem = fmt.Sprintf("%s does not speak TLS 1.2 or newer at %s", c.service, c.base.Host)
		remedy = "see whether " + c.option + " is right"
	}
	return &providers.CallError{Outcome: providers.DefinitelyNot, Code: providers.CodeUnavailable, Problem: problem, Remedy: remedy}
}

// silent is the error of a request to which no whole answer came.
func (c *client) silent(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return providers.Maybe(providers.CodeUnavailable, "%s did not answer in time", c.service)
	}
	return providers.Maybe(providers.CodeUnavailable, "the connection to %s ended before it had answered", c.service)
}
