package audit_test

import (
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/audit"
	"secretctl/broker/durable"
)

// denial is a record as an agent can cause any number of.
func denial() *audit.Record {
	return &audit.Record{Event: audit.EventLease, Decision: audit.Deny, Reason: "not_granted", Agent: "openclaw"}
}

// expiry is a deferred record that no agent causes.
func expiry() *audit.Record { return &audit.Record{Event: audit.EventExpire, Count: 1} }

// fillable is a disk that can be full.
type fillable struct {
	durable.Hook
	full  bool
	cause syscall.Errno // of a full one; 0: ENOSPC
	tries int           // while it was full
}

func newFillable(d durable.Disk) *fillable {
	f := &fillable{}
	f.Hook = durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
		if !f.full || op.Kind != durable.OpWrite {
			return durable.Verdict{}
		}
		f.tries++
		if f.cause != 0 {
			return durable.Verdict{Err: f.cause}
		}
		return durable.Verdict{Err: syscall.ENOSPC, Short: f.tries % 3 * 100}
	}}
	return f
}

// TestDeferSoon: a record for which nobody waits is durable 50 ms later, without
// anything else happening, however many there are.
func TestDeferSoon(t *testing.T) {
	for _, n := range []int{1, 100, 768} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 0)
			for range n {
				w.log.Defer(denial())
			}
			time.Sleep(49 * time.Millisecond)
			synctest.Wait()
			require.Zero(t, w.log.Head().Seq)
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			require.EqualValues(t, n, w.log.Head().Seq)
			require.Len(t, scanned(t, synced(w.disk.(*durable.Mem))), n)
			w.log.Defer(expiry())
			time.Sleep(50 * time.Millisecond)
			synctest.Wait()
			require.EqualValues(t, n+1, w.log.Head().Seq)
			w.close(t)
		})
	}
}

// TestDeferWithNext: a deferred record is written with the next batch, before
// it, and at the latest when the log is closed.
func TestDeferWithNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, clk := made(t)
		disk, ops := counted(d)
		w := openWorld(t, disk, clk, 0)
		w.log.Defer(denial())
		clear(ops)
		r := plain(1)
		require.NoError(t, w.log.Append(r))
		require.EqualValues(t, 2, r.Seq)
		require.Equal(t, 1, ops[durable.OpSync])
		w.log.Defer(denial())
		require.NoError(t, w.log.Checkpoint())
		require.EqualValues(t, 3, w.log.Head().Seq)
		w.log.Defer(denial())
		w.close(t)
		require.Len(t, scanned(t, d), 4)
		require.EqualValues(t, 4, verified(t, d).SignedSeq)
	})
}

// TestDeferWhileWriting: what is deferred while a write goes on, whose batch it
// missed, is written soon after, though the time to do it came while the writer
// was busy.
func TestDeferWhileWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, clk := made(t)
		hold := make(chan struct{})
		slow := false
		disk := &durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
			if slow && op.Kind == durable.OpSync {
				<-hold
			}
			return durable.Verdict{}
		}}
		w := openWorld(t, disk, clk, 0)
		slow = true
		var wg sync.WaitGroup
		wg.Go(func() { w.append(t, 1) })
		synctest.Wait()
		w.log.Defer(denial())
		time.Sleep(time.Second)
		slow = false
		close(hold)
		wg.Wait()
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		require.EqualValues(t, 2, w.log.Head().Seq)
		w.close(t)
	})
}

// TestDeferBounded: beyond a bound deferred records are only counted, and how
// many there were is in the log; an agent's denials leave room for others.
func TestDeferBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		for range 1000 {
			w.log.Defer(denial())
		}
		for range 300 {
			w.log.Defer(expiry())
		}
		w.close(t)
		counts := map[audit.Event]int{}
		dropped := uint64(0)
		for _, r := range scanned(t, w.disk) {
			counts[r.Event]++
			if r.Event == audit.EventDropped {
				dropped += r.Count
			}
		}
		require.Equal(t, map[audit.Event]int{audit.EventLease: 768, audit.EventExpire: 256, audit.EventDropped: 1}, counts)
		require.EqualValues(t, 1000-768+300-256, dropped)
		verified(t, w.disk)
	})
}

// TestDeferFullDisk: deferred records outlive a disk that takes none, and are
// written with the first that it takes again. What found no room meanwhile is
// counted, in one number.
func TestDeferFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, clk := made(t)
		disk := newFillable(d)
		w := openWorld(t, disk, clk, 0)
		w.append(t, 1)
		disk.full = true
		for i := range 3000 {
			w.log.Defer(denial())
			if i > 700 && i%8 == 0 {
				require.ErrorIs(t, w.log.Append(plain(2)), syscall.ENOSPC)
			}
		}
		require.EqualValues(t, 1, w.log.Head().Seq)
		disk.full = false
		w.append(t, 1)
		w.close(t)
		counts := map[audit.Event]int{}
		dropped := uint64(0)
		for _, r := range scanned(t, d) {
			counts[r.Event]++
			if r.Event == audit.EventDropped {
				dropped += r.Count
			}
		}
		require.Equal(t, 2+768, counts[audit.EventLease])
		require.EqualValues(t, 3000-768, dropped)
		require.Equal(t, 1, counts[audit.EventDropped], "each is a record in memory as long as the disk takes none")
		verified(t, d)
	})
}

// TestStarvation: neither as many deferred records as there can be nor a disk
// that takes none keep anybody waiting, and a disk that takes records again is
// not kept from it by those that wait for it.
func TestStarvation(t *testing.T) {
	for _, cause := range []syscall.Errno{syscall.ENOSPC, syscall.EIO} {
		synctest.Test(t, func(t *testing.T) {
			d, clk := made(t)
			disk := newFillable(d)
			disk.cause = cause
			w := openWorld(t, disk, clk, 0)
			disk.full = true
			for range 1024 {
				w.log.Defer(expiry())
			}
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					if err := w.log.Append(plain(1)); err == nil {
						t.Error("acknowledged by a disk that takes nothing")
					}
				})
			}
			wg.Wait()
			before := disk.tries
			require.Error(t, w.log.Append(plain(1)))
			require.LessOrEqual(t, disk.tries-before, 6, "for one record")
			require.Error(t, w.log.Tick(time.Hour))
			disk.full = false
			switch cause {
			case syscall.ENOSPC:
				w.append(t, 1)
				require.EqualValues(t, 1025, w.log.Head().Seq)
				w.close(t)
			case syscall.EIO:
				require.Error(t, w.log.Append(plain(1)), "until it is opened again")
				require.Error(t, w.log.Close())
			}
			again := w.reopen(t, 0)
			again.append(t, 1)
			again.close(t)
			verified(t, d)
		})
	}
}
