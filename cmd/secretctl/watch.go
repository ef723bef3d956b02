package main

import (
	"context"
	"errors"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/sock"
)

const watchHelp = `Runs a command whenever one of these secrets has a new version: a reload, a
restart. It asks at the agent's socket, and what it hears is names and versions;
neither it nor the command is given a value.

A NAME may end in "*". A command that fails is reported, and watching goes on,
also when the broker is restarted. Changes made meanwhile are not missed.`

func watchCommand(w *world) *cobra.Command {
	return &cobra.Command{
		Use:     "watch NAME… -- CMD [ARG…]",
		Short:   "run a command whenever a secret changes",
		Long:    watchHelp,
		Example: "  secretctl watch 'openai/*' -- openclaw secrets reload",
		Args: func(c *cobra.Command, args []string) error {
			if n := c.ArgsLenAtDash(); n < 1 || n == len(args) {
				return usage(c, "watch needs names, then --, then a command")
			}
			return nil
		},
		ValidArgsFunction: completeName(w),
		RunE: func(c *cobra.Command, args []string) error {
			n := c.ArgsLenAtDash()
			names, argv := slices.Clone(args[:n]), slices.Clone(args[n:])
			for i := range names {
				pattern, err := patternArg(c, names[i:i+1])
				if err != nil {
					return err
				}
				names[i] = pattern
			}
			if _, err := exec.LookPath(argv[0]); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			err := (&watching{w: w, names: names, argv: argv}).run(ctx)
			if ctx.Err() != nil {
				return nil
			}
			return err
		},
	}
}

// watching is what watch was asked for, and how far it has come.
type watching struct {
	w      *world
	names  []string // patterns; "" is every name
	argv   []string
	cursor string // "" before the first answer
	gone   bool   // the broker was there, and is not now
}

// The pauses between attempts to reach a broker that is gone.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
)

// run watches until ctx is done, or the broker turns this user away. A broker
// that was never there is an error; one that goes away is waited for.
func (s *watching) run(ctx context.Context) error {
	pause := firstPause
	for {
		err := s.w.asAgent(ctx, func(c *broker.Client) error { return s.follow(ctx, c) })
		turnedAway := errors.Is(err, broker.ErrDenied) || errors.Is(err, broker.ErrBadRequest) || errors.Is(err, sock.ErrUntrusted)
		if ctx.Err() != nil || s.cursor == "" || turnedAway {
			return err
		}
		if !s.gone {
			s.gone, pause = true, firstPause
			s.w.say("the broker is gone: waiting for it")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}

// follow runs the command at every change until the connection ends.
func (s *watching) follow(ctx context.Context, c *broker.Client) error {
	for {
		news, err := c.Changes(ctx, s.cursor)
		switch {
		case err != nil:
			return err
		case s.cursor == "":
			s.warnNotGranted(ctx, c)
		case s.gone:
			s.w.say("the broker is back")
		}
		s.cursor, s.gone = news.Cursor, false
		if changed := s.changed(news.Changes); len(changed) > 0 {
			s.exec(ctx, changed)
		}
	}
}

// warnNotGranted says which names nothing will ever be heard of, as things are.
func (s *watching) warnNotGranted(ctx context.Context, c *broker.Client) {
	all, err := c.Available(ctx)
	if err != nil {
		return
	}
	for _, pattern := range s.names {
		if !slices.ContainsFunc(all, func(a broker.Available) bool { return matches(pattern, a.Name) }) {
			s.w.say("warning: nothing that is granted to this user is called %q", pattern)
		}
	}
}

// changed returns which of the changes are watched for.
func (s *watching) changed(changes []broker.Change) (names []string) {
	for _, change := range changes {
		if slices.ContainsFunc(s.names, func(pattern string) bool { return matches(pattern, change.Name) }) {
			names = append(names, change.Name)
		}
	}
	return names
}

// exec runs the command once. Its stdin is empty.
func (s *watching) exec(ctx context.Context, changed []string) {
	s.w.say("%s changed: running %s", strings.Join(changed, ", "), s.argv[0])
	cmd := exec.CommandContext(ctx, s.argv[0], s.argv[1:]...)
	cmd.Stdout, cmd.Stderr = s.w.stdout, s.w.stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil && ctx.Err() == nil {
		s.w.say("running %s: %v; watching goes on", s.argv[0], err)
	}
}
