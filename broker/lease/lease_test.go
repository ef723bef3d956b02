package lease_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/audit"
	"secretctl/broker/lease"
	"secretctl/broker/secret"
)

func TestID(t *testing.T) {
	a, b := lease.NewID(), lease.NewID()
	require.NotEqual(t, a, b)
	require.Regexp(t, "^[0-9a-f]{32}$", a.String())
	parsed, err := lease.ParseID(a.String())
	require.NoError(t, err)
	require.Equal(t, a, parsed)
}

// One lease has one spelling.
func TestParseIDRefuses(t *testing.T) {
	good := "00112233445566778899aabbccddeeff"
	for _, s := range []string{"", good[1:], good + "0", strings.ToUpper(good), " " + good[1:], "g" + good[1:], "0x" + good[2:], good[:31] + "\n", good[:30] + "é"} {
		id, err := lease.ParseID(s)
		require.EqualError(t, err, "a lease id is 32 hex digits", "%q", s)
		require.Zero(t, id)
	}
}

// A lease is over from the moment either clock reaches its end.
func TestOver(t *testing.T) {
	w := newWorld(t)
	l := w.leaseOf(time.Minute)
	now := w.clk.Now()
	for _, c := range []struct {
		wall, boot time.Duration
		over       bool
	}{
		{0, 0, false},
		{time.Minute - 1, time.Minute - 1, false},
		{time.Minute, 0, true},
		{0, time.Minute, true},
		{-time.Hour, time.Minute, true},
		{time.Minute, -time.Hour, true},
	} {
		at := now
		at.Wall, at.Boot = now.Wall.Add(c.wall), now.Boot+c.boot
		require.Equal(t, c.over, l.Over(at), "%v by the wall, %v since boot", c.wall, c.boot)
	}
}

// What a record says of a lease is the lease.
func TestDescribe(t *testing.T) {
	w := newWorld(t)
	l := w.leaseOf(time.Minute)
	l.Pinned = true
	w.append(recordOf(audit.EventLease, l))
	got, ok := w.table.Get(l.ID, w.clk.Now())
	require.True(t, ok)
	require.Equal(t, l, got)
}

func TestList(t *testing.T) {
	w := newWorld(t)
	first := w.issue(time.Hour)
	w.clk.Advance(time.Second)
	var same []string
	for range 5 {
		same = append(same, w.issue(time.Hour).ID.String())
	}
	short := w.issue(time.Second)
	w.clk.Advance(time.Second)

	list := w.table.List(w.clk.Now(), nil)
	require.Len(t, list, 6, "the short one has run out")
	require.Equal(t, 7, w.table.Len(), "and is not swept yet")
	require.Equal(t, first.ID, list[0].ID, "oldest first")
	for i, l := range list[2:] {
		require.Less(t, list[i+1].ID.String(), l.ID.String(), "then by id")
	}
	require.Contains(t, same, list[1].ID.String())
	require.NotContains(t, list, short)

	list = w.table.List(w.clk.Now(), func(l *lease.Lease) bool { return l.ID == first.ID })
	require.Equal(t, []lease.Lease{first}, list)
}

// A version is freed once, when the last lease on it has ended, whichever way.
func TestFree(t *testing.T) {
	for what, end := range map[string]func(w *world, ids ...lease.ID){
		"dropped": func(w *world, ids ...lease.ID) { w.table.Drop(ids...) },
		"swept": func(w *world, _ ...lease.ID) {
			w.clk.Advance(time.Minute)
			w.table.Sweep(w.clk.Now())
		},
		"epoch": func(w *world, _ ...lease.ID) { w.table.MoveEpoch(1) },
		"released": func(w *world, ids ...lease.ID) {
			for _, id := range ids {
				w.append(endOf(audit.EventRelease, id))
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			var freed []string
			w := newWorld(t)
			w.table = lease.NewTable(func(name secret.Name, version uint64) {
				freed = append(freed, fmt.Sprintf("%s@%d", name, version))
				require.Zero(t, w.table.HeldBy(name, version)) // and the table can be used
			})
			a, b := w.issue(time.Minute), w.issue(time.Minute)
			require.Equal(t, 2, w.table.HeldBy(a.Secret, a.Version))
			if what == "dropped" || what == "released" {
				end(w, a.ID)
				require.Empty(t, freed, "another lease is on it")
			}
			end(w, b.ID)
			require.Equal(t, []string{"openai/api-key@3"}, freed)
			require.Zero(t, w.table.HeldBy(a.Secret, a.Version))
		})
	}
}

