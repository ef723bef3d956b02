package audit_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/audit"
	"secretctl/broker/durable"
)

// TestVerifyEmpty: a log without records is one; no log is an error.
func TestVerifyEmpty(t *testing.T) {
	_, err := audit.Verify(durable.NewMem(), dir)
	require.ErrorIs(t, err, audit.ErrAbsent)
	d, _ := made(t)
	r := verified(t, d)
	require.Zero(t, r.Records)
	require.EqualValues(t, 1, r.FirstSeq)
	require.Nil(t, r.FirstBadSeq)
	require.Nil(t, r.Reason)
	require.Empty(t, r.Proven)
	require.Len(t, r.NotExcluded, 2)
}

// TestVerifyReport: what is said of a sound log, word for word.
func TestVerifyReport(t *testing.T) {
	w := newWorld(t, 0)
	w.append(t, 7)
	require.NoError(t, w.log.Checkpoint())
	w.append(t, 2)
	r := verified(t, w.disk)
	require.Equal(t, audit.Report{
		OK: true, Records: 9, FirstSeq: 1, SignedSeq: 7, Origin: r.Origin, Head: w.log.Head().Chain,
		Proven: []string{
			"records 1 to 7 follow from each other: none was changed, removed, added or moved between them",
			"records up to 7 are signed by this log's key",
		},
		NotExcluded: []string{
			"records 8 to 9 are not signed yet: whoever can write the log could have replaced them",
			"that there were records after 9 which are gone",
			"that whoever can read or replace audit/key, or take the whole home back to an older copy, has written another log: only checkpoints kept elsewhere show that ([audit] anchor, and audit verify --checkpoint)",
		},
	}, r)
	require.Regexp(t, `^secretctl/[0-9a-f]{16}$`, r.Origin)
	w.close(t)
	closed := verified(t, w.disk)
	require.EqualValues(t, 9, closed.SignedSeq)
	require.Len(t, closed.NotExcluded, 2)
}

