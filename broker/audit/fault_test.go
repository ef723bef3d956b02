package audit_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/audit"
	"secretctl/broker/clock"
	"secretctl/broker/durable"
)

// faults are what a disk answers.
var faults = map[string]durable.Verdict{
	"EIO":             {Err: syscall.EIO},
	"ENOSPC":          {Err: syscall.ENOSPC},
	"EDQUOT":          {Err: syscall.EDQUOT},
	"EROFS":           {Err: syscall.EROFS},
	"EMFILE":          {Err: syscall.EMFILE},
	"EINTR":           {Err: syscall.EINTR},
	"a byte":          {Err: syscall.ENOSPC, Short: 1},
	"most of it":      {Err: syscall.EIO, Short: 300},
	"all, and then":   {Err: syscall.ENOSPC, Short: 1 << 20},
	"a sector of two": {Err: syscall.EDQUOT, Short: 512},
}

// faulty is a life of a log on a disk that fails.
type faulty struct {
	t    testing.TB
	what string
	clk  *clock.Fake
	mem  *durable.Mem
	disk durable.Disk
	open *atomic.Int32 // files

	log     *audit.Log
	fold    *fold
	acked   []int // leases
	refused []int
	errs    []error
	lease   int
}

// failingFrom is a life on a disk whose operation k, and with stays all after
// it, fail.
func failingFrom(t testing.TB, what string, k int, stays bool, fault durable.Verdict) (f *faulty, failed *bool) {
	failed = new(bool)
	f = &faulty{t: t, what: what, clk: clock.NewFake(start), mem: durable.NewMem(), open: new(atomic.Int32)}
	f.disk = handles{&durable.Hook{Disk: f.mem, Before: func(op durable.Op) durable.Verdict {
		if op.N == k || stays && op.N > k {
			*failed = true
			return fault
		}
		return durable.Verdict{}
	}}, f.open}
	return f, failed
}

// try does something until it works, twice at most.
func (f *faulty) try(do func() error) bool {
	for range 2 {
		err := do()
		if err == nil {
			return true
		}
		f.errs = append(f.errs, err)
	}
	return false
}

func (f *faulty) opens() bool {
	return f.try(func() (err error) {
		f.fold = new(fold)
		f.log, err = audit.Open(f.disk, dir, f.clk, f.fold.options(crashSegment))
		return err
	})
}

// append appends n records together, which are acknowledged or refused.
func (f *faulty) append(n int) {
	var records []*audit.Record
	var numbers []int
	for range n {
		f.lease++
		records, numbers = append(records, plain(f.lease)), append(numbers, f.lease)
	}
	f.clk.Advance(time.Second)
	before := f.fold.N
	if err := f.log.AppendAll(records); err != nil {
		f.errs = append(f.errs, err)
		require.ErrorIs(f.t, err, audit.ErrUnavailable, f.what)
		require.Zero(f.t, records[0].Seq, f.what)
		require.Equal(f.t, before, f.fold.N, "%s: applied though it was refused", f.what)
		require.Equal(f.t, before, f.log.Head().Seq, f.what)
		f.refused = append(f.refused, numbers...)
		return
	}
	require.GreaterOrEqual(f.t, f.fold.N, before+uint64(n), f.what)
	f.acked = append(f.acked, numbers...)
}

func (f *faulty) note(err error) {
	if err != nil {
		f.errs = append(f.errs, err)
	}
}

// close closes the log. What it says was not kept is no record.
func (f *faulty) close() {
	require.NoError(f.t, openable(synced(f.mem), f.clk), f.what)
	f.note(f.log.Close())
	require.Zero(f.t, f.open.Load(), "%s: files are open", f.what)
}

// openable opens a log, and reports why not.
func openable(d durable.Disk, clk clock.Clock) error {
	_, err := audit.Open(d, dir, clk, new(fold).options(crashSegment))
	return err
}

// live does everything a log does to its disk. It ends early when there is no
// log to go on with.
func (f *faulty) live() {
	if !f.try(func() error {
		err := audit.Create(f.disk, dir, f.clk)
		if errors.Is(err, audit.ErrExists) {
			return nil
		}
		return err
	}) || !f.opens() {
		return
	}
	f.append(1)
	f.append(3)
	f.note(f.log.Checkpoint())
	for range 4 { // a roll among them
		f.append(1)
	}
	f.clk.StepWall(-time.Minute)
	f.append(1)
	f.clk.Advance(time.Hour)
	f.note(f.log.Tick(time.Minute)) // prunes
	f.close()
	if !f.opens() {
		return
	}
	f.append(2)
	f.close()
}

// TestFaultEveryOp fails each operation of a log's life in each way, once or
// from then on. It is said; what was acknowledged is in the log that is opened
// on a sound disk afterwards, even when nothing is left that was not synced; and
// what was refused is not.
func TestFaultEveryOp(t *testing.T) {
	step := sizes(2, 37, 1)
	runs := 0
	for name, fault := range faults {
		for _, stays := range []bool{false, true} {
			for k := runs % step; ; k += step {
				what := fmt.Sprintf("%s at operation %d, staying: %t", name, k, stays)
				f, failed := failingFrom(t, what, k, stays, fault)
				f.live()
				runs++
				if !*failed {
					require.Greater(t, k, 50)
					require.Empty(t, f.errs)
					break
				}
				f.settled(fault, stays)
			}
		}
	}
	t.Logf("%d lives", runs)
}

// settled holds what is on the disk against what was said.
func (f *faulty) settled(fault durable.Verdict, stays bool) {
	for _, err := range f.errs {
		require.True(f.t, errors.Is(err, fault.Err) || errors.Is(err, audit.ErrAbsent), "%s: %v", f.what, err)
	}
	for _, d := range []*durable.Mem{synced(f.mem), f.mem} {
		log, err := audit.Open(d, dir, f.clk, audit.Options{})
		if errors.Is(err, audit.ErrAbsent) {
			require.Empty(f.t, f.acked, f.what)
			require.NoError(f.t, audit.Create(d, dir, f.clk), f.what)
			continue
		}
		if err != nil && strings.Contains(err.Error(), "leases.snap is missing") {
			err = openable(d, f.clk)
		}
		require.NoError(f.t, err, f.what)
		if log != nil {
			require.NoError(f.t, log.Append(plain(1<<20)), f.what)
			require.NoError(f.t, log.Close(), f.what)
		}
		verified(f.t, d)
		there := leases(f.t, d)
		if stays && d == f.mem && len(f.refused) > 0 {
			// A write that could be neither finished nor taken back.
			there = slices.DeleteFunc(there, func(n int) bool { return slices.Contains(f.refused, n) })
		}
		f.holds(there)
	}
}

// holds: of the acknowledged records only the first are gone, that were pruned.
func (f *faulty) holds(there []int) {
	there = slices.DeleteFunc(there, func(n int) bool { return n == 1<<20 })
	require.LessOrEqual(f.t, len(there), len(f.acked), "%s: %v, not %v", f.what, there, f.acked)
	gone := len(f.acked) - len(there)
	require.True(f.t, slices.Equal(f.acked[gone:], there), "%s: %v, not the last of %v", f.what, there, f.acked)
	require.LessOrEqual(f.t, gone, 9, "%s: more is gone than was pruned", f.what)
}
