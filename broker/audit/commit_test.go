package audit_test

import (
	"bytes"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/audit"
	"secretctl/broker/clock"
	"secretctl/broker/durable"
)

// ticking is a clock that never shows the same time twice, as real ones do.
type ticking struct{ *clock.Fake }

func (c ticking) Now() clock.Reading {
	c.Advance(3 * time.Millisecond)
	return c.Fake.Now()
}

// events returns the events of a log, in their order.
func events(t require.TestingT, d durable.Disk) (out []audit.Event) {
	for _, r := range scanned(t, d) {
		out = append(out, r.Event)
	}
	return out
}

// TestClockBack: a wall clock that goes back by no more than 2 s shows the last
// time again; one that goes back further is recorded before anything else, and
// followed.
func TestClockBack(t *testing.T) {
	w := newWorld(t, 0)
	w.append(t, 1)
	first := w.clk.Now().Wall

	w.clk.StepWall(-2 * time.Second)
	r := plain(2)
	require.NoError(t, w.log.Append(r))
	require.Equal(t, first, r.Time)

	w.clk.StepWall(-time.Microsecond)
	a, b := plain(3), plain(4)
	require.NoError(t, w.log.AppendAll([]*audit.Record{a, b}))
	require.Equal(t, first.Add(-2*time.Second-time.Microsecond), a.Time)
	require.Equal(t, []uint64{4, 5}, []uint64{a.Seq, b.Seq})
	w.close(t)

	// Between two runs, too.
	w.clk.StepWall(-time.Hour)
	again := w.reopen(t, 0)
	again.append(t, 1)
	again.close(t)
	require.Equal(t, []audit.Event{audit.EventLease, audit.EventLease, audit.EventClockStep, audit.EventLease, audit.EventLease, audit.EventClockStep, audit.EventLease}, events(t, w.disk))
	require.Equal(t, again.fold.Snapshot(), w.reopen(t, 0).fold.Snapshot())
	verified(t, w.disk)
}

// TestClockTicks: a clock that goes on between the parts of a commit leaves a
// log that can be read from the beginning of each of its segments.
func TestClockTicks(t *testing.T) {
	for what, fail := range map[string]bool{"segments that are full": false, "segments after a failed write": true} {
		t.Run(what, func(t *testing.T) {
			d, fake := made(t)
			writes := 0
			disk := &durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
				if op.Kind == durable.OpSync && strings.HasSuffix(op.Name, ".jsonl") {
					if writes++; fail && writes%10 == 0 {
						return durable.Verdict{Err: syscall.EIO}
					}
				}
				return durable.Verdict{}
			}}
			clk := ticking{fake}
			f := new(fold)
			log, err := audit.Open(disk, dir, clk, f.options(2<<10))
			require.NoError(t, err)
			for i := range 50 {
				require.NoError(t, log.Append(plain(i)))
				// As a start after kill -9 finds it.
				again := new(fold)
				killed, err := audit.Open(d, dir, clk, again.options(0))
				require.NoError(t, err)
				require.Equal(t, f.Snapshot(), again.Snapshot())
				require.Equal(t, log.Head(), killed.Head())
			}
			require.NoError(t, log.Close())
			names := segments(t, d)
			require.Greater(t, len(names), 4)
			before := files(t, d)
			for i := range names[:len(names)-1] {
				delete(before, names[i])
				opened, err := audit.Open(diskOf(t, before), dir, clk, f.options(0))
				require.NoError(t, err)
				require.NoError(t, opened.Close())
			}
		})
	}
}

// notes returns the notes on a disk, oldest first, as they were signed.
func notes(t require.TestingT, d durable.Disk) (out []string) {
	all := files(t, d)
	for _, name := range segments(t, d) {
		for line := range bytes.Lines(all[name]) {
			if note, ok := bytes.CutPrefix(line, []byte(`{"checkpoint":"`)); ok {
				note = bytes.TrimSuffix(note, []byte("\"}\n"))
				out = append(out, strings.ReplaceAll(string(note), `\n`, "\n"))
			}
		}
	}
	return out
}

