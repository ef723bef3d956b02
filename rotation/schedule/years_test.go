package schedule_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/rotation/schedule"
)

// quarter divides all the minutes of rules, and all changes of zones.
const quarter = 15 * time.Minute

// rules are expressions, each beside what it means, said a second time.
var rules = []struct {
	expr string
	on   func(wall time.Time) bool
}{
	{"0 4 1 * *", func(w time.Time) bool { return w.Day() == 1 && w.Hour() == 4 && w.Minute() == 0 }},
	{"30 2 * * *", func(w time.Time) bool { return w.Hour() == 2 && w.Minute() == 30 }},
	{"30 1 * * *", func(w time.Time) bool { return w.Hour() == 1 && w.Minute() == 30 }},
	{"0 0 * * 0", func(w time.Time) bool { return w.Weekday() == time.Sunday && w.Hour() == 0 && w.Minute() == 0 }},
	{"15 */12 * * *", func(w time.Time) bool { return w.Hour()%12 == 0 && w.Minute() == 15 }},
}

var (
	simBegins = time.Date(2026, 1, 10, 12, 0, 0, 0, time.UTC)
	simEnds   = simBegins.AddDate(2, 0, 0)
	// Clocks are wrong by months in both directions.
	slotsBegin = simBegins.AddDate(0, -6, 0)
	slotsEnd   = simEnds.AddDate(0, 6, 0)
)

// slotsIn walks the wall by quarters of an hour, for all rules: each slot that is on it
// once, at its first appearance, and what the wall skipped when it has skipped
// it.
func slotsIn(loc *time.Location) (slots [][]time.Time) {
	slots = make([][]time.Time, len(rules))
	highest := wall(slotsBegin.Add(-quarter), loc)
	for t := slotsBegin; t.Before(slotsEnd); t = t.Add(quarter) {
		shown := wall(t, loc)
		for w := highest.Add(quarter); !w.After(shown); w = w.Add(quarter) {
			for i, rule := range rules {
				if n := len(slots[i]); rule.on(w) && (n == 0 || !slots[i][n-1].Equal(t)) {
					slots[i] = append(slots[i], t)
				}
			}
		}
		if shown.After(highest) {
			highest = shown
		}
	}
	return slots
}

// walked is what [slotsIn] found in each of simZones.
var walked = sync.OnceValue(func() map[string][][]time.Time {
	found := map[string][][]time.Time{}
	for _, name := range simZones {
		loc, err := time.LoadLocation(name)
		if err != nil {
			panic(err)
		}
		found[name] = slotsIn(loc)
	}
	return found
})

var simZones = []string{"UTC", "America/Los_Angeles", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe"}

// TestSlots: [schedule.Schedule.Next] goes through exactly the slots of the walk.
func TestSlots(t *testing.T) {
	for _, name := range simZones {
		loc := zone(t, name)
		for i, rule := range rules {
			s, when := parse(t, rule.expr), slotsBegin.Add(-time.Second)
			for _, slot := range walked()[name][i] {
				when = s.Next(when, loc)
				require.True(t, slot.Equal(when), "%s in %s: %s, and not %s", rule.expr, name, when, slot)
			}
			require.False(t, s.Next(when, loc).Before(slotsEnd))
		}
	}
}

// troubles are what the machine and the services do to a simulation.
type troubles struct {
	sleeps, restarts, freezes, corrections, steps, failures bool
}

// world is one machine with one secret: true time, what its clock shows, and
// what was run. It knows of slots only what the walk says.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	with  troubles
	plan  schedule.Plan
	slots []time.Time
	loc   *time.Location

	real    time.Time
	ahead   time.Duration // of the wall clock
	clock   schedule.Clock
	highest time.Time // what the wall clock ever showed
	state   schedule.State
	c       schedule.Credential

	run     map[int]bool // slots that were run
	from    time.Time    // slots up to here are dealt with
	began   time.Time    // the last start, by the wall; zero: none that this clock knows
	journal time.Time    // a start that the state may not know yet
	pending time.Duration
	asleep  bool // since the last slot came
	tries   int  // failures in a row
	ran     int
}

func (w *world) now() time.Time { return w.real.Add(w.ahead) }

