package rotation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// Claims is where hosts that keep the same secrets agree which of them rotates
// one. A secret that no other host keeps is always this one's.
type Claims interface {
	// Shared reports whether other hosts keep a secret too.
	Shared(secret.Name) bool
	// Claim makes this host the one that rotates a secret, and returns the rotation
	// that another has left, which is this one's then. over reports of one that this
	// host began whether it has ended. It fails with a [providers.ClaimedError] while
	// another host has the secret.
	Claim(ctx context.Context, name secret.Name, c providers.Claim, over func(id string) bool) (left *providers.Claim, err error)
	// Keep tells the others how far it is, and puts the new value, which open opens,
	// where they find it. It fails with a [providers.ClaimedError] when it is not this
	// host's any more.
	Keep(ctx context.Context, name secret.Name, c providers.Claim, open func() (secret.Value, error)) error
	// Hold has them hear that this host is there while a rotation of it waits.
	Hold(ctx context.Context, name secret.Name, id string) error
	// Unclaim tells them that it is over.
	Unclaim(ctx context.Context, name secret.Name, id string) error
	// Staged opens the value that a rotation which was left has. The caller clears it.
	Staged(ctx context.Context, name secret.Name, version uint64) (secret.Value, error)
}

// alone is of a host that shares nothing.
type alone struct{}

func (alone) Shared(secret.Name) bool { return false }

func (alone) Claim(context.Context, secret.Name, providers.Claim, func(string) bool) (*providers.Claim, error) {
	return nil, nil
}

func (alone) Keep(context.Context, secret.Name, providers.Claim, func() (secret.Value, error)) error {
	return nil
}

func (alone) Hold(context.Context, secret.Name, string) error { return nil }

func (alone) Unclaim(context.Context, secret.Name, string) error { return nil }

func (alone) Staged(context.Context, secret.Name, uint64) (secret.Value, error) {
	return secret.Value{}, errors.New("no other host keeps it")
}

// ErrReplaced means that the version that was to be replaced has been, by another
// host.
var ErrReplaced = errors.New("another host has replaced it")

// claim is what other hosts are told of a rotation. The new value is not in it:
// none but this host could open it.
func (r *Rotation) claim() (providers.Claim, error) {
	c := providers.Claim{ID: r.ID, Tag: r.Tag, Phase: string(r.State), Started: r.Started}
	told := *r
	if told.Sealed = nil; len(r.Sealed) > 0 {
		sum := sha256.Sum256(r.Sealed)
		c.Version, c.Mark = r.To, hex.EncodeToString(sum[:8])
	}
	var err error
	c.State, err = json.Marshal(&told)
	return c, err
}

// claimNew makes this host the one that rotates the secret of r, which is about to
// begin. left is a rotation that another host began, with all that is known of it.
func (e *Engine) claimNew(r *Rotation) (left *Rotation, err error) {
	if e.Claims.Shared(r.Secret) {
		if err := e.journal.owe(r.Secret, r.ID); err != nil {
			return nil, fmt.Errorf("writing the rotation journal: %w", err)
		}
		r.Claimed = true
	}
	ctx := e.context()
	found, err := e.Claims.Claim(ctx, r.Secret, providers.Claim{ID: r.ID, Tag: r.Tag, Phase: string(Planned), Started: e.now()}, func(id string) bool {
		_, err := e.ended(r.Secret, id)
		return err == nil
	})
	if found == nil || err != nil {
		return nil, err
	}
	left = new(Rotation)
	if err := json.Unmarshal(found.State, left); err != nil {
		return nil, fmt.Errorf("reading the rotation that host %q has left: %w", found.Host, err)
	}
	left.Secret = r.Secret
	if left.State.live() && !left.Emergency {
		// The other's clock said until when; how long it is by this one is what counts.
		hard := left.HardAt.Sub(left.RetireAt)
		left.RetireAt = e.now().Add(left.Grace)
		if !left.HardAt.IsZero() {
			left.HardAt = left.RetireAt.Add(max(hard, 0))
		}
	}
	if found.Version == 0 {
		return left, nil
	}
	value, err := e.Claims.Staged(ctx, r.Secret, found.Version)
	switch {
	case errors.Is(err, providers.ErrAbsent) && left.Doing.ours():
		return left, nil // that is what was being done
	case err != nil:
		return nil, fmt.Errorf("opening the new value of the rotation that host %q has left: %w", found.Host, err)
	}
	defer value.Clear()
	if left.Sealed, err = e.Sealer.Seal(value); err != nil {
		return nil, fmt.Errorf("keeping the new value of the rotation that host %q has left: %w", found.Host, err)
	}
	e.Warn(fmt.Sprintf("rotating %s: host %q has not been heard of; this one goes on with rotation %s (%s)", r.Secret, found.Host, left.ID, left.State))
	return left, nil
}

// claimAlone keeps other hosts from rotating a secret, until done. It fails with
// [ErrBusy] when one does. That they cannot be asked keeps nothing from ending.
func (e *Engine) claimAlone(name secret.Name) (done func(), err error) {
	// Where the two are valid beside each other, ending one is nobody else's business.
	if setup, ok := e.Setup(name); ok && setup.Kind.Overlap || !e.Claims.Shared(name) {
		return func() {}, nil
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(e.context()), callTime)
	defer stop()
	c := providers.Claim{ID: newID(), Phase: "ending", Started: e.now()}
	left, err := e.Claims.Claim(ctx, name, c, func(id string) bool {
		_, err := e.ended(name, id)
		return err == nil
	})
	var claimed *providers.ClaimedError
	switch {
	case errors.As(err, &claimed):
		return nil, fmt.Errorf("%w: %w", ErrBusy, err)
	case left != nil:
		return nil, fmt.Errorf("%w: one that host %q has left: secretctl rotate %s goes on with it", ErrBusy, left.Host, name)
	case err != nil:
		e.Warn(fmt.Sprintf("ending %s: other hosts could not be told: %v", name, err))
		return func() {}, nil
	}
	return func() { _ = e.Claims.Unclaim(context.WithoutCancel(ctx), name, c.ID) }, nil // in time they forget it by themselves
}

