package rotation

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// Options is what an engine is made with.
type Options struct {
	DB     durable.DB // the journal's
	Vault  Vault
	Sealer Sealer
	Claims Claims           // nil: no other host keeps any of the secrets
	Now    func() time.Time // wall clock, UTC
	Warn   func(string)     // told what the owner should know, one line each
	// Setup says how a secret is rotated, ok false: not at all. It is asked whenever
	// a rotation goes on, so that a config that changed is obeyed.
	Setup func(secret.Name) (s Setup, ok bool)
	// Parallel is how many calls to services are under way at a time, in all; 0: 4.
	// One provider gets half of them, but one at least.
	Parallel func() int
	// Settle is how long what an answer was lost of may still be under way; 0: half
	// a minute. Only a service that is known to be near can have less.
	Settle time.Duration
}

// Engine drives rotations. Make one with [New]; it is safe for concurrent use.
type Engine struct {
	Options
	journal journal
	calls   calls
	notify  func(providers.Progress) // told of each state; set before Run

	mu        sync.Mutex
	flights   map[secret.Name]*flight
	beginning map[secret.Name]chan struct{} // closed when a rotation that is being begun has, or has not
	ctx       context.Context               // of Run; nil before and after
	running   sync.WaitGroup
}

// flight is a rotation that has not ended.
type flight struct {
	name secret.Name
	turn chan struct{} // has an element while somebody takes the rotation on
	call time.Duration // what a call may take; 0: callTime

	rotation Rotation           // under Engine.mu; changed by who has the turn, but for Needs
	changed  chan struct{}      // closed, and replaced, at every change; under Engine.mu
	waiting  int                // owners who want the turn to change it; under Engine.mu
	cut      context.CancelFunc // ends the owner's command that runs; under Engine.mu; nil: none does

	saved Rotation         // as the journal has it; of who has the turn
	told  <-chan time.Time // has an element when other hosts were told long ago how far it is; of who has the turn
	out   <-chan struct{}  // closed when a call that was not waited for any more has returned; of who has the turn; nil: there was none
}

// The errors of this package, besides sentences.
var (
	// ErrNone means that no rotation of the secret is under way.
	ErrNone = errors.New("no rotation is under way")
	// ErrBusy means that one is.
	ErrBusy = errors.New("a rotation is under way")
	// ErrNoSetup means that the config does not say how.
	ErrNoSetup = errors.New("the config does not say how to rotate it")
	// ErrByHand means that a person has to give the value.
	ErrByHand = errors.New("the new value is made by hand")
	// ErrTooLate means that it cannot be rolled back.
	ErrTooLate = errors.New("it is too late to roll back")
)

// New makes an engine with what the journal has. Nothing moves before
// [Engine.Run].
func New(o Options) (*Engine, error) {
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	e := &Engine{
		Options: o, journal: journal{db: o.DB}, flights: make(map[secret.Name]*flight), beginning: make(map[secret.Name]chan struct{}),
		notify: func(providers.Progress) {},
	}
	e.calls.parallel = o.Parallel
	if e.Claims == nil {
		e.Claims = alone{}
	}
	all, err := e.journal.flights()
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		e.flights[r.Secret] = newFlight(*r)
	}
	return e, nil
}

func newFlight(r Rotation) *flight {
	return &flight{name: r.Secret, turn: make(chan struct{}, 1), rotation: r, saved: r, changed: make(chan struct{})}
}

// Run drives rotations until ctx is done, beginning with those that a stop or a
// crash left.
func (e *Engine) Run(ctx context.Context) {
	e.mu.Lock()
	e.ctx = ctx
	for _, f := range e.flights {
		e.driveLocked(f)
	}
	if e.Claims != (alone{}) {
		e.running.Go(func() { e.settle(ctx) })
	}
	e.mu.Unlock()
	<-ctx.Done()
	e.mu.Lock()
	e.ctx = nil
	e.mu.Unlock()
	e.running.Wait()
}

// driveLocked begins to drive a flight, if the engine runs.
func (e *Engine) driveLocked(f *flight) {
	if ctx := e.ctx; ctx != nil {
		e.running.Go(func() { e.drive(ctx, f) })
	}
}

