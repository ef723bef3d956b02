package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/config"
	"secretctl/sock"
)

func TestExitCodes(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		code int
	}{
		"nothing":            {nil, 0},
		"anything":           {io.ErrUnexpectedEOF, 1},
		"usage":              {&usageError{text: "…"}, 2},
		"denied":             {&broker.Error{Code: broker.CodeDenied, Message: "…"}, 3},
		"no owner":           {notOwner(), 3},
		"denied, as answer":  {exitAnswer(exitDenied), 3},
		"not found":          {&broker.Error{Code: broker.CodeNotFound, Message: "…"}, 4},
		"not running":        {notRunning("/run/owner.sock"), 5},
		"killed":             {&broker.Error{Code: broker.CodeKilled, Message: "…"}, 6},
		"overdue":            {hinted(fmt.Errorf("%w: key", errOverdue), "…"), 7},
		"limit":              {&broker.Error{Code: broker.CodeLimit, Message: "…"}, 1},
		"not durable":        {&broker.Error{Code: broker.CodeNotDurable, Message: "…"}, 1},
		"untrusted":          {sock.ErrUntrusted, 1},
		"config":             {config.Errors{{Path: "secretctl.toml", Line: 3}}, 1},
		"denied, in another": {fmt.Errorf("asking: %w", &broker.Error{Code: broker.CodeDenied, Message: "…"}), 3},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.code, exitCode(c.err)) })
	}
}

func TestReport(t *testing.T) {
	for name, c := range map[string]struct {
		err error
		out string
	}{
		"nothing":      {nil, ""},
		"an answer":    {exitAnswer(3), ""},
		"no hint":      {errors.New("reading the value: no"), "secretctl: reading the value: no\n"},
		"a broker's":   {&broker.Error{Code: broker.CodeKilled, Message: "killed", Hint: "secretctl resume"}, "secretctl: killed\nsecretctl: hint: secretctl resume\n"},
		"an own":       {hinted(errors.New("no home"), "secretctl init"), "secretctl: no home\nsecretctl: hint: secretctl init\n"},
		"of a command": {&usageError{command: "audit verify", text: "no"}, "secretctl: no\nsecretctl: hint: secretctl help audit verify\n"},
		"of none":      {&usageError{text: "no"}, "secretctl: no\nsecretctl: hint: secretctl help\n"},
		"a config's": {
			config.Errors{{Path: "c", Line: 1, Column: 2, Problem: "bad", Remedy: "better"}, {Path: "c", Problem: "worse"}},
			"secretctl: c:1:2: bad\nsecretctl: hint: better\nsecretctl: c: worse\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr strings.Builder
			(&world{stderr: &stderr}).report(c.err)
			require.Equal(t, c.out, stderr.String())
		})
	}
}
