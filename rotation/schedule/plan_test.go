package schedule_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/rotation/schedule"
)

const (
	day  = 24 * time.Hour
	tick = 30 * time.Second
)

// TestJitter: the same each time, within its window, and no two of many secrets
// at once.
func TestJitter(t *testing.T) {
	require.Zero(t, schedule.Jitter("a", 0))
	require.Zero(t, schedule.Jitter("a", -time.Hour))
	require.Zero(t, schedule.Jitter("a", time.Second))
	const window = time.Hour
	var parts [4]int
	for i := range 1000 {
		key := fmt.Sprintf("service-%d/key", i)
		j := schedule.Jitter(key, window)
		require.Equal(t, j, schedule.Jitter(key, window))
		require.True(t, 0 <= j && j < window && j%time.Second == 0, j)
		parts[j/(window/4)]++
	}
	for _, n := range parts {
		require.Greater(t, n, 180, parts)
	}
}

// due makes a plan and says when its secret is due, seen first at now.
func due(t *testing.T, p schedule.Plan, now time.Time, c schedule.Credential) (time.Time, schedule.Cause) {
	t.Helper()
	s := p.Update(now, schedule.State{}, c)
	require.Equal(t, s, p.Update(now, s, c), "doing it again changed it")
	require.Equal(t, s, p.Update(now.Add(time.Minute), s, c), "a minute later it is another")
	return s.NextDue, s.Cause
}

func freeze(t *testing.T, windows ...string) schedule.Freeze {
	t.Helper()
	f, err := schedule.ParseFreeze(windows...)
	require.NoError(t, err)
	return f
}

// TestTriggers: the earliest of slot, age and expiry wins, each with the leeway
// it has.
func TestTriggers(t *testing.T) {
	now := at(t, "2026-11-26 12:00") // a Thursday
	daily, monthly := parse(t, "0 4 * * *"), parse(t, "0 4 1 * *")
	for name, test := range map[string]struct {
		plan        schedule.Plan
		c           schedule.Credential
		first, last string // NextDue is between; "": never
		cause       schedule.Cause
	}{
		"nothing":               {schedule.Plan{}, schedule.Credential{}, "", "", ""},
		"age unknown":           {schedule.Plan{MaxAge: day}, schedule.Credential{}, "", "", ""},
		"slot":                  {schedule.Plan{Schedule: daily}, schedule.Credential{}, "2026-11-27 04:00", "2026-11-27 04:30", schedule.CauseSchedule},
		"slot by the wall":      {schedule.Plan{Schedule: daily, Zone: zone(t, "America/Los_Angeles")}, schedule.Credential{}, "2026-11-27 12:00", "2026-11-27 12:30", schedule.CauseSchedule},
		"slot in a freeze":      {schedule.Plan{Schedule: daily, Freeze: freeze(t, "03:00-06:00")}, schedule.Credential{}, "2026-11-27 06:00", "2026-11-27 06:16", schedule.CauseSchedule},
		"slot in two freezes":   {schedule.Plan{Schedule: daily, Freeze: freeze(t, "03:00-06:00", "Fri 06:00-Fri 23:00")}, schedule.Credential{}, "2026-11-27 23:00", "2026-11-28 01:23", schedule.CauseSchedule},
		"hourly, less jitter":   {schedule.Plan{Schedule: parse(t, "0 * * * *")}, schedule.Credential{}, "2026-11-26 13:00", "2026-11-26 13:06", schedule.CauseSchedule},
		"age before the slot":   {schedule.Plan{Schedule: monthly, MaxAge: 30 * day}, schedule.Credential{Created: now.Add(-28 * day)}, "2026-11-27 12:00", "2026-11-28 00:00", schedule.CauseMaxAge},
		"age after the slot":    {schedule.Plan{Schedule: monthly, MaxAge: 30 * day}, schedule.Credential{Created: now}, "2026-12-01 04:00", "2026-12-01 04:30", schedule.CauseSchedule},
		"short max_age":         {schedule.Plan{MaxAge: 10 * time.Hour}, schedule.Credential{Created: now}, "2026-11-26 21:00", "2026-11-26 21:30", schedule.CauseMaxAge},
		"overdue":               {schedule.Plan{MaxAge: day}, schedule.Credential{Created: now.Add(-9 * day)}, "2026-11-18 09:36", "2026-11-18 10:48", schedule.CauseMaxAge},
		"expiry":                {schedule.Plan{Schedule: monthly}, schedule.Credential{Created: now, Expires: now.Add(4 * day)}, "2026-11-29 12:00", "2026-11-29 18:00", schedule.CauseExpiry},
		"expiry, long life":     {schedule.Plan{}, schedule.Credential{Created: now, Expires: now.Add(300 * day)}, "2027-09-15 12:00", "2027-09-17 06:00", schedule.CauseExpiry},
		"expiry, margin":        {schedule.Plan{Margin: time.Hour}, schedule.Credential{Created: now, Expires: now.Add(4 * day)}, "2026-11-30 11:00", "2026-11-30 11:15", schedule.CauseExpiry},
		"expiry, margin > life": {schedule.Plan{Margin: 9 * day}, schedule.Credential{Created: now, Expires: now.Add(4 * day)}, "2026-11-28 12:00", "2026-11-29 00:00", schedule.CauseExpiry},
		"expiry, life unknown":  {schedule.Plan{}, schedule.Credential{Expires: now.Add(4 * day)}, "2026-11-29 12:00", "2026-11-29 18:00", schedule.CauseExpiry},
		"expiry in a freeze":    {schedule.Plan{Freeze: freeze(t, "Sun 00:00-Mon 00:00")}, schedule.Credential{Created: now, Expires: now.Add(4 * day)}, "2026-11-30 00:00", "2026-11-30 01:45", schedule.CauseExpiry},
		"a freeze it would not live through": {schedule.Plan{Freeze: freeze(t, "Sun 00:00-Mon 13:00")}, schedule.Credential{Created: now, Expires: now.Add(4 * day)},
			"2026-11-29 12:00", "2026-11-29 18:00", schedule.CauseExpiry},
	} {
		test.plan.Key = name
		when, cause := due(t, test.plan, now, test.c)
		require.Equal(t, test.cause, cause, name)
		if test.first == "" {
			require.Zero(t, when, name)
			continue
		}
		require.False(t, when.Before(at(t, test.first)), "%s: %s", name, when)
		require.True(t, when.Before(at(t, test.last)), "%s: %s", name, when)
	}
}

