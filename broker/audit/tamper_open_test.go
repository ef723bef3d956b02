package audit_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/audit"
	"secretctl/broker/clock"
	"secretctl/broker/durable"
)

// opens opens a log as a broker would, and closes it.
func opens(d durable.Disk) error {
	log, err := audit.Open(d, dir, clock.NewFake(start.Add(48*time.Hour)), new(fold).options(150<<10))
	if err != nil {
		return err
	}
	return log.Close()
}

// refused says that a log is not opened, and that nothing of it is lost by
// trying.
func refused(t *testing.T, d *durable.Mem) {
	before := files(t, d)
	err := opens(d)
	require.Error(t, err)
	for _, other := range []error{audit.ErrAbsent, audit.ErrUnavailable} {
		require.NotErrorIs(t, err, other)
	}
	require.Equal(t, before, files(t, d), "a log that was refused is left as it is")
}

// TestAuditTamperOpen: a log that was tampered with is not opened: nothing is
// served from it. What lies before the snapshot is not read again; without one,
// everything is.
func TestAuditTamperOpen(t *testing.T) {
	v := newVictim(t)
	require.NoError(t, opens(v.disk()))
	delete(v.files, snap)
	require.NoError(t, opens(v.disk()))
	for _, tamper := range tamperings {
		t.Run(tamper.what, func(t *testing.T) {
			v := newVictim(t)
			tamper.do(v)
			if !tamper.snap {
				delete(v.files, snap)
			}
			refused(t, v.disk())
		})
	}
}

// TestAuditTamperSnapshotPlace: what lies behind the place that the snapshot
// speaks of is read at each start, and the place must be there.
func TestAuditTamperSnapshotPlace(t *testing.T) {
	w := newWorld(t, 16<<10)
	w.append(t, 60) // rolls: the snapshot is at a segment's beginning
	atStart := files(t, w.disk)
	require.NoError(t, w.log.Checkpoint())
	w.append(t, 5)
	w.close(t) // it is behind a checkpoint
	atEnd := files(t, w.disk)
	for what, all := range map[string]map[string][]byte{"at the start": atStart, "at the end": atEnd} {
		v := &victim{t, all, nil}
		last := v.last()
		require.NoError(t, opens(v.disk()), what)
		for i := range v.lines(last) {
			if what == "at the end" && i > 0 && i < len(v.lines(last))-1 {
				continue // before the place
			}
			changed := &victim{t, files(t, v.disk()), nil}
			line := slices.Clone(changed.lines(last)[i])
			line[len(line)/2] ^= 1
			changed.splice(last, i, 1, line)
			refused(t, changed.disk())
		}
		changed := &victim{t, files(t, v.disk()), nil}
		delete(changed.files, last)
		refused(t, changed.disk())
		changed = &victim{t, files(t, v.disk()), nil}
		changed.files[last] = changed.lines(last)[0]
		refused(t, changed.disk())
	}
}

// TestAuditTamperBehindPlace: where a start finds the log changed, it says which
// record is the first that cannot be trusted, though it began in the middle.
func TestAuditTamperBehindPlace(t *testing.T) {
	w := newWorld(t, 16<<10)
	w.append(t, 5)
	require.NoError(t, w.log.Checkpoint())
	place := files(t, newPlace(t, w))[snap]
	w.append(t, 5)
	w.close(t)
	v := &victim{t, files(t, w.disk), nil}
	v.files[snap] = place
	require.NoError(t, opens(v.disk()))
	name, i := v.find(8)
	v.edit(name, i, `"uid":502`, `"uid":503`)
	damaged := new(audit.DamagedError)
	require.ErrorAs(t, opens(v.disk()), &damaged)
	require.EqualValues(t, 8, damaged.Seq)
	v.chainAnew(name, i)
	require.ErrorAs(t, opens(v.disk()), &damaged)
	require.EqualValues(t, 6, damaged.Seq, "nothing behind the last checkpoint can")
	require.Equal(t, len(v.lines(name)), damaged.Line)
}

// newPlace returns the disk as it would be if the log were closed now.
func newPlace(t *testing.T, w *world) durable.Disk {
	d := diskOf(t, files(t, w.disk))
	openWorld(t, d, w.clk, 16<<10).close(t)
	return d
}