// TestVerifyKey: without its key a log is not verified, nor found to be damaged.
func TestVerifyKey(t *testing.T) {
	all := files(t, closedLog(t, 3, 0))
	all["key"] = []byte("PRIVATE+KEY+secretctl/x\n")
	_, err := audit.Verify(diskOf(t, all), dir)
	require.ErrorContains(t, err, "audit/key")
	require.NotContains(t, err.Error(), "PRIVATE")
	delete(all, "key")
	_, err = audit.Verify(diskOf(t, all), dir)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// TestVerifyKept: of checkpoints kept elsewhere it is said how many agree, and up
// to where that goes.
func TestVerifyKept(t *testing.T) {
	w := newWorld(t, 0)
	w.append(t, 5)
	require.NoError(t, w.log.Checkpoint())
	w.append(t, 5)
	w.close(t)
	n := notes(t, w.disk)
	require.Len(t, n, 3)
	zero, five, ten := []byte(n[0]), []byte(n[1]), []byte(n[2])
	const another = "has written another log"
	after := "that whoever can read or replace audit/key has written the records after 5: no checkpoint kept elsewhere speaks of them"
	for _, c := range []struct {
		kept  [][]byte
		agree int
		not   string
		never string
	}{
		{nil, 0, another, "after 5: no"},
		{[][]byte{zero}, 1, another, "after 5: no"},
		{[][]byte{five}, 1, after, another},
		{[][]byte{zero, five}, 2, after, another},
		{[][]byte{ten}, 1, "records after 10 which are gone", "audit/key"},
		{[][]byte{ten, five, five}, 3, "records after 10 which are gone", "audit/key"},
	} {
		r := verified(t, w.disk, c.kept...)
		said := fmt.Sprintf("%d checkpoints kept elsewhere agree with it", c.agree)
		require.Equal(t, c.agree > 0, slices.Contains(r.Proven, said), "%v", r.Proven)
		require.Contains(t, strings.Join(r.NotExcluded, "\n"), c.not)
		require.NotContains(t, strings.Join(r.NotExcluded, "\n"), c.never)
	}
	for what, note := range map[string][]byte{
		"nothing": nil, "half": ten[:len(ten)-5], "another log's": []byte(notes(t, otherLog(t).disk())[0]), "changed": bytes.Replace(five, []byte("\n5\n"), []byte("\n6\n"), 1),
	} {
		_, err := audit.Verify(w.disk, dir, five, note)
		require.ErrorContains(t, err, "reading the kept checkpoint 2", what)
	}
}

// prunedLog is a log whose beginning was pruned, not closed since, and the
// checkpoints there were.
func prunedLog(t *testing.T, seal bool) (d durable.Disk, kept [][]byte) {
	w := newWorld(t, 4<<10)
	w.append(t, 40)
	for _, n := range notes(t, w.disk) {
		kept = append(kept, []byte(n))
	}
	w.clk.Advance(48 * time.Hour)
	require.NoError(t, w.log.Tick(time.Hour))
	if seal {
		require.NoError(t, w.log.Checkpoint())
	}
	d = diskOf(t, files(t, w.disk))
	require.NotContains(t, segments(t, d), segmentName(1))
	w.close(t)
	return d, kept
}

// TestVerifyPruned: a beginning that was pruned is no damage. Of checkpoints that
// speak of it nothing is proven.
func TestVerifyPruned(t *testing.T) {
	d, kept := prunedLog(t, true)
	r := verified(t, d, kept...)
	require.Greater(t, r.FirstSeq, uint64(20))
	require.Equal(t, r.Records, r.SignedSeq)
	require.Equal(t, fmt.Sprintf("records %d to %d follow from each other: none was changed, removed, added or moved between them", r.FirstSeq, r.SignedSeq), r.Proven[0])
	agree, old := 0, 0
	for _, note := range kept {
		if sizeOf(t, string(note))+1 < int(r.FirstSeq) {
			old++
		} else {
			agree++
		}
	}
	require.Positive(t, agree)
	require.Greater(t, old, 2)
	require.Contains(t, r.Proven, fmt.Sprintf("%d checkpoints kept elsewhere agree with it", agree))
	require.Contains(t, r.NotExcluded, fmt.Sprintf("%d checkpoints kept elsewhere speak of records that are gone: they cannot be compared", old))
	r = verified(t, d, kept[1], kept[1])
	require.NotContains(t, fmt.Sprint(r.Proven), "kept elsewhere", "neither can be compared")
	require.Contains(t, fmt.Sprint(r.NotExcluded), "has written another log")
}

// TestVerifyPrunedUnsigned: a record of pruning that anybody could have written
// does not prove that anything was pruned.
func TestVerifyPrunedUnsigned(t *testing.T) {
	w := newWorld(t, 4<<10)
	w.append(t, 40)
	v := &victim{t, files(t, w.disk), nil}
	w.close(t)
	gone := v.firstOfSegment(segmentName(3)) - 1
	delete(v.files, segmentName(1))
	delete(v.files, segmentName(2))
	delete(v.files, snap)
	r, err := audit.Verify(v.disk(), dir)
	require.NoError(t, err)
	require.False(t, r.OK)
	require.Contains(t, *r.Reason, fmt.Sprintf("records 1 to %d are missing, and no record says that they were pruned", gone))

	less := forged(41, v.record(40), start.Add(time.Hour), fmt.Sprintf(`"event":"prune","count":%d`, gone-1))
	enough := forged(41, v.record(40), start.Add(time.Hour), fmt.Sprintf(`"event":"prune","count":%d`, gone))
	whole := v.files[v.last()]
	v.files[v.last()] = slices.Concat(whole, less)
	r, err = audit.Verify(v.disk(), dir)
	require.NoError(t, err)
	require.False(t, r.OK)
	v.files[v.last()] = slices.Concat(whole, enough)
	r = verified(t, v.disk())
	require.Contains(t, r.NotExcluded, fmt.Sprintf("records 1 to %d may not have been pruned but taken away: record 41, which speaks of pruning, is not signed yet", gone))
	require.ErrorIs(t, opens(v.disk()), audit.ErrUnreadable)

	sealed, _ := prunedLog(t, true)
	require.NotContains(t, fmt.Sprint(verified(t, sealed).NotExcluded), "taken away")
}

// TestVerifySnapshotOlder: a snapshot that the log has left behind is no damage,
// whatever else it says.
func TestVerifySnapshotOlder(t *testing.T) {
	w := newWorld(t, 4<<10)
	w.append(t, 10)
	require.NoError(t, w.log.Checkpoint())
	older := files(t, w.disk)[snap]
	w.append(t, 10)
	w.close(t)
	all := files(t, w.disk)
	require.NotEqual(t, older, all[snap])
	all[snap] = older
	verified(t, diskOf(t, all))
	delete(all, snap)
	verified(t, diskOf(t, all))
}

// TestVerifySnapshotPlace: the snapshot is a witness only for a place that is in
// the log, whatever its sum says.
func TestVerifySnapshotPlace(t *testing.T) {
	w := newWorld(t, 4<<10)
	w.append(t, 10)
	w.close(t)
	all := files(t, w.disk)
	is := all[snap]
	for _, c := range []struct{ old, new, why string }{
		{`"segment":2`, `"segment":9`, "the place in 00000009.jsonl that leases.snap speaks of, behind record 10, is not there"},
		{`"segment":2`, `"segment":1`, "the place in 00000001.jsonl"},
		{`"offset":`, `"offset":1`, "is not there"},
		{`"seq":10`, `"seq":9`, "its first 9 records are not those"},
		{`"seq":10`, `"seq":11`, "its tree does not fit"},
		{`"seq":10`, `"seq":12`, "it ends with record 10, but there were 12"},
		{`"head":"`, `"head":"AAAA`, "leases.snap: it is not intact"},
	} {
		all[snap] = rewritten(t, is, c.old, c.new)
		r, err := audit.Verify(diskOf(t, all), dir)
		require.NoError(t, err)
		require.False(t, r.OK, "%+v", c)
		require.Contains(t, *r.Reason, c.why)
	}
}

// TestVerifyDisk: what the disk says is no finding about the log.
func TestVerifyDisk(t *testing.T) {
	d := closedLog(t, 20, 4<<10)
	for _, name := range append(segments(t, d), snap, "key") {
		_, err := audit.Verify(failsOpening{d, name}, dir)
		require.ErrorIs(t, err, syscall.EIO, name)
	}
}

// failsOpening is a disk that cannot open one file.
type failsOpening struct {
	durable.Disk
	name string
}

func (f failsOpening) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	if flag == os.O_RDONLY && strings.HasSuffix(name, f.name) {
		return nil, errors.Join(errors.New("opening"), syscall.EIO)
	}
	return f.Disk.OpenFile(name, flag, perm)
}