// Order is what is asked for.
type Order struct {
	Secret    secret.Name
	By        string       // "owner" or "schedule"
	Value     secret.Value // given by hand; zero: the provider makes one
	Emergency bool         // no grace, and the leases on the old version end
	From      uint64       // the version to replace; 0: whichever is current
}

// Start begins a rotation, or finds the one that is under way, which then tries
// at once what it waited to try again. It takes the order's value over.
func (e *Engine) Start(o Order) (providers.Progress, error) {
	defer o.Value.Clear()
	for {
		if f := e.flight(o.Secret); f != nil {
			p, err := e.join(f, &o)
			if !errors.Is(err, ErrNone) {
				return p, err
			}
			continue // it has ended meanwhile
		}
		p, left, err := e.begin(&o)
		if left != nil {
			// What is wanted is asked of it. It may be over by now, and was that.
			p, err = e.join(left, &o)
			if errors.Is(err, ErrNone) && o.Value.IsZero() && !o.Emergency {
				return p, nil
			} else if !errors.Is(err, ErrNone) {
				return p, err
			}
			continue
		}
		if err == nil {
			e.notify(p)
		}
		if !errors.Is(err, errBegun) {
			return p, err
		}
	}
}

// errBegun means that somebody else was first, or tried to be.
var errBegun = errors.New("a rotation has begun")

// begin is Start for a secret that has no rotation under way. flying is one that
// another host has left, and which goes on now.
func (e *Engine) begin(o *Order) (p providers.Progress, flying *flight, err error) {
	setup, ok := e.Setup(o.Secret)
	if !ok {
		return p, nil, ErrNoSetup
	}
	if setup.Kind.Shape == providers.ShapeManual && o.Value.IsZero() {
		return p, nil, ErrByHand
	}
	done, err := e.first(o.Secret)
	if err != nil {
		return p, nil, err
	}
	defer done()
	r := Rotation{
		ID: newID(), Secret: o.Secret, Provider: setup.Kind.Name, Shape: setup.Kind.Shape, By: o.By,
		Grace: setup.Grace, Patient: setup.Patient, Hard: setup.Hard, Emergency: o.Emergency,
	}
	r.Tag = fmt.Sprintf("secretctl/%s/%s", r.Secret, r.ID)
	left, err := e.claimNew(&r)
	if err != nil {
		return p, nil, err
	}
	if left != nil {
		if err := e.journal.save(left); err != nil {
			return p, nil, err
		}
		if err := e.journal.owe(left.Secret, left.ID); err != nil {
			e.Warn(fmt.Sprintf("rotating %s: writing the rotation journal: %v", left.Secret, err))
		}
		return p, e.fly(left), nil
	}
	if err := e.prepareNew(&r, o, &setup); err != nil {
		e.unclaim(&r)
		return p, nil, err
	}
	e.fly(&r)
	return r.Progress(), nil, nil
}

// prepareNew has the journal know of a rotation that begins.
func (e *Engine) prepareNew(r *Rotation, o *Order, setup *Setup) (err error) {
	if r.From, err = e.Vault.Current(o.Secret); err != nil {
		return err
	}
	if o.From != 0 && r.From.Number != o.From {
		return ErrReplaced
	}
	r.begin(e.now())
	if err := e.warnOf(r, setup); err != nil {
		return err
	}
	if !o.Value.IsZero() {
		if err := e.take(r, o.Value); err != nil {
			return err
		}
	}
	return e.journal.save(r)
}

// fly has a rotation that the journal knows go on.
func (e *Engine) fly(r *Rotation) *flight {
	e.mu.Lock()
	defer e.mu.Unlock()
	f := newFlight(*r)
	e.flights[r.Secret] = f
	e.driveLocked(f)
	return f
}

// warnOf has the rotation say from its beginning which version is lost by it that
// may be valid at its service: one that nobody ended, and that no other did by
// being made.
func (e *Engine) warnOf(r *Rotation, setup *Setup) error {
	old, err := e.Vault.Previous(r.Secret)
	if err != nil || old.Number == 0 || old.Ended || setup.Kind.Alone || r.inPlace(setup.traits()) {
		return err
	}
	which := "it"
	if old.ID != "" {
		which = old.ID
	}
	r.Goes = fmt.Sprintf("version %d was never ended at its service and goes from here: end %s by hand there", old.Number, which)
	return nil
}