// context is Run's, or one that does not end.
func (e *Engine) context() context.Context {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx != nil {
		return e.ctx
	}
	return context.Background()
}

// unclaim leaves a secret to other hosts again. When they cannot be told now, or a
// crash comes first, they are told later: see [Engine.settle].
func (e *Engine) unclaim(r *Rotation) {
	if !r.Claimed {
		return
	}
	if err := e.tellOver(context.WithoutCancel(e.context()), r.Secret, r.ID); err != nil {
		e.Warn(fmt.Sprintf("telling other hosts that %s is not being rotated any more: %v; it is tried again", r.Secret, err))
	}
}

func (e *Engine) tellOver(ctx context.Context, name secret.Name, id string) error {
	err := e.Claims.Unclaim(ctx, name, id)
	if claimed := (*providers.ClaimedError)(nil); err != nil && !errors.As(err, &claimed) {
		return err
	}
	return e.journal.forget(name, id)
}

// settle tells other hosts, every minute, of rotations that are over and of which
// they could not be told.
func (e *Engine) settle(ctx context.Context) {
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	for _, r := range e.claimed() {
		_ = e.Claims.Hold(ctx, r.Secret, r.ID) // its next step tells
	}
	for {
		owed, err := e.journal.owed()
		if err != nil {
			e.Warn(fmt.Sprintf("reading the rotation journal: %v", err))
		}
		for name, id := range owed {
			if e.isFlying(name) {
				continue
			}
			_ = e.tellOver(ctx, name, id) // in a minute again
		}
		select {
		case <-minute.C:
		case <-ctx.Done():
			return
		}
	}
}

// claimed returns the rotations of which other hosts know that they are this one's.
func (e *Engine) claimed() (all []Rotation) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range e.flights {
		if f.rotation.Claimed {
			all = append(all, f.rotation)
		}
	}
	return all
}

// isFlying reports whether a rotation of the secret is under way, or about to be.
func (e *Engine) isFlying(name secret.Name) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.flights[name] != nil || e.beginning[name] != nil
}

// keepClaim tells other hosts how far a rotation is before its next action begins.
// It returns the evidence of an action that is not begun, since they could not be
// told; lost is why it is not this host's any more.
func (e *Engine) keepClaim(ctx context.Context, r *Rotation) (ev *evidence, lost *providers.ClaimedError) {
	if !r.Claimed && !e.Claims.Shared(r.Secret) {
		return nil, nil
	}
	c, err := r.claim()
	if err == nil && !r.Claimed { // its store was this host's alone when it began
		err = e.journal.owe(r.Secret, r.ID)
	}
	if err == nil && !r.Claimed {
		var left *providers.Claim
		left, err = e.Claims.Claim(ctx, r.Secret, c, func(string) bool { return true })
		if left != nil { // two of one secret cannot both be gone on with, and that one others know of
			return nil, &providers.ClaimedError{Claim: *left}
		}
	}
	if err == nil {
		err = e.Claims.Keep(ctx, r.Secret, c, func() (secret.Value, error) { return e.Sealer.Open(r.Sealed) })
	}
	switch {
	case err == nil:
		r.Claimed, r.Told = true, c.Mark
		return nil, nil
	case errors.As(err, &lost) && lost.Phase == providers.ClaimEnded && r.untoldCopy():
		// It was given up there, and what works is here.
		r.Claimed = false
		return e.keepClaim(ctx, r)
	case errors.As(err, &lost):
		return nil, lost
	case errors.Is(err, providers.ErrExists) && !r.State.live():
		// A value was kept under this number and then lost here. What is there is never
		// replaced: somebody may have gone on with it.
		n, renumbered := e.Vault.Reserve(r.Secret)
		if renumbered == nil {
			r.To = n
			return e.keepClaim(ctx, r)
		}
		err = renumbered
	}
	ev = notBegun(err)
	ev.now = e.now()
	return ev, nil
}

// untold waits, since other hosts could not be told what is done next: it is not
// begun, and so says nothing.
func (r *Rotation) untold(ev *evidence) {
	r.Updated, r.Again = ev.now, ev.now.Add(lastLook)
	r.trouble(ev)
}

// taken ends it here: another host goes on with it, or has.
func (r *Rotation) taken(now time.Time, by *providers.ClaimedError) {
	r.Updated = now
	r.because(reasonTaken, &evidence{
		problem: fmt.Sprintf("host %q took the rotation over when it had not heard of this one for long", by.Host),
		remedy:  "secretctl versions " + string(r.Secret) + " there shows it",
	})
	if r.untoldCopy() {
		r.Problem += ", and the new value, for which the old one died, is in the journal here alone"
		r.Remedy = "there: secretctl rotate --give-up " + string(r.Secret) + "; then this host goes on"
		r.Needs, r.Again = true, now.Add(lastPause)
		return
	}
	r.end(Failed)
}

// untoldCopy reports whether the new value is one that nobody else has, and nobody
// can find: the service made it in the place of the old one.
func (r *Rotation) untoldCopy() bool {
	if len(r.Sealed) == 0 || r.Shape != providers.ShapeRoll && r.Shape != providers.ShapeRefresh {
		return false
	}
	c, err := r.claim()
	return err != nil || c.Mark != r.Told
}
