package rotation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/rotation/schedule"
)

// The buckets of the scheduler, in the journal's file.
const (
	bucketSchedule = "schedule" // name → schedule.State as JSON
	bucketClock    = "clock"    // "clock" → schedule.Clock as JSON; "behind" → nothing: states may be older than the history
)

var (
	keyClock  = []byte("clock")
	keyBehind = []byte("behind")
)

// tickInterval is how often the clock is looked at. What is due is at most so
// late.
const tickInterval = 30 * time.Second

// keepClock is how often the clock is kept while nothing is wrong with it.
const keepClock = 10 * time.Minute

// Scheduler starts rotations when they are due. Make one with [NewScheduler].
type Scheduler struct {
	engine *Engine
	// plans returns the secrets that have a schedule and what it is. It is asked at
	// the start and by Reload.
	plans func() map[secret.Name]*schedule.Plan

	mu      sync.Mutex
	by      map[secret.Name]*schedule.Plan
	states  map[secret.Name]schedule.State
	clock   schedule.Clock
	pace    schedule.Pace
	kept    time.Time              // when the clock was kept
	behind  bool                   // the disk knows that states may be older than the history
	fresh   map[secret.Name]bool   // states that the disk does not have
	counted map[secret.Name]uint64 // :: secret → the version that another host made and a slot was counted as run for
	reload  chan struct{}
}

// NewScheduler makes a scheduler for an engine, with what the journal has. It
// tells the engine to tell it what comes of rotations, so it is made before
// [Engine.Run].
func NewScheduler(e *Engine, plans func() map[secret.Name]*schedule.Plan) (*Scheduler, error) {
	s := &Scheduler{engine: e, plans: plans, states: make(map[secret.Name]schedule.State), fresh: make(map[secret.Name]bool), counted: make(map[secret.Name]uint64), reload: make(chan struct{}, 1)}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("reading when secrets are due: %w", err)
	}
	e.notify = s.notified
	s.by = plans()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.behind {
		if err := s.catchUpLocked(); err != nil {
			return nil, err
		}
	}
	if _, pace := s.clock.Tick(s.engine.now()); pace == schedule.Going {
		s.updateLocked(s.engine.now(), (*schedule.Plan).Update)
	}
	return s, nil
}

// catchUpLocked makes good what a crash kept from the disk: the history knows.
func (s *Scheduler) catchUpLocked() error {
	now := s.engine.now()
	for name, plan := range s.by {
		past, err := s.engine.History(name)
		if err != nil {
			return err
		}
		c, _ := s.credential(name)
		for _, p := range slices.Backward(past) {
			state := s.states[name]
			if !p.Started.After(state.LastStart) {
				continue
			}
			state = plan.Started(now, p.Started, state, c)
			if p.State == string(Done) {
				state = plan.Succeeded(now, state, c)
			} else {
				state = plan.Failed(now, state, c, 0)
			}
			s.states[name], s.fresh[name] = state, true
		}
	}
	return nil
}

func (s *Scheduler) load() error {
	return s.engine.DB.View(func(tx durable.Tx) error {
		s.behind = tx.Get(bucketClock, keyBehind) != nil
		if b := tx.Get(bucketClock, keyClock); b != nil {
			if err := json.Unmarshal(b, &s.clock); err != nil {
				return err
			}
		}
		var bad error
		err := tx.Scan(bucketSchedule, nil, func(k, v []byte) bool {
			var state schedule.State
			if bad = json.Unmarshal(v, &state); bad != nil {
				return false
			}
			s.states[secret.Name(k)] = state
			return true
		})
		return errors.Join(bad, err)
	})
}

// Run looks at the clock until ctx is done.
func (s *Scheduler) Run(ctx context.Context) {
	tick := time.NewTicker(tickInterval)
	defer tick.Stop()
	s.recall()
	for {
		s.tick(s.engine.now())
		select {
		case <-tick.C:
		case <-s.reload:
			s.reread()
		case <-ctx.Done():
			s.mu.Lock()
			defer s.mu.Unlock()
			s.keepLocked()
			return
		}
	}
}

