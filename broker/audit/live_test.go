package audit_test

import (
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/audit"
	"secretctl/broker/durable"
)

// TestVerifyLive: a log is verified while four append to it, segments begin, and
// old ones are pruned. None of that is taken for damage, on the real disk or in
// memory, and every record that was acknowledged before is counted.
func TestVerifyLive(t *testing.T) {
	for what, w := range map[string]*world{"memory": newWorld(t, 8<<10), "disk": newHome(t, 8<<10)} {
		t.Run(what, func(t *testing.T) {
			live(t, w, func(before uint64) {
				r, err := audit.Verify(w.disk, dir)
				require.NoError(t, err)
				if !r.OK {
					require.FailNow(t, "a sound log does not verify", *r.Reason)
				}
				require.GreaterOrEqual(t, r.Records, before)
				require.LessOrEqual(t, r.SignedSeq, r.Records)
			})
			w.close(t)
			verified(t, w.disk)
		})
	}
}

// live has f called some 50 times, with what was acknowledged before, while the log
// is written and pruned.
func live(t *testing.T, w *world, f func(before uint64)) {
	var stop atomic.Bool
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				if err := w.log.Append(plain(g<<20 | i)); err != nil {
					t.Errorf("appending: %v", err)
					return
				}
			}
		})
	}
	due := make(chan struct{})
	wg.Go(func() {
		for range due {
			w.clk.Advance(time.Hour)
			if err := w.log.Tick(30 * time.Minute); err != nil {
				t.Errorf("pruning: %v", err)
				return
			}
		}
	})
	defer wg.Wait()
	defer close(due)
	defer stop.Store(true)
	for range sizes(50, 15, 500) {
		select {
		case due <- struct{}{}:
		default: // still at it
		}
		f(w.log.Head().Seq)
	}
}

// TestVerifyPrunedMeanwhile: segments that go between any two looks at the disk
// are not found to be missing.
func TestVerifyPrunedMeanwhile(t *testing.T) {
	for k := 0; ; k++ {
		w := newWorld(t, 4<<10)
		w.append(t, 40)
		w.clk.Advance(48 * time.Hour)
		looks := 0
		d := &looking{w.disk, func() {
			if looks++; looks == k {
				require.NoError(t, w.log.Tick(time.Hour))
			}
		}}
		r, err := audit.Verify(d, dir)
		require.NoError(t, err, "pruned at look %d", k)
		if !r.OK {
			require.FailNow(t, "a sound log does not verify", "pruned at look %d: %s", k, *r.Reason)
		}
		w.close(t)
		if looks < k {
			require.Greater(t, k, 10)
			break
		}
	}
}

// TestVerifyGapStays: a segment that is missing stays missing, however often one
// looks.
func TestVerifyGapStays(t *testing.T) {
	d := closedLog(t, 40, 4<<10)
	require.NoError(t, d.Remove(dir+"/"+segmentName(2)))
	names := segments(t, d)
	looks := 0
	r, err := audit.Verify(&looking{d, func() { looks++ }}, dir)
	require.NoError(t, err)
	require.False(t, r.OK)
	require.Contains(t, *r.Reason, fmt.Sprintf("segment %s is missing", segmentName(2)))
	require.Less(t, looks, 3*len(names), "once was enough")
}

// TestVerifyListing: a segment that a listing leaves out, since it began
// meanwhile, is not missing.
func TestVerifyListing(t *testing.T) {
	d := closedLog(t, 40, 4<<10)
	names := segments(t, d)
	require.Greater(t, len(names), 3)
	for _, name := range names[1 : len(names)-1] {
		require.EqualValues(t, 40, verified(t, &forgetful{d, name}).Records, "without %s", name)
	}
}

// forgetful is a disk whose listings leave out a file.
type forgetful struct {
	durable.Disk
	name string
}

func (f *forgetful) ReadDir(name string) ([]fs.DirEntry, error) {
	all, err := f.Disk.ReadDir(name)
	return slices.DeleteFunc(all, func(e fs.DirEntry) bool { return e.Name() == f.name }), err
}

// looking is a disk that says when somebody is about to look at it.
type looking struct {
	durable.Disk
	look func()
}

func (l *looking) ReadDir(name string) ([]fs.DirEntry, error) {
	l.look()
	return l.Disk.ReadDir(name)
}

func (l *looking) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	l.look()
	return l.Disk.OpenFile(name, flag, perm)
}
