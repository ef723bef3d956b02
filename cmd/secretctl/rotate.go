package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/broker/secret"
	"secretctl/providers"
)

const rotateHelp = `Replaces the value of a secret at its service: a new credential is made and
proven, becomes the current version, and consumers are told. Then the old one is
ended, once nobody needs it, and proven dead. What secretctl.toml says of the
secret says how: rotate = { provider = "…" }.

It returns when the new version is in force; --wait waits until the old one is
ended. Ctrl-C ends the waiting, not the rotation: the same command waits for it again.

Services that cannot make a credential name the page where you do; the new value
comes from stdin, or a prompt, with --stdin.

Exit codes: 1 when one failed, was rolled back or needs you.`

func rotateCommand(w *world) *cobra.Command {
	var r rotating
	c := &cobra.Command{
		Use:   "rotate NAME…",
		Short: "replace a secret at its service",
		Long:  rotateHelp,
		Example: "  secretctl rotate openai/api-key\n  secretctl rotate --due\n  secretctl rotate --plan --all\n" +
			"  secretctl rotate --stdin anthropic/api-key < new-key",
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completeName(w),
		RunE:              func(c *cobra.Command, args []string) error { return r.run(w, c, args) },
	}
	f := c.Flags()
	f.BoolVar(&r.due, "due", false, "all that are overdue or whose schedule has come")
	f.BoolVar(&r.all, "all", false, "all that the config says how to rotate")
	f.BoolVar(&r.plan, "plan", false, "say what would be done, and call nothing")
	f.BoolVar(&r.wait, "wait", false, "wait until the old version is ended")
	f.BoolVar(&r.stdin, "stdin", false, "the new value is made by hand and comes from stdin")
	f.BoolVar(&r.emergency, "emergency", false, "no grace and no confirm: leases on the old version end, and it is ended at once")
	f.BoolVar(&r.giveUp, "give-up", false, "end the rotation under way as it stands: you have seen to the rest")
	jsonFlag(c, &r.json)
	return c
}

// rotating is what rotate was asked for.
type rotating struct {
	due, all, plan, wait, stdin, emergency, giveUp, json bool
}

func (r *rotating) run(w *world, c *cobra.Command, args []string) error {
	if err := r.check(c, args); err != nil {
		return err
	}
	names, err := r.names(w, c, args)
	if err != nil {
		return err
	}
	switch {
	case len(names) == 0:
		w.say("there is nothing to rotate")
		if r.json {
			return w.printJSON([]struct{}{})
		}
		return nil
	case r.plan:
		return r.printPlans(w, c.Context(), names)
	case r.giveUp:
		return r.giveUpAll(w, c.Context(), names)
	}
	var value secret.Value
	if r.stdin {
		s := setting{empty: true} // as set has it
		if value, err = s.value(w, c, names[0]); err != nil {
			return err
		}
		defer value.Clear()
		if value.Len() == 0 {
			return usage(c, "the new value is empty")
		}
	}
	ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // so that a second signal ends it at once
	return r.report(w, r.rotateAll(w, ctx, names, value))
}

// check refuses what contradicts itself.
func (r *rotating) check(c *cobra.Command, args []string) error {
	switch {
	case r.due && r.all, (r.due || r.all) && len(args) > 0:
		return usage(c, "name secrets, or say --due, or --all")
	case !r.due && !r.all && len(args) == 0:
		return usage(c, "say which: NAME…, --due or --all")
	case r.stdin && (len(args) != 1 || r.plan || r.giveUp):
		return usage(c, "--stdin takes the value of one secret")
	case r.giveUp && (len(args) == 0 || r.plan || r.wait || r.emergency):
		return usage(c, "--give-up takes names and nothing else")
	case r.plan && (r.wait || r.emergency):
		return usage(c, "--plan does nothing, so there is nothing to wait for")
	}
	return nil
}

