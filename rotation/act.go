package rotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// callTime bounds one call to a provider, which may be several to its service,
// and hangTime how long one that is to stop is waited for.
const (
	callTime = time.Minute
	hangTime = 5 * time.Second
)

// toldFor is how long after other hosts were told of it a call may begin. They wait
// for many times that before they take a rotation over.
const toldFor = time.Minute

// act does r.Doing and returns what that brought, nil when it was not begun since
// ctx is done. It decides nothing.
func (e *Engine) act(ctx context.Context, f *flight, r *Rotation, setup *Setup) *evidence {
	var ev *evidence
	switch r.Doing {
	case actDisable, actRevoke, actForget:
		if ev := e.holds(ctx, r); ev != nil {
			ev.now = e.now()
			return ev
		}
	}
	switch r.Doing {
	case actCheck, actDisable: // and then again: somebody may have set it since
		if ev = e.shared(ctx, r, setup); ev == nil {
			ev = e.call(ctx, f, r, setup)
		}
	case actReserve:
		ev = e.reserve(r)
	case actPublish:
		ev = e.publish(ctx, r)
	case actAnnounce:
		version := r.To
		if r.Back {
			version = r.From.Number
		}
		ev = ours(e.Vault.Announce(ctx, r.Secret, version))
	case actConfirm:
		ev = ours(e.Vault.Confirm(ctx, r.Secret, r.To))
	case actDrain:
		ev = &evidence{outcome: providers.OK}
		ev.moving, ev.copied, ev.pinned = e.Vault.Holders(r.Secret, r.From.Number)
	case actEnd:
		ev = ours(e.Vault.EndLeases(r.Secret, r.From.Number))
	case actForget:
		ev = ours(e.forget(ctx, r, setup))
	case actRestore:
		ev = e.restore(ctx, r)
	case actDrop:
		ev = ours(e.Vault.Withdraw(ctx, r.Secret, r.To))
	default:
		ev = e.call(ctx, f, r, setup)
	}
	if ev != nil {
		ev.now = e.now()
	}
	return ev
}

// ours is the evidence of something done on our own side, all of which may be
// repeated.
func ours(err error) *evidence {
	if err == nil {
		return &evidence{outcome: providers.OK}
	}
	return &evidence{outcome: providers.Unknown, code: reasonVault, problem: err.Error()}
}

// notBegun is the evidence of a call that our own side kept from being made.
func notBegun(err error) *evidence {
	return &evidence{outcome: providers.DefinitelyNot, code: reasonVault, problem: err.Error()}
}

// shared refuses to end a credential that another secret holds as well, unless
// that is what its owner wants. It returns nil when all is well.
func (e *Engine) shared(ctx context.Context, r *Rotation, setup *Setup) *evidence {
	if r.From.Number == 0 || r.From.Ended || setup.Kind.Alone { // then nothing ends anywhere
		return nil
	}
	all, err := e.Vault.Sharing(ctx, r.Secret, r.From.Number)
	if err != nil {
		return ours(err)
	}
	for _, other := range slices.Sorted(maps.Keys(all)) {
		current, err := e.Vault.Current(other)
		if err != nil {
			return ours(err)
		}
		if other == r.Secret || !slices.Contains(all[other], current.Number) {
			continue
		}
		problem := fmt.Sprintf("secret %q holds the same credential, which ends with this one", other)
		if r.Emergency {
			e.Warn(fmt.Sprintf("rotating %s: %s", r.Secret, problem))
			return nil
		}
		return &evidence{outcome: providers.DefinitelyNot, code: reasonShared, problem: problem,
			remedy: fmt.Sprintf("give its consumers %s, then: secretctl rm %s; or to end it all the same: secretctl rotate --emergency %s", r.Secret, other, r.Secret)}
	}
	return nil
}

// markShared has the vault know of every other version with the value of one
// whether it is dead at its service, and returns the secrets it is in use in.
func (e *Engine) markShared(ctx context.Context, name secret.Name, version uint64, dead bool) (used []secret.Name, err error) {
	all, err := e.Vault.Sharing(ctx, name, version)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, other := range slices.Sorted(maps.Keys(all)) {
		current, err := e.Vault.Current(other)
		errs = append(errs, err)
		for _, n := range all[other] {
			v, err := e.Vault.Version(other, n)
			if err == nil && v.Number != 0 && v.Ended != dead {
				v.Ended = dead
				err = e.Vault.Mark(other, v)
			}
			errs = append(errs, err)
			if n == current.Number {
				used = append(used, other)
			}
		}
	}
	return used, errors.Join(errs...)
}

