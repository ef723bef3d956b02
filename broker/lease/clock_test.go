package lease_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/lease"
)

// cell is one way in which a clock can go wrong in the life of a lease.
type cell struct {
	by     time.Duration
	clock  string
	moment string
}

const cellTTL = time.Hour

func (c cell) step(w *world) {
	switch c.clock {
	case "wall":
		w.clk.StepWall(c.by)
	case "boot":
		w.clk.StepBoot(c.by)
	case "both":
		w.clk.StepWall(c.by)
		w.clk.StepBoot(c.by)
	}
}

// run plays the cell, second by second, and returns for how long the lease
// could be used. Whoever reads the boot clock ends everything when it goes
// back, so that is done here too.
func (c cell) run(t *testing.T) (used time.Duration) {
	w := newWorld(t)
	if c.moment == "before issue" {
		c.step(w)
		w.note()
	}
	l := w.issue(cellTTL)
	boot := w.clk.Now().Boot
	for passed := time.Duration(0); passed <= 2*cellTTL+time.Minute; passed += time.Second {
		switch {
		case c.moment == "mid-lease" && passed == cellTTL/2, c.moment == "at expiry" && passed == cellTTL:
			c.step(w)
			w.note()
		case c.moment == "while down" && passed == cellTTL/2:
			c.whileDown(w, false)
		case c.moment == "while rebooting" && passed == cellTTL/2:
			c.whileDown(w, true)
			boot = 0
		}
		now := w.clk.Now()
		if boot-now.Boot > time.Second {
			w.moveEpoch()
		}
		boot = now.Boot
		if w.usable(l.ID) {
			used = passed + time.Second
			require.Less(t, now.Wall.Sub(l.Issued), cellTTL, "by the wall clock")
		}
		w.clk.Advance(time.Second)
		w.table.Sweep(w.clk.Now())
	}
	require.Zero(t, w.table.Len())
	return used
}

func (c cell) whileDown(w *world, reboot bool) {
	w.note()
	if reboot {
		w.clk.Reboot()
	}
	c.step(w)
	_ = w.restart() // an error has moved the epoch
}

// TestClockMatrix steps either clock or both, by a second to ten years, at
// every moment of a lease's life: none is usable for longer than its ttl and
// one second, by any clock.
func TestClockMatrix(t *testing.T) {
	const year = 365 * 24 * time.Hour
	n, undisturbed := 0, 0
	for _, step := range []time.Duration{-10 * year, -time.Hour, -time.Second, time.Second, time.Hour, 10 * year} {
		for _, clk := range []string{"wall", "boot", "both"} {
			for _, moment := range []string{"before issue", "mid-lease", "at expiry", "while down", "while rebooting"} {
				c := cell{step, clk, moment}
				t.Run(fmt.Sprint(c), func(t *testing.T) {
					n++
					used := c.run(t)
					require.LessOrEqual(t, used, cellTTL+time.Second)
					if moment == "before issue" || moment == "at expiry" {
						require.GreaterOrEqual(t, used, cellTTL, "nothing has disturbed it")
						undisturbed++
					}
				})
			}
		}
	}
	require.Equal(t, 6*3*5, n)
	require.Equal(t, 6*3*2, undisturbed)
}

// A machine that sleeps for eight hours wakes to leases that are dead, whether
// the broker slept with it or is started again, whatever the wall clock shows.
func TestSuspend8h(t *testing.T) {
	const night = 8 * time.Hour
	for what, sleep := range map[string]func(*world) error{
		"asleep":            func(w *world) error { w.clk.Advance(night); return nil },
		"wall clock stands": func(w *world) error { w.clk.StepBoot(night); return nil },
		"started again":     func(w *world) error { w.clk.Advance(night); return w.restart() },
		"started again, wall clock stands": func(w *world) error {
			w.clk.StepBoot(night)
			return w.restart()
		},
		"from a snapshot": func(w *world) error {
			state := w.table.Snapshot()
			w.clk.StepBoot(night)
			w.table = lease.NewTable(nil)
			if err := w.table.Restore(state); err != nil {
				return err
			}
			return w.resume()
		},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			var leases []lease.Lease
			for _, ttl := range []time.Duration{time.Minute, time.Hour, night} {
				leases = append(leases, w.issue(ttl))
			}
			require.NoError(t, sleep(w))
			for _, l := range leases {
				require.False(t, w.usable(l.ID), "of %v", l.TTL)
			}
			w.table.Sweep(w.clk.Now())
			require.Zero(t, w.table.Len())
			require.Zero(t, w.live("rule-1"))
			require.True(t, w.usable(w.issue(time.Minute).ID), "new ones can be had")
		})
	}
}

// After a reboot a lease has what the wall clock leaves it, and not more than
// its ttl.
func TestWakeInAnotherBoot(t *testing.T) {
	w := newWorld(t)
	long, short := w.issue(time.Hour), w.issue(10*time.Minute)
	w.clk.Advance(5 * time.Minute)
	w.clk.Reboot()
	w.clk.Advance(2 * time.Minute)
	require.NoError(t, w.restart())
	require.True(t, w.usable(short.ID))
	w.clk.StepWall(-time.Hour)
	w.clk.Advance(3*time.Minute - 1)
	require.True(t, w.usable(short.ID))
	w.clk.Advance(1)
	require.False(t, w.usable(short.ID), "the boot clock bounds it, though the wall clock went back")
	w.clk.Advance(50*time.Minute - 1)
	require.True(t, w.usable(long.ID))
	w.clk.Advance(1)
	require.False(t, w.usable(long.ID))
}