// TestDecide walks one secret through days: a slot, one slept through, one in a
// freeze.
func TestDecide(t *testing.T) {
	p := schedule.Plan{Key: "openai/api-key", Schedule: parse(t, "0 4 * * *"), Freeze: freeze(t, "Sat-Sun")}
	var c schedule.Credential
	s := p.Update(at(t, "2026-11-25 12:00"), schedule.State{}, c)
	decide := func(when string, want schedule.Verdict) {
		t.Helper()
		kept := s
		var got schedule.Verdict
		s, got = p.Decide(at(t, when), s, c)
		require.Equal(t, want, got, "%s: due %s", when, s.NextDue)
		if got == schedule.Wait {
			require.Equal(t, kept, s)
		}
	}

	decide("2026-11-26 03:59", schedule.Wait)
	decide("2026-11-26 04:00", schedule.Wait) // its jitter
	start := s.NextDue
	s, got := p.Decide(start, s, c)
	require.Equal(t, schedule.Run, got)
	s = p.Started(start, start, s, c)
	decide("2026-11-26 04:31", schedule.Wait)
	require.Equal(t, s, p.Started(start, start, s, c), "started twice")

	// Slept from there to noon of the next day: 04:00 is late, and postponed once.
	decide("2026-11-27 12:00", schedule.Postpone)
	require.True(t, s.NextDue.After(at(t, "2026-11-27 12:00")), s.NextDue)
	require.True(t, s.NextDue.Before(at(t, "2026-11-27 13:00")), s.NextDue)
	decide("2026-11-27 12:00", schedule.Wait)
	// Slept again, beyond that, and this is no reason to wait again.
	decide("2026-11-27 20:00", schedule.Run)
	s = p.Started(at(t, "2026-11-27 20:00"), at(t, "2026-11-27 20:00"), s, c)

	// The weekend is frozen, and its two slots are one, soon after it.
	require.True(t, s.NextDue.After(at(t, "2026-11-30 00:00")), s.NextDue)
	require.True(t, s.NextDue.Before(at(t, "2026-11-30 04:00")), s.NextDue)
	start = s.NextDue
	s, got = p.Decide(start, s, c)
	require.Equal(t, schedule.Run, got)
	s = p.Started(start, start, s, c)
	require.True(t, s.NextDue.Before(at(t, "2026-11-30 06:00")), s.NextDue)

	// Friday's slot is slept through until the freeze has begun.
	s = p.Started(at(t, "2026-12-03 12:00"), at(t, "2026-12-03 12:00"), s, c)
	decide("2026-12-05 12:00", schedule.Postpone)
	require.False(t, s.NextDue.Before(at(t, "2026-12-07 00:00")), s.NextDue)
}

