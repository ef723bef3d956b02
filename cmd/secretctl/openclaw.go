package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/broker/secret"
	"secretctl/cmd/secretctl/openclaw"
)

const openclawHelp = `OpenClaw asks secretctl for its credentials and keeps none: its config holds
references, and secretctl is the program that resolves them.

Three steps, as the agent's user, or with sudo and --user:
  install   puts a copy of secretctl where OpenClaw accepts it
  migrate   moves the credentials that are in OpenClaw's files into the vault
  resolve   is what OpenClaw then runs; nobody types it`

func openclawCommand(w *world) *cobra.Command {
	c := &cobra.Command{
		Use:     "openclaw",
		Short:   "give OpenClaw its credentials, and take them out of its files",
		Long:    openclawHelp,
		Example: "  sudo secretctl openclaw install --user aiagent\n  sudo secretctl openclaw migrate --user aiagent --dry-run",
		Args:    takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			return usage(c, "openclaw needs install, migrate or resolve")
		},
	}
	c.AddCommand(openclawInstallCommand(w), openclawMigrateCommand(w), openclawResolveCommand(w))
	return c
}

const resolveHelp = `Speaks version 1 of OpenClaw's exec secret providers: a JSON request on stdin, a
JSON answer on stdout. It asks at the agent's socket, so the grants of the user
that OpenClaw runs as decide. "Not granted" and "does not exist" are one answer,
NOT_FOUND. A batch is one group in the audit log.

The leases are pinned: OpenClaw copies a value once and keeps it until it
reloads. Asking again renews them.

OpenClaw shows its user the exit code and nothing of what is said here: 3 means
that this user is no agent in secretctl.toml, 5 that the broker is not running, 6
that the kill switch is on, 1 anything else; secretctl audit says more.`

func openclawResolveCommand(w *world) *cobra.Command {
	return &cobra.Command{
		Use:     "resolve",
		Short:   "answer OpenClaw's request for values",
		Long:    resolveHelp,
		Example: `  echo '{"protocolVersion":1,"ids":["openai/api-key"]}' | secretctl openclaw resolve`,
		Args:    takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			request, err := w.readRequest()
			if err != nil {
				return err
			}
			return w.resolve(c.Context(), request)
		},
	}
}

func (w *world) readRequest() (openclaw.Request, error) {
	text, err := io.ReadAll(io.LimitReader(w.stdin, openclaw.MaxRequest+1))
	if err != nil {
		return openclaw.Request{}, fmt.Errorf("reading the request: %w", err)
	}
	if len(text) > openclaw.MaxRequest {
		return openclaw.Request{}, fmt.Errorf("reading the request: it is larger than %d bytes", openclaw.MaxRequest)
	}
	request, err := openclaw.ParseRequest(text)
	if err != nil {
		return openclaw.Request{}, hinted(fmt.Errorf("reading the request: %w", err), "OpenClaw runs this by itself: secretctl help openclaw install")
	}
	return request, nil
}

// resolved is what became of one id: a value, or the code of an error.
type resolved struct {
	id    string
	value secret.Value
	code  string
}

// The codes of errors. OpenClaw shows the first, and "failed" for any other.
const (
	codeNotFound    = "NOT_FOUND"
	codeLimit       = "LIMIT"
	codeUnavailable = "STORE_UNAVAILABLE"
	codeNotText     = "NOT_TEXT"
)

var whyNot = map[string]string{
	codeNotFound:    "not granted to this user, or there is no such secret",
	codeLimit:       "the limit of the grant is reached",
	codeUnavailable: "the store did not give the value",
	codeNotText:     "the value is not text, and OpenClaw takes nothing else",
}

