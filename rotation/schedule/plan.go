package schedule

import (
	"slices"
	"time"
)

// Plan is what the config says of one secret. The earliest of its triggers
// wins.
type Plan struct {
	Key      string         // for [Jitter]: the secret's name and the machine's id
	Schedule *Schedule      // nil: none
	Zone     *time.Location // of Schedule and Freeze; nil: UTC
	Freeze   Freeze
	MaxAge   time.Duration // rotated shortly before it is this old; 0: never for its age
	Margin   time.Duration // rotated this long before it expires; 0: a quarter of its life, at most a week
}

// Credential is what the plan has to know of the credential that is in use.
type Credential struct {
	Created, Expires time.Time // zero: not known, never
}

// Cause is why a secret is due.
type Cause string

// The causes.
const (
	CauseSchedule Cause = "schedule"
	CauseMaxAge   Cause = "max_age"
	CauseExpiry   Cause = "expiry"
	CauseRetry    Cause = "retry" // the last rotation was not completed
)

// Verdict is what is to be done about a secret.
type Verdict int

// The verdicts.
const (
	Wait     Verdict = iota // nothing; the state is as it was
	Postpone                // nothing, and the state is another: to be kept
	Run                     // start a rotation
)

const (
	// maxFailures in a row suspend the schedule: more of the same is no cure, and
	// each may leave something at the service.
	maxFailures = 5
	// maxBackoff bounds what a failure waits, and maxRetryAfter what a service may
	// ask for.
	maxBackoff    = 24 * time.Hour
	maxRetryAfter = 7 * 24 * time.Hour
	// maxJitter is how far a slot may be from what the expression says.
	maxJitter = 30 * time.Minute
	// patience is how late something may be without having been slept through.
	patience = 10 * time.Minute
	// Rotating for age is done with the lead of a tenth of max_age, at most a day, so
	// that what is rotated in time is never overdue.
	maxLead   = 24 * time.Hour
	maxMargin = 7 * 24 * time.Hour
)

// Decide says what is to be done about a secret at a tick. The result replaces
// s. It must not be asked while the clock is [Paused].
//
// What is late, because the machine slept, the broker was down or many secrets
// came to it at once, is postponed once, by more the later it is and by
// [Jitter]; the next time it runs.
func (p *Plan) Decide(now time.Time, s State, c Credential) (State, Verdict) {
	if !s.Due(now) {
		return s, Wait
	}
	now = now.UTC().Round(0)
	if _, frozen := p.Freeze.Frozen(now, p.zone()); frozen {
		if s = p.Update(now, s, c); !s.Due(now) {
			return s, Postpone
		}
	}
	if late := now.Sub(s.NextDue); late > patience && s.Held.IsZero() {
		held := now.Add(Jitter(p.Key, min(spread(late), p.interval(now)/2)))
		if held.After(now) && (c.Expires.IsZero() || held.Before(c.Expires)) {
			s.Held = held
			return p.Update(now, s, c), Postpone
		}
	}
	return s, Run
}

// Update reckons NextDue anew. It is called when a secret is first seen, and
// when its config, its credential or the zone has changed; calling it again
// changes nothing. A rule that is new begins now, so that should wait while the
// clock is [Paused].
func (p *Plan) Update(now time.Time, s State, c Credential) State {
	now = now.UTC().Round(0)
	if rule := p.rule(); s.Rule != rule {
		// The slots of another rule say nothing of this one's.
		s.Rule, s.From, s.Ran, s.Held = rule, now, nil, time.Time{}
	}
	s.NextDue, s.Cause = p.due(now, &s, c)
	return s
}

// Accept is Update after the clock was [Accepted]: what it set while it was
// ahead is not waited for. Of the slots to come, those that it ran are not run
// again, and those that it jumped over are.
func (p *Plan) Accept(now time.Time, s State, c Credential) State {
	now = now.UTC().Round(0)
	s.From = earlier(s.From, now)
	s.Held = earlier(s.Held, now.Add(maxSpread))
	s.Retry = earlier(s.Retry, now.Add(maxRetryAfter))
	return p.Update(now, s, c)
}

// Started remembers that a rotation was started, for whatever cause or by hand:
// all slots up to then are dealt with. One in the second of LastStart is known,
// and changes nothing: when the broker has started, it is called for the newest
// rotation in the journal, of which a crash may have kept s from knowing.
func (p *Plan) Started(now, start time.Time, s State, c Credential) State {
	start = start.UTC().Round(0)
	if start.Truncate(time.Second).Equal(s.LastStart.Truncate(time.Second)) {
		return s
	}
	if slot := p.lastSlot(start, &s); !slot.IsZero() {
		s.Ran = p.mark(s.Ran, slot)
	}
	s.From, s.LastStart, s.Held = later(s.From, start), start, time.Time{}
	return p.Update(now, s, c)
}

// Hold has it wait for a time, because it is being dealt with elsewhere.
func (p *Plan) Hold(now time.Time, wait time.Duration, s State, c Credential) State {
	s.Held = now.UTC().Round(0).Add(wait)
	return p.Update(now, s, c)
}

// Succeeded remembers that a rotation was published, started by the schedule or
// by hand. c is the new credential. It ends a suspension.
func (p *Plan) Succeeded(now time.Time, s State, c Credential) State {
	s.Failures, s.Retry = 0, time.Time{}
	return p.Update(now, s, c)
}

// Failed remembers that a rotation was given up. It is tried again after a
// time that doubles, an hour at first, and is not below retryAfter, what the
// service asked for. After five in a row the schedule is suspended until a
// rotation by hand has succeeded.
func (p *Plan) Failed(now time.Time, s State, c Credential, retryAfter time.Duration) State {
	s.Failures++
	backoff := min(Hour<<min(s.Failures-1, maxFailures), maxBackoff)
	wait := max(backoff, min(retryAfter, maxRetryAfter))
	s.Retry = now.UTC().Round(0).Add(wait + Jitter(p.Key, wait/8))
	return p.Update(now, s, c)
}

