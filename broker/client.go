package broker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"secretctl/broker/audit"
	"secretctl/broker/secret"
	"secretctl/sock"
)

// Client is the other end of a socket: one connection, one request at a time.
// It speaks HTTP without net/http's transport, whose pools and goroutines cost
// a short-lived command more than the request does.
type Client struct {
	conn *net.UnixConn
	r    *bufio.Reader
}

// Dial connects to a broker's socket, if it can be trusted to be the broker's.
func Dial(ctx context.Context, path string, o sock.DialOptions) (*Client, error) {
	conn, err := sock.Dial(ctx, path, o)
	if err != nil {
		return nil, err
	}
	return &Client{conn, bufio.NewReader(conn)}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// do sends a request and returns the answer's body, which must be read and
// closed before the next. An answer that is an error is returned as an
// [*Error].
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body io.Reader, size int64) (io.ReadCloser, error) {
	u := url.URL{Scheme: "http", Host: "secretctl", Path: path, RawQuery: query.Encode()}
	req := &http.Request{Method: method, URL: &u, Host: u.Host, Header: http.Header{"User-Agent": {"secretctl"}}, ContentLength: size}
	if body != nil {
		req.Body = io.NopCloser(body)
	}
	stop := context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := req.Write(c.conn); err != nil {
		// The broker may have refused and hung up: then its answer says why.
		if refused, err := c.answer(req); err == nil {
			refused.Close()
		} else if e := new(Error); errors.As(err, &e) {
			return nil, e
		}
		return nil, errors.Join(ctx.Err(), fmt.Errorf("asking the broker: %w", err))
	}
	answer, err := c.answer(req)
	return answer, errors.Join(ctx.Err(), err)
}

func (c *Client) answer(req *http.Request) (io.ReadCloser, error) {
	resp, err := http.ReadResponse(c.r, req)
	if err != nil {
		return nil, fmt.Errorf("the broker hung up: %w", err)
	}
	if resp.StatusCode < 300 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var e struct {
		Error *Error `json:"error"`
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxRequest))
	if err != nil || json.Unmarshal(b, &e) != nil || e.Error == nil {
		return nil, fmt.Errorf("the broker answered %s", resp.Status)
	}
	return nil, e.Error
}

// call asks and decodes an answer that holds no value into out (nil: none).
func (c *Client) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	var body io.Reader
	var size int64
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body, size = bytes.NewReader(b), int64(len(b))
	}
	return c.send(ctx, method, path, query, body, size, out)
}

// send is call with a body of the caller's; a size below 0 is not known yet.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, body io.Reader, size int64, out any) error {
	answer, err := c.do(ctx, method, path, query, body, size)
	if err != nil {
		return err
	}
	defer answer.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, answer)
		return err
	}
	return json.NewDecoder(answer).Decode(out)
}

// Handed is a lease with its value, as the client has it.
type Handed struct {
	Secret    string
	Version   uint64
	LeaseID   string
	IssuedAt  time.Time
	ExpiresAt time.Time
	Value     secret.Value
	Base64    bool // the value is not text
}

// Lease asks for a lease.
func (c *Client) Lease(ctx context.Context, req LeaseRequest) (*Handed, error) {
	b := req.json()
	answer, err := c.do(ctx, http.MethodPost, "/v1/leases", nil, bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, err
	}
	return readHanded(answer)
}

// Renew renews a lease. A bound one is from then on bound to this connection.
func (c *Client) Renew(ctx context.Context, id string, bound bool) (*Handed, error) {
	var q url.Values
	if bound {
		q = url.Values{"bound": {"true"}}
	}
	answer, err := c.do(ctx, http.MethodPost, "/v1/leases/"+url.PathEscape(id)+"/renew", q, nil, 0)
	if err != nil {
		return nil, err
	}
	return readHanded(answer)
}

// Release ends a lease.
func (c *Client) Release(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/v1/leases/"+url.PathEscape(id), nil, nil, nil)
}

// maxAnswer is the largest answer with a value, in bytes: 1 MiB of which every
// byte is escaped, and what goes around it.
const maxAnswer = 2*MaxValue + 4096

// readHanded reads an answer that holds a value into locked memory and the
// value from there: it never is a string, nor in a buffer that grows.
func readHanded(answer io.ReadCloser) (*Handed, error) {
	defer answer.Close()
	body, err := secret.Read(answer, maxAnswer)
	if err != nil {
		return nil, fmt.Errorf("reading the broker's answer: %w", err)
	}
	defer body.Clear()
	h := new(Handed)
	err = body.Use(func(b []byte) error { return h.parse(b) })
	if err != nil {
		return nil, fmt.Errorf("reading the broker's answer: %w", err)
	}
	return h, nil
}

func (h *Handed) parse(b []byte) error {
	p := objectParser{b: b}
	return p.object(func(key string) (err error) {
		var n int64
		var s string
		switch key {
		case "secret":
			h.Secret, err = p.str()
		case "version":
			n, err = p.integer()
			h.Version = uint64(n)
		case "lease_id":
			h.LeaseID, err = p.str()
		case "issued_at", "expires_at":
			if s, err = p.str(); err != nil {
				return err
			}
			at := &h.IssuedAt
			if key == "expires_at" {
				at = &h.ExpiresAt
			}
			*at, err = time.Parse(time.RFC3339Nano, s)
		case "value", "value_base64":
			h.Base64 = key == "value_base64"
			h.Value, err = p.value(h.Base64)
		default:
			err = fmt.Errorf("unknown key %q", key)
		}
		return err
	})
}

