package rotation

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
)

// TestMain sets the size of the random tests; the command line can change it.
func TestMain(m *testing.M) {
	checks := "2000"
	if long() {
		checks = "20000"
	}
	for name, value := range map[string]string{"rapid.checks": checks, "rapid.steps": "50"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

func long() bool { return os.Getenv("SECRETCTL_LONG") != "" }

// fault is what goes wrong at one point of a schedule.
type fault string

const (
	none        fault = ""
	crashBefore fault = "crash before"
	crashAfter  fault = "crash after"
	failBefore  fault = "error, not done"
	failAfter   fault = "error, done"   // of a call: the reply is lost
	twice       fault = "done twice"    // and the first reply arrives
	twiceLate   fault = "again later"   // the same, but the second one comes late
	late        fault = "done too late" // the reply is lost, and it is done only later
)

// Which faults there are at a point.
var (
	ofSave  = []fault{crashBefore, crashAfter}
	ofVault = []fault{crashBefore, crashAfter, failBefore, failAfter}
	ofLook  = []fault{crashBefore, failBefore}
	ofCall  = []fault{crashBefore, crashAfter, failBefore, failAfter, twice, twiceLate, late}
	// A request that a network repeats much later replaces in place what was made
	// meanwhile: nobody can do anything about that.
	ofRoll = []fault{crashBefore, crashAfter, failBefore, failAfter, twice, late}
)

// point is where something may go wrong.
type point struct {
	what   string
	faults []fault
}

// planned is a fault at the point of that number.
type planned struct {
	at    int
	fault fault
}

// crash is what unwinds the stack of a broker that dies.
type crash struct{}

// world is a broker in small: an engine, what it stands on, and a service that
// both survive its crashes. Time passes only when the world says so.
type world struct {
	spec    *spec
	now     time.Time
	skew    time.Duration // of the broker's clock
	db      durable.DB
	engine  *Engine
	kind    providers.Kind
	setup   bool // the config says how to rotate
	grace   time.Duration
	patient bool
	confirm bool

	points []point
	plan   []planned
	next   fault // wherever it can happen
	dead   bool  // the broker has died: nothing it does has an effect
	hook   func(*Rotation)

	// Mutants.
	deaf    bool                 // what a crash left open is not settled
	unsaved func(*Rotation) bool // going on from here is not saved
	blind   string               // a call that says what is convenient

	vault   *fakeVault
	service *service
	late    []delivery
	clears  []secret.Value // handed out: cleared by those who got them
	wrong   []string       // violations of what must always hold
	said    []string       // warnings
	name    secret.Name
}

// delivery is a request that is on its way.
type delivery struct {
	at time.Time
	do func()
}

var epoch = time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC)

const theName secret.Name = "svc/key"

func newWorld(s *spec) *world {
	w := &world{spec: s, now: epoch, setup: true, grace: 15 * time.Minute, name: theName}
	db, err := durable.NewMem().OpenDB("ledger.db")
	if err != nil {
		panic(err)
	}
	w.db = &faultyDB{db, w}
	w.service = newService(w)
	w.vault = newVault(w)
	w.kind = s.kind
	w.kind.Name = "fake"
	w.kind.Open = func(providers.Options) (providers.Rotator, error) { return w.service.rotator(), nil }
	if s.managed {
		w.kind.Options = []providers.Option{{Name: "admin", Type: providers.Own}}
	}
	w.boot()
	return w
}

// boot starts a broker on what the last one left.
func (w *world) boot() {
	options, err := w.kind.NewOptions(map[string]any{})
	if w.spec.managed {
		options, err = w.kind.NewOptions(map[string]any{"admin": secret.Name("own/admin")})
	}
	if err != nil {
		panic(err)
	}
	w.engine, err = New(Options{
		DB: w.db, Vault: w.vault, Sealer: sealer{w}, Now: w.clock,
		Warn: func(s string) { w.said = append(w.said, s) },
		Setup: func(secret.Name) (Setup, bool) {
			if !w.setup {
				return Setup{}, false
			}
			return Setup{Kind: w.kind, Options: options, Grace: w.grace, Patient: w.patient, Confirm: w.confirm}, true
		},
	})
	if err != nil {
		panic(err)
	}
	for _, f := range w.engine.flights {
		if !w.deaf {
			w.alive(func() { w.engine.resume(context.Background(), f) })
		}
	}
}

// clock is the broker's.
func (w *world) clock() time.Time { return w.now.Add(w.skew) }

// alive runs something in the broker, which may die of it.
func (w *world) alive(do func()) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(crash); !ok {
				panic(r)
			}
		}
		if w.dead {
			w.dead = false
			w.advance(time.Second)
			w.boot()
		}
	}()
	do()
}