// Reload has the plans asked for again.
func (s *Scheduler) Reload() {
	select {
	case s.reload <- struct{}{}:
	default:
	}
}

func (s *Scheduler) reread() {
	by := s.plans()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by = by
	if s.pace == schedule.Going {
		s.updateLocked(s.engine.now(), (*schedule.Plan).Update)
	}
}

// recall makes good a crash between the start of a rotation and its being noted
// here.
func (s *Scheduler) recall() {
	for _, p := range s.engine.Flights() {
		s.change(secret.Name(p.Secret), func(plan *schedule.Plan, state schedule.State, c schedule.Credential) schedule.State {
			return plan.Started(s.engine.now(), p.Started, state, c)
		})
	}
}

// Due returns when a secret is due next, zero when no time is set, and whether
// its schedule is suspended. ok is false when it has no schedule.
func (s *Scheduler) Due(name secret.Name) (at time.Time, suspended, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.by[name]; !ok {
		return time.Time{}, false, false
	}
	state := s.states[name]
	return state.NextDue, state.Suspended(), true
}

// tick starts what is due.
func (s *Scheduler) tick(now time.Time) {
	var due map[secret.Name]uint64
	s.mu.Lock()
	before := s.pace
	s.clock, s.pace = s.clock.Tick(now)
	switch {
	case s.pace == schedule.Paused && before != schedule.Paused:
		s.engine.Warn("the clock went back by more than an hour: no schedule starts anything until it is right again, or a day has passed")
	case s.pace == schedule.Accepted:
		s.updateLocked(now, (*schedule.Plan).Accept)
		s.pace = schedule.Going
	}
	if s.pace != before || now.Sub(s.kept) >= keepClock {
		s.keepClockLocked(now)
	}
	if s.pace == schedule.Going {
		due = s.dueLocked(now)
	}
	s.mu.Unlock()
	for name, version := range due {
		s.start(name, version)
	}
}

// dueLocked decides for every secret, and returns those to start, with the version
// that is to be replaced.
func (s *Scheduler) dueLocked(now time.Time) map[secret.Name]uint64 {
	due := make(map[secret.Name]uint64)
	for name, plan := range s.by {
		state := s.states[name]
		if !state.Due(now) {
			continue
		}
		v, err := s.engine.Vault.Current(name)
		if err != nil || v.Number == 0 {
			continue
		}
		c := credentialOf(v)
		if s.engine.Claims.Shared(name) && c.Created.After(state.LastStart) && s.counted[name] != v.Number {
			// Whichever host made it, this slot is dealt with; but no slot to come is,
			// whatever that host's clock showed.
			made := c.Created
			if made.After(now) {
				made = now
			}
			state = plan.Started(now, made, state, c)
			s.states[name], s.fresh[name], s.counted[name] = state, true, v.Number
		}
		state, verdict := plan.Decide(now, state, c)
		switch verdict {
		case schedule.Run:
			due[name] = v.Number
		case schedule.Postpone:
			s.states[name], s.fresh[name] = state, true
		}
	}
	s.keepLocked()
	return due
}

// credential is what is in force of a secret, ok false when there is none: then
// there is nothing to replace.
func (s *Scheduler) credential(name secret.Name) (schedule.Credential, bool) {
	v, err := s.engine.Vault.Current(name)
	if err != nil || v.Number == 0 {
		return schedule.Credential{}, false
	}
	return credentialOf(v), true
}

func credentialOf(v providers.Version) schedule.Credential {
	return schedule.Credential{Created: v.Created, Expires: v.Expires}
}

// elsewhereAgain is how long a secret is left alone that another host rotates.
const elsewhereAgain = 5 * time.Minute

// start starts a rotation of a version. One that is under way already counts as
// started, and so does one of another host's.
func (s *Scheduler) start(name secret.Name, version uint64) {
	_, err := s.engine.Start(Order{Secret: name, By: "schedule", From: version})
	var claimed *providers.ClaimedError
	switch {
	case errors.Is(err, ErrReplaced):
		return // the next tick sees what there is now
	case errors.As(err, &claimed):
		s.change(name, func(plan *schedule.Plan, state schedule.State, c schedule.Credential) schedule.State {
			return plan.Hold(s.engine.now(), elsewhereAgain, state, c)
		})
		return
	case err != nil:
		s.engine.Warn(fmt.Sprintf("rotating %s: %v", name, err))
		s.failed(name)
		return
	}
	s.change(name, func(plan *schedule.Plan, state schedule.State, c schedule.Credential) schedule.State {
		return plan.Started(s.engine.now(), s.engine.now(), state, c)
	})
}