// TestTwoYears: whatever happens in two years, no slot is run twice, none is
// forgotten, nothing starts in a freeze nor within an hour of the last start.
func TestTwoYears(t *testing.T) {
	seeds := 1
	if os.Getenv("SECRETCTL_LONG") != "" {
		seeds = 10
	}
	for name, with := range map[string]troubles{
		"quiet":       {},
		"frozen":      {freezes: true},
		"asleep":      {sleeps: true, restarts: true},
		"corrected":   {sleeps: true, restarts: true, freezes: true, corrections: true},
		"wrong":       {sleeps: true, restarts: true, corrections: true, steps: true},
		"failing":     {restarts: true, failures: true},
		"all of that": {true, true, true, true, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runs := 0
			for _, zoneName := range simZones {
				for rule := range rules {
					for seed := range seeds {
						w := newWorld(t, with, zoneName, rule, uint64(seed))
						w.live()
						runs += w.ran
					}
				}
			}
			t.Logf("%d years, %d starts", 2*len(simZones)*len(rules)*seeds, runs)
		})
	}
}

func newWorld(t *testing.T, with troubles, zoneName string, rule int, seed uint64) *world {
	loc := zone(t, zoneName)
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, uint64(rule))), with: with, loc: loc,
		plan:  schedule.Plan{Key: fmt.Sprintf("%s/%d", zoneName, seed), Schedule: parse(t, rules[rule].expr), Zone: loc},
		slots: walked()[zoneName][rule], real: simBegins, from: simBegins, run: map[int]bool{},
	}
	if with.freezes {
		w.plan.Freeze = freeze(t, "Fri 16:00-Mon 08:00", "02:15-02:45", "2026-12-24-2026-12-27")
	}
	w.state = w.plan.Update(w.now(), w.state, w.c)
	return w
}

// live goes through the two years.
func (w *world) live() {
	for w.real.Before(simEnds) && !w.t.Failed() {
		w.tick()
		w.wait()
		w.trouble()
	}
	require.NotZero(w.t, w.ran)
}

// wait lets time pass to the tick at which something can happen, an hour at
// most.
func (w *world) wait() {
	step := time.Hour
	if due := w.state.NextDue.Sub(w.now()); !w.state.NextDue.IsZero() && due < step {
		step = max(due, tick)
	}
	step = (step + tick - 1).Truncate(tick)
	was := w.now()
	w.real = w.real.Add(step)
	w.passed(was, step)
}

// passed counts how long a slot that has come has been waiting for, awake, free
// and with a clock that is trusted.
func (w *world) passed(was time.Time, step time.Duration) {
	next, ok := w.pendingSlot(w.now())
	if !ok {
		w.pending, w.asleep = 0, false
		return
	}
	_, before := w.plan.Freeze.Frozen(was, w.loc)
	_, after := w.plan.Freeze.Frozen(w.now(), w.loc)
	if before || after || !w.clock.Back.IsZero() {
		w.asleep = true
		return
	}
	// What a clock that was ahead jumped over is run where State.Ran has kept it:
	// see TestAhead.
	if w.tries > 0 || w.slots[next].Before(w.highest.Add(-time.Hour)) && w.with.steps {
		return
	}
	w.pending += step
	// Jitter, the hour between two starts, and having been late once.
	require.Less(w.t, w.pending, 10*time.Hour, "%s is forgotten at %s: %+v", w.slots[next], w.now(), w.state)
	if following := next + 1; following < len(w.slots) && !w.asleep && !w.with.steps && !w.with.corrections {
		require.True(w.t, w.now().Before(w.slots[following].Add(2*tick)), "%s was not run before the next, %s", w.slots[next], w.slots[following])
	}
}

// pendingSlot returns the first slot that has come and is not dealt with.
func (w *world) pendingSlot(now time.Time) (int, bool) {
	i, _ := slices.BinarySearchFunc(w.slots, w.from.Add(1), time.Time.Compare)
	for ; i < len(w.slots) && !w.slots[i].After(now); i++ {
		if !w.run[i] {
			return i, true
		}
	}
	return 0, false
}

// tick is what the scheduler does each time.
func (w *world) tick() {
	var pace schedule.Pace
	w.clock, pace = w.clock.Tick(w.now())
	w.highest = slices.MaxFunc([]time.Time{w.highest, w.now()}, time.Time.Compare)
	switch pace {
	case schedule.Paused:
		require.True(w.t, w.with.steps, "paused")
		return
	case schedule.Accepted:
		w.from, w.began = slices.MinFunc([]time.Time{w.from, w.now()}, time.Time.Compare), time.Time{}
		w.state = w.plan.Accept(w.now(), w.state, w.c)
	}
	var verdict schedule.Verdict
	w.state, verdict = w.plan.Decide(w.now(), w.state, w.c)
	if verdict == schedule.Run {
		w.start()
	}
	if w.state.Suspended() { // the owner comes by
		w.real = w.real.Add(time.Duration(w.rng.IntN(100)) * time.Hour)
		if _, pace := w.clock.Tick(w.now()); pace != schedule.Going {
			return
		}
		w.began = time.Time{} // by hand one may, at any time
		w.state.Failures, w.tries = 4, 0
		w.started()
		w.state = w.plan.Succeeded(w.now(), w.state, w.c)
	}
}

