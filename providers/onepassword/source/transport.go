package source

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Transport sends requests, and answers those that fail itself. An error of a
// transport ends 1Password's code in the middle of a call, which leaks each time;
// after some twenty nothing in the process works any more. So does a body that
// cannot be read to its end, and a redirect that cannot be followed.
//
// It is used by one call at a time.
type Transport struct {
	Base http.RoundTripper

	end           time.Time // of the calls under way
	writing       bool      // what is sent is a change
	reads, writes int       // sent and not yet told of
	last          outcome
}

// outcome is what came of the last request.
type outcome struct {
	status int           // as the server said; 0: it said nothing
	cause  string        // "": the server said something
	wait   time.Duration // it wants not to be asked for so long
}

// maxAnswer is the longest body of an answer, in bytes: as much as 1Password's
// code can take in at once.
const maxAnswer = 48 << 20

// takeOver puts a Transport in the place of the default one, which 1Password's code
// uses.
func takeOver() *Transport {
	t := &Transport{Base: http.DefaultTransport}
	http.DefaultTransport = t
	return t
}

// begin gives the calls that follow their time.
func (t *Transport) begin(d time.Duration) {
	t.end, t.last = time.Now().Add(d), outcome{}
}

// taken returns how many requests were sent since it was last asked.
func (t *Transport) taken() (reads, writes int) {
	reads, writes = t.reads, t.writes
	t.reads, t.writes = 0, 0
	return reads, writes
}

// RoundTrip implements [http.RoundTripper]. Its error is always nil.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if t.writing && r.Method != http.MethodGet {
		t.writes++
	} else {
		t.reads++
	}
	ctx, stop := context.WithDeadline(r.Context(), t.end)
	defer stop()
	ctx, stop2 := context.WithTimeout(ctx, requestTime)
	defer stop2()
	resp, body, err := t.send(r.WithContext(ctx))
	if err != nil {
		t.last = outcome{cause: causeOf(err)}
		return &http.Response{
			Status: "503 Service Unavailable", StatusCode: http.StatusServiceUnavailable, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(nil)), Request: r,
		}, nil
	}
	t.last = outcome{status: resp.StatusCode, wait: waitOf(resp)}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

var (
	errRedirect = errors.New("redirected")
	errLong     = errors.New("the answer is too long")
)

// send sends a request and reads the whole answer.
func (t *Transport) send(r *http.Request) (*http.Response, []byte, error) {
	resp, err := t.Base.RoundTrip(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return nil, nil, errRedirect
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = errLong
	}
	return resp, body, err
}

// causeOf says why a request got no answer.
func causeOf(err error) string {
	var (
		dns     *net.DNSError
		unknown x509.UnknownAuthorityError
		cert    *tls.CertificateVerificationError
		timeout net.Error
	)
	switch {
	case errors.As(err, &dns):
		return "the name of its server could not be looked up"
	case errors.As(err, &unknown), errors.As(err, &cert):
		return "the certificate of its server is not trusted here"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "it did not answer in time"
	case errors.Is(err, errRedirect):
		return "its server sent us elsewhere"
	case errors.Is(err, errLong):
		return "its answer was too long"
	}
	return "it could not be reached"
}

// waitOf returns how long a server wants not to be asked.
func waitOf(resp *http.Response) time.Duration {
	n, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if resp.StatusCode != http.StatusTooManyRequests || err != nil || n < 0 || n > 7*24*3600 {
		return 0
	}
	return time.Duration(n) * time.Second
}
