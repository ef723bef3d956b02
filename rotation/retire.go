package rotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// How a credential can have been ended.
const (
	Revoked    = "revoked"
	Disabled   = "disabled" // which can be undone at the service
	NotRevoked = "not-revoked"
)

// Ended is how a credential was ended at its service.
type Ended struct {
	State  string
	ID     string // what the service calls it; ""
	Proven bool   // the service was asked, and refuses it
}

// ErrGone means that a version is no longer in the vault, and that no rotation
// retired it.
var ErrGone = errors.New("the version is no longer here, and nothing says that it was ended")

// How long ending takes at most. A service that is silent is given up soon: what
// others are to be asked waits behind it.
const (
	endCall    = 20 * time.Second // one call
	endSilent  = 2                // calls that took so long
	endUnknown = 2                // looks that say nothing, and are done once more
	endLooks   = 10 * time.Second // for the service to hear of it, besides the kind's lag
)

// Retire ends a version of a secret at its service, with none in its place: what
// is done when whoever holds it must not have it any more. It is stopped first
// where that is possible, and revoked then; at last the service is asked whether
// it refuses it. What was retired by a rotation is as ended; the error of one
// that is otherwise gone is [ErrGone].
func (e *Engine) Retire(ctx context.Context, name secret.Name, version uint64) (Ended, error) {
	x, done, err := e.ending(name, version)
	if err != nil {
		return x.out, err
	}
	if x.r == nil {
		done()
		return x.out, nil
	}
	err = x.end(ctx)
	done() // it may take a while until the service refuses it everywhere
	return x.prove(ctx, err)
}

// ending is one credential that is being ended.
type ending struct {
	e     *Engine
	f     *flight
	r     *Rotation // nil: nothing is left to do
	setup Setup
	other bool // it is not the current one
	late  int  // calls whose time was over
	out   Ended
}

// ending begins to end a version: no rotation of the secret begins before done.
func (e *Engine) ending(name secret.Name, version uint64) (x *ending, done func(), err error) {
	x = &ending{e: e, out: Ended{State: NotRevoked}}
	for done == nil {
		if done, err = e.first(name); err != nil && e.flight(name) != nil {
			return x, nil, ErrBusy
		} // or somebody else ended one of its versions meanwhile
	}
	mine, err := e.claimAlone(name)
	if err != nil {
		done()
		return x, nil, err
	}
	begun := done
	done = func() { mine(); begun() }
	if err = x.begin(name, version); err != nil {
		done()
	}
	return x, done, err
}

func (x *ending) begin(name secret.Name, version uint64) error {
	e := x.e
	current, err := e.Vault.Current(name)
	if err != nil {
		return err
	}
	from, err := e.Vault.Version(name, version)
	if err != nil {
		return err
	}
	var ok bool
	x.setup, ok = e.Setup(name)
	switch {
	case from.Number == 0:
		return x.gone(name, version)
	case !ok:
		x.out.ID = from.ID
		return ErrNoSetup
	case x.setup.Kind.Alone:
		return errAlone
	}
	x.f = newFlight(Rotation{Secret: name})
	x.f.call = endCall
	x.r = &Rotation{Secret: name, Provider: x.setup.Kind.Name, Shape: x.setup.Kind.Shape, From: from, Emergency: true}
	x.out.ID = from.ID
	x.other = current.Number != version
	if x.other && !current.Ended && len(x.setup.owns()) == 0 {
		x.r.EndedBy = &current
	}
	return nil
}

// gone is a version that is not in the vault any more.
func (x *ending) gone(name secret.Name, version uint64) error {
	id, retired, err := x.e.Retired(name, version)
	if err != nil {
		return err
	}
	x.out.ID = id
	switch {
	case !retired:
		return ErrGone
	case x.setup.Kind.Alone:
		return errAlone
	}
	x.out.State, x.out.Proven = Revoked, x.setup.Kind.Name != "" && !x.setup.Kind.Blind
	return nil
}

var errAlone = &providers.CallError{
	Outcome: providers.DefinitelyNot, Code: reasonNoService,
	Problem: "no service knows the value: it is valid wherever it is used", Remedy: "set a new one where it is used",
}

// Retired reports whether a rotation ended a version that is not in the vault any
// more, and what the service called it, as far as the history goes back.
func (e *Engine) Retired(name secret.Name, version uint64) (id string, retired bool, err error) {
	all, err := e.journal.past(name)
	for _, r := range all {
		switch version {
		case r.From.Number:
			id = cmp.Or(id, r.From.ID)
			retired = retired || r.State == Done && r.Reason != reasonOwner
		case r.To:
			id = cmp.Or(id, r.NewID)
			// One that a person made was left to them, and a warning may be that it was not ended.
			retired = retired || r.State == RolledBack && !r.Left && r.Issues > 0 && r.Warning == ""
		}
	}
	return id, retired, err
}

// act does one thing.
func (x *ending) act(ctx context.Context, a Action) *evidence {
	if x.late >= endSilent {
		return unusable("the service does not answer")
	}
	x.r.Doing = a
	ev := x.e.act(ctx, x.f, x.r, &x.setup)
	if ev == nil {
		return notBegun(ctx.Err())
	}
	if ev.late {
		x.late++
	}
	return ev
}