// TestMonday: what waited together for a weekend does not start together.
func TestMonday(t *testing.T) {
	began, monday := at(t, "2026-11-25 12:00"), at(t, "2026-11-30 08:00")
	perMinute := map[time.Time]int{}
	for i := range 40 {
		p := schedule.Plan{Key: fmt.Sprintf("service/key-%d", i), Schedule: parse(t, "0 4 * * *")}
		s := p.Update(began, schedule.State{}, schedule.Credential{})
		s, got := p.Decide(monday, s, schedule.Credential{})
		require.Equal(t, schedule.Postpone, got)
		require.True(t, s.NextDue.Before(monday.Add(4*time.Hour)), s.NextDue)
		perMinute[s.NextDue.Truncate(time.Minute)]++
	}
	for minute, n := range perMinute {
		require.LessOrEqual(t, n, 3, minute)
	}
}

// TestLateExpiry: what expires while it is postponed is not.
func TestLateExpiry(t *testing.T) {
	now := at(t, "2026-11-26 12:00")
	p := schedule.Plan{Key: "a"}
	c := schedule.Credential{Created: now, Expires: now.Add(8 * time.Hour)}
	s := p.Update(now, schedule.State{}, c)
	_, got := p.Decide(now.Add(8*time.Hour-time.Second), s, c)
	require.Equal(t, schedule.Run, got)
	_, got = p.Decide(now.Add(9*time.Hour), s, c)
	require.Equal(t, schedule.Run, got)
}

// TestHour: two starts for one secret are an hour apart at least, whatever asks
// for them.
func TestHour(t *testing.T) {
	start := at(t, "2026-11-26 03:30")
	p := schedule.Plan{Key: "a", Schedule: parse(t, "0 4 * * *"), MaxAge: time.Minute, Margin: day}
	c := schedule.Credential{Created: start, Expires: start.Add(time.Minute)}
	s := p.Started(start, start, p.Update(start, schedule.State{}, c), c)
	require.Equal(t, start.Add(time.Hour), s.NextDue)
}

// TestFailures: each is waited for longer than the one before, the service's
// wish is kept, and the fifth suspends the schedule until one by hand succeeds.
func TestFailures(t *testing.T) {
	now := at(t, "2026-11-26 12:00")
	p := schedule.Plan{Key: "a", Schedule: parse(t, "0 4 1 * *")}
	var c schedule.Credential
	s := p.Update(now, schedule.State{}, c)

	wished := p.Failed(now, s, c, 3*day)
	require.False(t, wished.NextDue.Before(now.Add(3*day)), wished.NextDue)

	for _, wait := range []time.Duration{time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour} {
		s = p.Started(now, now, s, c)
		s = p.Failed(now.Add(time.Minute), s, c, 0)
		require.Equal(t, schedule.CauseRetry, s.Cause)
		require.False(t, s.NextDue.Before(now.Add(wait)), s.NextDue)
		require.True(t, s.NextDue.Before(now.Add(wait+wait/8+2*time.Minute)), s.NextDue)
		now = s.NextDue
	}
	s = p.Failed(now, p.Started(now, now, s, c), c, 0)
	require.True(t, s.Suspended())
	require.Zero(t, s.NextDue)
	_, got := p.Decide(now.Add(1000*day), s, c)
	require.Equal(t, schedule.Wait, got)
	s = p.Update(now, s, c)
	require.Zero(t, s.NextDue)

	s = p.Succeeded(now, p.Started(now.Add(day), now.Add(day), s, c), c)
	require.False(t, s.Suspended())
	require.Equal(t, schedule.CauseSchedule, s.Cause)
}