// names are the secrets to rotate.
func (r *rotating) names(w *world, c *cobra.Command, args []string) (names []secret.Name, err error) {
	for _, arg := range args {
		name, err := nameArg(c, arg)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(args) > 0 {
		return names, nil
	}
	err = w.asOwner(c.Context(), func(client *broker.Client) error {
		all, err := client.List(c.Context(), "")
		for _, i := range all {
			if i.Provider != nil && (r.all || isDue(i, w.clock.Now().Wall)) {
				names = append(names, secret.Name(i.Name))
			}
		}
		return err
	})
	return names, err
}

// isDue reports whether a secret's time has come.
func isDue(i broker.SecretInfo, now time.Time) bool {
	return i.Overdue || i.NextRotation != nil && !i.NextRotation.After(now)
}

func (r *rotating) printPlans(w *world, ctx context.Context, names []secret.Name) error {
	type planned struct {
		Secret string   `json:"secret"`
		Steps  []string `json:"steps"`
	}
	var all []planned
	err := w.asOwner(ctx, func(client *broker.Client) error {
		for _, name := range names {
			steps, err := client.Plan(ctx, name)
			if err != nil {
				return err
			}
			all = append(all, planned{string(name), steps})
		}
		return nil
	})
	if err != nil {
		return err
	}
	if r.json {
		return w.printJSON(all)
	}
	for _, p := range all {
		if err := w.printf("%s\n  %s\n", p.Secret, strings.Join(p.Steps, "\n  ")); err != nil {
			return err
		}
	}
	return nil
}

func (r *rotating) giveUpAll(w *world, ctx context.Context, names []secret.Name) error {
	var out []rotated
	var errs []error
	err := w.asOwner(ctx, func(client *broker.Client) error {
		for _, name := range names {
			switch p, err := client.GiveUp(ctx, name); {
			case errors.Is(err, broker.ErrNotFound):
				errs = append(errs, err)
			case err != nil:
				return err
			default:
				out = append(out, rotated{Progress: p})
				if p.Error != nil {
					w.say("%s: %s", p.Secret, *p.Error)
					w.hint(p.Hint)
				}
			}
		}
		return nil
	})
	if len(out) > 0 {
		errs = append(errs, r.print(w, out)) // they are given up
	}
	return errors.Join(append(errs, err)...)
}

// rotated is how one rotation stands, or why there is none.
type rotated struct {
	providers.Progress
	err error
}

// atOnce is how many rotations are asked for at a time. How many are under way
// the broker decides.
const atOnce = 16

// rotateAll asks for every rotation and says how each goes.
func (r *rotating) rotateAll(w *world, ctx context.Context, names []secret.Name, value secret.Value) []rotated {
	out := make([]rotated, len(names))
	say := &steps{w: w, progress: w.progress(len(names), "rotated"), one: len(names) == 1}
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(atOnce, len(names)) {
		workers.Go(func() {
			for i := range next {
				out[i] = r.rotate(w, ctx, names[i], value, say)
				say.done()
			}
		})
	}
	for i := range names {
		next <- i
	}
	close(next)
	workers.Wait()
	say.progress.end()
	return out
}

func (r *rotating) rotate(w *world, ctx context.Context, name secret.Name, value secret.Value, say *steps) (out rotated) {
	out.Progress = providers.Progress{Secret: string(name), State: "failed"}
	out.err = w.asOwner(ctx, func(client *broker.Client) error {
		order := broker.RotateOrder{Secret: name, Emergency: r.emergency, Wait: r.wait}
		last, err := client.Rotate(ctx, order, value, func(p providers.Progress) { say.step(p) })
		if last.ID != "" {
			out.Progress = last
		}
		return err
	})
	switch {
	case ctx.Err() == nil:
	case out.ID == "":
		out.err = fmt.Errorf("rotating %s: interrupted before it was begun", name)
	case !out.Ended:
		out.err = hinted(fmt.Errorf("rotating %s: no longer waiting; it goes on (%s)", name, out.State), "secretctl rotate "+string(name))
	}
	return out
}

// steps says on stderr how rotations go.
type steps struct {
	w        *world
	progress *progress
	one      bool // a single rotation: each of its steps
	mu       sync.Mutex
	last     map[string]string
}

func (s *steps) step(p providers.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		s.last = make(map[string]string)
	}
	text := p.Step
	if p.State == "needs-owner" || p.Ended {
		text = p.State
	}
	if p.Error != nil && !p.Ended {
		text += ": " + *p.Error
	}
	if s.last[p.Secret] == text || s.progress.shown {
		return
	}
	s.last[p.Secret] = text
	if s.one || p.Error != nil {
		s.w.say("%s: %s", p.Secret, text)
	}
}