// first makes this the only one who begins a rotation of the secret, until done.
// Where somebody else does, it waits for them.
func (e *Engine) first(name secret.Name) (done func(), err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	other, mine := e.beginning[name], make(chan struct{})
	switch {
	case other != nil:
		e.mu.Unlock()
		<-other
		e.mu.Lock()
		return nil, errBegun
	case e.flights[name] != nil:
		return nil, errBegun
	}
	e.beginning[name] = mine
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.beginning, name)
		close(mine)
	}, nil
}

func (e *Engine) flight(name secret.Name) *flight {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.flights[name]
}

// join is Start for a secret whose rotation is under way.
func (e *Engine) join(f *flight, o *Order) (providers.Progress, error) {
	e.mu.Lock()
	r := f.rotation
	e.mu.Unlock()
	switch {
	case r.State.Ended():
		return r.Progress(), ErrNone
	case !o.Value.IsZero() && !r.Lost:
		return r.Progress(), ErrBusy
	case !o.Value.IsZero():
		return e.change(f, func(r *Rotation) error {
			if !r.Lost {
				return ErrBusy
			}
			if err := e.take(r, o.Value); err != nil {
				return err
			}
			r.given(e.now())
			return nil
		})
	case o.Emergency && !r.Emergency && !r.undoing():
		return e.change(f, func(r *Rotation) error {
			if !r.undoing() {
				r.rush(e.now())
			}
			return nil
		})
	}
	free := false
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
		free = true
	default: // it is being tried
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	r = f.rotation
	switch {
	case r.State.Ended():
		return r.Progress(), ErrNone
	case free:
		r.hurry()
	default:
		r.Needs = r.Lost // what is being tried will tell
	}
	e.putLocked(f, r)
	return r.Progress(), nil
}

// take seals a value that was given by hand into the journal's entry.
func (e *Engine) take(r *Rotation, v secret.Value) error {
	sealed, err := e.Sealer.Seal(v)
	if err == nil && r.To == 0 {
		r.To, err = e.Vault.Reserve(r.Secret)
	}
	if err != nil {
		return fmt.Errorf("keeping the new value of %q: %w", r.Secret, err)
	}
	r.Sealed, r.Made, r.ByHand = sealed, e.now(), true
	return nil
}

func newID() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// now is the wall clock in the resolution of the journal.
func (e *Engine) now() time.Time { return e.Now().UTC().Truncate(time.Microsecond) }

// Get returns how far the rotation of a secret is, [ErrNone] when none is under
// way.
func (e *Engine) Get(name secret.Name) (providers.Progress, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f, ok := e.flights[name]
	if !ok {
		return providers.Progress{}, ErrNone
	}
	return f.rotation.Progress(), nil
}

// Watch calls step with how the secret's rotation stands, and again when that has
// changed, until it has ended, needs its owner, or ctx is done, and returns the
// last. What comes and goes while a step is told is passed over. until, when not
// nil, ends it earlier.
func (e *Engine) Watch(ctx context.Context, name secret.Name, id string, step func(providers.Progress), until func(providers.Progress) bool) (providers.Progress, error) {
	var last providers.Progress
	for {
		e.mu.Lock()
		f, ok := e.flights[name]
		if !ok || f.rotation.ID != id {
			e.mu.Unlock()
			return e.ended(name, id)
		}
		now, changed := f.rotation.Progress(), f.changed
		e.mu.Unlock()
		if now.State != last.State || now.Step != last.Step || now.Reason != last.Reason {
			step(now)
		}
		if last = now; now.State == "needs-owner" || until != nil && until(now) {
			return now, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return now, ctx.Err()
		}
	}
}

// ended finds a rotation in the history.
func (e *Engine) ended(name secret.Name, id string) (providers.Progress, error) {
	all, err := e.journal.history(name)
	if i := slices.IndexFunc(all, func(p providers.Progress) bool { return p.ID == id }); i >= 0 {
		return all[i], err
	}
	return providers.Progress{}, errors.Join(ErrNone, err)
}

