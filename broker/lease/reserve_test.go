package lease_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/audit"
	"secretctl/broker/grant"
	"secretctl/broker/lease"
)

// limited returns a policy with one rule.
func limited(t testing.TB, change func(*grant.Rule)) (*grant.Policy, string) {
	rule := grant.Rule{Agent: "openclaw", Secrets: []grant.Pattern{"openai/api-key"}}
	change(&rule)
	p, err := grant.NewPolicy([]grant.Rule{rule}, time.Hour, 10*time.Minute)
	require.NoError(t, err)
	return p, p.Rules()[0].ID
}

// ask reserves a lease under a policy.
func (w *world) ask(p *grant.Policy, id lease.ID) grant.Decision {
	now := w.clk.Now()
	return w.table.Reserve(id, "openclaw", now, func(c grant.Counts) grant.Decision {
		return p.Decide(grant.Request{Agent: "openclaw", Secret: "openai/api-key", Door: grant.DoorValue, At: now.Wall}, c)
	})
}

// A reservation counts as a lease held and issued until it is cancelled, or
// its record takes its place.
func TestReserve(t *testing.T) {
	w := newWorld(t)
	a, b := w.leaseOf(time.Hour), w.leaseOf(time.Hour)
	for _, l := range []lease.Lease{a, b} {
		w.reserve(l)
	}
	require.Equal(t, 2, w.live("rule-1"))
	require.Equal(t, 2, w.lastHour("rule-1"))
	require.False(t, w.usable(a.ID), "no lease without a record")

	w.table.Cancel(b.ID)
	w.table.Cancel(b.ID)
	require.Equal(t, 1, w.live("rule-1"))
	require.Equal(t, 1, w.lastHour("rule-1"))

	w.append(recordOf(audit.EventLease, a))
	w.table.Cancel(a.ID)
	require.Equal(t, 1, w.live("rule-1"))
	require.Equal(t, 1, w.lastHour("rule-1"))
	require.True(t, w.usable(a.ID))

	w.table.Drop(a.ID)
	require.Zero(t, w.live("rule-1"))
	require.Equal(t, 1, w.lastHour("rule-1"), "giving a lease back does not undo its issue")
}

func TestReserveDenied(t *testing.T) {
	w := newWorld(t)
	d := w.table.Reserve(lease.NewID(), "openclaw", w.clk.Now(), func(grant.Counts) grant.Decision {
		return grant.Decision{Code: grant.CodeNoGrant}
	})
	require.Equal(t, grant.Decision{Code: grant.CodeNoGrant}, d)
	require.Zero(t, w.live(""))
}

// A lease that was ended while its record was being written is dead from the
// start, and leaves nothing counted but its issue.
func TestEndedWhileRecorded(t *testing.T) {
	w := newWorld(t)
	p, rule := limited(t, func(r *grant.Rule) { r.MaxLeases = 1 })
	l := w.leaseOf(time.Hour)
	l.Rule = rule
	require.True(t, w.ask(p, l.ID).Allow)
	w.moveEpoch()
	w.append(recordOf(audit.EventLease, l))

	require.False(t, w.usable(l.ID))
	require.Zero(t, w.live(rule))
	require.Zero(t, w.table.HeldBy(l.Secret, l.Version))
	require.Equal(t, 1, w.lastHour(rule))
	require.True(t, w.ask(p, lease.NewID()).Allow, "its place is free again")
}