// forget removes the old version here. Who else has its value has a dead one now.
func (e *Engine) forget(ctx context.Context, r *Rotation, setup *Setup) error {
	if r.From.Number == 0 {
		return nil
	}
	if r.State == Retired && !setup.Kind.Alone {
		used, err := e.markShared(ctx, r.Secret, r.From.Number, true)
		if err != nil {
			return err
		}
		for _, other := range used {
			r.Warning = fmt.Sprintf("secret %q held the same credential, which is dead: secretctl rotate, or set, %s", other, other)
		}
	}
	if r.State == Retired && r.Claimed { // what other hosts know of it is that it is gone, and not why
		v, err := e.Vault.Version(r.Secret, r.From.Number)
		if err == nil && v.Number != 0 && !v.Ended {
			v.Ended = true
			err = e.Vault.Mark(r.Secret, v)
		}
		if err != nil {
			return err
		}
	}
	return e.Vault.Forget(ctx, r.Secret, r.From.Number)
}

func (e *Engine) reserve(r *Rotation) *evidence {
	if r.To != 0 {
		return &evidence{outcome: providers.OK, made: &made{version: r.To}}
	}
	version, err := e.Vault.Reserve(r.Secret)
	ev := ours(err)
	ev.made = &made{version: version}
	return ev
}

func (e *Engine) publish(ctx context.Context, r *Rotation) *evidence {
	current, err := e.Vault.Current(r.Secret)
	if err != nil {
		return ours(err)
	}
	if n := current.Number; n != r.From.Number && n != r.To {
		return &evidence{outcome: providers.DefinitelyNot, code: reasonChanged, problem: fmt.Sprintf("the secret has got version %d meanwhile", n)}
	}
	value, err := e.Sealer.Open(r.Sealed)
	if err != nil {
		return ours(fmt.Errorf("opening the new value in the journal: %w", err))
	}
	defer value.Clear()
	created := r.Made
	if created.IsZero() {
		created = e.now()
	}
	return ours(e.Vault.Publish(ctx, r.Secret, providers.Version{Number: r.To, ID: r.NewID, Facts: r.Facts, Created: created, Expires: r.Expires}, value))
}

// holds sees to it that the new version is in force before the old one is ended,
// whatever became of the vault since it was published: a copy of it may have been
// restored. It returns nil when all is well.
func (e *Engine) holds(ctx context.Context, r *Rotation) *evidence {
	if len(r.Sealed) == 0 || r.State != Drained && r.State != Retired {
		return nil
	}
	if ev := e.publish(ctx, r); ev.outcome != providers.OK {
		return ev
	}
	return nil
}

// restore makes the old version current where the new one is: it may not have
// come to that, or somebody may have set another.
func (e *Engine) restore(ctx context.Context, r *Rotation) *evidence {
	current, err := e.Vault.Current(r.Secret)
	if err != nil || current.Number != r.To {
		return ours(err)
	}
	return ours(e.Vault.Restore(ctx, r.Secret, r.To, r.From.Number))
}

// call calls the provider, when there is room and its managing credential is
// not being changed.
func (e *Engine) call(ctx context.Context, f *flight, r *Rotation, setup *Setup) *evidence {
	if f.out != nil {
		select {
		case <-f.out:
			f.out = nil
		default:
			return &evidence{outcome: providers.DefinitelyNot, code: providers.CodeUnavailable, problem: "the provider has not returned from a call before"}
		}
	}
	var changes secret.Name
	if r.Secret.Own() && !r.Doing.looks() {
		changes = r.Secret
	}
	end, err := e.calls.begin(ctx, r.Provider, setup.owns(), changes)
	if err != nil {
		return nil
	}
	defer end()
	if r.Claimed {
		select {
		case <-f.told: // it waited long for its turn: they are told again first
			return nil
		default:
		}
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(f.call, callTime))
	defer cancel()
	c, clear, err := e.prepare(ctx, r)
	if err != nil {
		return notBegun(err)
	}
	defer clear()
	ev := e.bounded(ctx, f, r, setup, c)
	ev.late = ctx.Err() != nil
	return ev
}

// bounded returns when ctx is done, whatever the provider does. One that hangs is
// not called for this rotation again before it has returned: two attempts are
// never under way.
func (e *Engine) bounded(ctx context.Context, f *flight, r *Rotation, setup *Setup, c *providers.Call) *evidence {
	brought := make(chan *evidence, 1)
	returned := make(chan struct{})
	now := *r
	go func() {
		defer close(returned)
		brought <- e.guarded(ctx, &now, setup, c)
	}()
	select {
	case ev := <-brought:
		return ev
	case <-ctx.Done():
	}
	select {
	case ev := <-brought:
		return ev
	case <-time.After(hangTime):
	}
	f.out = returned
	e.Warn(fmt.Sprintf("provider %s does not return from %s of %s", r.Provider, r.Doing, r.Secret))
	return &evidence{outcome: providers.Unknown, code: providers.CodeUnavailable, problem: "the provider does not return"}
}