// Flights returns the rotations under way, by the secret's name.
func (e *Engine) Flights() []providers.Progress {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]providers.Progress, 0, len(e.flights))
	for _, f := range e.flights {
		out = append(out, f.rotation.Progress())
	}
	slices.SortFunc(out, func(a, b providers.Progress) int { return strings.Compare(a.Secret, b.Secret) })
	return out
}

// Last returns the rotation of a secret that is under way or else the one that
// ended last, ok false: there was none.
func (e *Engine) Last(name secret.Name) (p providers.Progress, ok bool, err error) {
	if p, err = e.Get(name); err == nil {
		return p, true, nil
	}
	return e.journal.last(name)
}

// History returns the rotations of a secret that have ended, newest first.
func (e *Engine) History(name secret.Name) ([]providers.Progress, error) {
	return e.journal.history(name)
}

// RollBack ends the rotation under way with the old version in force. It fails
// with [ErrTooLate] once the old version is being ended.
func (e *Engine) RollBack(name secret.Name) (providers.Progress, error) {
	return e.changeOf(name, func(r *Rotation) error {
		if why := r.canRollBack(); why != "" {
			return fmt.Errorf("%w: %s", ErrTooLate, why)
		}
		r.back(e.now())
		return nil
	})
}

// GiveUp ends the rotation under way as it stands. An old version that may be
// dead at the service is not kept to go back to. It fails where that would lose
// the one credential that works.
func (e *Engine) GiveUp(name secret.Name) (providers.Progress, error) {
	return e.endAsIs(name, false)
}

// endAsIs is GiveUp. keep: an old version that is being ended is kept here, for
// one who ends it next, though it may be dead.
func (e *Engine) endAsIs(name secret.Name, keep bool) (providers.Progress, error) {
	return e.changeOf(name, func(r *Rotation) error {
		current, err := e.Vault.Current(name)
		if err != nil {
			return err
		}
		setup, ok := e.Setup(name) // of which nothing is known, making a new one may end the old one
		t := setup.traits()
		if r.onlyCopy(t, current.Number) {
			return r.refuseGiveUp(ok)
		}
		r.giveUp(e.now(), current.Number, t)
		if keep && r.GivenUp && r.State != Retired {
			r.GivenUp = false
			r.end(Done)
		}
		return nil
	})
}

// refuseGiveUp says why it cannot be given up, and what to do. known: the config
// says how to go on.
func (r *Rotation) refuseGiveUp(known bool) error {
	err := &providers.CallError{
		Outcome: providers.DefinitelyNot, Code: reasonOnlyCopy,
		Problem: "the old credential is dead, or may be, and the new one is kept nowhere else",
		Remedy:  "to try again: secretctl rotate " + string(r.Secret),
	}
	switch {
	case r.Lost:
		err.Remedy += "; or make a new one at the service, then: secretctl rotate --stdin " + string(r.Secret)
	case !known:
		err.Remedy = "put its rotate line back and reload, then: secretctl rotate " + string(r.Secret)
	}
	return err
}

func (e *Engine) changeOf(name secret.Name, how func(*Rotation) error) (providers.Progress, error) {
	f := e.flight(name)
	if f == nil {
		return providers.Progress{}, ErrNone
	}
	return e.change(f, how)
}

// change lets the owner change a rotation between two actions. A command of
// theirs that is running, which may take minutes, is cut short.
func (e *Engine) change(f *flight, how func(*Rotation) error) (providers.Progress, error) {
	defer e.interrupt(f)()
	select {
	case f.turn <- struct{}{}:
	case <-time.After(callTime + hangTime + callTime/6): // what a call takes, and a little for the disk
		return providers.Progress{}, fmt.Errorf("%w, in a step that takes long: try again", ErrBusy)
	}
	defer func() { <-f.turn }()
	e.mu.Lock()
	next := f.rotation
	e.mu.Unlock()
	if next.State.Ended() {
		return next.Progress(), ErrNone
	}
	before := next
	if err := how(&next); err != nil {
		return before.Progress(), err
	}
	if err := e.journal.save(&next); err != nil {
		return before.Progress(), err
	}
	f.saved = next
	e.put(f, &before, &next)
	if next.State.Ended() {
		e.unclaim(&next)
	}
	return next.Progress(), nil
}