func (s *steps) done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress.step()
}

// report prints how each stands. The error is of the first that is not well.
func (r *rotating) report(w *world, all []rotated) error {
	if err := r.print(w, all); err != nil {
		return err
	}
	var bad []string
	var errs []error
	var last rotated // of the bad
	for _, one := range all {
		errs = append(errs, one.err)
		if one.err != nil && len(all) > 1 {
			w.say("%v", one.err)
			w.hint(hintOf(one.err))
		}
		switch one.State {
		case "failed", "rolled-back", "needs-owner":
			bad, last = append(bad, one.Secret), one
			if one.err == nil && one.Hint != "" {
				w.hint(one.Hint)
			}
		}
		if one.Warning != "" {
			w.say("warning: %s: %s", one.Secret, one.Warning)
		}
	}
	switch {
	case len(all) == 1 && all[0].err != nil:
		return all[0].err
	case len(bad) == 1 && last.Error != nil:
		return fmt.Errorf("rotating %s: %s: %s", last.Secret, last.State, *last.Error)
	case len(bad) > 0:
		return fmt.Errorf("%d of %d were not rotated: %s", len(bad), len(all), strings.Join(bad, ", "))
	}
	return errors.Join(errs...)
}

// rotateReply is one rotation in the shape of the contract.
type rotateReply struct {
	Secret    string     `json:"secret"`
	From      uint64     `json:"from_version"`
	To        uint64     `json:"to_version"`
	State     string     `json:"state"`
	RetiresAt *time.Time `json:"retires_at"`
	Error     *string    `json:"error"`
	Reason    string     `json:"reason,omitempty"`
	Hint      string     `json:"hint,omitempty"`
	Warning   string     `json:"warning,omitempty"`
}

func (r *rotating) print(w *world, all []rotated) error {
	replies := make([]rotateReply, len(all))
	var rows [][]cell
	for i, one := range all {
		reply := rotateReply{one.Secret, one.From, one.To, one.State, one.RetiresAt, one.Error, string(one.Reason), one.Hint, one.Warning}
		if one.err != nil {
			text := one.err.Error()
			reply.Error = &text
		}
		replies[i] = reply
		if one.ID != "" {
			rows = append(rows, w.rotatedRow(&reply))
		}
	}
	if r.json {
		return w.printJSON(replies)
	}
	return w.printTable([]string{"SECRET", "VERSION", "STATE", "OLD ENDS"}, rows)
}

func (w *world) rotatedRow(r *rotateReply) []cell {
	ends := "-"
	if r.RetiresAt != nil && r.State == "retiring" {
		ends = "once nobody needs it"
		if in := r.RetiresAt.Sub(w.clock.Now().Wall); in > 0 {
			ends = "in " + span(in) + " at the latest"
		}
	}
	row := cells(r.Secret, fmt.Sprintf("%d → %d", r.From, r.To), r.State, ends)
	if r.To == 0 {
		row[1].text = fmt.Sprint(r.From)
	}
	row[2].style = good(r.State == "done" || r.State == "retiring")
	return row
}