// at is one point: it returns what goes wrong there.
func (w *world) at(what string, faults []fault) fault {
	if w.dead {
		panic(crash{})
	}
	n := len(w.points)
	w.points = append(w.points, point{what, faults})
	if f := w.next; f != none && slices.Contains(faults, f) {
		w.next = none
		return f
	}
	for _, p := range w.plan {
		if p.at == n {
			return p.fault
		}
	}
	return none
}

// die ends the broker.
func (w *world) die() {
	w.dead = true
	panic(crash{})
}

// act does something of the broker's own with the fault there is.
func (w *world) act(what string, faults []fault, do func() error) error {
	switch w.at(what, faults) {
	case crashBefore:
		w.die()
	case crashAfter:
		_ = do()
		w.look(what)
		w.die()
	case failBefore:
		return errors.New("an error of the vault")
	case failAfter:
		_ = do()
		w.look(what)
		return errors.New("an error of the vault")
	}
	err := do()
	w.look(what)
	return err
}

// advance lets time pass.
func (w *world) advance(d time.Duration) {
	end := w.now.Add(d)
	for {
		next := -1
		for i, l := range w.late {
			if !l.at.After(end) && (next < 0 || l.at.Before(w.late[next].at)) {
				next = i
			}
		}
		if next < 0 {
			break
		}
		l := w.late[next]
		w.late = slices.Delete(w.late, next, next+1)
		if l.at.After(w.now) {
			w.now = l.at
		}
		l.do()
		w.look("a request that was late")
	}
	w.now = end
}

// violated notes what must never be.
func (w *world) violated(format string, args ...any) {
	if len(w.wrong) < 3 {
		w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
	}
}

// look checks what must hold at every moment.
func (w *world) look(after string) {
	if w.spec.kind.Overlap && w.vault.current != 0 && !w.vault.versions[w.vault.current].Ended && !w.service.accepts(w.vault.values[w.vault.current]) {
		w.violated("S1: version %d is current and refused, after %s", w.vault.current, after)
	}
}

// start begins a rotation.
func (w *world) start() {
	w.alive(func() { _, _ = w.order(Order{}) })
}

func (w *world) order(o Order) (providers.Progress, error) {
	o.Secret, o.By = w.name, "owner"
	if w.spec.kind.Shape == providers.ShapeManual && o.Value.IsZero() {
		o.Value = w.value(w.service.byHand())
	}
	return w.engine.Start(o)
}

// flight is the rotation under way, nil when there is none.
func (w *world) flight() *Rotation {
	f := w.engine.flights[w.name]
	if f == nil {
		return nil
	}
	return &f.rotation
}

// step lets the engine do one thing, when it may.
func (w *world) step() bool {
	f := w.engine.flights[w.name]
	if f == nil {
		return false
	}
	wait := f.rotation.Again.Sub(f.rotation.Updated)
	if wait > shortWait {
		wait = min(wait, f.rotation.Again.Sub(w.clock()))
	}
	if wait > 0 {
		w.advance(wait)
	} else {
		w.advance(50 * time.Millisecond)
	}
	w.alive(func() { w.engine.step(context.Background(), f) })
	if f = w.engine.flights[w.name]; f != nil && w.hook != nil {
		w.hook(&f.rotation)
	}
	return true
}

// run drives to the end, or to where only a person can go on.
func (w *world) run() {
	for range 400 {
		if !w.step() {
			w.advance(10 * time.Minute)
			return
		}
		r := w.flight()
		switch {
		case r == nil:
		case r.Reason == reasonByHand:
			w.service.person()
		case r.Lost && w.now.Sub(r.Started) > 2*time.Hour:
			return
		}
	}
	w.violated("S3: it does not end: %+v", w.flight())
}

