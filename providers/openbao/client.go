package openbao

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// Limits, in bytes. They are sanity checks: a list has a line for each secret of
// a folder, a value is the largest there is with what the server says of it, and
// anything else is short.
const (
	maxValue   = 1 << 20
	maxEntry   = maxValue/3*4 + 4 + 128<<10
	maxAnswer  = 128 << 10
	maxList    = 16 << 20
	maxHeaders = 64 << 10
	maxCA      = 1 << 20
)

// requestTime bounds one request, whoever asks.
const requestTime = 15 * time.Second

// testOnlyTransport, in tests, takes the place of the network.
var testOnlyTransport http.RoundTripper

// client calls one server.
type client struct {
	base      *url.URL
	namespace string // "": none
	ca        string // the file of the certificates that vouch for it; "": the system's

	mu        sync.Mutex
	transport http.RoundTripper // nil: the certificates have to be read first
}

// request is one call.
type request struct {
	method string
	path   []string // segments below /v1, as they are; they are escaped
	query  string
	token  secret.Value // zero: none
	body   secret.Value // JSON; zero: none
	root   bool         // it is not of a namespace
	limit  int          // of the answer; 0: maxAnswer
	into   any          // nil: what comes with success is not read
	date   *time.Time   // gets what the server's clock shows; nil: nobody asks
}

// via returns what sends requests, without an [http.Client], which would follow
// redirects and keep cookies.
func (c *client) via() (http.RoundTripper, error) {
	if testOnlyTransport != nil {
		return testOnlyTransport, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.transport != nil {
		return c.transport, nil
	}
	roots, err := c.roots()
	if err != nil {
		return nil, err
	}
	c.transport = &http.Transport{
		Proxy:                  nil,  // not the one of the environment
		DisableCompression:     true, // else the limit of an answer would be of what it unpacks to
		MaxResponseHeaderBytes: maxHeaders,
		MaxConnsPerHost:        16,
		MaxIdleConnsPerHost:    16,
		// Sooner than the server's, which is minutes: a request with a body that meets
		// a connection just closed is not repeated.
		IdleConnTimeout: 30 * time.Second,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
	}
	return c.transport, nil
}

// roots reads the certificates that vouch for the server; nil: the system's.
func (c *client) roots() (*x509.CertPool, error) {
	if c.ca == "" {
		return nil, nil
	}
	pem, err := readTrusted("the file of ca", c.ca, maxCA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, &providers.StoreError{
			Kind: providers.ErrUnavailable, Problem: fmt.Sprintf("the file of ca, %q, holds no certificate", c.ca), Remedy: "openssl x509 -in " + c.ca + " -noout -subject",
		}
	}
	return pool, nil
}

// readTrusted reads a file that nobody else can change.
func readTrusted(what, path string, limit int64) ([]byte, error) {
	err := providers.Trusted(what, path)
	var told *providers.CallError
	if errors.As(err, &told) {
		return nil, &providers.StoreError{Kind: providers.ErrUnavailable, Problem: told.Problem, Remedy: told.Remedy}
	}
	if err != nil {
		return nil, providers.Unavailable(err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, providers.Unavailable(fmt.Errorf("opening %s: %w", what, err))
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = errors.New("it is too long")
	}
	if err != nil {
		return nil, providers.Unavailable(fmt.Errorf("reading %s: %w", what, err))
	}
	return b, nil
}

// close ends the connections that nobody uses.
func (c *client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t, ok := c.transport.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
	c.transport = nil
}

// do sends a request, once. Every error is [providers.ErrAbsent], a [gone], a
// [providers.StoreError] or [secret.ErrCleared], of the token; status is 0 when
// there was no answer.
func (c *client) do(ctx context.Context, r request) (status int, err error) {
	ctx, stop := context.WithTimeout(ctx, requestTime)
	defer stop()
	if err := ctx.Err(); err != nil {
		return 0, providers.Unavailable(err)
	}
	transport, err := c.via()
	if err != nil {
		return 0, err
	}
	req, err := c.request(ctx, r)
	if err != nil {
		return 0, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, c.broken(ctx, err)
	}
	defer resp.Body.Close()
	if r.date != nil {
		*r.date, _ = http.ParseTime(resp.Header.Get("Date")) // zero: it does not say
	}
	switch {
	case resp.StatusCode == http.StatusNoContent && r.into == nil:
		return resp.StatusCode, nil
	case resp.StatusCode != http.StatusOK:
		return resp.StatusCode, c.refusal(ctx, resp)
	case r.into == nil:
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)) // or the connection is of no more use
		return resp.StatusCode, nil
	}
	return resp.StatusCode, c.read(ctx, resp.Body, max(r.limit, maxAnswer), r.into)
}