// Deadlines of a boot that is over mean nothing in the next: a second start in
// it neither believes them nor takes them for a clock that went back.
func TestWakeTwiceInAnotherBoot(t *testing.T) {
	w := newWorld(t)
	w.clk.StepBoot(100 * time.Hour) // up for days
	l := w.issue(time.Hour)
	w.clk.Reboot()
	for range 3 {
		w.clk.Advance(time.Minute)
		require.NoError(t, w.restart())
		require.True(t, w.usable(l.ID))
		require.False(t, stateOf(t, w.table).Leases[0].Foreign, "its deadline counts in this boot now")
	}
	w.clk.StepWall(-2 * time.Hour)
	w.clk.Advance(57*time.Minute - 1)
	require.True(t, w.usable(l.ID))
	w.clk.Advance(1)
	require.False(t, w.usable(l.ID))
}

// A lease during whose life the wall clock went back does not survive a reboot:
// what is left of it is not known. In the same boot it lives on.
func TestWakeAfterStepBack(t *testing.T) {
	w := newWorld(t)
	l := w.issue(time.Hour)
	w.clk.Advance(30 * time.Minute)
	w.clk.StepWall(-time.Hour)
	w.note()
	require.NoError(t, w.restart())
	require.True(t, w.usable(l.ID), "in the same boot")
	w.clk.Reboot()
	require.NoError(t, w.restart())
	require.False(t, w.usable(l.ID), "in the next")
}

// The same of a lease that was decided before the clock went back and recorded
// after.
func TestWakeAfterStepBackWhileRecorded(t *testing.T) {
	w := newWorld(t)
	l := w.leaseOf(time.Hour)
	w.clk.StepWall(-time.Hour)
	w.append(recordOf("lease", l))
	require.True(t, w.usable(l.ID))
	w.clk.Advance(30 * time.Minute)
	w.clk.Reboot()
	require.NoError(t, w.restart())
	require.False(t, w.usable(l.ID))
}

// Waking refuses clocks that cannot be trusted, and then changes nothing.
func TestWakeRefuses(t *testing.T) {
	for what, c := range map[string]struct {
		wall, boot time.Duration
		reboot     bool
		err        string
	}{
		"wall clock behind":           {-3 * time.Second, 0, false, "the wall clock is 3s behind the last record"},
		"wall clock behind, rebooted": {-time.Hour, 0, true, "the wall clock is 1h0m0s behind the last record"},
		"boot clock behind":           {0, -time.Millisecond, false, "the boot clock is behind the last record of the same boot"},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			l := w.issue(time.Hour)
			before := stateOf(t, w.table)
			if c.reboot {
				w.clk.Reboot()
			}
			w.clk.StepWall(c.wall)
			w.clk.StepBoot(c.boot)
			require.EqualError(t, w.table.Wake(w.clk.Now(), w.clk.BootID()), c.err)
			require.Equal(t, before, stateOf(t, w.table))
			require.Equal(t, 1, w.table.Len())
			require.Error(t, w.restart())
			require.False(t, w.usable(l.ID))
		})
	}
}

// NTP's ordinary corrections end nothing, and give nobody time.
func TestWakeTolerates(t *testing.T) {
	w := newWorld(t)
	l := w.issue(time.Minute)
	w.clk.Reboot()
	w.clk.StepWall(-2 * time.Second)
	require.NoError(t, w.restart())
	w.clk.Advance(time.Minute - 1)
	require.True(t, w.usable(l.ID))
	w.clk.Advance(1)
	require.False(t, w.usable(l.ID))
}

// A ttl with a part of a second is cut in the log. The broker started again in
// that part does not take it for a boot clock that went back.
func TestWakeAfterPartOfASecond(t *testing.T) {
	w := newWorld(t)
	l := w.leaseOf(1500 * time.Millisecond)
	r := recordOf("lease", l)
	r.TTL = time.Second
	w.append(r)
	w.clk.Advance(time.Millisecond)
	require.NoError(t, w.restart())
	require.True(t, w.usable(l.ID))
}

// Where the system does not say which boot this is, every start is another one.
func TestWakeWithoutBootID(t *testing.T) {
	w := newWorld(t)
	l := w.issue(time.Hour)
	w.table = replay(w.records)
	w.clk.Advance(10 * time.Minute)
	now := w.clk.Now()
	now.Boot = time.Second // it may be another, and this no step back
	require.NoError(t, w.table.Wake(now, ""))
	now.Boot /= 2
	require.NoError(t, w.table.Wake(now, ""))
	got, ok := w.table.Get(l.ID, now)
	require.True(t, ok)
	require.Equal(t, now.Boot+50*time.Minute, got.BootDeadline)
}