// TestAuditTamperRollback: the whole directory taken back to an older copy, and
// then gone on with, with the real key: nothing on this disk refutes it, and
// Verify says so. A checkpoint kept elsewhere does.
func TestAuditTamperRollback(t *testing.T) {
	w := newWorld(t, 150<<10)
	w.append(t, 600)
	require.NoError(t, w.log.Checkpoint())
	old := files(t, w.disk)
	w.append(t, 400)
	w.close(t)
	var kept [][]byte
	for _, n := range notes(t, w.disk) {
		kept = append(kept, []byte(n))
	}
	newest := kept[len(kept)-1:]

	d := diskOf(t, old)
	r := verified(t, d)
	require.Contains(t, r.NotExcluded, "that there were records after 600 which are gone")
	require.Contains(t, fmt.Sprint(r.NotExcluded), "take the whole home back to an older copy")
	r, err := audit.Verify(d, dir, newest...)
	require.NoError(t, err)
	require.False(t, r.OK)
	require.EqualValues(t, 601, *r.FirstBadSeq)
	require.Contains(t, *r.Reason, "it ends with record 600, but there were 1000")
	require.NotContains(t, fmt.Sprint(r.Proven), "kept elsewhere agree", "it does not")

	again := openWorld(t, d, clock.NewFake(start.Add(24*time.Hour)), 150<<10)
	again.append(t, 500)
	again.close(t)
	require.EqualValues(t, 1100, verified(t, d).SignedSeq)
	r, err = audit.Verify(d, dir, newest...)
	require.NoError(t, err)
	require.False(t, r.OK)
	require.EqualValues(t, 1, *r.FirstBadSeq, "one checkpoint does not say where they part")
	r, err = audit.Verify(d, dir, kept...)
	require.NoError(t, err)
	require.False(t, r.OK)
	require.EqualValues(t, 601, *r.FirstBadSeq, "several do")
	require.Contains(t, *r.Reason, "records are not those that a checkpoint kept elsewhere")
}

// TestAuditTamperUnsigned: what no checkpoint signs yet can be replaced by whoever
// can write the log, in a log that was not closed. Nothing shows that, and it is
// not called proven.
func TestAuditTamperUnsigned(t *testing.T) {
	w := newWorld(t, 0)
	w.append(t, 20)
	require.NoError(t, w.log.Checkpoint())
	w.append(t, 5)
	v := &victim{t, files(t, w.disk), nil}
	w.close(t)
	name, i := v.find(22)
	v.edit(name, i, `"uid":502`, `"uid":999`)
	v.chainAnew(name, i)
	r := verified(t, v.disk())
	require.EqualValues(t, 25, r.Records)
	require.EqualValues(t, 20, r.SignedSeq)
	require.Equal(t, []string{
		"records 1 to 20 follow from each other: none was changed, removed, added or moved between them",
		"records up to 20 are signed by this log's key",
	}, r.Proven)
	require.Equal(t, "records 21 to 25 are not signed yet: whoever can write the log could have replaced them", r.NotExcluded[0])
}

// TestAuditTamperSpareCheckpoint: of a checkpoint that another follows within 256
// records nothing depends on its being there; no record is less certain without.
func TestAuditTamperSpareCheckpoint(t *testing.T) {
	w := newWorld(t, 0)
	w.append(t, 10)
	require.NoError(t, w.log.Checkpoint())
	w.append(t, 10)
	w.close(t)
	v := &victim{t, files(t, w.disk), nil}
	delete(v.files, snap)
	before := verified(t, v.disk())
	v.splice(segmentName(1), v.checkpoint(segmentName(1), 1), 1)
	require.Equal(t, before, verified(t, v.disk()))
}

// TestAuditTamperTornTail: what a crash leaves of a record that nobody was told of
// is no damage. It is counted, said, and cut off by the next start; and no more
// than that passes for it.
func TestAuditTamperTornTail(t *testing.T) {
	w := newWorld(t, 0)
	w.append(t, 20)
	all := files(t, w.disk)
	whole := all[segmentName(1)]
	w.append(t, 1)
	line := files(t, w.disk)[segmentName(1)][len(whole):]
	w.close(t)
	for n := range line {
		all[segmentName(1)] = slices.Concat(whole, line[:n])
		r := verified(t, diskOf(t, all))
		require.EqualValues(t, 20, r.Records)
		require.EqualValues(t, n, r.TornBytes)
		said := fmt.Sprintf("the last %d bytes are a record that is being written, or the rest of one that was cut off", n)
		require.Equal(t, n > 0, slices.Contains(r.NotExcluded, said))
	}
	require.NoError(t, opens(diskOf(t, all)))
	for what, tail := range map[string][]byte{
		"a whole line":            []byte("{}\n"),
		"more than a line":        bytes.Repeat([]byte("x"), 5000),
		"some zeros":              slices.Concat(line[:50], make([]byte, 100), line[150:]),
		"more than a write":       make([]byte, 1<<20+1),
		"a changed record behind": slices.Concat(bytes.Replace(line, []byte("502"), []byte("503"), 1), line[:50]),
	} {
		all[segmentName(1)] = slices.Concat(whole, tail)
		r, err := audit.Verify(diskOf(t, all), dir)
		require.NoError(t, err)
		require.False(t, r.OK, what)
		require.EqualValues(t, 21, *r.FirstBadSeq)
		refused(t, diskOf(t, all))
	}
}
