package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"secretctl/broker"
	"secretctl/broker/secret"
	"secretctl/sock"
)

// rotations watches for new versions of what a command has. It has a connection
// of its own, since it waits there.
type rotations struct {
	*runner
	versions map[secret.Name]uint64 // the newest that was acted on
	cursor   string
}

// turn is what a running command is given.
type turn struct {
	action rotateAction
	values values
	old    *replaced // the leases on what it has until then
}

// watch acts on new versions until ctx is done or the broker turns this user
// away, which is said where the leases are kept.
func (r *rotations) watch(ctx context.Context) {
	pause := firstPause
	for {
		err := r.w.ask(ctx, r.plan.asAgent, func(c *broker.Client, _ broker.Socket) error {
			for {
				news, err := c.Changes(ctx, r.cursor)
				if err != nil {
					return err
				}
				r.cursor, pause = news.Cursor, firstPause
				if changed := r.changed(news.Changes); len(changed) > 0 {
					r.act(ctx, changed)
				}
			}
		})
		if ctx.Err() != nil || errors.Is(err, broker.ErrDenied) || errors.Is(err, sock.ErrUntrusted) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}

// changed returns which of the changes are of what the command has.
func (r *rotations) changed(changes []broker.Change) (names []secret.Name) {
	for _, c := range changes {
		name := secret.Name(c.Name)
		if had, ok := r.versions[name]; ok && had != c.Version {
			r.versions[name] = c.Version
			names = append(names, name)
		}
	}
	return names
}

// act does what the person wants done about new versions.
func (r *rotations) act(ctx context.Context, changed []secret.Name) {
	command := r.plan.argv[0]
	t := turn{action: r.plan.rotate, values: make(values)}
	var wanted []secret.Name
	switch t.action {
	case onRotateWarn:
		r.w.say("%s was replaced: %s still has the old value", nameList(changed), command)
		r.w.hint("start it again, or have that done: --on-rotate restart")
		return
	case onRotateRestart: // a command that is started needs them all
		wanted = slices.Sorted(maps.Keys(r.versions))
	case onRotateSignal: // a variable cannot be changed, a file can
		wanted = slices.DeleteFunc(slices.Clone(changed), func(n secret.Name) bool { return !r.filesOnly(n) })
	}
	taken, old, err := r.leases.renew(ctx, wanted)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		r.w.say("%s was replaced, and %s still has the old value: %v", nameList(changed), command, err)
		return
	}
	t.values.add(taken)
	t.old = old
	select {
	case r.turns <- t:
	case <-ctx.Done():
		t.values.clear()
		return
	}
}