// notified is told of every rotation, whoever began it.
func (s *Scheduler) notified(p providers.Progress) {
	name := secret.Name(p.Secret)
	switch State(p.Step) {
	case Planned:
		s.change(name, func(plan *schedule.Plan, state schedule.State, c schedule.Credential) schedule.State {
			return plan.Started(s.engine.now(), p.Started, state, c)
		})
	case Published:
		s.change(name, func(plan *schedule.Plan, state schedule.State, c schedule.Credential) schedule.State {
			return plan.Succeeded(s.engine.now(), state, c)
		})
	case Failed, RolledBack:
		if p.Reason != reasonTaken {
			s.failed(name)
		}
	}
}

func (s *Scheduler) failed(name secret.Name) {
	s.change(name, func(plan *schedule.Plan, state schedule.State, c schedule.Credential) schedule.State {
		state = plan.Failed(s.engine.now(), state, c, 0)
		if state.Suspended() {
			s.engine.Warn(fmt.Sprintf("rotating %s has failed %d times in a row: its schedule is suspended until a rotation by hand succeeds", name, state.Failures))
		}
		return state
	})
}

// change keeps what follows for a secret that has a schedule.
func (s *Scheduler) change(name secret.Name, how func(*schedule.Plan, schedule.State, schedule.Credential) schedule.State) {
	c, _ := s.credential(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	plan, ok := s.by[name]
	if !ok {
		return
	}
	s.states[name], s.fresh[name] = how(plan, s.states[name], c), true
	s.fallBehindLocked()
}

// updateLocked reckons anew when each secret is due.
func (s *Scheduler) updateLocked(now time.Time, reckon func(*schedule.Plan, time.Time, schedule.State, schedule.Credential) schedule.State) {
	for name, plan := range s.by {
		c, ok := s.credential(name)
		if !ok {
			continue
		}
		before := s.states[name]
		state := reckon(plan, now, before, c)
		s.states[name] = state
		if !state.NextDue.Equal(before.NextDue) || !state.From.Equal(before.From) || state.Rule != before.Rule {
			s.fresh[name] = true
		}
	}
	s.keepLocked()
}

// fallBehindLocked has the disk know, once, that states are newer than those it
// has: they are written with the next tick, many at once.
func (s *Scheduler) fallBehindLocked() {
	if s.behind {
		return
	}
	err := s.engine.DB.Update(func(tx durable.Tx) error { return tx.Put(bucketClock, keyBehind, []byte{}) })
	if err != nil {
		s.engine.Warn(fmt.Sprintf("keeping when secrets are due: %v", err))
		return
	}
	s.behind = true
}

// keepLocked writes the states that the disk does not have. When that fails it
// is said, and tried again at the next tick.
func (s *Scheduler) keepLocked() {
	if len(s.fresh) == 0 {
		return
	}
	err := s.engine.DB.Update(func(tx durable.Tx) error {
		for name := range s.fresh {
			b, err := json.Marshal(s.states[name])
			if err == nil {
				err = tx.Put(bucketSchedule, []byte(name), b)
			}
			if err != nil {
				return err
			}
		}
		return tx.Delete(bucketClock, keyBehind)
	})
	if err != nil {
		s.engine.Warn(fmt.Sprintf("keeping when secrets are due: %v", err))
		return
	}
	s.behind = false
	clear(s.fresh)
}

func (s *Scheduler) keepClockLocked(now time.Time) {
	b, err := json.Marshal(s.clock)
	if err == nil {
		err = s.engine.DB.Update(func(tx durable.Tx) error { return tx.Put(bucketClock, keyClock, b) })
	}
	if err != nil {
		s.engine.Warn(fmt.Sprintf("keeping the clock: %v", err))
		return
	}
	s.kept = now
}