// interrupt ends the owner's command that runs, and has none begin, until done.
func (e *Engine) interrupt(f *flight) (done func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if f.waiting++; f.cut != nil {
		f.cut()
	}
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		f.waiting--
	}
}

// interruptible returns the context of an action, which [Engine.interrupt] ends
// where that is one of the owner's commands.
func (e *Engine) interruptible(ctx context.Context, f *flight, a Action) (_ context.Context, done func()) {
	if !a.commands() {
		return ctx, func() {}
	}
	ctx, cut := context.WithCancel(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	if f.cut = cut; f.waiting > 0 {
		cut()
	}
	return ctx, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		f.cut = nil
		cut()
	}
}

// put puts a rotation's new state in force, and into the audit log what of it is
// to be known later.
func (e *Engine) put(f *flight, before, next *Rotation) {
	// That it was published the vault has recorded before it was.
	moved := next.State != before.State && next.State != Published
	if moved || next.Needs && !before.Needs || next.Back != before.Back {
		e.record(next)
	}
	if moved && next.State == Retired && next.From.Number != 0 {
		e.log(next.Secret, next.From.Number, "ended", "") // is asked for long after the history has forgotten it
	}
	e.mu.Lock()
	e.putLocked(f, *next)
	e.mu.Unlock()
	if next.State != before.State {
		e.notify(next.Progress())
	}
}

