package onepassword

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/onepassword/wire"
)

// limits are how many requests 1Password takes, as documented at
// https://developer.1password.com/docs/service-accounts/rate-limits
type limits struct {
	reads, writes int // of a token in an hour
	day           int // of an account in a day, by all its tokens
}

var plans = map[string]limits{
	"individual": {1_000, 100, 1_000},
	"families":   {1_000, 100, 1_000},
	"teams":      {1_000, 100, 5_000},
	"business":   {10_000, 1_000, 50_000},
}

const (
	// absentFor is how long what was not there is not looked for again.
	absentFor = 5 * time.Minute
	// worksFor is how long a store that worked is said to work without being asked:
	// asking costs a request, and the start of the helper.
	worksFor = 10 * time.Minute
	// After a refusal nothing is asked for firstPause, and twice as long after each
	// further one, up to lastPause: what is asked in vain counts against the limits.
	firstPause = time.Minute
	lastPause  = time.Hour
	// keptEvery is how often counters are written down.
	keptEvery = time.Minute
)

// key names one version of one secret, or what lies at a reference.
type key struct {
	name   secret.Name
	number uint64
	ref    string
}

func keyOf(c wire.Call) key { return key{c.Name, c.Version, c.Ref} }

// guard knows what is not worth asking, and counts what was asked.
type guard struct {
	plan      limits
	limitless bool            // a Connect server has its own copy, and no such limits
	kept      providers.State // nil: nothing outlives this process
	now       func() time.Time
	worksFor  time.Duration

	mu     sync.Mutex
	state  state
	read   bool // state was
	saved  time.Time
	dirty  bool
	worked time.Time    // when the store last did
	failed *wire.Error  // why the last that was asked of it failed; nil: it did not
	vain   map[key]vain // what is not worth looking for
}

// vain is what was asked for in vain.
type vain struct {
	until time.Time
	err   *wire.Error // what came of it
}

// state is what outlives the process.
type state struct {
	// Refusal, when not nil, is what every call is answered until Until.
	Refusal *wire.Error `json:"refusal,omitempty"`
	Until   time.Time   `json:"until,omitzero"`
	Times   int         `json:"times,omitempty"` // it was refused in a row
	// Token is of which token: another is worth a try at once.
	Token string `json:"token,omitempty"`

	Hour   time.Time `json:"hour,omitzero"` // in which the next two were counted
	Reads  int       `json:"reads"`
	Writes int       `json:"writes"`
	Day    time.Time `json:"day,omitzero"`
	Both   int       `json:"both"` // in that day
}

// load reads what an earlier process knew. What cannot be read is not known: it
// saves requests, and nothing depends on it.
func (g *guard) load() {
	if g.read || g.kept == nil {
		return
	}
	g.read = true
	if b, err := g.kept.Load(); err == nil {
		var s state
		if json.Unmarshal(b, &s) == nil {
			g.state = s
		}
	}
}

// save writes down what is known.
func (g *guard) save() error {
	if g.kept == nil || !g.dirty {
		return nil
	}
	b, err := json.Marshal(g.state)
	if err == nil {
		err = g.kept.Save(append(b, '\n'))
	}
	if err == nil {
		g.dirty, g.saved = false, g.now()
	}
	return err
}

func (g *guard) close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.save()
}

// allows returns why the service is not to be asked now.
func (g *guard) allows(ctx context.Context, token func(context.Context) (secret.Value, error)) error {
	g.mu.Lock()
	g.load()
	refusal, of := g.state.Refusal, g.state.Token
	paused := refusal != nil && g.now().Before(g.state.Until)
	g.mu.Unlock()
	if !paused {
		return nil
	}
	// A limit of the account is no other token's either.
	if refusal.Auth {
		v, err := token(ctx)
		if err != nil {
			return err
		}
		defer v.Clear()
		if now, err := fingerprint(v); err == nil && now != of {
			return nil
		}
	}
	return refusal
}

// fingerprint tells tokens apart and says nothing of them: they are long and
// random.
func fingerprint(token secret.Value) (string, error) {
	h := sha256.New()
	err := token.Use(func(b []byte) error { h.Write(b); return nil })
	return hex.EncodeToString(h.Sum(nil)[:8]), err
}