// prepare opens what the call is about.
func (e *Engine) prepare(ctx context.Context, r *Rotation) (c *providers.Call, clear func(), err error) {
	c = &providers.Call{Secret: r.Secret, Tag: r.Tag, Own: e.Vault.Own, Dead: r.From.Ended}
	clear = func() {
		for _, cred := range []*providers.Credential{c.Old, c.New} {
			if cred != nil {
				cred.Value.Clear()
			}
		}
	}
	if r.From.Number != 0 {
		value, err := e.Vault.Value(ctx, r.Secret, r.From.Number)
		if err != nil {
			return nil, nil, fmt.Errorf("opening the old version: %w", err)
		}
		c.Old = &providers.Credential{ID: r.From.ID, Facts: r.From.Facts, Value: value, Created: r.From.Created, Expires: r.From.Expires}
	}
	if by := r.EndedBy; by != nil {
		value, err := e.Vault.Value(ctx, r.Secret, by.Number)
		if err != nil {
			clear()
			return nil, nil, fmt.Errorf("opening the current version: %w", err)
		}
		c.New = &providers.Credential{ID: by.ID, Facts: by.Facts, Value: value, Created: by.Created, Expires: by.Expires}
	}
	if len(r.Sealed) > 0 {
		value, err := e.Sealer.Open(r.Sealed)
		if err != nil {
			clear()
			return nil, nil, fmt.Errorf("opening the new value in the journal: %w", err)
		}
		c.New = &providers.Credential{ID: r.NewID, Facts: r.Facts, Value: value, Created: r.Made, Expires: r.Expires}
	}
	return c, clear, nil
}

// guarded keeps a panic in a provider from taking the broker down. What it
// panicked with is not shown: it may hold a value.
func (e *Engine) guarded(ctx context.Context, r *Rotation, setup *Setup, c *providers.Call) (ev *evidence) {
	defer func() {
		if recover() != nil {
			e.Warn(fmt.Sprintf("provider %s panicked in %s:\n%s", r.Provider, r.Doing, debug.Stack()))
			ev = &evidence{outcome: providers.Unknown, code: providers.CodeUnavailable, problem: "the provider has a fault: it panicked"}
		}
	}()
	rotator, err := setup.Kind.Open(setup.Options)
	if err != nil {
		return &evidence{outcome: providers.DefinitelyNot, code: providers.CodeOptions, problem: err.Error()}
	}
	return e.ask(ctx, r, setup, rotator, c)
}

// ask is the one call that r.Doing stands for.
func (e *Engine) ask(ctx context.Context, r *Rotation, setup *Setup, rotator providers.Rotator, c *providers.Call) *evidence {
	switch r.Doing {
	case actCheck:
		return r.explain(setup, e.check(ctx, rotator, c))
	case actChoose:
		return e.choose(ctx, r, rotator, c)
	case actIssue:
		return e.issue(ctx, r, rotator, c)
	case actFind:
		found, err := rotator.Find(ctx, c)
		ev := theirs(err)
		for _, cred := range found {
			ev.found = append(ev.found, cred.ID)
		}
		return ev
	case actClean:
		return theirs(rotator.Revoke(ctx, c, &providers.Credential{ID: r.Orphans[0]}))
	case actVerify:
		if same(c.Old, c.New) {
			return &evidence{outcome: providers.DefinitelyNot, code: providers.CodeBadValue, problem: "the new value is the one it is to replace"}
		}
		return e.verify(ctx, rotator, c, c.New)
	case actProbeNew:
		return e.verify(ctx, rotator, c, c.New)
	case actProbeOld, actProve:
		return e.verify(ctx, rotator, c, c.Old)
	case actDisable:
		return theirs(rotator.Disable(ctx, c, c.Old))
	case actRevoke:
		ev := theirs(rotator.Revoke(ctx, c, c.Old))
		if c.Old != nil {
			ev.old = &made{id: c.Old.ID, facts: c.Old.Facts}
		}
		return ev
	case actUndo:
		return undo(ctx, r, setup, rotator, c)
	}
	return &evidence{outcome: providers.DefinitelyNot, code: providers.CodeUnsupported, problem: fmt.Sprintf("there is no action %q", r.Doing)}
}

// issue asks for the new credential. Of shape set it is kept already.
func (e *Engine) issue(ctx context.Context, r *Rotation, rotator providers.Rotator, c *providers.Call) *evidence {
	old := c.Old
	next, err := rotator.Issue(ctx, c, c.New)
	if next != nil && next != c.New {
		defer next.Value.Clear()
	}
	switch {
	case err != nil:
		return theirs(err)
	case r.Shape == providers.ShapeSet:
		return &evidence{outcome: providers.OK}
	case next == nil || next.Value.Len() == 0:
		return unusable("the service's answer has no credential")
	case same(old, next):
		return unusable("the service gave the old credential once more")
	}
	return e.seal(r, next)
}