// value reads a string that holds a value into locked memory.
func (p *objectParser) value(encoded bool) (secret.Value, error) {
	if !p.take('"') {
		return secret.Value{}, errors.New("a string is expected")
	}
	start := p.at
	for p.at < len(p.b) && p.b[p.at] != '"' {
		if p.b[p.at] == '\\' {
			p.at++
		}
		p.at++
	}
	if p.at >= len(p.b) {
		return secret.Value{}, errors.New("a string does not end")
	}
	raw := p.b[start:p.at]
	p.at++
	if encoded {
		return secret.Read(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(raw)), MaxValue)
	}
	return secret.Read(&unescaper{b: raw}, MaxValue)
}

// unescaper undoes [secret.AppendJSON].
type unescaper struct{ b []byte }

func (u *unescaper) Read(out []byte) (n int, err error) {
	for ; n < len(out); n++ {
		if len(u.b) == 0 {
			return n, io.EOF
		}
		c := u.b[0]
		u.b = u.b[1:]
		if c == '\\' {
			if len(u.b) == 0 {
				return n, io.ErrUnexpectedEOF
			}
			switch c = u.b[0]; c {
			case 'n':
				c = '\n'
			case 'r':
				c = '\r'
			case 't':
				c = '\t'
			}
			u.b = u.b[1:]
		}
		out[n] = c
	}
	return n, nil
}

// Set gives a secret a new version.
func (c *Client) Set(ctx context.Context, name secret.Name, store string, v secret.Value) (version uint64, err error) {
	// The value goes from locked memory to the socket; the header is written first.
	q := url.Values{"name": {string(name)}}
	if store != "" {
		q.Set("store", store)
	}
	var out versionReply
	err = v.Use(func(b []byte) error {
		return c.send(ctx, http.MethodPut, "/v1/secret", q, bytes.NewReader(b), int64(len(b)), &out)
	})
	return out.Version, err
}

// Remove removes a secret.
func (c *Client) Remove(ctx context.Context, name secret.Name) error {
	return c.call(ctx, http.MethodDelete, "/v1/secret", url.Values{"name": {string(name)}}, nil, nil)
}

// Versions lists a secret's versions.
func (c *Client) Versions(ctx context.Context, name secret.Name) (out []VersionInfo, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/versions", url.Values{"name": {string(name)}}, nil, &out)
	return out, err
}

// Rollback makes the previous version current.
func (c *Client) Rollback(ctx context.Context, name secret.Name) (version uint64, err error) {
	var out versionReply
	err = c.call(ctx, http.MethodPost, "/v1/rollback", url.Values{"name": {string(name)}}, nil, &out)
	return out.Version, err
}

// Adopt takes versions that were changed outside.
func (c *Client) Adopt(ctx context.Context, name secret.Name) (versions []uint64, err error) {
	var out struct{ Adopted []uint64 }
	err = c.call(ctx, http.MethodPost, "/v1/adopt", url.Values{"name": {string(name)}}, nil, &out)
	return out.Adopted, err
}

// List lists the owner's secrets.
func (c *Client) List(ctx context.Context, pattern string) (out []SecretInfo, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/secrets", url.Values{"pattern": {pattern}}, nil, &out)
	return out, err
}

// Available lists what an agent may have.
func (c *Client) Available(ctx context.Context) (out []Available, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/secrets", nil, nil, &out)
	return out, err
}

// Leases lists the caller's leases; an owner's caller gets all.
func (c *Client) Leases(ctx context.Context) (out []LeaseInfo, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/leases", nil, nil, &out)
	return out, err
}

// Status returns the state of the broker.
func (c *Client) Status(ctx context.Context) (out Status, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/status", nil, nil, &out)
	return out, err
}

// Revoke ends leases and returns how many.
func (c *Client) Revoke(ctx context.Context, s Selection) (int, error) {
	var out ended
	err := c.call(ctx, http.MethodPost, "/v1/revoke", nil, s, &out)
	return out.Ended, err
}

// Kill turns the kill switch on and returns how many leases that ended.
func (c *Client) Kill(ctx context.Context) (int, error) {
	var out ended
	err := c.call(ctx, http.MethodPost, "/v1/kill", nil, nil, &out)
	return out.Ended, err
}

// Resume turns the kill switch off.
func (c *Client) Resume(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/resume", nil, nil, nil)
}

// Reload has the config read again.
func (c *Client) Reload(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/reload", nil, nil, nil)
}

// Check asks what would be decided.
func (c *Client) Check(ctx context.Context, agent, name, door string) (out Check, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/check", url.Values{"agent": {agent}, "name": {name}, "door": {door}}, nil, &out)
	return out, err
}

// Changes waits for changes after a cursor.
func (c *Client) Changes(ctx context.Context, cursor string) (out Changes, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/changes", url.Values{"since": {cursor}}, nil, &out)
	return out, err
}

// Audit returns the lines of the log from a sequence number on and no older
// than since (zero: all); with follow it waits for the first of them.
func (c *Client) Audit(ctx context.Context, from uint64, since time.Time, follow bool) (io.ReadCloser, error) {
	q := url.Values{"from": {strconv.FormatUint(from, 10)}}
	if !since.IsZero() {
		q.Set("since", since.Format(time.RFC3339Nano))
	}
	if follow {
		q.Set("follow", "1")
	}
	return c.do(ctx, http.MethodGet, "/v1/audit", q, nil, 0)
}

// Verify has the broker check its log.
func (c *Client) Verify(ctx context.Context) (out audit.Report, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/audit/verify", nil, nil, &out)
	return out, err
}