// sizeOf is the number of records that a note speaks of.
func sizeOf(t require.TestingT, note string) (n int) {
	_, err := fmt.Sscan(strings.Split(note, "\n")[1], &n)
	require.NoError(t, err)
	return n
}

// TestCheckpoints: one follows a start, a stop and a kill at once, and 256
// records at the latest; one is written when it is asked for and says something
// new; and each is handed on, in its order, when it is durable.
func TestCheckpoints(t *testing.T) {
	d, clk := made(t)
	first := notes(t, d)
	require.Len(t, first, 1)
	var sizes []int
	var told []string
	log, err := audit.Open(d, dir, clk, audit.Options{OnCheckpoint: func(note []byte) {
		told = append(told, string(note))
		sizes = append(sizes, sizeOf(t, string(note)))
		for image := range d.Images(1, nil) {
			require.Equal(t, append(first[:1:1], told...), notes(t, image)[:len(told)+1], "not durable yet")
		}
	}})
	require.NoError(t, err)
	require.NoError(t, log.Checkpoint())
	require.Empty(t, told, "there is nothing new to sign")

	for _, e := range []audit.Event{audit.EventStart, audit.EventLease, audit.EventStop, audit.EventKill, audit.EventResume} {
		require.NoError(t, log.Append(&audit.Record{Event: e}))
	}
	require.Equal(t, []int{1, 3, 4}, sizes)
	require.NoError(t, log.Checkpoint())
	require.NoError(t, log.Checkpoint())
	require.NoError(t, log.Tick(0))
	require.Equal(t, []int{1, 3, 4, 5}, sizes)

	for i := range 256 {
		require.NoError(t, log.Append(plain(i)))
		require.Equal(t, i == 255, len(sizes) == 5)
	}
	var many []*audit.Record
	for i := range 600 {
		many = append(many, plain(i))
	}
	require.NoError(t, log.AppendAll(many))
	require.Equal(t, []int{1, 3, 4, 5, 261, 517, 773}, sizes)
	require.NoError(t, log.Close())
	require.Equal(t, []int{1, 3, 4, 5, 261, 517, 773, 861}, sizes)
	require.Equal(t, append(first, told...), notes(t, d))
	require.EqualValues(t, 861, verified(t, d, []byte(told[3])).SignedSeq)
}

// TestCheckpointsOfSegments: the one that a segment begins with is handed on like
// the others.
func TestCheckpointsOfSegments(t *testing.T) {
	d, clk := made(t)
	told := notes(t, d)
	log, err := audit.Open(d, dir, clk, audit.Options{
		OnCheckpoint: func(note []byte) { told = append(told, string(note)) }, SegmentBytes: 2 << 10,
	})
	require.NoError(t, err)
	for i := range 20 {
		require.NoError(t, log.Append(plain(i)))
	}
	require.NoError(t, log.Close())
	require.Greater(t, len(segments(t, d)), 3)
	require.Equal(t, notes(t, d), told)
}

// TestSegments: a new one begins when the last is full, with a header and a
// checkpoint, whole; what was in the full one is signed there.
func TestSegments(t *testing.T) {
	w := newWorld(t, 4<<10)
	w.append(t, 60)
	names := segments(t, w.disk)
	require.Greater(t, len(names), 4)
	all := files(t, w.disk)
	for i, name := range names {
		require.Equal(t, segmentName(i+1), name)
		lines := bytes.SplitAfter(all[name], []byte("\n"))
		require.Contains(t, string(lines[0]), fmt.Sprintf(`{"segment":%d,`, i+1))
		require.NotContains(t, string(lines[0]), `"cut"`)
		require.Contains(t, string(lines[1]), `{"checkpoint":`)
		if i < len(names)-1 {
			require.Greater(t, len(all[name]), 4<<10)
			require.Less(t, len(all[name]), 6<<10)
			require.Contains(t, string(lines[len(lines)-2]), `{"checkpoint":`)
		}
	}
	info, err := w.disk.Stat(dir + "/" + names[1])
	require.NoError(t, err)
	require.Equal(t, "-rw-------", info.Mode().String())
	w.close(t)
	verified(t, w.disk)
}