// resolve leases what is asked for, and answers.
func (w *world) resolve(ctx context.Context, request openclaw.Request) error {
	var answers []resolved
	defer func() {
		for _, a := range answers {
			a.value.Clear()
		}
	}()
	err := w.asAgent(ctx, func(client *broker.Client) (err error) {
		// A socket that turns this user away is another thing than a secret that is
		// not granted, and only the one is for the whole batch.
		if _, err := client.Leases(ctx); err != nil {
			return err
		}
		batch, seen := batch{client, newGroup()}, map[string]bool{}
		for _, id := range request.IDs {
			if seen[id] {
				continue
			}
			seen[id] = true
			one, err := batch.resolve(ctx, id)
			if err != nil {
				return err
			}
			answers = append(answers, one)
			if one.code != "" {
				w.say("%s: %s", id, whyNot[one.code])
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return w.answer(answers)
}

// batch asks for the ids of one request.
type batch struct {
	client *broker.Client
	group  string
}

// newGroup makes the name that the leases of a batch have in common.
func newGroup() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand crashes the program instead
	return hex.EncodeToString(b[:])
}

// longest is asked for because OpenClaw keeps a value for as long as it runs; the
// grant clips it.
const longest = 24 * time.Hour

// resolve leases one secret. An error is one of the whole batch.
func (b batch) resolve(ctx context.Context, id string) (resolved, error) {
	name, err := secret.ParseName(id)
	if err != nil {
		return resolved{id: id, code: codeNotFound}, nil
	}
	handed, err := b.client.Lease(ctx, broker.LeaseRequest{
		Secret: string(name), TTLSeconds: int64(longest / time.Second), Pinned: true, Reuse: true, Group: b.group,
		Reason: "OpenClaw resolves its config",
	})
	var told *broker.Error
	switch {
	case err == nil && handed.Base64:
		handed.Value.Clear()
		return resolved{id: id, code: codeNotText}, nil
	case err == nil:
		return resolved{id: id, value: handed.Value}, nil
	case errors.Is(err, broker.ErrKilled), !errors.As(err, &told):
		return resolved{}, err
	case told.Code == broker.CodeLimit:
		return resolved{id: id, code: codeLimit}, nil
	case told.Code == broker.CodeStoreUnavailable:
		return resolved{id: id, code: codeUnavailable}, nil
	}
	return resolved{id: id, code: codeNotFound}, nil
}

// answer writes the answer, which is built in locked memory.
func (w *world) answer(answers []resolved) error {
	size := len(`{"protocolVersion":1,"values":{},"errors":{}}` + "\n")
	for _, a := range answers {
		size += len(`"":{"code":""},`) + len(a.id) + len(a.code)
		err := a.value.Use(func(v []byte) error { size += secret.JSONLen(v); return nil })
		if err != nil && a.code == "" {
			return fmt.Errorf("writing the answer: %w", err)
		}
	}
	n := 0
	text, err := secret.Fill(size, func(b []byte) (err error) {
		b = append(b[:0], `{"protocolVersion":1,"values":{`...)
		if b, err = appendValues(b, answers); err != nil {
			return err
		}
		b = append(b, `},"errors":{`...)
		b = appendCodes(b, answers)
		b = append(b, "}}\n"...)
		n = len(b)
		return nil
	})
	if err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	defer text.Clear()
	err = text.Use(func(b []byte) error {
		_, err := w.stdout.Write(b[:n])
		return err
	})
	if err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	return nil
}

// appendValues appends the members of "values". Ids need no escaping.
func appendValues(b []byte, answers []resolved) ([]byte, error) {
	comma := ""
	for _, a := range answers {
		if a.code != "" {
			continue
		}
		b = append(append(append(b, comma+`"`...), a.id...), `":"`...)
		err := a.value.Use(func(v []byte) error { b = secret.AppendJSON(b, v); return nil })
		if err != nil {
			return nil, err
		}
		b = append(b, '"')
		comma = ","
	}
	return b, nil
}

// appendCodes appends the members of "errors".
func appendCodes(b []byte, answers []resolved) []byte {
	comma := ""
	for _, a := range answers {
		if a.code != "" {
			b = fmt.Appendf(b, `%s"%s":{"code":"%s"}`, comma, a.id, a.code)
			comma = ","
		}
	}
	return b
}
