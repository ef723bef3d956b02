package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/broker/secret"
	"secretctl/providers/builtin"
)

const setHelp = `Gives a secret a new version, which is current when set returns. The version
before stays, for rollback; the one before that goes.

The value comes from stdin, and on a terminal from a prompt that shows nothing.
One newline at its end is dropped, unless --raw is given. No flag or argument
ever takes a value: others on this machine can read those.`

func setCommand(w *world) *cobra.Command {
	var s setting
	c := &cobra.Command{
		Use:        "set NAME",
		SuggestFor: []string{"add", "put", "store"},
		Short:      "give a secret a new value, from stdin or a prompt",
		Long:       setHelp,
		Example:    "  secretctl set openai/api-key\n  secretctl set tls/key --raw < key.pem",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return &usageError{pathOf(c), "a value is never an argument: it comes from stdin or the prompt", "secretctl set NAME < FILE"}
			}
			return takes("NAME")(c, args)
		},
		ValidArgsFunction: completeName(w),
		RunE:              func(c *cobra.Command, args []string) error { return s.run(w, c, args[0]) },
	}
	// Cobra's own words repeat what was typed, which here may be a value.
	c.SetFlagErrorFunc(func(c *cobra.Command, _ error) error {
		return usage(c, "set has no such flag, or not with this; a value is never one")
	})
	f := c.Flags()
	f.BoolVar(&s.raw, "raw", false, "keep a newline at the end")
	f.BoolVar(&s.empty, "empty", false, "allow an empty value")
	f.StringVar(&s.store, "store", "", "where the value is to rest; by default where the config says, or age")
	jsonFlag(c, &s.json)
	return c
}

// setting is what set was asked for.
type setting struct {
	raw, empty, json bool
	store            string
}

func (s *setting) run(w *world, c *cobra.Command, arg string) error {
	name, err := nameArg(c, arg)
	if err != nil {
		return err
	}
	value, err := s.value(w, c, name)
	if err != nil {
		return err
	}
	defer value.Clear()
	return w.asOwner(c.Context(), func(client *broker.Client) error {
		version, err := client.Set(c.Context(), name, s.store, value)
		if err != nil {
			return err
		}
		if version > 1 {
			w.sayLeft(c.Context(), client, name)
		}
		return w.printVersion(s.json, name, version)
	})
}

// sayLeft tells the owner that the value before is still valid, where there is
// a command that would have ended it.
func (w *world) sayLeft(ctx context.Context, client *broker.Client, name secret.Name) {
	all, err := client.List(ctx, string(name))
	if err != nil {
		return // it is set
	}
	for _, i := range all {
		if i.Name != string(name) || i.Provider == nil {
			continue
		}
		if kind, ok := builtin.Find(*i.Provider); ok && !kind.Alone {
			w.say("the value before is not ended at its service")
			w.hint("secretctl rotate --stdin " + string(name) + " takes a new value and ends the old one")
		}
	}
}

// value reads the value.
func (s *setting) value(w *world, c *cobra.Command, name secret.Name) (secret.Value, error) {
	value, err := w.readValue(c, name)
	if err == nil && !s.raw {
		value, err = withoutNewline(value)
	}
	switch {
	case errors.Is(err, secret.ErrTooLong), err == nil && value.Len() > broker.MaxValue:
		value.Clear()
		return secret.Value{}, errors.New("the value is longer than 1 MiB")
	case err != nil:
		return secret.Value{}, err
	case value.Len() == 0 && !s.empty:
		value.Clear()
		return secret.Value{}, usage(c, "the value is empty: say --empty if it is meant to be")
	}
	return value, nil
}

// readValue reads from the prompt where stdin is a terminal, else all of stdin:
// the newline that may be dropped does not count against the limit.
func (w *world) readValue(c *cobra.Command, name secret.Name) (secret.Value, error) {
	if tty, ok := terminal(w.stdin); ok {
		// Nobody should type a value twice for a broker that is not there.
		err := w.asOwner(c.Context(), func(client *broker.Client) error {
			_, err := client.List(c.Context(), string(name))
			return err
		})
		if err != nil {
			return secret.Value{}, err
		}
		return w.promptTwice(tty, fmt.Sprintf("value of %s: ", name))
	}
	value, err := secret.Read(w.stdin, broker.MaxValue+len("\r\n"))
	if err != nil && !errors.Is(err, secret.ErrTooLong) {
		return value, fmt.Errorf("reading the value: %w", err)
	}
	return value, err
}

// withoutNewline drops one newline, \n or \r\n, from the end of a value, which
// it takes over.
func withoutNewline(v secret.Value) (shorter secret.Value, err error) {
	n := 0
	if err := v.Use(func(b []byte) error { n = len(b) - newline(b); return nil }); err != nil {
		return v, err
	}
	if n == v.Len() {
		return v, nil
	}
	defer v.Clear()
	err = v.Use(func(b []byte) (err error) {
		shorter, err = secret.Fill(n, func(to []byte) error { copy(to, b); return nil })
		return err
	})
	return shorter, err
}

// newline returns the length of the newline at the end of b.
func newline(b []byte) int {
	switch {
	case bytes.HasSuffix(b, []byte("\r\n")):
		return 2
	case bytes.HasSuffix(b, []byte("\n")):
		return 1
	}
	return 0
}

// printVersion prints which version of a secret is current now.
func (w *world) printVersion(asJSON bool, name secret.Name, version uint64) error {
	if asJSON {
		return w.printJSON(struct {
			Secret  string `json:"secret"`
			Version uint64 `json:"version"`
		}{string(name), version})
	}
	return w.printf("%s version %d\n", name, version)
}
