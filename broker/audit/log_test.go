package audit_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"secretctl/broker/audit"
	"secretctl/broker/durable"
	"secretctl/broker/secret"
)

// drawn is any record that has a form on disk, finer than the disk where it may
// be.
func drawn(t *rapid.T) *audit.Record {
	text := rapid.StringMatching(`[ !#-\[\]-~é世]{0,20}`)
	moment := rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.Bool().Draw(t, "absent") {
			return time.Time{}
		}
		return start.Add(time.Duration(rapid.Int64Range(-1e18, 1e18).Draw(t, "at")))
	})
	r := &audit.Record{
		Event:    rapid.SampledFrom([]audit.Event{audit.EventLease, audit.EventRenew, audit.EventRevoke, audit.EventSet, audit.EventRead, audit.EventStart}).Draw(t, "event"),
		Decision: rapid.SampledFrom([]audit.Decision{"", audit.Allow, audit.Deny}).Draw(t, "decision"),
		Reason:   rapid.StringMatching(`[a-z_]{0,64}`).Draw(t, "reason"),
		Stated:   rapid.String().Draw(t, "stated"),
		Agent:    text.Draw(t, "agent"),
		Strength: text.Draw(t, "strength"),
		Exe:      rapid.String().Draw(t, "exe"),
		Secret:   secret.Name(rapid.StringMatching(`([a-z]{1,5}/[a-z]{1,5})?`).Draw(t, "secret")),
		Version:  rapid.Uint64().Draw(t, "version"),
		Lease:    rapid.StringMatching(`([0-9a-f]{32})?`).Draw(t, "lease"),
		Door:     text.Draw(t, "door"),
		Pinned:   rapid.Bool().Draw(t, "pinned"),
		Group:    rapid.StringMatching(`[0-9a-f]{0,32}`).Draw(t, "group"),
		TTL:      time.Duration(rapid.Int64Range(0, 1<<60).Draw(t, "ttl")),
		Issued:   moment.Draw(t, "issued"), First: moment.Draw(t, "first"), Expires: moment.Draw(t, "expires"),
		BootDeadline: time.Duration(rapid.Int64Range(0, 1<<60).Draw(t, "deadline")),
		Epoch:        rapid.Uint64().Draw(t, "epoch"),
		Grant:        text.Draw(t, "grant"),
		Config:       rapid.StringMatching(`([0-9a-f]{16})?`).Draw(t, "config"),
		Mode:         text.Draw(t, "mode"),
		Count:        rapid.Uint64().Draw(t, "count"),
	}
	if rapid.Bool().Draw(t, "peer") {
		r.Peer = true
		r.UID, r.GID = rapid.Uint32().Draw(t, "uid"), rapid.Uint32().Draw(t, "gid")
		r.PID = rapid.Int32Range(0, 1<<31-1).Draw(t, "pid")
	}
	if r.Event == audit.EventStart {
		r.BootID = text.Draw(t, "boot id")
	}
	return r
}

// TestAppend: what is appended is applied, in its order, once and before Append
// returns, and looks the same when it is read back, by Scan and by another Open.
func TestAppend(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, clk := made(t)
		var applied []audit.Record
		o := audit.Options{Apply: func(r *audit.Record) { applied = append(applied, *r) }, SegmentBytes: 4 << 10}
		log, err := audit.Open(d, dir, clk, o)
		require.NoError(t, err)
		n := rapid.IntRange(1, 8).Draw(t, "records")
		for i := range n {
			clk.Advance(time.Duration(rapid.Int64Range(0, 1e10).Draw(t, "pause")))
			r := drawn(t)
			require.NoError(t, log.Append(r))
			require.Len(t, applied, i+1)
			require.Equal(t, *r, applied[i])
			require.EqualValues(t, i+1, r.Seq)
			require.Equal(t, clk.Now().Wall.Truncate(time.Microsecond), r.Time)
			require.EqualValues(t, i+1, log.Head().Seq)
		}
		require.NoError(t, log.Close())
		require.Equal(t, applied, scanned(t, d))
		written := applied
		applied = nil
		log, err = audit.Open(d, dir, clk, o)
		require.NoError(t, err)
		require.NoError(t, log.Close())
		require.Equal(t, written, applied)
		verified(t, d)
	})
}

// counted returns the disk, and how often each kind of operation was done on
// the log's segments.
func counted(d durable.Disk) (*durable.Hook, map[durable.OpKind]int) {
	ops := map[durable.OpKind]int{}
	return &durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
		ops[op.Kind]++
		return durable.Verdict{}
	}}, ops
}

// TestAppendCost: a record that nobody shares with costs one write and one sync,
// also when a checkpoint follows it at once.
func TestAppendCost(t *testing.T) {
	d, clk := made(t)
	disk, ops := counted(d)
	w := openWorld(t, disk, clk, 0)
	for what, r := range map[string]*audit.Record{
		"a lease": plain(1), "a start": {Event: audit.EventStart}, "a kill": {Event: audit.EventKill},
	} {
		clear(ops)
		require.NoError(t, w.log.Append(r))
		require.Equal(t, map[durable.OpKind]int{durable.OpWrite: 1, durable.OpSync: 1}, ops, what)
	}
	w.close(t)
}