// putLocked puts a rotation's new state in force and tells who watches.
func (e *Engine) putLocked(f *flight, next Rotation) {
	f.rotation = next
	if next.State.Ended() {
		delete(e.flights, next.Secret)
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

// drive takes a rotation from action to action until it has ended or ctx is
// done.
func (e *Engine) drive(ctx context.Context, f *flight) {
	f.turn <- struct{}{}
	e.resume(ctx, f)
	<-f.turn
	for {
		due, ok := e.await(ctx, f)
		if !ok {
			return
		}
		select {
		case f.turn <- struct{}{}:
		case <-ctx.Done():
			return
		}
		if e.unchanged(f, due) {
			e.step(ctx, f)
		}
		<-f.turn
	}
}

// shortWait is the longest wait that is measured by a timer alone. It is longer
// than those that settle something.
const shortWait = time.Minute

// await waits until the next action may begin, and returns what is closed when
// the rotation changes after that. ok is false when there is none.
func (e *Engine) await(ctx context.Context, f *flight) (changed <-chan struct{}, ok bool) {
	var waited time.Duration
	for {
		e.mu.Lock()
		r, now := f.rotation, f.changed
		e.mu.Unlock()
		if ctx.Err() != nil || r.State.Ended() {
			return nil, false
		}
		if now != changed {
			changed, waited = now, 0
		}
		// What is long by the wall's clock, since the machine may sleep; but no longer
		// than was meant, since the clock may be set back. What is short as it is: where
		// something is settled by waiting, it was waited.
		meant := r.Again.Sub(r.Updated)
		wait := meant - waited
		if meant > shortWait {
			wait = min(wait, r.Again.Sub(e.now()))
		}
		if wait <= 0 {
			return changed, true
		}
		wait = min(wait, lastLook)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
			waited += wait
		case <-changed:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// unchanged reports whether nobody changed the rotation since it was looked at.
func (e *Engine) unchanged(f *flight, changed <-chan struct{}) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return f.changed == changed && !f.rotation.State.Ended()
}

// resume settles what a stop or a crash left open.
func (e *Engine) resume(ctx context.Context, f *flight) {
	e.mu.Lock()
	before := f.rotation
	e.mu.Unlock()
	if next := before; next.resume(e.now()) {
		e.keep(ctx, f, &before, &next)
	}
}

// step does one action and keeps what follows from it.
func (e *Engine) step(ctx context.Context, f *flight) {
	e.mu.Lock()
	before := f.rotation
	e.mu.Unlock()
	next := before
	setup, ok := e.Setup(next.Secret)
	if ok = ok && setup.Kind.Name == next.Provider; !ok && !next.Doing.ours() {
		remedy := "put the line back and reload"
		if current, err := e.Vault.Current(next.Secret); err == nil && !next.onlyCopy(traits{}, current.Number) {
			remedy += ", or: secretctl rotate --give-up " + string(next.Secret)
		}
		next.strand(e.now(), fmt.Sprintf("the config no longer says to rotate it with provider %q", next.Provider), remedy)
		e.keep(ctx, f, &before, &next)
		return
	}
	next.unstrand()
	t := setup.traits()
	t.settle = e.Settle
	ev, lost := e.keepClaim(ctx, &next)
	f.told = time.After(toldFor)
	switch {
	case lost != nil:
		next.taken(e.now(), lost)
		e.keep(ctx, f, &before, &next)
		if !before.Claimed { // it is this host that took one over, under its own
			e.running.Go(func() { _, _ = e.Start(Order{Secret: next.Secret, By: next.By}) }) // which another Start does as well
		}
		return
	case ev != nil && ctx.Err() != nil:
		return
	case ev != nil && next.Doing != actEnd: // what takes power away waits for nobody
		next.untold(ev)
		e.keep(ctx, f, &before, &next)
		return
	}
	acting, done := e.interruptible(ctx, f, next.Doing)
	ev = e.act(acting, f, &next, &setup)
	cut := acting.Err() != nil
	done()
	if ev == nil || cut && ev.outcome != providers.OK && (next.Doing.looks() || next.Doing.commands()) {
		return // as if the broker had died before: what was cut short says nothing
	}
	next.next(t, ev)
	e.keep(ctx, f, &before, &next)
}

// keep writes a rotation that has gone on to the journal and puts it in force.
// Nothing is done on the strength of what is not written: it tries until it is.
func (e *Engine) keep(ctx context.Context, f *flight, before, next *Rotation) {
	if mustKeep(&f.saved, next) {
		for n := 1; ; n++ {
			err := e.journal.save(next)
			if err == nil {
				break
			}
			e.Warn(fmt.Sprintf("rotating %s: %v; it waits until that works", next.Secret, err))
			select {
			case <-time.After(min(pause(n), lastLook)):
			case <-ctx.Done():
				return // as if the broker had died here
			}
		}
		f.saved = *next
	}
	e.put(f, before, next)
	if next.State.Ended() && next.Reason != reasonTaken {
		e.unclaim(next)
	}
}

// mustKeep reports whether the journal, which has saved, has to have r before
// anything more is done: it knows something that cannot be found out again, goes
// on to what the journal does not allow yet, or waits with something decided.
// Whatever else is lost is done once more, which is harmless.
func mustKeep(saved, r *Rotation) bool {
	switch r.Doing {
	case actIssue:
		if saved.Doing != actIssue || r.Issues != saved.Issues {
			return true
		}
	case actPublish, actForget, actDrop:
		if saved.Doing != r.Doing {
			return true
		}
	}
	moved := r.State != saved.State
	return r.State.Ended() || moved && (r.State == Drained || r.State.live() && !r.Again.IsZero()) ||
		r.Stops != saved.Stops || r.Needs != saved.Needs || r.Back != saved.Back || r.Lost != saved.Lost || r.Disabled != saved.Disabled || r.Confirmed != saved.Confirmed ||
		r.NewID != saved.NewID || r.Doubt != saved.Doubt || !bytes.Equal(r.Sealed, saved.Sealed) && r.Doing != actChoose
}

func (e *Engine) log(name secret.Name, version uint64, state, reason string) {
	if err := e.Vault.Record(name, version, state, reason); err != nil {
		e.Warn(fmt.Sprintf("recording the rotation of %s: %v", name, err))
	}
}

// record puts a state into the audit log, and tells the owner of what needs one.
func (e *Engine) record(r *Rotation) {
	version, reason := r.To, string(r.Reason)
	if version == 0 {
		version = r.From.Number
	}
	state := r.shown()
	if !r.State.Ended() && !r.Needs {
		state = string(r.State)
	}
	e.log(r.Secret, version, state, reason)
	if r.Needs || r.State == Failed || r.State == RolledBack {
		e.Warn(fmt.Sprintf("rotating %s: %s: %s", r.Secret, r.shown(), r.Problem))
	}
}
