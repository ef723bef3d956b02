package rotation

import (
	"context"
	"slices"
	"sync"
	"time"

	"secretctl/broker/secret"
)

// Held names versions of a secret.
type Held struct {
	Secret   secret.Name
	Versions []uint64
}

// Receipt is what came of ending one version.
type Receipt struct {
	Secret  secret.Name
	Version uint64
	Ended
	Err  error
	Left string // what giving up the rotation that was in the way left, on the first of the secret's; ""
}

// EndAll ends versions at their services, as [Engine.Retire] does, and calls each
// with what came of one, one at a time and as it comes. A version that was
// retired before has no receipt. The secrets are ended beside each other, so that
// a service that is silent holds up its own alone: no more calls are made at once
// than for rotations, and half of those to one provider.
func (e *Engine) EndAll(ctx context.Context, held []Held, each func(Receipt)) error {
	receipts := make(chan Receipt)
	var all sync.WaitGroup
	for _, h := range held {
		all.Go(func() { e.endHeld(ctx, h, receipts) })
	}
	go func() { all.Wait(); close(receipts) }()
	for r := range receipts {
		each(r)
	}
	return ctx.Err()
}

// endHeld ends the versions of one secret, the current one last: where they
// manage themselves, it is what ends the others.
func (e *Engine) endHeld(ctx context.Context, h Held, to chan<- Receipt) {
	var versions []uint64
	for _, n := range h.Versions {
		if e.valid(h.Secret, n) {
			versions = append(versions, n)
		}
	}
	left := e.finish(ctx, h.Secret)
	if current, err := e.Vault.Current(h.Secret); err == nil {
		if i := slices.Index(versions, current.Number); i >= 0 {
			versions = append(slices.Delete(versions, i, i+1), current.Number)
		}
	}
	for _, n := range versions {
		out, err := e.Retire(ctx, h.Secret, n)
		to <- Receipt{h.Secret, n, out, err, left}
		left = ""
	}
}

// valid reports whether a version may be valid at its service, as far as is known.
func (e *Engine) valid(name secret.Name, version uint64) bool {
	if v, err := e.Vault.Version(name, version); err != nil || v.Number != 0 {
		return true
	}
	_, retired, err := e.Retired(name, version)
	return err != nil || !retired
}

// finishTime is how long a rotation under way is waited for.
const finishTime = 30 * time.Second

// finish has a rotation that is under way go on at once: what it replaces is
// ended on the way. One that is stuck is given up, since nothing else of the
// secret can be ended before; it returns what that left.
func (e *Engine) finish(ctx context.Context, name secret.Name) (left string) {
	if e.flight(name) == nil {
		return ""
	}
	if _, err := e.Start(Order{Secret: name, By: "owner", Emergency: true}); err != nil || e.over(ctx, name) {
		return ""
	}
	p, err := e.endAsIs(name, true)
	if err != nil || p.Error == nil { // it has ended meanwhile, or has the only credential that works
		return ""
	}
	e.over(ctx, name) // all that is left of it is our own
	left = *p.Error
	if p.Hint != "" {
		left += ": " + p.Hint
	}
	return left
}

// over waits until no rotation of the secret is under way, and reports whether
// that came.
func (e *Engine) over(ctx context.Context, name secret.Name) bool {
	for patience := time.After(finishTime); ; {
		e.mu.Lock()
		f := e.flights[name]
		if f == nil {
			e.mu.Unlock()
			return true
		}
		changed := f.changed
		e.mu.Unlock()
		select {
		case <-changed: // also when it needed its owner: it may not any more
		case <-patience:
			return false
		case <-ctx.Done():
			return false
		}
	}
}