// unusable is the evidence of an answer from which nobody can tell what was done.
func unusable(problem string) *evidence {
	return &evidence{outcome: providers.Unknown, code: providers.CodeUnavailable, problem: problem}
}

// same reports whether ending one credential would end the other.
func same(a, b *providers.Credential) bool {
	return a != nil && b != nil && a.Value.Equal(b.Value)
}

// undo ends the new credential. One that a person made is theirs, who may want it
// elsewhere; where the old one died by making it, the old one is set again.
func undo(ctx context.Context, r *Rotation, setup *Setup, rotator providers.Rotator, c *providers.Call) *evidence {
	switch {
	case r.Issues == 0 || c.New == nil:
		return &evidence{outcome: providers.OK}
	case r.Shape == providers.ShapeSet && !setup.Kind.Overlap && c.Old != nil && !r.From.Ended:
		again, err := rotator.Issue(ctx, c, c.Old)
		if again != nil && again != c.Old {
			again.Value.Clear()
		}
		return theirs(err)
	}
	return theirs(rotator.Revoke(ctx, c, c.New))
}

// choose makes the value where we do.
func (e *Engine) choose(ctx context.Context, r *Rotation, rotator providers.Rotator, c *providers.Call) *evidence {
	next, err := rotator.(providers.Chooser).Choose(ctx, c)
	if next != nil {
		defer next.Value.Clear()
	}
	switch {
	case err != nil:
		return theirs(err)
	case next == nil || next.Value.Len() == 0 || same(c.Old, next):
		return &evidence{outcome: providers.DefinitelyNot, code: providers.CodeBadValue, problem: "the provider chose no new value"}
	}
	return e.seal(r, next)
}

// explain says why one that makes its successor itself cannot, when that is known.
func (r *Rotation) explain(setup *Setup, ev *evidence) *evidence {
	if r.From.Ended && ev.outcome == providers.DefinitelyNot && len(setup.owns()) == 0 {
		ev.problem = fmt.Sprintf("version %d was ended at its service, and no other credential is named that could make the next: %s", r.From.Number, ev.problem)
		ev.remedy = "make one by hand at its service, then: secretctl set " + string(r.Secret)
	}
	return ev
}

// check looks, and finds out what the service calls the old credential where
// that is not known.
func (e *Engine) check(ctx context.Context, rotator providers.Rotator, c *providers.Call) *evidence {
	var old *made
	if id, ok := rotator.(providers.Identifier); ok && c.Old != nil && c.Old.ID == "" {
		err := id.Identify(ctx, c, c.Old)
		if err != nil && providers.CodeOf(err) != providers.CodeNotFound && providers.CodeOf(err) != providers.CodeUnsupported {
			return theirs(err)
		}
		old = &made{id: c.Old.ID, facts: c.Old.Facts}
	}
	who, err := rotator.Check(ctx, c)
	ev := theirs(err)
	ev.account, ev.old = who.Account, old
	return ev
}

func (e *Engine) verify(ctx context.Context, rotator providers.Rotator, c *providers.Call, cred *providers.Credential) *evidence {
	if cred == nil {
		return &evidence{outcome: providers.DefinitelyNot, code: providers.CodeInvalid, problem: "there is no credential"}
	}
	who, err := rotator.Verify(ctx, c, cred)
	ev := theirs(err)
	ev.account, ev.made = who.Account, &made{expires: cred.Expires.UTC()}
	return ev
}

// seal keeps a new credential before anything else is done with it.
func (e *Engine) seal(r *Rotation, cred *providers.Credential) *evidence {
	m := &made{version: r.To, id: cred.ID, facts: cred.Facts, created: cred.Created.UTC(), expires: cred.Expires.UTC()}
	if m.created.IsZero() {
		m.created = e.now()
	}
	var err error
	if m.sealed, err = e.Sealer.Seal(cred.Value); err != nil {
		// The service may have made it, and we could not keep it.
		return &evidence{outcome: providers.Unknown, code: reasonVault, problem: fmt.Sprintf("keeping the new value: %v", err)}
	}
	return &evidence{outcome: providers.OK, made: m}
}

// theirs is the evidence of a call.
func theirs(err error) *evidence {
	ev := &evidence{outcome: providers.OutcomeOf(err), code: providers.CodeOf(err)}
	if err == nil {
		return ev
	}
	ev.problem = "the provider gave no reason" // its words are trusted only where it made them for people
	if call := (*providers.CallError)(nil); errors.As(err, &call) {
		ev.after, ev.problem, ev.remedy = call.RetryAfter, call.Problem, call.Remedy
	}
	return ev
}
