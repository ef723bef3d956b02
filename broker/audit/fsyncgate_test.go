package audit_test

import (
	"fmt"
	"path"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/audit"
	"secretctl/broker/durable"
)

// gate is a disk whose syncs of segments can be made to fail. It watches that
// no file is synced again once that has failed: the kernel may have dropped the
// bytes, and then says that all is well.
type gate struct {
	*durable.Hook
	mem  *durable.Mem
	fail func(op durable.Op) error // nil: everything works

	doubtful map[string]bool // files whose sync has failed
	again    []string        // of those, synced again
}

func newGate(d *durable.Mem) *gate {
	g := &gate{mem: d, doubtful: map[string]bool{}}
	g.Hook = &durable.Hook{Disk: d, Before: g.before}
	return g
}

func (g *gate) before(op durable.Op) durable.Verdict {
	switch {
	case op.Kind == durable.OpRename || op.Kind == durable.OpCreate:
		delete(g.doubtful, op.Name) // another file
	case op.Kind == durable.OpSync && g.doubtful[op.Name]:
		g.again = append(g.again, op.Name)
	}
	if g.fail == nil {
		return durable.Verdict{}
	}
	err := g.fail(op)
	if err != nil && op.Kind == durable.OpSync {
		g.doubtful[op.Name] = true
	}
	return durable.Verdict{Err: err}
}

// failing fails the next operations of a kind on a segment, each with the next
// of the errors.
func failing(kind durable.OpKind, errs ...error) func(durable.Op) error {
	return func(op durable.Op) error {
		if op.Kind != kind || path.Ext(op.Name) != ".jsonl" || len(errs) == 0 {
			return nil
		}
		err := errs[0]
		errs = errs[1:]
		return err
	}
}

// synced is what a power loss leaves when nothing survives that was not synced.
func synced(d *durable.Mem) *durable.Mem {
	for image := range d.Images(1, nil) {
		return image
	}
	return nil
}

// leases returns the numbers of the leases in a log, as plain gave them.
func leases(t require.TestingT, d durable.Disk) (out []int) {
	for _, r := range scanned(t, d) {
		if r.Event == audit.EventLease {
			n := 0
			_, err := fmt.Sscanf(r.Lease, "%x", &n)
			require.NoError(t, err)
			out = append(out, n)
		}
	}
	return out
}

// TestFsyncGate fails one sync, whose bytes the disk then loses, while later
// ones succeed: the records are written to a new segment and durable when their
// Append returns nil, and the file is not synced again.
func TestFsyncGate(t *testing.T) {
	for what, fail := range map[string]func(durable.Op) error{
		"the bytes are taken back": failing(durable.OpSync, syscall.EIO),
		"the bytes stay": func() func(durable.Op) error {
			sync, cut := failing(durable.OpSync, syscall.EIO), failing(durable.OpTruncate, syscall.EIO)
			return func(op durable.Op) error {
				if err := sync(op); err != nil {
					return err
				}
				return cut(op)
			}
		}(),
		"the write was short": failing(durable.OpWrite, syscall.EIO),
	} {
		t.Run(what, func(t *testing.T) {
			d, clk := made(t)
			g := newGate(d)
			w := openWorld(t, g, clk, 0)
			w.append(t, 3)
			g.fail = fail
			require.NoError(t, w.log.AppendAll([]*audit.Record{plain(4), plain(5)}))
			require.Equal(t, []int{1, 2, 3, 4, 5}, leases(t, synced(d)))
			w.append(t, 2)
			require.NoError(t, w.log.Head().Err)
			require.Empty(t, g.again)
			require.Len(t, segments(t, d), 2)
			require.Contains(t, string(files(t, d)[segmentName(2)]), `"cut":`)
			for _, image := range []*durable.Mem{synced(d), d} {
				verified(t, image)
				require.Equal(t, []int{1, 2, 3, 4, 5, 6, 7}, leases(t, image))
				again := openWorld(t, image, clk, 0)
				require.Equal(t, w.fold.Snapshot(), again.fold.Snapshot())
				again.close(t)
			}
			w.close(t)
			require.Empty(t, g.again)
		})
	}
}

