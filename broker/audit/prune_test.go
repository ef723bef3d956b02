package audit_test

import (
	"path"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/audit"
	"secretctl/broker/durable"
)

// aged appends until there are n segments, each of which begins, after its first
// record, a minute after the one before.
func aged(t require.TestingT, d durable.Disk, w *world, n int) {
	for len(segments(t, d)) < n {
		before := len(segments(t, d))
		for len(segments(t, d)) == before {
			require.NoError(t, w.log.Append(plain(int(w.log.Head().Seq)+1)))
		}
		w.clk.Advance(time.Minute)
	}
}

// firstOf is the number of the oldest record there is.
func firstOf(t require.TestingT, d durable.Disk) uint64 { return scanned(t, d)[0].Seq }

// TestPrune: the segments go whose records are all older than that, it is
// recorded how far before they do, and the rest is a log as before.
func TestPrune(t *testing.T) {
	w := newWorld(t, 2<<10)
	aged(t, w.disk, w, 6)
	all := segments(t, w.disk)
	records := scanned(t, w.disk)
	require.NoError(t, w.log.Tick(0))
	require.NoError(t, w.log.Tick(time.Hour))
	require.Equal(t, all, segments(t, w.disk), "none is that old")

	// The last record of segment 3.
	edge := records[atoi(between(t, files(t, w.disk)[segmentName(4)], `"first_seq":`, ","))-2]
	exactly := w.clk.Now().Wall.Sub(edge.Time)
	require.NoError(t, w.log.Tick(exactly))
	require.Equal(t, all[2:], segments(t, w.disk), "it is as old as that, and not older")
	before := w.log.Head().Seq
	require.NoError(t, w.log.Tick(exactly-time.Microsecond))
	require.Equal(t, all[3:], segments(t, w.disk))
	require.Equal(t, edge.Seq+1, firstOf(t, w.disk))
	last := scanned(t, w.disk)
	require.Equal(t, audit.EventPrune, last[len(last)-1].Event)
	require.Equal(t, edge.Seq, last[len(last)-1].Count)
	require.Equal(t, before+1, w.log.Head().Seq)
	require.Equal(t, before+1, verified(t, w.disk).SignedSeq, "why they are gone is signed")

	require.NoError(t, w.log.Tick(exactly-time.Microsecond))
	require.Equal(t, before+1, w.log.Head().Seq, "there was nothing left to do")
	require.Equal(t, edge.Seq+1, verified(t, w.disk).FirstSeq)
	w.close(t)
	again := w.reopen(t, 0)
	require.Equal(t, w.fold.Snapshot(), again.fold.Snapshot())
	again.append(t, 1)
	again.close(t)
	verified(t, w.disk)
}

// TestPruneKeepsWhatAStartReads: however old, the segment of the snapshot and
// those behind it stay.
func TestPruneKeepsWhatAStartReads(t *testing.T) {
	d, clk := made(t)
	refuse := ""
	disk := &durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
		if refuse != "" && path.Base(op.Name) == refuse {
			return durable.Verdict{Err: syscall.ENOSPC}
		}
		return durable.Verdict{}
	}}
	w := openWorld(t, disk, clk, 2<<10)
	aged(t, d, w, 3)
	refuse = snap + ".tmp" // stays at segment 3
	aged(t, d, w, 6)
	clk.Advance(1000 * time.Hour)
	require.NoError(t, w.log.Tick(time.Minute))
	require.Equal(t, []string{segmentName(3), segmentName(4), segmentName(5), segmentName(6)}, segments(t, d))
	again := openWorld(t, d, clk, 0)
	require.Equal(t, w.fold.Snapshot(), again.fold.Snapshot())

	// Without a snapshot all of them are read.
	plainLog, err := audit.Open(diskOf(t, files(t, closedLog(t, 20, 2<<10))), dir, clk, audit.Options{SegmentBytes: 2 << 10})
	require.NoError(t, err)
	require.NoError(t, plainLog.Close())
	bare, clk := made(t)
	log, err := audit.Open(bare, dir, clk, audit.Options{SegmentBytes: 2 << 10})
	require.NoError(t, err)
	for i := range 20 {
		require.NoError(t, log.Append(plain(i)))
	}
	clk.Advance(1000 * time.Hour)
	names := segments(t, bare)
	require.Greater(t, len(names), 3)
	require.NoError(t, log.Tick(time.Minute))
	require.Equal(t, names, segments(t, bare))
	require.NoError(t, log.Close())
}

// TestPruneFails: nothing is removed before the record that says so is durable;
// what could not be removed is the next time, without another record.
func TestPruneFails(t *testing.T) {
	d, clk := made(t)
	var fail func(durable.Op) error
	var order []durable.OpKind
	disk := &durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
		if fail != nil {
			if err := fail(op); err != nil {
				return durable.Verdict{Err: err}
			}
		}
		if path.Ext(op.Name) == ".jsonl" {
			order = append(order, op.Kind)
		}
		return durable.Verdict{}
	}}
	w := openWorld(t, disk, clk, 2<<10)
	aged(t, d, w, 6)
	clk.Advance(time.Hour)
	names := segments(t, d)
	require.NoError(t, w.log.Tick(0)) // signed and snapshotted

	fail = func(op durable.Op) error {
		if op.Kind == durable.OpWrite || op.Kind == durable.OpCreate {
			return syscall.ENOSPC
		}
		return nil
	}
	require.ErrorIs(t, w.log.Tick(time.Minute), audit.ErrUnavailable)
	require.Equal(t, names, segments(t, d))
	head := w.log.Head().Seq

	removed := 0
	fail = func(op durable.Op) error {
		if op.Kind == durable.OpRemove {
			if removed++; removed == 2 {
				return syscall.EIO
			}
		}
		return nil
	}
	order = nil
	require.ErrorIs(t, w.log.Tick(time.Minute), syscall.EIO)
	require.Contains(t, order, durable.OpRemove)
	require.Equal(t, names[1], segments(t, d)[0], "the oldest first")
	for _, kind := range order {
		if kind == durable.OpRemove {
			break
		}
		order = order[1:]
	}
	require.NotContains(t, order, durable.OpWrite, "the record was durable before the first was removed")
	require.NoError(t, w.log.Head().Err, "records can be written all the same")
	verified(t, d)

	require.NoError(t, w.log.Tick(time.Minute))
	require.Greater(t, segments(t, d)[0], names[2])
	n := 0
	for _, r := range scanned(t, d) {
		if r.Event == audit.EventPrune {
			n++
		}
	}
	require.Equal(t, 1, n)
	require.Greater(t, w.log.Head().Seq, head)
	w.close(t)
	verified(t, d)
}

// TestPruneDamaged: a header that cannot be read stops it.
func TestPruneDamaged(t *testing.T) {
	w := newWorld(t, 2<<10)
	aged(t, w.disk, w, 6)
	w.clk.Advance(time.Hour)
	all := files(t, w.disk)
	for _, b := range [][]byte{nil, []byte("{}\n"), all[segmentName(4)], []byte("{")} {
		require.NoError(t, durable.WriteFile(w.disk, dir+"/"+segmentName(3), b, 0o600))
		require.ErrorIs(t, w.log.Tick(time.Minute), audit.ErrDamaged)
		require.Len(t, segments(t, w.disk), 6)
	}
	require.NoError(t, w.disk.Remove(dir+"/"+segmentName(3)))
	require.ErrorIs(t, w.log.Tick(time.Minute), audit.ErrDamaged)
	w.close(t)
}