// judge checks what must hold at the end.
func (w *world) judge() {
	defer func() {
		for _, v := range w.clears {
			if !errors.Is(v.Use(func([]byte) error { return nil }), secret.ErrCleared) {
				w.violated("a value was not cleared")
				v.Clear()
			}
		}
	}()
	for _, s := range w.said {
		if strings.Contains(s, "sk-") {
			w.violated("a warning has a value: %s", s)
		}
	}
	if r := w.flight(); r != nil {
		if !r.Lost || !r.rolls() {
			w.violated("it ended nowhere: %+v", r)
		} else if w.service.accepts(w.vault.values[w.vault.current]) {
			w.violated("lost, and the current version works: %+v", r)
		}
		return
	}
	past, err := w.engine.History(w.name)
	switch {
	case err != nil:
		w.violated("%v", err)
		return
	case len(past) == 0: // it never began
		past = []providers.Progress{{State: string(Failed)}}
	}
	last := past[0]
	valid := w.service.valid()
	current := w.vault.values[w.vault.current]
	if !slices.Equal(valid, []string{current}) && !w.spec.keepsOld(last) {
		w.violated("S2: %s (%s), and %d credentials are valid; the current one: %v", last.State, last.Reason, len(valid), slices.Contains(valid, current))
	}
	want := uint64(1)
	if last.State == string(Done) {
		want = last.To
	}
	if w.vault.current != want {
		w.violated("%s, and version %d is current, not %d", last.State, w.vault.current, want)
	}
	if last.State == string(Done) && len(w.vault.values) != 1 {
		w.violated("done, and %d versions are kept", len(w.vault.values))
	}
}

// value makes a secret value; whoever is given it has to clear it.
func (w *world) value(s string) secret.Value {
	v, err := secret.New([]byte(s))
	if err != nil {
		panic(err)
	}
	w.clears = append(w.clears, v)
	return v
}

func text(v secret.Value) (s string) {
	if err := v.Use(func(b []byte) error { s = string(b); return nil }); err != nil {
		panic(err)
	}
	return s
}

// faultyDB is the journal's database.
type faultyDB struct {
	durable.DB
	w *world
}

func (d *faultyDB) Update(fn func(durable.Tx) error) error {
	if d.w.unsaved != nil && d.w.flight() != nil && d.w.unsaved(d.w.flight()) {
		return nil
	}
	return d.w.act("a save", ofSave, func() error { return d.DB.Update(fn) })
}

// sealer seals by writing backwards.
type sealer struct{ w *world }

func (sealer) Seal(v secret.Value) (b []byte, err error) {
	err = v.Use(func(s []byte) error { b = slices.Clone(s); slices.Reverse(b); return nil })
	return b, err
}

func (s sealer) Open(b []byte) (secret.Value, error) {
	b = slices.Clone(b)
	slices.Reverse(b)
	return s.w.value(string(b)), nil
}

// fakeVault keeps one secret, and is strict.
type fakeVault struct {
	w        *world
	current  uint64
	next     uint64
	pending  map[uint64]bool
	values   map[uint64]string
	versions map[uint64]providers.Version
	since    time.Time // current is current

	previous               providers.Version
	sharing                []secret.Name // whose one version has the same value
	dead                   map[secret.Name]bool
	moving, copied, pinned int // who has the version before
	announced              []uint64
	announceErr            error
	confirmErr             error
	records                []string
}

func newVault(w *world) *fakeVault {
	first := w.service.creds[0]
	return &fakeVault{
		w: w, current: 1, next: 2, pending: map[uint64]bool{}, dead: map[secret.Name]bool{}, values: map[uint64]string{1: first.value},
		versions: map[uint64]providers.Version{1: {Number: 1, ID: first.id, Created: epoch}},
	}
}

func (v *fakeVault) Current(name secret.Name) (providers.Version, error) {
	if name != v.w.name {
		return v.Version(name, 1)
	}
	return v.versions[v.current], nil
}

func (v *fakeVault) Version(name secret.Name, n uint64) (providers.Version, error) {
	if name != v.w.name {
		return providers.Version{Number: 1, Ended: v.dead[name]}, nil
	}
	return v.versions[n], nil
}

func (v *fakeVault) Previous(secret.Name) (providers.Version, error) { return v.previous, nil }