// Renewing a following lease moves it, and frees what it leaves behind; renewing
// without a new version frees nothing.
func TestFreeOnRenewal(t *testing.T) {
	var freed []uint64
	w := newWorld(t)
	w.table = lease.NewTable(func(_ secret.Name, version uint64) { freed = append(freed, version) })
	l := w.issue(time.Minute)
	w.append(recordOf(audit.EventRenew, w.renewed(l, time.Minute)))
	require.Empty(t, freed)
	l.Version = 4
	w.append(recordOf(audit.EventRenew, w.renewed(l, time.Minute)))
	require.Equal(t, []uint64{3}, freed)
	require.Equal(t, 1, w.table.HeldBy(l.Secret, 4))
	require.Zero(t, w.table.HeldBy(l.Secret, 3))
}

// Ending leases twice, or ones that never were, is no error and counts nothing.
func TestDropTwice(t *testing.T) {
	w := newWorld(t)
	a, b := w.issue(time.Minute), w.issue(time.Minute)
	require.Equal(t, 1, w.table.Drop(a.ID, a.ID, lease.NewID()))
	require.Zero(t, w.table.Drop(a.ID))
	require.Equal(t, 1, w.live("rule-1"))
	require.True(t, w.usable(b.ID))
}

func TestMoveEpoch(t *testing.T) {
	w := newWorld(t)
	old := w.issue(time.Hour)
	require.Equal(t, 1, w.table.MoveEpoch(5))
	require.EqualValues(t, 5, w.table.Epoch())
	require.False(t, w.usable(old.ID))
	require.Zero(t, w.table.MoveEpoch(4), "never backwards")
	require.EqualValues(t, 5, w.table.Epoch())

	w.epoch = 5
	l := w.issue(time.Hour)
	require.True(t, w.usable(l.ID))
	require.Zero(t, w.table.MoveEpoch(5))
	require.True(t, w.usable(l.ID), "it is of this epoch")
}

// Records that end leases do it whether they name one or an epoch.
func TestApplyEnds(t *testing.T) {
	for _, event := range []audit.Event{audit.EventRelease, audit.EventRevoke, audit.EventUndelivered} {
		w := newWorld(t)
		a, b := w.issue(time.Hour), w.issue(time.Hour)
		r := endOf(event, a.ID)
		r.Epoch = 7 // every record has the epoch it was written in
		w.append(r)
		require.False(t, w.usable(a.ID), event)
		require.True(t, w.usable(b.ID), event)
		require.Zero(t, w.table.Epoch(), "%s of one lease leaves the epoch alone", event)
	}
	for _, event := range []audit.Event{audit.EventRevoke, audit.EventKill, audit.EventRecover} {
		w := newWorld(t)
		a := w.issue(time.Hour)
		w.append(&audit.Record{Event: event, Epoch: 1})
		require.False(t, w.usable(a.ID), event)
		require.EqualValues(t, 1, w.table.Epoch(), event)
		require.Zero(t, w.live("rule-1"), event)
	}
}

// A record of a denial, or one that names no lease, puts nothing in force.
func TestApplyIgnores(t *testing.T) {
	for what, change := range map[string]func(*audit.Record){
		"a denial":        func(r *audit.Record) { r.Decision = audit.Deny },
		"no decision":     func(r *audit.Record) { r.Decision = "" },
		"no lease":        func(r *audit.Record) { r.Lease = "" },
		"another event":   func(r *audit.Record) { r.Event = audit.EventSet },
		"an older epoch":  func(r *audit.Record) { r.Epoch = 0 },
		"not a lease's":   func(r *audit.Record) { r.Lease = "xyz" },
		"a renewal of it": func(r *audit.Record) { r.Event = audit.EventRenew },
	} {
		w := newWorld(t)
		w.moveEpoch()
		r := recordOf(audit.EventLease, w.leaseOf(time.Hour))
		change(r)
		w.append(r)
		require.Zero(t, w.table.Len(), what)
		require.Zero(t, w.live("rule-1"), what)
	}
}