// start holds a start against what may be.
func (w *world) start() {
	now := w.now()
	_, frozen := w.plan.Freeze.Frozen(now, w.loc)
	require.False(w.t, frozen, "%s is frozen", now)
	if !w.began.IsZero() {
		require.GreaterOrEqual(w.t, now.Sub(w.began), time.Hour, "twice an hour, at %s", now)
	}
	switch w.state.Cause {
	case schedule.CauseSchedule:
		_, ok := w.lastSlot(now)
		require.True(w.t, ok, "a start at %s for no slot, or one that was run", now)
		require.Zero(w.t, w.tries, "the failure was forgotten")
	case schedule.CauseRetry:
		require.NotZero(w.t, w.tries, "no failure to try again")
	default:
		require.Fail(w.t, "no such cause here", w.state.Cause)
	}
	w.started()
	if w.with.failures && w.rng.IntN(3) == 0 {
		w.tries++
		w.state = w.plan.Failed(w.now(), w.state, w.c, 0)
		require.Equal(w.t, w.tries >= 5, w.state.Suspended())
		return
	}
	w.tries = 0
	w.state = w.plan.Succeeded(w.now(), w.state, w.c)
}

// lastSlot returns the slot that a start now stands for.
func (w *world) lastSlot(now time.Time) (int, bool) {
	i, found := slices.BinarySearchFunc(w.slots, now, time.Time.Compare)
	if !found {
		i--
	}
	for ; i >= 0 && w.slots[i].After(w.from); i-- {
		if !w.run[i] {
			return i, true
		}
	}
	return 0, false
}

// started is a start, in the journal first. A crash may come before the state
// knows of it.
func (w *world) started() {
	now := w.now()
	if slot, ok := w.lastSlot(now); ok {
		w.run[slot] = true
	}
	if now.After(w.from) {
		w.from = now
	}
	w.began, w.journal, w.pending, w.asleep = now, now, 0, false
	w.ran++
	if w.with.restarts && w.rng.IntN(4) == 0 {
		w.restart()
		return
	}
	w.state = w.plan.Started(now, now, w.state, w.c)
}

// restart is a broker that ends, and begins with what is on the disk: sometimes
// after hours.
func (w *world) restart() {
	kept, err := json.Marshal(w.state)
	require.NoError(w.t, err)
	clock, err := json.Marshal(w.clock)
	require.NoError(w.t, err)
	w.state, w.clock = schedule.State{}, schedule.Clock{}
	require.NoError(w.t, json.Unmarshal(kept, &w.state))
	require.NoError(w.t, json.Unmarshal(clock, &w.clock))
	w.state = w.plan.Started(w.now(), w.journal, w.state, w.c)
}

// trouble happens every few days.
func (w *world) trouble() {
	span := func(most time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(most))) }
	if w.with.sleeps && w.rng.IntN(30) == 0 {
		w.real = w.real.Add(span(14 * time.Hour))
		w.asleep = true
	}
	if w.with.sleeps && w.rng.IntN(500) == 0 {
		w.real = w.real.Add(span(20 * day))
		w.asleep = true
	}
	if w.with.restarts && w.rng.IntN(50) == 0 {
		w.restart()
		if _, pace := w.clock.Tick(w.now()); pace == schedule.Going {
			w.state = w.plan.Update(w.now(), w.state, w.c)
		}
	}
	if w.with.corrections && w.rng.IntN(100) == 0 {
		w.ahead = min(max(w.ahead+span(time.Hour)-30*time.Minute, -30*time.Minute), 30*time.Minute)
	}
	// A clock that is wrong is seen within days.
	switch wrong := w.ahead.Abs() > time.Hour; {
	case wrong && w.rng.IntN(75) == 0:
		w.ahead = 0
	case wrong || !w.with.steps || w.rng.IntN(1000) > 0:
	case w.rng.IntN(2) == 0:
		w.ahead = span(60 * day)
	default:
		w.ahead = -span(60 * day)
	}
}