func (v *fakeVault) Mark(name secret.Name, ver providers.Version) error {
	return v.w.act("mark", ofVault, func() error {
		if name != v.w.name {
			v.dead[name] = ver.Ended
			return nil
		}
		if _, ok := v.versions[ver.Number]; ok {
			v.versions[ver.Number] = ver
		}
		return nil
	})
}

func (v *fakeVault) Value(_ context.Context, _ secret.Name, n uint64) (secret.Value, error) {
	if v.w.dead {
		panic(crash{})
	}
	s, ok := v.values[n]
	if !ok {
		return secret.Value{}, fmt.Errorf("there is no version %d", n)
	}
	return v.w.value(s), nil
}

func (v *fakeVault) Own(context.Context, secret.Name) (secret.Value, error) {
	return v.w.value("admin"), nil
}

func (v *fakeVault) Reserve(secret.Name) (n uint64, err error) {
	err = v.w.act("reserve", ofVault, func() error {
		n = v.next
		v.next++
		v.pending[n] = true
		return nil
	})
	return n, err
}

func (v *fakeVault) Publish(_ context.Context, _ secret.Name, ver providers.Version, value secret.Value) error {
	s := text(value)
	return v.w.act("publish", ofVault, func() error {
		n := ver.Number
		switch {
		case v.current == n:
			return nil
		case !v.pending[n] || n < v.current:
			return fmt.Errorf("version %d is not pending", n)
		}
		delete(v.pending, n)
		v.values[n], v.versions[n], v.current, v.since, v.moving = s, ver, n, v.w.now, 1
		return nil
	})
}

func (v *fakeVault) Restore(_ context.Context, _ secret.Name, from, to uint64) error {
	return v.w.act("restore", ofVault, func() error {
		if v.current == to {
			return nil
		}
		if _, ok := v.values[to]; !ok || v.current != from {
			return errors.New("the secret has changed since")
		}
		v.current = to
		return nil
	})
}

func (v *fakeVault) Withdraw(_ context.Context, _ secret.Name, n uint64) error {
	return v.drop("withdraw", n)
}

func (v *fakeVault) Forget(_ context.Context, _ secret.Name, n uint64) error {
	return v.drop("forget", n)
}

func (v *fakeVault) drop(what string, n uint64) error {
	return v.w.act(what, ofVault, func() error {
		if n == v.current {
			v.w.violated("%s of version %d, which is current", what, n)
			return errors.New("it is the current one")
		}
		v.moving, v.pinned = 0, 0
		delete(v.pending, n)
		delete(v.values, n)
		delete(v.versions, n)
		return nil
	})
}

func (v *fakeVault) Sharing(context.Context, secret.Name, uint64) (map[secret.Name][]uint64, error) {
	out := make(map[secret.Name][]uint64)
	for _, other := range v.sharing {
		out[other] = []uint64{1}
	}
	return out, nil
}

func (v *fakeVault) Holders(secret.Name, uint64) (moving, copied, pinned int) {
	if v.w.now.Sub(v.since) > 40*time.Second {
		return 0, v.copied, v.pinned
	}
	return v.moving, v.copied, v.pinned
}

func (v *fakeVault) EndLeases(secret.Name, uint64) error {
	return v.w.act("end leases", ofVault, func() error { v.moving, v.pinned = 0, 0; return nil })
}

func (v *fakeVault) Announce(_ context.Context, _ secret.Name, n uint64) error {
	return v.w.act("announce", ofVault, func() error { v.announced = append(v.announced, n); return v.announceErr })
}

func (v *fakeVault) Confirm(context.Context, secret.Name, uint64) error { return v.confirmErr }

func (v *fakeVault) Record(_ secret.Name, n uint64, state, reason string) error {
	v.records = append(v.records, strings.TrimSpace(fmt.Sprintf("%s %d %s", state, n, reason)))
	return nil
}

// minted is a value that no other is.
func minted(n int) string {
	for len(mints) <= n {
		mints = append(mints, canary.Of(fmt.Sprintf("rotation %d", len(mints))))
	}
	return mints[n]
}

var mints []string

// requireNothingWrong fails the test with what was violated.
func (w *world) requireNothingWrong(t *testing.T) {
	t.Helper()
	w.judge()
	require.Empty(t, w.wrong, "%v", w.plan)
}
