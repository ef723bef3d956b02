package lease_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/audit"
	"secretctl/broker/grant"
	"secretctl/broker/lease"
)

// The latest time that any record carries is what the clock is held against,
// wherever among the others it stands.
func TestWakeRefusesBehindAnyRecord(t *testing.T) {
	w := newWorld(t)
	ahead, behind := start.Add(time.Hour), start.Add(time.Minute)
	for _, at := range []time.Time{ahead, behind} {
		w.table.Apply(&audit.Record{Event: audit.EventReload, Time: at})
	}
	w.clk.Advance(30 * time.Minute)
	require.ErrorContains(t, w.table.Wake(w.clk.Now(), w.clk.BootID()), "the wall clock is 30m0s behind")
}

// A lease that ran out while the machine was off leaves a table that can be
// written down and read again.
func TestWakeLongAfterTheEnd(t *testing.T) {
	w := newWorld(t)
	l := w.issue(time.Hour)
	w.clk.Advance(100 * time.Hour)
	w.clk.Reboot()
	require.NoError(t, w.restart())
	require.False(t, w.usable(l.ID))
	require.NoError(t, lease.NewTable(nil).Restore(w.table.Snapshot()))
}

// What is decided by no rule of the config, as an owner's lease is, is counted
// under no rule.
func TestReserveWithoutARule(t *testing.T) {
	w := newWorld(t)
	d := w.table.Reserve(lease.NewID(), "owner", w.clk.Now(), func(grant.Counts) grant.Decision {
		return grant.Decision{Allow: true, Code: grant.CodeOwner}
	})
	require.True(t, d.Allow)
	require.Equal(t, 1, w.live(""))
	require.Zero(t, w.live("rule-1"))
}