// TestFsyncGateTwice fails the sync of the new segment, too. What was not
// acknowledged is not there; where the cause can pass, the next record is
// written, and where it cannot, nothing is until the log is opened again.
func TestFsyncGateTwice(t *testing.T) {
	for cause, passes := range map[syscall.Errno]bool{
		syscall.EIO: false, syscall.EROFS: false,
		syscall.ENOSPC: true, syscall.EDQUOT: true, syscall.EMFILE: true, syscall.ENFILE: true, syscall.EINTR: true,
	} {
		t.Run(cause.Error(), func(t *testing.T) {
			d, clk := made(t)
			g := newGate(d)
			w := openWorld(t, g, clk, 0)
			w.append(t, 3)
			before := w.fold.Snapshot()
			head := w.log.Head()
			g.fail = failing(durable.OpSync, cause, cause)
			r := plain(100)
			err := w.log.Append(r)
			require.ErrorIs(t, err, audit.ErrUnavailable)
			require.ErrorIs(t, err, cause)
			require.Zero(t, r.Seq)
			require.Equal(t, before, w.fold.Snapshot(), "applied though not durable")
			require.ErrorIs(t, w.log.Head().Err, cause)
			require.Equal(t, head.Chain, w.log.Head().Chain)

			err = w.log.Append(plain(4))
			want := []int{1, 2, 3}
			if passes {
				require.NoError(t, err)
				require.NoError(t, w.log.Head().Err)
				want = append(want, 4)
				w.close(t)
			} else {
				require.ErrorIs(t, err, audit.ErrUnavailable)
				require.ErrorIs(t, w.log.Tick(0), audit.ErrUnavailable)
				require.ErrorIs(t, w.log.Close(), cause)
			}
			require.Empty(t, g.again)
			require.Equal(t, want, leases(t, synced(d)))
			again := openWorld(t, d, clk, 0)
			again.append(t, 1)
			again.close(t)
			verified(t, d)
			require.NotContains(t, leases(t, d), 100)
		})
	}
}

// TestFsyncGateThenFull: that there is no room for the new segment does not make
// the broken disk one that was only full.
func TestFsyncGateThenFull(t *testing.T) {
	d, clk := made(t)
	g := newGate(d)
	w := openWorld(t, g, clk, 0)
	w.append(t, 3)
	sync := failing(durable.OpSync, syscall.EIO)
	g.fail = func(op durable.Op) error {
		if op.Kind == durable.OpCreate {
			return syscall.ENOSPC
		}
		return sync(op)
	}
	require.ErrorIs(t, w.log.Append(plain(4)), syscall.ENOSPC)
	g.fail = nil
	require.ErrorIs(t, w.log.Append(plain(4)), audit.ErrUnavailable)
	require.ErrorIs(t, w.log.Close(), audit.ErrUnavailable)
	again := openWorld(t, d, clk, 0)
	again.append(t, 1)
	again.close(t)
	require.Equal(t, []int{1, 2, 3, 4}, leases(t, d))
}

// TestFsyncGateCheckpoint: a checkpoint whose sync failed is in the new segment,
// which begins with one.
func TestFsyncGateCheckpoint(t *testing.T) {
	for what, seal := range map[string]func(*audit.Log) error{
		"asked for": (*audit.Log).Checkpoint, "at the end": (*audit.Log).Close,
	} {
		t.Run(what, func(t *testing.T) {
			d, clk := made(t)
			g := newGate(d)
			w := openWorld(t, g, clk, 0)
			w.append(t, 3)
			g.fail = failing(durable.OpSync, syscall.EIO)
			require.NoError(t, seal(w.log))
			require.EqualValues(t, 3, verified(t, synced(d)).SignedSeq)
			w.close(t)
			require.Empty(t, g.again)
			require.EqualValues(t, 3, verified(t, d).SignedSeq)
			require.Len(t, segments(t, d), 2)
		})
	}
}

// TestFailedRoll: the next segment cannot be made, once, after one that a failed
// write had begun: what its header says of the first is not said of the second.
func TestFailedRoll(t *testing.T) {
	d, clk := made(t)
	g := newGate(d)
	w := openWorld(t, g, clk, 4<<10)
	w.append(t, 3)
	g.fail = failing(durable.OpSync, syscall.EIO)
	w.append(t, 1)
	refused := 0
	g.fail = func(op durable.Op) error {
		if op.Kind == durable.OpCreate && strings.HasPrefix(path.Base(op.Name), segmentName(3)) && refused == 0 {
			return syscall.ENOSPC
		}
		return nil
	}
	for i := range 20 {
		if err := w.log.Append(plain(i)); err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			refused++
		}
	}
	require.Equal(t, 1, refused)
	require.Greater(t, len(segments(t, d)), 2)
	w.close(t)
	verified(t, d)
	require.Len(t, leases(t, d), 23)
}
