package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/broker/mask"
	"secretctl/sock"
)

const redactHelp = `Copies stdin to stdout with secrets masked: [secretctl:NAME] stands where the
value of a secret was, in whatever encoding, and [secretctl:?KIND] where
something looked like a credential.

An owner's redact asks the broker for fingerprints of all values, not for the
values; that is one line in the audit log. An agent's masks only what looks like
a credential, and so does --shapes, which needs no broker.

Lines go out as they come. What has not ended is held back for 50 ms, and for
longer only while it agrees with the beginning of a value.

Exit codes: 5 the broker is not running, 6 the kill switch is on; then nothing
is copied.`

func redactCommand(w *world) *cobra.Command {
	r := redacting{w: w}
	c := &cobra.Command{
		Use:     "redact",
		Short:   "copy stdin to stdout with secrets masked",
		Long:    redactHelp,
		Example: "  tail -f agent.log | secretctl redact\n  secretctl redact --shapes <old.log >masked.log",
		Args:    takes(),
		RunE:    func(c *cobra.Command, _ []string) error { return r.run(c.Context()) },
	}
	c.Flags().BoolVar(&r.shapes, "shapes", false, "mask only what looks like a credential; needs no broker")
	return c
}

// redacting is what redact was asked for.
type redacting struct {
	w      *world
	shapes bool
}

func (r redacting) run(ctx context.Context) error {
	var set *mask.Set
	if !r.shapes {
		var err error
		if set, err = r.known(ctx); err != nil {
			return err
		}
	}
	out := mask.NewWriter(r.w.stdout, set, mask.Options{Shapes: true})
	_, err := io.Copy(out, r.w.stdin)
	if closed := out.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("copying stdin to stdout: %w", err)
	}
	return nil
}

// known returns the set of all values for an owner, nil for anybody else.
func (r redacting) known(ctx context.Context) (set *mask.Set, err error) {
	salt := mask.NewSalt()
	agent := false
	err = r.w.ask(ctx, false, func(c *broker.Client, s broker.Socket) error {
		if agent = s == broker.AgentSocket; agent {
			return nil
		}
		prints, err := c.Fingerprints(ctx, salt)
		if s == anySocket && errors.Is(err, broker.ErrBadRequest) {
			// The agent's socket has no such method. It does list what an agent may have.
			agent = true
			_, err = c.Available(ctx)
			return err
		}
		set = mask.New(salt, prints)
		return err
	})
	switch {
	case errors.Is(err, sock.ErrNotRunning):
		return nil, hinted(err, "secretctl serve, or secretctl redact --shapes, which masks only what looks like a credential")
	case errors.Is(err, errNotOwner):
		agent, err = true, nil
	}
	if err != nil {
		return nil, err
	}
	if agent {
		r.w.say("only what looks like a credential is masked: fingerprints of values are for owners")
		return nil, nil
	}
	return set, nil
}