// TestRule: another expression, or another zone, begins now, and an age or a
// freeze that changes leaves the slots as they were.
func TestRule(t *testing.T) {
	seen, now := at(t, "2026-11-20 12:00"), at(t, "2026-11-26 12:00")
	var c schedule.Credential
	p := schedule.Plan{Key: "a", Schedule: parse(t, "0 4 * * *")}
	s := p.Update(seen, schedule.State{}, c)

	p.Freeze = freeze(t, "02:00-03:00")
	require.Equal(t, s, p.Update(now, s, c), "a missed slot is forgotten")

	other := p
	other.Schedule = parse(t, "0 5 * * *")
	require.True(t, other.Update(now, s, c).NextDue.After(now))
	other = p
	other.Zone = zone(t, "Europe/Berlin")
	require.True(t, other.Update(now, s, c).NextDue.After(now))
	other.Schedule = nil
	require.Zero(t, other.Update(now, s, c).NextDue)

	// Nor does what was postponed, or run by a clock that was ahead, count for it.
	s.Held = now.Add(day)
	s.Ran = []schedule.Slots{{First: now, Last: now.Add(9 * day)}}
	other = p
	other.Schedule = parse(t, "0 13 * * *")
	require.True(t, other.Update(now, s, c).NextDue.Before(now.Add(2*time.Hour)))
}

// TestToldLate: a start that the state missed is told when later slots are dealt
// with, and does not bring them back.
func TestToldLate(t *testing.T) {
	p := schedule.Plan{Key: "a", Schedule: parse(t, "0 4 * * *")}
	var c schedule.Credential
	now := at(t, "2026-11-26 12:00")
	s := p.Update(now, schedule.State{}, c)
	s = p.Started(now, now.Add(-3*day), s, c)
	require.True(t, s.NextDue.After(now), s.NextDue)
}

// TestLateHourly: what is postponed is not postponed past the next slot.
func TestLateHourly(t *testing.T) {
	now := at(t, "2026-11-26 12:00")
	for i := range 50 {
		p := schedule.Plan{Key: fmt.Sprint(i), Schedule: parse(t, "0 * * * *")}
		s := p.Update(now, schedule.State{}, schedule.Credential{})
		s, _ = p.Decide(now.Add(3*day), s, schedule.Credential{})
		require.True(t, s.NextDue.Before(now.Add(3*day+30*time.Minute)), s.NextDue)
	}
}

// TestByHandWhilePaused: a rotation by hand under a clock that is years behind
// brings no slots back when it is right.
func TestByHandWhilePaused(t *testing.T) {
	p := schedule.Plan{Key: "a", Schedule: parse(t, "0 4 * * *")}
	var c schedule.Credential
	now, wrong := at(t, "2026-11-26 12:00"), at(t, "1970-01-01 12:00")
	s := p.Update(now, schedule.State{}, c)
	s = p.Succeeded(wrong, p.Started(wrong, wrong, s, c), c)
	require.True(t, s.NextDue.After(now), s.NextDue)
	s = p.Failed(wrong, p.Started(wrong, wrong.Add(time.Hour), s, c), c, 0)
	s = p.Succeeded(now, p.Started(now, now, s, c), c)
	require.True(t, s.NextDue.After(now), s.NextDue)
}

