package lease_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/audit"
)

// Sweep forgets what has run out, at the moment it has, and nothing else.
func TestSweep(t *testing.T) {
	w := newWorld(t)
	for _, ttl := range []time.Duration{3, 1, 2, 2, 5} {
		w.issue(ttl * time.Second)
	}
	for _, c := range []struct {
		advance     time.Duration
		ended, left int
	}{
		{0, 0, 5},
		{time.Second - 1, 0, 5},
		{1, 1, 4},
		{time.Second, 2, 2},
		{0, 0, 2},
		{3 * time.Second, 2, 0},
		{time.Hour, 0, 0},
	} {
		w.clk.Advance(c.advance)
		require.Equal(t, c.ended, w.table.Sweep(w.clk.Now()))
		require.Equal(t, c.left, w.table.Len())
		require.Equal(t, c.left, w.live("rule-1"))
		require.Equal(t, c.left, w.table.HeldBy("openai/api-key", 3))
	}
}

// A renewed lease stays until its last end, also one renewed for less.
func TestSweepRenewed(t *testing.T) {
	for what, c := range map[string]struct{ first, renewed time.Duration }{
		"longer":  {time.Minute, time.Hour},
		"shorter": {time.Hour, time.Minute},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			l := w.issue(c.first)
			w.append(recordOf(audit.EventRenew, w.renewed(l, c.renewed)))
			w.clk.Advance(c.renewed - 1)
			require.Zero(t, w.table.Sweep(w.clk.Now()))
			require.True(t, w.usable(l.ID))
			w.clk.Advance(1)
			require.Equal(t, 1, w.table.Sweep(w.clk.Now()))
		})
	}
}

// More leases than are swept at a time still all go, in one call.
func TestSweepMany(t *testing.T) {
	w := newWorld(t)
	for range 3_500 {
		w.append(recordOf(audit.EventLease, w.leaseOf(time.Minute)))
	}
	kept := w.issue(time.Hour)
	w.clk.Advance(time.Minute)
	require.Equal(t, 3_500, w.table.Sweep(w.clk.Now()))
	require.Equal(t, 1, w.table.Len())
	require.True(t, w.usable(kept.ID))
}

// What a table costs is the leases it holds: not how often they were renewed,
// nor how many came and went within their time, nor how long nobody swept.
func TestSweepCost(t *testing.T) {
	const times = 50_000
	w := newWorld(t)
	l := w.issue(time.Hour)
	before := heap()
	for i := range times {
		w.clk.Advance(time.Millisecond)
		w.table.Apply(recordOf(audit.EventRenew, w.renewed(l, time.Hour)))
		other := w.leaseOf(time.Hour)
		other.Version = uint64(i)
		w.table.Apply(recordOf(audit.EventLease, other))
		w.table.Drop(other.ID)
	}
	grown := int64(heap()) - int64(before)
	require.Less(t, grown, int64(times), "less than a byte for each")
	require.Equal(t, 1, w.table.Len())

	w.clk.Advance(100 * 365 * 24 * time.Hour)
	began := time.Now()
	require.Equal(t, 1, w.table.Sweep(w.clk.Now()))
	require.Less(t, time.Since(began), time.Second)
}

// heap is how many bytes are in use.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
