package main

import (
	"encoding/base64"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/broker/secret"
)

const getHelp = `Takes a lease on a secret by the value door and prints the value and a newline.

The lease ends by itself after its ttl. An owner gets every secret; an agent
gets what a grant allows, and "not granted" and "does not exist" are one answer.

Exit codes: 3 denied, 4 there is no such secret (owners only), 5 the broker is
not running, 6 the kill switch is on.`

func getCommand(w *world) *cobra.Command {
	var g getting
	c := &cobra.Command{
		Use:        "get NAME",
		SuggestFor: []string{"show", "read"},
		Short:      "lease a secret and print its value",
		Long:       getHelp,
		Example: `  export OPENAI_API_KEY="$(secretctl get openai/api-key)"
  secretctl get openai/api-key --ttl 5m --reason "nightly report"`,
		Args:              takes("NAME"),
		ValidArgsFunction: completeName(w),
		RunE: func(c *cobra.Command, args []string) error {
			name, err := nameArg(c, args[0])
			if err != nil {
				return err
			}
			return g.run(w, c, name)
		},
	}
	f := c.Flags()
	f.BoolVarP(&g.bare, "no-newline", "n", false, "print no newline after the value")
	f.Var(&g.ttl, "ttl", "how long the lease may live, such as 90s, 15m or 1d; a grant may clip it")
	f.StringVar(&g.reason, "reason", "", "why, in your words; it goes into the audit log")
	f.Uint64Var(&g.version, "version", 0, "an older version (owners only)")
	f.BoolVar(&g.asAgent, "as-agent", false, "ask at the agent's socket although this user is an owner")
	jsonFlag(c, &g.json)
	return c
}

// getting is what get was asked for.
type getting struct {
	bare, json, asAgent bool
	ttl                 durationFlag
	reason              string
	version             uint64
}

func (g *getting) run(w *world, c *cobra.Command, name secret.Name) error {
	req := broker.LeaseRequest{
		Secret: string(name), TTLSeconds: int64(time.Duration(g.ttl) / time.Second), Reason: g.reason, Version: g.version,
	}
	return w.ask(c.Context(), g.asAgent, func(client *broker.Client, _ broker.Socket) error {
		handed, err := client.Lease(c.Context(), req)
		if err != nil {
			return err
		}
		defer handed.Value.Clear()
		if g.json {
			return w.printHanded(handed)
		}
		return w.printValue(handed.Value, g.bare)
	})
}

// printValue writes a value from locked memory.
func (w *world) printValue(v secret.Value, bare bool) error {
	err := v.Use(func(b []byte) error {
		_, err := w.stdout.Write(b)
		return err
	})
	if err == nil && !bare {
		_, err = w.stdout.Write([]byte{'\n'})
	}
	if err != nil {
		return fmt.Errorf("writing the value: %w", err)
	}
	return nil
}

// printHanded writes a lease with its value as JSON, all of it from locked
// memory.
func (w *world) printHanded(h *broker.Handed) error {
	key := "value"
	if h.Base64 {
		key = "value_base64"
	}
	before := fmt.Appendf(nil, `{"secret":"%s","version":%d,"%s":"`, h.Secret, h.Version, key) // names need no escaping
	after := fmt.Appendf(nil, `","lease_id":"%s","issued_at":"%s","expires_at":"%s"}`, h.LeaseID,
		h.IssuedAt.UTC().Format(time.RFC3339Nano), h.ExpiresAt.UTC().Format(time.RFC3339Nano))
	var line secret.Value
	err := h.Value.Use(func(v []byte) (err error) {
		size := secret.JSONLen(v)
		if h.Base64 {
			size = base64.StdEncoding.EncodedLen(len(v))
		}
		line, err = secret.Fill(len(before)+size+len(after), func(b []byte) error {
			b = append(b[:0], before...)
			if h.Base64 {
				b = base64.StdEncoding.AppendEncode(b, v)
			} else {
				b = secret.AppendJSON(b, v)
			}
			_ = append(b, after...)
			return nil
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("writing the value: %w", err)
	}
	defer line.Clear()
	return w.printValue(line, false)
}