// end has the service end it, unless it was ended before and is still refused.
func (x *ending) end(ctx context.Context) error {
	if x.r.From.Ended {
		x.out.State = Revoked
		if ev, _ := x.look(ctx, 0); !ev.accepts() {
			return nil
		}
		x.out.State = NotRevoked
	}
	if x.other && x.r.inPlace(x.setup.traits()) {
		// The two may have one id: ending it by that would end the current one.
		return &providers.CallError{
			Outcome: providers.DefinitelyNot, Code: reasonByHand,
			Problem: "the service has one credential at a time, and this is not the current one", Remedy: "end it by hand at its service",
		}
	}
	err := x.call(ctx)
	x.out.ID = x.r.From.ID
	if x.out.State != NotRevoked {
		err = errors.Join(err, x.mark(ctx, true))
	}
	return err
}

// call makes the calls that end it.
func (x *ending) call(ctx context.Context) error {
	silent := false
	if x.r.From.ID == "" {
		ev := x.act(ctx, actCheck)
		if ev.old != nil {
			x.r.From.ID, x.r.From.Facts = ev.old.id, ev.old.facts
		}
		silent = ev.outcome == providers.Unknown
	}
	if !silent && x.act(ctx, actDisable).outcome == providers.OK {
		x.out.State = Disabled
	}
	ev := x.act(ctx, actRevoke)
	if ev.old != nil {
		x.r.From.Facts = ev.old.facts
	}
	switch {
	case ev.outcome == providers.OK:
		x.out.State = Revoked
	case x.out.State != Disabled || ev.code != providers.CodeUnsupported:
		return ev.err()
	}
	return nil
}

// mark has the vault know whether it is dead, also where other secrets hold the
// same value.
func (x *ending) mark(ctx context.Context, dead bool) error {
	if x.r.From.Ended == dead {
		return nil
	}
	x.r.From.Ended = dead
	err := x.e.Vault.Mark(x.r.Secret, x.r.From)
	_, shared := x.e.markShared(ctx, x.r.Secret, x.r.From.Number, dead)
	if shared != nil {
		x.e.Warn(fmt.Sprintf("looking for others with the value of %s, which was ended: %v", x.r.Secret, shared))
	}
	return err
}

// prove asks the service whether it refuses the credential, which is what counts.
// err is what went wrong in ending it.
func (x *ending) prove(ctx context.Context, err error) (Ended, error) {
	told := x.out.State != NotRevoked
	var patience time.Duration
	if told {
		patience = x.setup.Kind.Lag + endLooks
	}
	if x.setup.Kind.Blind {
		if told && err == nil {
			err = providers.Maybe(providers.CodeUnsupported, "the service cannot be asked whether it refuses it")
		}
		return x.out, err
	}
	switch ev, refused := x.look(ctx, patience); {
	case refused && told:
		x.out.Proven = true
	case refused: // it was dead before, or the answer was lost
		x.out.State, x.out.Proven = Revoked, true
		err = x.mark(ctx, true)
	case ev.accepts():
		x.out.State = NotRevoked
		if told {
			err = &providers.CallError{
				Outcome: providers.DefinitelyNot, Code: reasonAccepted,
				Problem: "the service still accepts it, though it was told to end it", Remedy: "end it by hand at its service",
			}
		}
		if unmarked := x.mark(ctx, false); unmarked != nil {
			err = errors.Join(err, unmarked)
		}
	case told && err == nil:
		unproven := providers.Maybe(ev.code, "the service does not say whether it refuses it: %s", ev.problem)
		unproven.Remedy = "ask again: secretctl kill --upstream"
		err = unproven
	}
	return x.out, err
}

// look asks the service until it refuses the credential as often as proves it,
// or the patience is over.
func (x *ending) look(ctx context.Context, patience time.Duration) (ev *evidence, refused bool) {
	t := x.setup.traits()
	proofs, unknown := 0, 0
	for n := 1; ; n++ {
		ev = x.act(ctx, actProve)
		wait := min(pause(n), patience)
		switch {
		case ev.refuses():
			if proofs++; proofs >= t.proofs {
				return ev, true
			}
			wait = t.proofGap
		case !ev.accepts():
			if unknown++; unknown > endUnknown || x.late >= endSilent {
				return ev, false
			}
		default:
			proofs = 0
		}
		if !ev.refuses() {
			if patience <= 0 {
				return ev, false
			}
			patience -= wait
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return notBegun(ctx.Err()), false
		}
	}
}

// accepts reports whether the service took the credential, whatever it said of
// it.
func (ev *evidence) accepts() bool {
	return ev.outcome == providers.OK || ev.code == providers.CodeWrongAccount || ev.code == providers.CodeWiderScope
}

// err is the evidence as an error.
func (ev *evidence) err() error {
	return &providers.CallError{Outcome: ev.outcome, Code: ev.code, RetryAfter: ev.after, Problem: ev.problem, Remedy: ev.remedy}
}