// request makes a request. The header with the token is a string on the heap, and
// net/http copies it and the body into its own buffers: there is no other way
// into that library.
func (c *client) request(ctx context.Context, r request) (*http.Request, error) {
	escaped := []string{"v1"}
	for _, segment := range r.path {
		escaped = append(escaped, url.PathEscape(segment))
	}
	at := c.base.JoinPath(escaped...)
	at.RawQuery = r.query
	req, err := http.NewRequestWithContext(ctx, r.method, at.String(), nil)
	if err != nil {
		return nil, providers.Unavailable(err)
	}
	req.Header.Set("User-Agent", "secretctl")
	// The server wants it of all who are no browser.
	req.Header.Set("X-Vault-Request", "true")
	if c.namespace != "" && !r.root {
		req.Header.Set("X-Vault-Namespace", c.namespace)
	}
	if !r.token.IsZero() {
		if err := setToken(req.Header, r.token); err != nil {
			return nil, err
		}
	}
	if !r.body.IsZero() {
		req.Header.Set("Content-Type", "application/json")
		req.Body, req.ContentLength = io.NopCloser(&reader{v: r.body}), int64(r.body.Len())
	}
	return req, nil
}

func setToken(h http.Header, token secret.Value) error {
	return token.Use(func(b []byte) error {
		if !printable(b) {
			return &providers.StoreError{Kind: providers.ErrRefused, Problem: "the token has characters that none has", Remedy: "bao token lookup"}
		}
		h.Set("X-Vault-Token", string(b))
		return nil
	})
}

// printable reports whether b is something that means itself in a header and in
// JSON: ids and tokens are.
func printable(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return len(b) > 0
}

// reader reads a body that may be cleared meanwhile: the transport may go on with
// it after its answer came.
type reader struct {
	v  secret.Value
	at int
}

func (r *reader) Read(p []byte) (n int, err error) {
	err = r.v.Use(func(b []byte) error {
		if n = copy(p, b[r.at:]); n == 0 && len(p) > 0 {
			return io.EOF
		}
		r.at += n
		return nil
	})
	return n, err
}

// read takes what is wanted out of an answer. What may hold a value is read into
// locked memory; for lists there is not enough of that.
func (c *client) read(ctx context.Context, body io.Reader, limit int, into any) error {
	var err error
	if limit > maxEntry {
		err = json.NewDecoder(io.LimitReader(body, int64(limit))).Decode(into)
	} else {
		var all secret.Value
		if all, err = secret.Read(body, limit); err == nil {
			err = all.Use(func(b []byte) error { return json.Unmarshal(b, into) })
			all.Clear()
		}
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return c.broken(ctx, ctx.Err())
	case errors.Is(err, secret.ErrFull): // the caller can make room
		return &providers.StoreError{Kind: providers.ErrUnavailable, Problem: fmt.Sprintf("there is no locked memory for the answer of %s", c.name()), Err: secret.ErrFull}
	case errors.Is(err, secret.ErrTooLong):
		return c.trouble("%s answers with more than there can be", c.name())
	}
	return c.trouble("%s answers with something else than its documentation says", c.name())
}

// name is the server, for a person.
func (c *client) name() string { return "the server at " + c.base.Host }

// bao is what to type to call it with bao, which takes no flag after an argument.
func (c *client) bao(command string, args ...string) string {
	all := "bao " + command + " -address=" + c.base.String()
	if c.namespace != "" {
		all += " -namespace=" + c.namespace
	}
	return strings.Join(append([]string{all}, args...), " ")
}

func (c *client) trouble(format string, args ...any) *providers.StoreError {
	return &providers.StoreError{Kind: providers.ErrUnavailable, Problem: fmt.Sprintf(format, args...), Remedy: c.bao("status")}
}

// broken is the error of a request to which no whole answer came.
func (c *client) broken(ctx context.Context, err error) error {
	certificate := (*tls.CertificateVerificationError)(nil)
	lookup := (*net.DNSError)(nil)
	dial := (*net.OpError)(nil)
	e := c.trouble("the connection to %s ended before it had answered", c.name())
	switch {
	case ctx.Err() != nil:
		e.Problem, e.Err = c.name()+" did not answer in time", ctx.Err()
	case errors.As(err, &certificate):
		e.Problem = fmt.Sprintf("the certificate of %s is not one that is trusted for %s", c.name(), c.base.Hostname())
		e.Remedy = "see that the clock is right, and name the certificates that vouch for it: " + caOption + ` = "/etc/ssl/internal.pem"`
		c.close() // the file may have been another when it was read
	case errors.As(err, &lookup):
		e.Problem = fmt.Sprintf("the name %s cannot be looked up", c.base.Hostname())
	case errors.As(err, &dial) && dial.Op == "dial":
		e.Problem = c.name() + " cannot be reached"
	case c.base.Scheme == "https" && isHandshake(err):
		e.Problem = c.name() + " does not speak TLS 1.2 or newer"
		e.Remedy = "see whether " + addressOption + " is right"
	}
	return e
}

// isHandshake reports whether the two did not come to speak TLS.
func isHandshake(err error) bool {
	record, alert := tls.RecordHeaderError{}, (*net.OpError)(nil)
	return errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &record) ||
		errors.As(err, &alert) && (alert.Op == "remote error" || alert.Op == "local error")
}