// TestWaitsOfAWrongClock: what a clock that was ahead set as "not before" is not
// waited for once it is right.
func TestWaitsOfAWrongClock(t *testing.T) {
	now, wrong := at(t, "2026-11-26 12:00"), at(t, "2036-11-26 12:00")
	p := schedule.Plan{Key: "a", Schedule: parse(t, "0 4 * * *")}
	var c schedule.Credential
	s, verdict := p.Decide(wrong, p.Update(now, schedule.State{}, c), c)
	require.Equal(t, schedule.Postpone, verdict)
	require.False(t, p.Accept(now, s, c).NextDue.After(now.Add(day)))

	s = p.Failed(wrong, p.Started(wrong, wrong, s, c), c, day)
	require.False(t, p.Accept(now, s, c).NextDue.After(now.Add(7*day)))
}

// TestTickIsCheap: most secrets are not due at most ticks.
func TestTickIsCheap(t *testing.T) {
	now := at(t, "2026-11-26 12:00")
	p := schedule.Plan{Key: "a", Schedule: parse(t, "0 4 * * *"), Freeze: freeze(t, "Sat-Sun")}
	s := p.Update(now, schedule.State{}, schedule.Credential{})
	require.Zero(t, testing.AllocsPerRun(100, func() { s, _ = p.Decide(now, s, schedule.Credential{}) }))
}

func BenchmarkDecide(b *testing.B) {
	now := at(b, "2026-11-26 12:00")
	p := schedule.Plan{Key: "a", Schedule: parse(b, "0 4 * * *")}
	s := p.Update(now, schedule.State{}, schedule.Credential{})
	for b.Loop() {
		s, _ = p.Decide(now, s, schedule.Credential{})
	}
}

func BenchmarkUpdate(b *testing.B) {
	now := at(b, "2026-11-26 12:00")
	p := schedule.Plan{Key: "a", Schedule: parse(b, "0 4 1 * *"), Zone: zone(b, "Europe/Berlin"), MaxAge: 30 * day}
	c := schedule.Credential{Created: now}
	s := p.Update(now, schedule.State{}, c)
	for b.Loop() {
		s = p.Update(now, s, c)
	}
}

// TestAhead: a clock that was ahead for a while, by a day or by ten years, costs
// no slot and brings none back.
func TestAhead(t *testing.T) {
	for _, jump := range []time.Duration{day, 20 * day, 3652 * day} {
		p := schedule.Plan{Key: "a", Schedule: parse(t, "0 4 * * *")}
		var c schedule.Credential
		var clock schedule.Clock
		began := at(t, "2026-11-20 12:00")
		s := p.Update(began, schedule.State{}, c)
		starts := map[string]int{}
		live := func(from, to time.Time) {
			for now := from; now.Before(to); now = now.Add(10 * time.Minute) {
				var pace schedule.Pace
				switch clock, pace = clock.Tick(now); pace {
				case schedule.Paused:
					continue
				case schedule.Accepted:
					s = p.Accept(now, s, c)
					require.Equal(t, s, p.Started(now, s.LastStart, s, c), "the start is told again, as after a restart")
				}
				var verdict schedule.Verdict
				if s, verdict = p.Decide(now, s, c); verdict == schedule.Run {
					s = p.Started(now, now, s, c)
					slot := now.Format(time.DateOnly)
					starts[slot]++
					require.Equal(t, 1, starts[slot], "%s: the slot of %s came twice", jump, slot)
				}
			}
		}
		live(began, began.Add(3*day))
		ahead := began.Add(3*day + jump)
		live(ahead, ahead.Add(3*day))
		if jump > 9*day { // and through two slots of three there it sleeps
			for i := range 10 {
				live(ahead.Add(time.Duration(3+3*i)*day), ahead.Add(time.Duration(4+3*i)*day))
			}
		}
		require.GreaterOrEqual(t, len(starts), 6, "%s: %s", jump, starts)

		right, end := began.Add(6*day), ahead.Add(40*day)
		live(right, end)
		for when := right.Add(2 * day); when.Before(end); when = when.Add(day) {
			if slept := when.Sub(ahead); slept < 3*day || slept > 35*day {
				require.Equal(t, 1, starts[when.Format(time.DateOnly)], "%s: the slot of %s", jump, when)
			}
		}
	}
}