// TestGroupCommit: records that are appended at the same time share a sync, and
// each that was acknowledged is in the log, once.
func TestGroupCommit(t *testing.T) {
	const goroutines, each = 64, 20
	d, clk := made(t)
	disk, ops := counted(d)
	w := openWorld(t, disk, clk, 64<<10)
	syncs := ops[durable.OpSync]
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				r := plain(g*each + i)
				if err := w.log.Append(r); err != nil {
					t.Errorf("appending: %v", err)
				} else if r.Seq == 0 || r.Time.IsZero() {
					t.Error("acknowledged without a number or a time")
				}
			}
		})
	}
	wg.Wait()
	syncs = ops[durable.OpSync] - syncs
	w.close(t)
	t.Logf("%d syncs for %d records", syncs, goroutines*each)
	require.Less(t, syncs, goroutines*each, "how many come together is the scheduler's")
	seen := map[string]bool{}
	for _, r := range scanned(t, d) {
		require.False(t, seen[r.Lease], "twice")
		seen[r.Lease] = true
	}
	require.Len(t, seen, goroutines*each)
	require.Equal(t, w.fold.Snapshot(), w.reopen(t, 0).fold.Snapshot())
	verified(t, d)
}

// TestAppendAll: together are those that are handed over together, 128 at most,
// whatever else goes on.
func TestAppendAll(t *testing.T) {
	d, clk := made(t)
	disk, ops := counted(d)
	w := openWorld(t, disk, clk, 0)
	for n, syncs := range map[int]int{0: 0, 1: 1, 128: 1, 129: 2, 300: 3} {
		var records []*audit.Record
		for i := range n {
			records = append(records, plain(i))
		}
		clear(ops)
		before := w.log.Head().Seq
		require.NoError(t, w.log.AppendAll(records))
		require.Equal(t, syncs, ops[durable.OpSync], "%d records", n)
		require.Equal(t, before+uint64(n), w.log.Head().Seq)
		for i, r := range records {
			require.Equal(t, before+uint64(i)+1, r.Seq)
		}
	}
	w.close(t)
	verified(t, d)
}

// TestAppendFlawed: a record that has no form in the log is refused, by name of
// what is wrong with it, and what it came with is not written either.
func TestAppendFlawed(t *testing.T) {
	w := newWorld(t, 0)
	for field, r := range map[string]*audit.Record{
		"event":  {Event: "party"},
		"secret": {Event: audit.EventLease, Secret: "No Name"},
		"agent":  {Event: audit.EventLease, Agent: "a\x1b[2J"},
		"ttl":    {Event: audit.EventLease, TTL: -time.Second},
	} {
		err := w.log.AppendAll([]*audit.Record{plain(1), r})
		require.ErrorContains(t, err, field)
		require.NotErrorIs(t, err, audit.ErrUnavailable)
		require.NotContains(t, err.Error(), "\x1b")
		w.log.Defer(r)
	}
	require.Zero(t, w.log.Head().Seq)
	w.close(t)
	all := scanned(t, w.disk)
	require.Len(t, all, 1, "of those that nobody waits for there is the number")
	require.Equal(t, audit.EventDropped, all[0].Event)
	require.Equal(t, uint64(4), all[0].Count)
}

// TestHead: it says where the durable part ends, before and after an Open, and
// why nothing can be written.
func TestHead(t *testing.T) {
	w := newWorld(t, 0)
	require.Zero(t, w.log.Head().Seq)
	w.append(t, 3)
	head := w.log.Head()
	require.EqualValues(t, 3, head.Seq)
	require.NoError(t, head.Err)
	w.close(t)
	require.ErrorIs(t, w.log.Head().Err, audit.ErrClosed)
	require.Equal(t, head.Chain, verified(t, w.disk).Head)
	again := w.reopen(t, 0)
	require.Equal(t, head, again.log.Head())
	again.close(t)
}

// TestClosed: a log that was closed takes nothing, and closing it again is no
// error.
func TestClosed(t *testing.T) {
	w := newWorld(t, 0)
	w.append(t, 3)
	w.close(t)
	before := files(t, w.disk)
	require.ErrorIs(t, w.log.Append(plain(4)), audit.ErrClosed)
	require.ErrorIs(t, w.log.Append(plain(4)), audit.ErrUnavailable)
	require.ErrorIs(t, w.log.Checkpoint(), audit.ErrClosed)
	require.ErrorIs(t, w.log.Tick(time.Hour), audit.ErrClosed)
	w.log.Defer(plain(4))
	w.close(t)
	require.Equal(t, before, files(t, w.disk))
}

// TestCloseWhileAppending: each of those who append while the log is closed is
// told that the record is durable, and it is, or that the log is closed, and it
// is not.
func TestCloseWhileAppending(t *testing.T) {
	for range 8 {
		w := newWorld(t, 16<<10)
		var mu sync.Mutex
		kept := map[string]bool{}
		var wg, some sync.WaitGroup
		for g := range 64 {
			some.Add(1)
			wg.Go(func() {
				for i := 0; ; i++ {
					r := plain(g<<16 | i)
					err := w.log.Append(r)
					if i == 0 {
						some.Done()
					}
					if errors.Is(err, audit.ErrClosed) {
						return
					}
					if err != nil {
						t.Errorf("appending: %v", err)
						return
					}
					mu.Lock()
					kept[r.Lease] = true
					mu.Unlock()
				}
			})
		}
		some.Wait()
		closed := make(chan error, 2)
		for range 2 {
			wg.Go(func() { closed <- w.log.Close() })
		}
		require.NoError(t, <-closed)
		require.NoError(t, <-closed)
		wg.Wait()
		records := scanned(t, w.disk)
		require.Len(t, records, len(kept))
		for _, r := range records {
			require.True(t, kept[r.Lease])
		}
		require.EqualValues(t, len(kept), verified(t, w.disk).SignedSeq)
	}
}
