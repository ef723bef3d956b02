package lease_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"secretctl/broker/audit"
)

// A lease counts for 60 minutes, and for no more than 61.
func TestLastHour(t *testing.T) {
	w := newWorld(t)
	w.clk.Advance(59 * time.Second) // the last of its minute: the shortest count
	w.issue(time.Second)
	w.clk.Advance(time.Hour)
	require.Equal(t, 1, w.lastHour("rule-1"))
	w.clk.Advance(time.Second)
	require.Zero(t, w.lastHour("rule-1"))

	w.issue(time.Second) // the first of its minute: the longest
	w.clk.Advance(61*time.Minute - time.Second)
	require.Equal(t, 1, w.lastHour("rule-1"))
	w.clk.Advance(time.Second)
	require.Zero(t, w.lastHour("rule-1"))
	require.Zero(t, w.lastHour("no such rule"))
	require.Zero(t, w.live("no such rule"))
}

// Asking changes nothing, whatever the clock shows at that moment.
func TestLastHourAsked(t *testing.T) {
	w := newWorld(t)
	w.issue(time.Second)
	w.clk.StepWall(24 * time.Hour)
	require.Zero(t, w.lastHour("rule-1"))
	w.clk.StepWall(-24 * time.Hour)
	require.Equal(t, 1, w.lastHour("rule-1"))
}

// Setting the clock back does not make room: what was given keeps its age. Nor
// does a clock that ran ahead and was set right block a grant until it gets
// there again.
func TestLastHourSetBack(t *testing.T) {
	for _, ahead := range []time.Duration{0, time.Hour, 10 * 365 * 24 * time.Hour} {
		w := newWorld(t)
		w.clk.StepWall(ahead)
		for range 3 {
			w.issue(time.Minute)
			w.clk.Advance(20 * time.Minute)
		}
		w.issue(time.Minute)
		w.clk.StepWall(-ahead - time.Hour)
		require.Equal(t, 4, w.lastHour("rule-1"), "before a record shows it")
		w.note()
		require.Equal(t, 4, w.lastHour("rule-1"))
		for left := range 4 {
			w.clk.Advance(time.Minute)
			require.Equal(t, 3-left, w.lastHour("rule-1"), "%v ahead, %d minutes later", ahead, left*20+1)
			w.clk.Advance(19 * time.Minute)
		}
	}
}

// A clock that shows a time before 1970 counts too.
func TestLastHourBefore1970(t *testing.T) {
	w := newWorld(t)
	w.issue(time.Minute)
	w.clk.StepWall(-100 * 365 * 24 * time.Hour)
	w.note()
	w.issue(time.Minute)
	require.Equal(t, 2, w.lastHour("rule-1"))
	require.NoError(t, w.table.Restore(w.table.Snapshot()))
	require.Equal(t, 2, w.lastHour("rule-1"))
}

// A record from before the last one counts as given then.
func TestLastHourOutOfOrder(t *testing.T) {
	w := newWorld(t)
	w.put(recordOf(audit.EventLease, w.leaseOf(time.Minute)), start)
	w.put(recordOf(audit.EventLease, w.leaseOf(time.Minute)), start.Add(-2*time.Minute))
	require.Equal(t, 2, w.lastHour("rule-1"))
	w.clk.Advance(time.Hour)
	require.Equal(t, 2, w.lastHour("rule-1"))
}

// hour is the sliding hour at its simplest: every minute in which a lease was
// given.
type hour []int64

// minuteOf counts minutes from 1970 on; there is no time before.
func minuteOf(at time.Time) int64 { return max(at.Unix()/60, 0) }

func (h *hour) give(at time.Time) {
	*h = append(*h, max(minuteOf(at), h.latest()))
	from := h.latest() - 60
	*h = slices.DeleteFunc(*h, func(at int64) bool { return at < from })
}

func (h hour) latest() (latest int64) {
	for _, at := range h {
		latest = max(latest, at)
	}
	return latest
}

// back gives everything the age it had before the clock was set back.
func (h hour) back(now time.Time) {
	if ahead := h.latest() - minuteOf(now); ahead > 0 {
		for i := range h {
			h[i] -= ahead
		}
	}
}

func (h hour) count(now time.Time) (n int) {
	for _, at := range h {
		if at >= max(minuteOf(now), h.latest())-60 {
			n++
		}
	}
	return n
}

// TestUsage holds the sliding hour against the list, through clocks that jump
// and tables that are restored.
func TestUsage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		var given hour
		record := func(r *audit.Record) {
			n := len(w.records)
			if w.append(r); w.records[n].Event == audit.EventClockStep {
				given.back(w.last)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"give": func(t *rapid.T) {
				for range rapid.IntRange(1, 5).Draw(t, "leases") {
					record(recordOf(audit.EventLease, w.leaseOf(time.Second)))
					given.give(w.last)
				}
			},
			"pass": func(t *rapid.T) {
				w.clk.Advance(time.Duration(rapid.IntRange(1, 1800).Draw(t, "s")) * time.Second)
				w.table.Sweep(w.clk.Now())
			},
			"step": func(t *rapid.T) {
				w.clk.StepWall(time.Duration(rapid.IntRange(-7200, 7200).Draw(t, "s")) * time.Second)
			},
			"note":    func(*rapid.T) { record(&audit.Record{Event: audit.EventReload}) },
			"restore": func(t *rapid.T) { require.NoError(t, w.table.Restore(w.table.Snapshot())) },
			"": func(t *rapid.T) {
				require.Equal(t, given.count(w.clk.Now().Wall), w.lastHour("rule-1"))
			},
		})
	})
}