// due returns when the secret is due next and why; zero: never.
func (p *Plan) due(now time.Time, s *State, c Credential) (due time.Time, cause Cause) {
	if s.Suspended() {
		return time.Time{}, ""
	}
	// before: it must not wait until then.
	consider := func(at, before time.Time, why Cause) {
		switch {
		case at.IsZero():
			return
		case s.Failures > 0:
			at, why = s.Retry, CauseRetry
		}
		at = later(at, s.Held)
		if !s.LastStart.IsZero() && !s.LastStart.After(now.Add(setBack)) {
			at = later(at, s.LastStart.Add(Hour))
		}
		at = p.thaw(now, at, before)
		if due.IsZero() || at.Before(due) {
			due, cause = at, why
		}
	}
	if p.Schedule != nil {
		slot := p.nextSlot(s)
		gap := p.Schedule.Next(slot, p.zone()).Sub(slot)
		consider(slot.Add(Jitter(p.Key, min(gap/10, maxJitter))), time.Time{}, CauseSchedule)
	}
	if p.MaxAge > 0 && !c.Created.IsZero() {
		lead := min(p.MaxAge/10, maxLead)
		consider(c.Created.UTC().Add(p.MaxAge-lead+Jitter(p.Key, lead/2)), time.Time{}, CauseMaxAge)
	}
	if !c.Expires.IsZero() {
		margin := p.margin(c)
		consider(c.Expires.UTC().Add(-margin+Jitter(p.Key, margin/4)), c.Expires, CauseExpiry)
	}
	return due, cause
}

// margin is how long before it expires a credential is rotated: never more than
// half its life, or the next would be due as soon as it is there.
func (p *Plan) margin(c Credential) time.Duration {
	life := c.Expires.Sub(c.Created)
	switch {
	case c.Created.IsZero() || life <= 0:
		if p.Margin > 0 {
			return p.Margin
		}
		return maxLead
	case p.Margin > 0:
		return min(p.Margin, life/2)
	}
	return min(life/4, maxMargin)
}

// thaw moves what falls into a freeze behind it, spread, unless that is at or
// after before: a credential that would not live through the freeze is rotated
// in it.
func (p *Plan) thaw(now, at, before time.Time) time.Time {
	// Behind one freeze, spread, another may begin. No real config needs many turns.
	for range 8 {
		until, frozen := p.Freeze.Frozen(later(at, now), p.zone())
		if !frozen {
			return at
		}
		moved := until.Add(Jitter(p.Key, spread(until.Sub(at))))
		if !before.IsZero() && !moved.Before(before) {
			return at
		}
		at = moved
	}
	return at
}

// interval is the time between two slots, or what is as good without any.
func (p *Plan) interval(now time.Time) time.Duration {
	if p.Schedule == nil {
		return 2 * maxSpread
	}
	next := p.Schedule.Next(now, p.zone())
	return p.Schedule.Next(next, p.zone()).Sub(next)
}

// rule names what the slots are reckoned by.
func (p *Plan) rule() string {
	if p.Schedule == nil {
		return ""
	}
	return p.Schedule.text + " " + p.zone().String()
}

func (p *Plan) zone() *time.Location {
	if p.Zone == nil {
		return time.UTC
	}
	return p.Zone
}

// nextSlot returns the first slot that has not been dealt with.
func (p *Plan) nextSlot(s *State) time.Time {
	for t := s.From; ; {
		t = p.Schedule.Next(t, p.zone())
		i := slices.IndexFunc(s.Ran, func(r Slots) bool { return r.has(t) })
		if i < 0 {
			return t
		}
		t = s.Ran[i].Last
	}
}

// lastSlot returns the slot that a start stands for, the last one before it that
// is not dealt with; zero: none.
func (p *Plan) lastSlot(start time.Time, s *State) (slot time.Time) {
	if p.Schedule == nil {
		return time.Time{}
	}
	// Years of slots may have been missed: near the end is enough.
	for _, back := range []time.Duration{7 * 24 * time.Hour, 400 * 24 * time.Hour, 1 << 62} {
		near := *s
		near.From = later(s.From, start.Add(-back))
		for t := p.nextSlot(&near); !t.After(start); t = p.nextSlot(&near) {
			slot, near.From = t, t
		}
		if !slot.IsZero() || near.From.Equal(s.From) {
			break
		}
	}
	return slot
}

// maxRan bounds State.Ran.
const maxRan = 8

// mark adds a slot to those that were run.
func (p *Plan) mark(ran []Slots, slot time.Time) []Slots {
	ran = slices.Clone(ran)
	at := slices.IndexFunc(ran, func(r Slots) bool { return r.First.After(slot) })
	if at < 0 {
		at = len(ran)
	}
	if at > 0 && p.Schedule.Next(ran[at-1].Last, p.zone()).Equal(slot) {
		ran[at-1].Last = slot
		return ran
	}
	ran = slices.Insert(ran, at, Slots{slot, slot})
	if len(ran) <= maxRan {
		return ran
	}
	// Two become one, and what lies between counts as run: the two with the least
	// between, since that was slept through. What a clock that was ahead jumped over,
	// and what is still to come once it is right, is more.
	gap := func(i int) time.Duration { return ran[i+1].First.Sub(ran[i].Last) }
	least := 0
	for i := range len(ran) - 1 {
		if gap(i) < gap(least) {
			least = i
		}
	}
	ran[least].Last = ran[least+1].Last
	return slices.Delete(ran, least+1, least+2)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
