package rotation

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// explorer tries schedules of faults.
type explorer struct {
	spec  *spec
	make  func(*spec) *world
	depth int
	every int // of the schedules with depth faults, one in so many
	stop  int // after so many violations

	tried, last int // schedules that were tried; those with depth faults
	ends        map[string]int
	wrong       []string
}

// explore tries a schedule, and all that have one fault more after it.
func (e *explorer) explore(plan []planned) {
	if len(plan) == e.depth {
		if e.last++; e.last%e.every != 0 {
			return
		}
	}
	w := e.make(e.spec)
	w.plan = plan
	w.start()
	w.run()
	w.judge()
	e.tried++
	e.ends[w.end()]++
	if len(w.wrong) > 0 {
		e.wrong = append(e.wrong, fmt.Sprintf("%s: %s: %v", e.spec.name, w.describe(), w.wrong))
	}
	if len(plan) == e.depth {
		return
	}
	from := 0
	if len(plan) > 0 {
		from = plan[len(plan)-1].at + 1
	}
	for at := from; at < len(w.points); at++ {
		for _, f := range w.points[at].faults {
			if len(e.wrong) >= e.stop {
				return
			}
			e.explore(append(plan[:len(plan):len(plan)], planned{at, f}))
		}
	}
}

// end is how it ended.
func (w *world) end() string {
	if r := w.flight(); r != nil {
		return "lost"
	}
	past, err := w.engine.History(w.name)
	if err != nil || len(past) == 0 {
		return "never began"
	}
	return past[0].State
}

// describe names the faults by what they were of.
func (w *world) describe() (s string) {
	for _, p := range w.plan {
		if p.at < len(w.points) {
			s += fmt.Sprintf("[%d %s: %s] ", p.at, w.points[p.at].what, p.fault)
		}
	}
	return s
}

// TestSchedules: whatever crashes, is lost, repeated or late, up to three times in
// one rotation, at any point.
func TestSchedules(t *testing.T) {
	depth, every, least := 3, 30, 10_000
	switch {
	case raceEnabled: // it is one goroutine
		depth, every, least = 2, 10, 1000
	case long():
		every = 1
	}
	total := 0
	for _, s := range specs {
		e := &explorer{spec: s, make: newWorld, depth: depth, every: every, stop: 5, ends: map[string]int{}}
		begin := time.Now()
		t.Run(s.name, func(t *testing.T) {
			e.explore(nil)
			require.Empty(t, e.wrong)
			require.Positive(t, e.ends[string(Done)])
		})
		total += e.tried
		t.Logf("%-15s %6d schedules of %d in %v: %v", s.name, e.tried, e.tried-e.last/every+e.last, time.Since(begin).Round(time.Millisecond), e.ends)
	}
	t.Logf("%d schedules", total)
	require.Greater(t, total, least)
}

// TestMutants: an engine that is broken in a way that somebody might break it is
// caught by the schedules.
func TestMutants(t *testing.T) {
	for name, c := range map[string]struct {
		spec string
		harm func(*world)
	}{
		"what is about to be done is not saved first": {"create slow", func(w *world) {
			w.unsaved = func(r *Rotation) bool { return r.Doing == actReserve }
		}},
		"nor before a roll": {"roll", func(w *world) {
			w.unsaved = func(r *Rotation) bool { return r.Doing == actReserve }
		}},
		"what a crash left open is not settled": {"create slow", func(w *world) { w.deaf = true }},
		"nor is what it left of a roll":         {"roll", func(w *world) { w.deaf = true }},
		"nor of a refresh":                      {"refresh", func(w *world) { w.deaf = true }},
		"it does not look for orphans":          {"create", func(w *world) { w.blind = "find" }},
		"it does not verify":                    {"create slow", func(w *world) { w.blind = "verify" }},
		"the old one is ended before the new one is published": {"create", func(w *world) {
			w.hook = func(r *Rotation) {
				if r.Doing == actPublish {
					r.State, r.Doing = Announced, actDisable
				}
			}
		}},
		"it is done before the old one is ended": {"set", func(w *world) {
			w.hook = func(r *Rotation) {
				if r.State == Drained {
					r.State, r.Doing = Retired, actForget
				}
			}
		}},
		"it does not see that the old one is refused": {"roll lag", func(w *world) { w.blind = "verify old" }},
		"one proof is enough":                         {"create slow", func(w *world) { w.kind.Proofs = 1 }},
		"a lost answer is settled at once": {"roll", func(w *world) {
			w.hook = func(r *Rotation) {
				if r.Doubt && r.Doing == actProbeOld {
					r.Proofs = 100
				}
			}
		}},
		"an orphan that is late is not looked for": {"create", func(w *world) {
			w.blind = "find at the end"
		}},
		"going back forgets that it may be published": {"create", func(w *world) {
			w.hook = func(r *Rotation) {
				if r.Doing == actPublish && r.Tries == 1 {
					r.rollBack(reasonOwner, &evidence{now: w.now})
					r.Doing = actUndo
				}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			e := &explorer{spec: specOf(c.spec), depth: 2, every: 1, stop: 1, ends: map[string]int{}}
			e.make = func(s *spec) *world {
				w := newWorld(s)
				c.harm(w)
				return w
			}
			e.explore(nil)
			require.NotEmpty(t, e.wrong)
			t.Logf("caught after %d schedules: %.300s", e.tried, e.wrong[0])
		})
	}
}
