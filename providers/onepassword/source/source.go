// Package source is the helper process of the 1Password store: the only one that
// runs 1Password's code.
//
// It guards against that code: one goroutine calls it, it never sees a request fail
// (see [Transport]), and nothing that it says is passed on, only what it means.
package source

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os/exec"
	"time"

	onepassword "github.com/1password/onepassword-sdk-go"

	"secretctl/broker/secret"
	"secretctl/providers/onepassword/wire"
)

// Source is what the helper works with.
type Source struct {
	// Connect signs in with the library, which is one of the ways there are.
	Connect func(ctx context.Context, token string) (*onepassword.Client, error)
	// Transport is what Connect and its client send requests by; nil: none that is
	// known of.
	Transport *Transport
	// Taken returns how many requests were sent since it was last asked; nil: the
	// Transport knows.
	Taken func() (reads, writes int)
	// RunOp runs the op program; nil: as a process.
	RunOp func(*exec.Cmd) error
}

// Run answers what comes over the socket until it closes.
func (s *Source) Run(conn io.ReadWriter) error {
	if s.Transport == nil {
		s.Transport = &Transport{Base: http.DefaultTransport}
	}
	if s.Taken == nil {
		s.Taken = s.Transport.taken
	}
	var v *vault
	var err error
	for v == nil && err == nil {
		v, err = s.open(conn)
	}
	for err == nil {
		err = s.batch(conn, v)
	}
	if errors.Is(err, wire.ErrEnded) {
		return nil
	}
	return err
}

// open signs in with the token of a frame. Nil: it could not.
func (s *Source) open(conn io.ReadWriter) (*vault, error) {
	var hello wire.Hello
	if err := wire.Receive(conn, &hello); err != nil {
		return nil, err
	}
	token, err := wire.Read(conn, hello.Body)
	if err != nil {
		return nil, err
	}
	defer token.Clear()
	var text string
	if err := token.Use(func(b []byte) error { text = string(b); return nil }); err != nil {
		return nil, err
	}
	s.Transport.begin(hello.Time)
	client, err := s.signIn(hello, text)
	if err != nil {
		return nil, s.send(conn, []wire.Answer{{Error: s.Transport.signInFailed(err)}}, isSick(err))
	}
	if err := s.send(conn, make([]wire.Answer, 1), false); err != nil {
		return nil, err
	}
	return &vault{client: client, transport: s.Transport, name: hello.Vault}, nil
}

// signIn is for 1Password as the frame says that it is reached. Only the library asks
// anything at once.
func (s *Source) signIn(hello wire.Hello, token string) (*onepassword.Client, error) {
	switch hello.Via {
	case wire.ViaConnect:
		return client(newConnect(hello.At, token, s.Transport)), nil
	case wire.ViaOp:
		o := &opCLI{hello.At, token, s.Transport, (*exec.Cmd).Run}
		if s.RunOp != nil {
			o.start = s.RunOp
		}
		return client(o), nil
	}
	return s.Connect(context.Background(), token)
}

// batch answers one frame of calls.
func (s *Source) batch(conn io.ReadWriter, v *vault) error {
	var calls wire.Calls
	if err := wire.Receive(conn, &calls); err != nil {
		return err
	}
	bodies := make([]secret.Value, len(calls.Calls))
	defer func() {
		for _, b := range bodies {
			b.Clear()
		}
	}()
	for i, c := range calls.Calls {
		if c.Op != wire.Put {
			continue
		}
		var err error
		if bodies[i], err = wire.Read(conn, c.Body); err != nil {
			return err
		}
	}
	s.Transport.begin(calls.Time)
	d := &doing{vault: v, calls: calls.Calls, bodies: bodies, answers: make([]wire.Answer, len(calls.Calls)), texts: make([]string, len(calls.Calls))}
	d.all()
	for i := range d.answers {
		if calls.Calls[i].GivesValue() {
			d.answers[i].Body = len(d.texts[i])
		}
	}
	if err := s.send(conn, d.answers, v.sick); err != nil || v.sick {
		return err
	}
	for i, text := range d.texts {
		if !calls.Calls[i].GivesValue() || text == "" || d.answers[i].Error != nil {
			continue
		}
		if _, err := io.WriteString(conn, text); err != nil {
			return err
		}
	}
	return nil
}

func (s *Source) send(conn io.Writer, answers []wire.Answer, sick bool) error {
	out := wire.Answers{Answers: answers, Sick: sick}
	out.Reads, out.Writes = s.Taken()
	return wire.Send(conn, out)
}

// SDK returns the source that asks 1Password, which is told the version of this
// program. From then on the requests of this process go by its transport.
func SDK(version string) *Source {
	t := takeOver()
	return &Source{Transport: t, Connect: func(ctx context.Context, token string) (*onepassword.Client, error) {
		return onepassword.NewClient(ctx,
			onepassword.WithServiceAccountToken(token),
			onepassword.WithIntegrationInfo("secretctl", version))
	}}
}

// requestTime bounds one request, however much time there is for all.
const requestTime = 30 * time.Second