// A renewal whose lease ended while the record was being written does not
// bring it back.
func TestRenewalOfWhatEnded(t *testing.T) {
	for what, end := range map[string]func(*world, lease.ID){
		"released": func(w *world, id lease.ID) { w.append(endOf(audit.EventRelease, id)) },
		"revoked":  func(w *world, id lease.ID) { w.table.Drop(id) },
		"killed":   func(w *world, _ lease.ID) { w.moveEpoch() },
		"run out": func(w *world, _ lease.ID) {
			w.clk.Advance(time.Minute)
			w.table.Sweep(w.clk.Now())
		},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			l := w.issue(time.Minute)
			w.clk.Advance(time.Second)
			renewed := w.renewed(l, time.Minute)
			end(w, l.ID)
			w.append(recordOf(audit.EventRenew, renewed))
			require.False(t, w.usable(l.ID))
			require.Zero(t, w.live("rule-1"))
			require.Zero(t, w.table.HeldBy(l.Secret, l.Version))
		})
	}
}

// Of a hundred who ask at once for seven places, seven get one, and the hour's
// limit holds in the same way.
func TestReserveNeverOverAdmits(t *testing.T) {
	for what, change := range map[string]func(*grant.Rule){
		"held":    func(r *grant.Rule) { r.MaxLeases = 7 },
		"an hour": func(r *grant.Rule) { r.LeasesPerHour = 7 },
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			p, rule := limited(t, change)
			var got atomic.Int32
			var log, all sync.WaitGroup
			var append sync.Mutex // the log applies records one at a time
			log.Add(1)
			for range 100 {
				all.Go(func() {
					log.Wait()
					l := w.leaseOf(time.Hour)
					l.Rule = rule
					if !w.ask(p, l.ID).Allow {
						return
					}
					got.Add(1)
					append.Lock()
					defer append.Unlock()
					w.append(recordOf(audit.EventLease, l))
				})
			}
			log.Done()
			all.Wait()
			require.EqualValues(t, 7, got.Load())
			require.Equal(t, 7, w.table.Len())
			require.Equal(t, 7, w.live(rule))
			require.Equal(t, 7, w.lastHour(rule))
		})
	}
}

// The table is used from all sides at once; the race detector watches, and
// nothing stays counted.
func TestConcurrentUse(t *testing.T) {
	w := newWorld(t)
	var records sync.Mutex
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 100 {
				l := w.leaseOf(time.Duration(i+1) * time.Second)
				w.reserve(l)
				if i == 7 {
					w.table.Cancel(l.ID)
					continue
				}
				records.Lock()
				w.append(recordOf(audit.EventLease, l))
				records.Unlock()
				w.usable(l.ID)
				w.clk.Advance(time.Millisecond)
				switch i % 4 {
				case 0:
					w.table.Drop(l.ID)
				case 1:
					w.table.Sweep(w.clk.Now())
				case 2:
					w.table.List(w.clk.Now(), nil)
				case 3:
					w.table.Snapshot()
				}
			}
		})
	}
	all.Wait()
	w.clk.Advance(time.Hour)
	w.table.Sweep(w.clk.Now())
	require.Zero(t, w.table.Len())
	require.Zero(t, w.live("rule-1"))
	require.Zero(t, w.table.HeldBy("openai/api-key", 3))
}

// MaxPerAgent bounds an agent whatever its grants say, and it alone.
func TestMaxPerAgent(t *testing.T) {
	w := newWorld(t)
	var ids []lease.ID
	for range lease.MaxPerAgent {
		ids = append(ids, lease.NewID())
		d := w.table.Reserve(ids[len(ids)-1], "openclaw", w.clk.Now(), allow(fmt.Sprint(len(ids)%7)))
		require.True(t, d.Allow)
	}
	d := w.table.Reserve(lease.NewID(), "openclaw", w.clk.Now(), allow("another"))
	require.False(t, d.Allow)
	require.Equal(t, grant.CodeMaxLeases, d.Code)
	require.Equal(t, "another", d.Rule.ID)
	require.Zero(t, w.live("another"))
	require.True(t, w.table.Reserve(lease.NewID(), "nightly", w.clk.Now(), allow("another")).Allow)

	w.table.Cancel(ids[0])
	require.True(t, w.table.Reserve(lease.NewID(), "openclaw", w.clk.Now(), allow("another")).Allow)
}
