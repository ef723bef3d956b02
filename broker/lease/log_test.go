package lease_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/audit"
	"secretctl/broker/clock"
	"secretctl/broker/durable"
	"secretctl/broker/lease"
)

// openLog opens the log of a home with a table folded from it.
func openLog(t *testing.T, d durable.Disk, clk clock.Clock) (*audit.Log, *lease.Table) {
	table := lease.NewTable(nil)
	log, err := audit.Open(d, "audit", clk, audit.Options{
		Apply: table.Apply, Snapshot: table.Snapshot, Restore: table.Restore, SegmentBytes: 16 << 10,
	})
	require.NoError(t, err)
	return log, table
}

// TestTableIsTheLog writes leases to a real log, over several segments: what is
// read back from it, after a crash or from the snapshot of a clean end, is the
// table there was.
func TestTableIsTheLog(t *testing.T) {
	clk := clock.NewFake(start.Add(123_456_789)) // finer than the log
	d, err := durable.OpenHome(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, audit.Create(d, "audit", clk))
	log, table := openLog(t, d, clk)
	w := &world{clk: clk, table: table}
	require.NoError(t, table.Wake(clk.Now(), clk.BootID()))
	require.NoError(t, log.Append(&audit.Record{Event: audit.EventStart, BootID: clk.BootID()}))
	for i := range 100 {
		clk.Advance(time.Second + time.Nanosecond)
		l := w.leaseOf(time.Duration(i%7+1) * time.Minute)
		w.reserve(l)
		require.NoError(t, log.Append(recordOf(audit.EventLease, l)))
		switch i % 5 {
		case 0:
			require.NoError(t, log.Append(endOf(audit.EventRelease, l.ID)))
		case 1:
			l = w.renewed(l, time.Hour)
			l.Version++
			require.NoError(t, log.Append(recordOf(audit.EventRenew, l)))
		case 2:
			clk.StepWall(-5 * time.Second)
		}
	}
	want := stateOf(t, table)
	require.NotEmpty(t, want.Leases)
	segments, err := d.ReadDir("audit")
	require.NoError(t, err)
	require.Greater(t, len(segments), 4)

	crashed, again := openLog(t, d, clk)
	require.Equal(t, want, stateOf(t, again))
	require.NoError(t, crashed.Close())

	log, again = openLog(t, d, clk)
	require.Equal(t, want, stateOf(t, again))
	require.NoError(t, again.Wake(clk.Now(), clk.BootID()))
	require.Equal(t, table.List(clk.Now(), nil), again.List(clk.Now(), nil))
	require.NoError(t, log.Close())
}