// wait returns how long the service is not to be asked; 0: it may be.
func (g *guard) wait() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state.Refusal == nil {
		return 0
	}
	return max(0, g.state.Until.Sub(g.now()))
}

// told takes in what came of a batch, done with the token of that fingerprint.
func (g *guard) told(a wire.Answers, token string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.load()
	now := g.now()
	g.count(now, a.Reads, a.Writes)
	switch refusal := a.Refusal(); {
	case refusal != nil:
		if g.state.Token != token {
			g.state.Times = 0
		}
		pause := max(min(firstPause<<min(g.state.Times, 10), lastPause), min(refusal.Wait, 24*time.Hour))
		g.state.Refusal, g.state.Until, g.state.Token = refusal, now.Add(pause), token
		g.state.Times++
		g.dirty, g.saved = true, time.Time{}
	case a.Unreachable():
		g.failed = a.Failure()
	case g.state.Refusal != nil:
		g.state.Refusal, g.state.Until, g.state.Times, g.state.Token = nil, time.Time{}, 0, ""
		g.dirty, g.saved = true, time.Time{}
	}
	if now.Sub(g.saved) >= keptEvery {
		_ = g.save() // only to spare requests
	}
}

func (g *guard) count(now time.Time, reads, writes int) {
	if reads+writes == 0 {
		return
	}
	g.dirty = true
	g.turn(now)
	g.state.Reads += reads
	g.state.Writes += writes
	g.state.Both += reads + writes
}

// turn begins a new hour and a new day where there is one.
func (g *guard) turn(now time.Time) {
	if hour := now.UTC().Truncate(time.Hour); !hour.Equal(g.state.Hour) {
		g.state.Hour, g.state.Reads, g.state.Writes = hour, 0, 0
	}
	if day := now.UTC().Truncate(24 * time.Hour); !day.Equal(g.state.Day) {
		g.state.Day, g.state.Both = day, 0
	}
}

// asked takes in what came of a call.
func (g *guard) asked(c wire.Call, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := keyOf(c)
	var e *wire.Error
	isAbsent := errors.As(err, &e) && e.Kind == wire.Absent
	switch {
	case c.Op == wire.Put:
		delete(g.vain, v)
	case isAbsent, c.Op == wire.Refer && e != nil && e.Kind == wire.Refused && !e.Auth: // the reference is wrong
		g.forget()
		g.vain[v] = vain{g.now().Add(absentFor), e}
	}
	if err == nil || isAbsent || e != nil && e.Kind == wire.Exists {
		g.failed, g.worked = nil, g.now()
	} else if e != nil {
		g.failed = e
	}
}

// maxVain is how much of what was asked for in vain is remembered at most.
const maxVain = 4096

// forget drops what may be looked for again.
func (g *guard) forget() {
	if len(g.vain) < maxVain {
		return
	}
	clear(g.vain)
}

// inVain returns what came of asking for this lately, where that was nothing.
func (g *guard) inVain(v key) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if was, ok := g.vain[v]; ok && g.now().Before(was.until) {
		return was.err
	}
	return nil
}

// worksStill reports whether the store worked lately, when last asked.
func (g *guard) worksStill() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failed == nil && !g.worked.IsZero() && g.now().Sub(g.worked) < g.worksFor
}

// lastFailure returns why the last that was asked of the store failed; nil: it did
// not.
func (g *guard) lastFailure() *wire.Error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failed
}

// note says how much of the limits is used, as far as this broker has.
func (g *guard) note() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.load()
	g.turn(g.now())
	if g.limitless {
		return fmt.Sprintf("requests: %d reads and %d writes this hour, %d today; a Connect server has no limit", g.state.Reads, g.state.Writes, g.state.Both)
	}
	return fmt.Sprintf("requests: %d of %d reads and %d of %d writes this hour, %d of %d today",
		g.state.Reads, g.plan.reads, g.state.Writes, g.plan.writes, g.state.Both, g.plan.day)
}
