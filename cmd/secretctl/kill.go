package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/broker/durable"
	"secretctl/sock"
)

func killCommand(w *world) *cobra.Command {
	var asJSON, upstream bool
	var agent string
	c := &cobra.Command{
		Use:   "kill",
		Short: "end every lease and hand out nothing more",
		Long: `Turns the kill switch on: every lease ends and nothing is handed out until
resume, across restarts. It does not ask. It works without a broker too: the
next one starts killed.

When kill returns 0 it is in force and on the disk. Exit code 1 with "in force,
but not durable" means that it holds until the broker stops.

--upstream then ends at their services the credentials that agents were ever
given: what an agent copied is dead too. Each version has a receipt, which says
whether its service was asked afterwards and refuses it. It needs the broker and
a provider in the config. It goes on when you interrupt it, and may be repeated.

What was ended is handed out no more, also after resume, until secretctl rotate
or set makes another version. Exit code 1 when something may still be valid, or
was ended and its service does not say that it refuses it.`,
		Example: "  secretctl kill\n  secretctl kill --upstream",
		Args:    takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			if agent != "" && !upstream {
				return usage(c, "--agent is of --upstream: the kill switch is everybody's")
			}
			report := func(ended int) error { return w.printEnded(asJSON, ended) }
			if upstream { // the receipts are the answer
				report = func(ended int) error { w.say("%d leases ended", ended); return nil }
			}
			err := w.killRunning(c.Context(), report)
			if upstream && err == nil {
				return w.killUpstream(c.Context(), agent, asJSON)
			}
			if _, named := w.namedSocket(); errors.Is(err, sock.ErrNotRunning) && !named && !upstream {
				return w.killOffline(asJSON, err)
			}
			return err
		},
	}
	c.Flags().BoolVar(&upstream, "upstream", false, "also end, at their services, what agents were given")
	c.Flags().StringVar(&agent, "agent", "", "with --upstream: what this agent was given, and no other")
	jsonFlag(c, &asJSON)
	return c
}

// killTime is how long a broker may take to answer: whoever types kill must not
// be left to wait for one that hangs.
const killTime = 5 * time.Second

// killRunning has the broker turn its kill switch on.
func (w *world) killRunning(ctx context.Context, report func(ended int) error) error {
	ctx, stop := context.WithTimeout(ctx, killTime)
	defer stop()
	err := w.asOwner(ctx, func(client *broker.Client) error {
		ended, err := client.Kill(ctx)
		if err != nil {
			return err
		}
		w.say("the kill switch is on: nothing is handed out")
		w.hint("to end it: secretctl resume")
		return report(ended)
	})
	if err != nil && ctx.Err() != nil {
		return hinted(fmt.Errorf("the broker has not answered in %v: it is not known whether the kill switch is on", killTime),
			"end that process, then: secretctl kill")
	}
	return err
}

// killOffline turns the kill switch on in a home whose broker is down. Where
// there is no home it returns the error that led here.
func (w *world) killOffline(asJSON bool, notRunning error) error {
	h, err := w.home()
	if err != nil {
		return err
	}
	disk, err := h.own()
	if errors.Is(err, errNoHome) {
		return notRunning
	} else if err != nil {
		return err
	}
	lock, err := disk.Lock()
	if errors.Is(err, durable.ErrLocked) {
		return hinted(errors.New("a broker has the home, but it does not answer: the kill switch is not on"), "end that process, then: secretctl kill")
	} else if err != nil {
		return err
	}
	defer lock.Close()
	unrecorded, err := broker.KillOffline(disk, w.clock)
	if err != nil {
		return err
	}
	if unrecorded != nil {
		w.say("the kill switch is on, but the audit log could not take it: %v", unrecorded)
	}
	w.say("the kill switch is on: no broker runs, and the next one starts killed")
	w.hint("to end it: secretctl serve, then: secretctl resume")
	if asJSON {
		return w.printJSON(struct {
			Ended *int `json:"ended"` // nobody was there to count them
		}{})
	}
	return nil
}
