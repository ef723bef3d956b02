// Package wire is what the store and its helper process say to each other over a
// socket: frames of a length, JSON of that length, and bodies whose lengths the
// JSON says.
//
// It guards against values in JSON and in growing buffers: a value, and the token,
// is a body, which goes from and to locked memory.
package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"secretctl/broker/secret"
)

// The operations of a [Call].
const (
	Get      = "get"      // the value is the body
	Refer    = "refer"    // so is what lies at Ref
	Sum      = "sum"      //
	Put      = "put"      // so it is here
	Delete   = "delete"   //
	Index    = "index"    // names of all secrets
	Versions = "versions" // versions of these Names
	Health   = "health"   //
)

// Hello is the first frame to the helper, with the token as its one body. It is
// answered by an [Answers] with one Answer, and said again when that is an Error.
type Hello struct {
	Vault string
	Via   string        // one of those below
	At    string        // the address of the Connect server, or the path of the program
	Time  time.Duration // that opening may take
	Body  int
}

// The ways to reach 1Password.
const (
	ViaSDK     = "sdk"     // by its library
	ViaConnect = "connect" // by a Connect server
	ViaOp      = "op"      // by its command-line program
)

// PassedOn are the variables that say how to reach a server from here. The helper,
// and what it runs, get nothing else of the broker's environment.
var PassedOn = []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"}

// Calls is a frame to the helper: what it is to do, answered together.
type Calls struct {
	Calls []Call
	Time  time.Duration // that all may take
}

// Call is one thing to do.
type Call struct {
	Op      string
	Name    secret.Name   `json:",omitempty"`
	Version uint64        `json:",omitempty"`
	Names   []secret.Name `json:",omitempty"`
	Ref     string        `json:",omitempty"` // which [ParseReference] takes
	Body    int           `json:",omitempty"`
}

// GivesValue reports whether the answer to the call has a value as its body.
func (c Call) GivesValue() bool { return c.Op == Get || c.Op == Refer }

// Answers is a frame from the helper: an Answer for each Call.
type Answers struct {
	Answers []Answer
	// Reads and Writes are how many requests the service was sent for them.
	Reads, Writes int `json:",omitempty"`
	// Sick says that the helper cannot go on.
	Sick bool `json:",omitempty"`
}

// Refusal returns why the service wants not to be asked again soon: the token is
// not good, or it was asked too often. Nil: it does not say that.
func (a Answers) Refusal() *Error {
	for _, one := range a.Answers {
		if e := one.Error; e != nil && (e.Auth || e.Kind == RateLimited) {
			return e
		}
	}
	return nil
}

// Failure returns why the service could not be reached, where nothing else came of
// it; else nil.
func (a Answers) Failure() *Error {
	if !a.Unreachable() || len(a.Answers) == 0 {
		return nil
	}
	return a.Answers[0].Error
}

// Unreachable reports whether nothing but failures to reach the service came of it.
func (a Answers) Unreachable() bool {
	for _, one := range a.Answers {
		if one.Error == nil || one.Error.Kind != Unavailable {
			return false
		}
	}
	return true
}

// Answer is what came of a Call.
type Answer struct {
	Sum      []byte        `json:",omitempty"`
	Names    []secret.Name `json:",omitempty"`
	Versions []Version     `json:",omitempty"`
	Error    *Error        `json:",omitempty"`
	Body     int           `json:",omitempty"`
}

// Version is one that there is.
type Version struct {
	Name    secret.Name
	Version uint64
	Sum     []byte
}

// The kinds of an [Error].
const (
	Absent      = "absent"
	Exists      = "exists"
	Refused     = "refused"
	RateLimited = "rate-limited"
	Unavailable = "unavailable"
)

// Error is why a call was not done.
type Error struct {
	Kind            string
	Auth            bool          `json:",omitempty"` // it is the token that is refused
	Wait            time.Duration `json:",omitempty"` // the service wants not to be asked for so long
	Problem, Remedy string        `json:",omitempty"`
}

func (e *Error) Error() string { return e.Problem }

// ErrEnded means that the other end has nothing more to say.
var ErrEnded = errors.New("the other end has closed")

// Sanity checks, in bytes: the index of many secrets, and a value in base64.
const (
	maxHead = 64 << 20
	maxBody = 2 << 20
)

// Send sends a frame without its bodies, which the caller writes behind it.
func Send(w io.Writer, head any) error {
	text, err := json.Marshal(head)
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...))
	return err
}

// Receive receives a frame without its bodies, which the caller reads next.
func Receive(r io.Reader, head any) error {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); errors.Is(err, io.EOF) {
		return ErrEnded
	} else if err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxHead {
		return fmt.Errorf("a frame of %d bytes", n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return err
	}
	return json.Unmarshal(text, head)
}

// Write writes a value as a body.
func Write(w io.Writer, v secret.Value) error {
	return v.Use(func(b []byte) error {
		if len(b) == 0 { // who has the head of an empty one may be gone
			return nil
		}
		_, err := w.Write(b)
		return err
	})
}

// Read reads a body of n bytes straight into locked memory. [secret.ErrFull] means
// that there was no room, and that the body has been passed over.
func Read(r io.Reader, n int) (secret.Value, error) {
	if n < 0 || n > maxBody {
		return secret.Value{}, fmt.Errorf("a body of %d bytes", n)
	}
	v, err := secret.Fill(n, func(b []byte) error {
		_, err := io.ReadFull(r, b)
		return err
	})
	if errors.Is(err, secret.ErrFull) {
		if passed := pass(r, n); passed != nil {
			return secret.Value{}, passed
		}
	}
	return v, err
}

// pass reads n bytes and keeps none.
func pass(r io.Reader, n int) error {
	var b [4 << 10]byte
	defer clear(b[:])
	for n > 0 {
		m, err := r.Read(b[:min(n, len(b))])
		if n -= m; err != nil {
			return err
		}
	}
	return nil
}
