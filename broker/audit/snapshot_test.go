package audit_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
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

const snap = "leases.snap"

// rewritten is a snapshot whose first line says something else, and whose sum is
// right all the same: it covers the line before it, and the state.
func rewritten(t require.TestingT, b []byte, old, new string) []byte {
	line, state, ok := bytes.Cut(b, []byte("\n"))
	require.True(t, ok)
	said, _, ok := strings.Cut(string(line), `,"sha256":`)
	require.True(t, ok)
	require.Contains(t, said, old)
	said = strings.Replace(said, old, new, 1)
	sum := sha256.Sum256(append([]byte(said), state...))
	return fmt.Appendf(nil, "%s,\"sha256\":\"%s\"}\n%s", said, hex.EncodeToString(sum[:]), state)
}

// between returns what stands in a snapshot between two strings.
func between(t require.TestingT, b []byte, from, to string) string {
	_, after, ok := strings.Cut(string(b), from)
	require.True(t, ok)
	out, _, ok := strings.Cut(after, to)
	require.True(t, ok)
	return out
}

// TestSnapshotPlace: a snapshot that is intact, but of a place where the log
// says something else, is not the state of this log.
func TestSnapshotPlace(t *testing.T) {
	ended := newWorld(t, 2<<10) // inside a segment
	ended.append(t, 21)
	ended.close(t)
	rolled := newWorld(t, 2<<10) // at its beginning
	for i := 0; len(segments(t, rolled.disk)) < 4; i++ {
		rolled.append(t, 1)
	}
	for where, d := range map[string]durable.Disk{"inside": ended.disk, "beginning": rolled.disk} {
		all := files(t, d)
		b := all[snap]
		seq, head, origin := between(t, b, `"seq":`, ","), between(t, b, `"head":"`, `"`), between(t, b, `"origin":"`, `"`)
		offset, segment := between(t, b, `"offset":`, ","), between(t, b, `"segment":`, ",")
		tree := between(t, b, `"tree":[`, "]")
		require.Equal(t, where == "beginning", offset == "0")
		_, own := openSnapshot(t, all, b)
		require.NoError(t, own)
		cases := map[string][2]string{
			"another head":          {head, otherDigit(head[:1]) + head[1:]},
			"another record":        {`"seq":` + seq, `"seq":1`},
			"another log's":         {origin, "secretctl/0000000000000000"},
			"another segment":       {`"segment":` + segment, `"segment":2`},
			"a segment that is not": {`"segment":` + segment, `"segment":77`},
			"a later offset":        {`"offset":` + offset, `"offset":` + offset + "1"},
		}
		if where == "inside" {
			cases["a tree that does not fit"] = [2]string{tree, ""}
			cases["another tree"] = [2]string{tree, `"` + otherDigit(tree[1:2]) + tree[2:]}
			cases["an offset before"] = [2]string{`"offset":` + offset, `"offset":1`}
			cases["the beginning"] = [2]string{`"offset":` + offset, `"offset":0`}
			cases["behind no checkpoint"] = [2]string{`"offset":` + offset, fmt.Sprintf(`"offset":%d`, firstRecordEnd(all[segmentName(atoi(segment))]))}
			cases["between lines"] = [2]string{`"offset":` + offset, `"offset":` + minusOne(offset)}
		}
		for what, c := range cases {
			_, err := openSnapshot(t, all, rewritten(t, b, c[0], c[1]))
			if what == "a segment that is not" {
				require.ErrorIs(t, err, audit.ErrDamaged, what)
				continue
			}
			require.ErrorIs(t, err, audit.ErrUnreadable, "%s, at its %s", what, where)
			require.ErrorContains(t, err, snap)
		}
		cut := maps.Clone(all)
		cut[segmentName(atoi(segment))] = nil
		_, err := openSnapshot(t, cut, b)
		require.ErrorIs(t, err, audit.ErrUnreadable, "its segment is empty")
		cut[segmentName(atoi(segment))] = []byte("{}\n")
		_, err = openSnapshot(t, cut, b)
		require.ErrorIs(t, err, audit.ErrUnreadable, "its segment has no header")
	}
}

func atoi(s string) (n int) { fmt.Sscan(s, &n); return n }

func minusOne(s string) string { return fmt.Sprint(atoi(s) - 1) }

// firstRecordEnd is where the first record of a segment ends.
func firstRecordEnd(b []byte) int {
	at := bytes.Index(b, []byte("\n{\"seq\":")) + 1
	return at + bytes.IndexByte(b[at:], '\n') + 1
}

// openSnapshot opens these files with another snapshot.
func openSnapshot(t require.TestingT, all map[string][]byte, b []byte) (*fold, error) {
	all = maps.Clone(all)
	all[snap] = b
	f := new(fold)
	log, err := audit.Open(diskOf(t, all), dir, clock.NewFake(start.Add(time.Hour)), f.options(0))
	if err == nil {
		err = log.Close()
	}
	return f, err
}

// TestSnapshotDamage: no change of a snapshot, however small, goes unseen, and
// none matters to whoever has no use for the state.
func TestSnapshotDamage(t *testing.T) {
	d := closedLog(t, 20, 2<<10)
	all := files(t, d)
	whole := all[snap]
	step := sizes(1, 5, 1)
	for at := 0; at < len(whole); at += step {
		flipped := bytes.Clone(whole)
		flipped[at] ^= 1 << (at % 8)
		_, err := openSnapshot(t, all, flipped)
		require.ErrorIs(t, err, audit.ErrUnreadable, "byte %d flipped", at)
		_, err = openSnapshot(t, all, whole[:at])
		require.ErrorIs(t, err, audit.ErrUnreadable, "cut to %d bytes", at)
	}
	_, err := openSnapshot(t, all, append(bytes.Clone(whole), '\n'))
	require.ErrorIs(t, err, audit.ErrUnreadable)

	all[snap] = whole[:10]
	for _, beginning := range []bool{true, false} {
		if !beginning {
			delete(all, segmentName(1)) // Verify would miss it
		}
		d = diskOf(t, all)
		o := new(fold).options(0)
		o.Forget = true
		o.Apply = func(r *audit.Record) { require.Equal(t, audit.EventRecover, r.Event, "not wanted any more") }
		o.Restore = func([]byte) error { return errors.New("not wanted any more") }
		log, err := audit.Open(d, dir, clock.NewFake(start.Add(time.Hour)), o)
		require.NoError(t, err)
		require.NoError(t, log.Append(&audit.Record{Event: audit.EventRecover}))
		require.NoError(t, log.Close())
		require.NoError(t, openable(d, clock.NewFake(start.Add(time.Hour))), "it has a snapshot again")
	}
}

// TestSnapshotMissing: without it the whole log is read, if all of it is there.
func TestSnapshotMissing(t *testing.T) {
	w := newWorld(t, 2<<10)
	w.append(t, 20)
	w.close(t)
	all := files(t, w.disk)
	delete(all, snap)
	again := openWorld(t, diskOf(t, all), w.clk, 0)
	require.Equal(t, w.fold.Snapshot(), again.fold.Snapshot())
	again.close(t)
	require.Contains(t, files(t, again.disk), snap)

	delete(all, segmentName(1))
	require.ErrorIs(t, openable(diskOf(t, all), w.clk), audit.ErrUnreadable)
}

// TestSnapshotOlder: an older one costs a longer start and changes nothing; one
// that is newer than the log says that the log was cut.
func TestSnapshotOlder(t *testing.T) {
	w := newWorld(t, 2<<10)
	w.append(t, 7)
	older := files(t, w.disk)
	w.append(t, 20)
	w.close(t)
	all := files(t, w.disk)
	require.NotEqual(t, older[snap], all[snap])
	f, err := openSnapshot(t, all, older[snap])
	require.NoError(t, err)
	require.Equal(t, w.fold.Snapshot(), f.Snapshot())

	names := segments(t, w.disk)
	last := names[len(names)-1]
	lines := bytes.SplitAfter(all[last], []byte("\n"))
	for n := range len(lines) - 2 {
		cut := maps.Clone(all)
		cut[last] = bytes.Join(lines[:n], nil)
		err := openable(diskOf(t, cut), w.clk)
		require.ErrorIs(t, err, audit.ErrUnreadable, "%d lines are left", n)
		if n > 0 {
			require.ErrorContains(t, err, "it was cut")
		}
	}
	delete(all, last)
	require.ErrorIs(t, openable(diskOf(t, all), w.clk), audit.ErrDamaged)
}

// TestSnapshotRefused: a state that is not taken back is unreadable, with the
// reason.
func TestSnapshotRefused(t *testing.T) {
	d := closedLog(t, 3, 0)
	no := errors.New("no table of mine")
	_, err := audit.Open(d, dir, clock.NewFake(start), audit.Options{Restore: func([]byte) error { return no }})
	require.ErrorIs(t, err, audit.ErrUnreadable)
	require.ErrorIs(t, err, no)
}

// TestSnapshotFails: a disk that takes no snapshot costs no record, and Tick
// makes up for it.
func TestSnapshotFails(t *testing.T) {
	d, clk := made(t)
	full := true
	disk := &durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
		if full && strings.Contains(op.Name, snap) {
			return durable.Verdict{Err: syscall.ENOSPC}
		}
		return durable.Verdict{}
	}}
	w := openWorld(t, disk, clk, 2<<10)
	w.append(t, 20)
	require.NoError(t, w.log.Tick(0))
	require.NotContains(t, files(t, d), snap)
	full = false
	require.NoError(t, w.log.Tick(0))
	made := files(t, d)[snap]
	require.NotEmpty(t, made)
	require.NoError(t, w.log.Tick(0))
	require.Equal(t, made, files(t, d)[snap], "there was nothing to be done")
	again := w.reopen(t, 0)
	require.Equal(t, w.fold.Snapshot(), again.fold.Snapshot())
	w.close(t)
}

// metered is a disk that counts the bytes that are read.
type metered struct {
	durable.Disk
	read *atomic.Int64
}

func (m metered) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := m.Disk.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return meteredFile{f, m.read}, nil
}

type meteredFile struct {
	durable.File
	read *atomic.Int64
}

func (f meteredFile) ReadAt(b []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(b, at)
	f.read.Add(int64(n))
	return n, err
}

// TestStartReadsLittle: a start after kill -9 reads about 4 MiB and what has
// come since the last Tick, however long the segment is.
func TestStartReadsLittle(t *testing.T) {
	w := newHome(t, 0)
	size := func() int64 {
		info, err := w.disk.Stat(dir + "/" + segmentName(1))
		require.NoError(t, err)
		return info.Size()
	}
	grow := func(bytes int64) {
		for until := size() + bytes; size() < until; {
			var records []*audit.Record
			for i := range 128 {
				records = append(records, plain(i))
			}
			require.NoError(t, w.log.AppendAll(records))
		}
	}
	start := func() int64 {
		read, f := new(atomic.Int64), new(fold)
		killed, err := audit.Open(metered{w.disk, read}, dir, w.clk, f.options(0))
		require.NoError(t, err)
		require.Equal(t, w.fold.N, f.N)
		require.Equal(t, w.log.Head(), killed.Head())
		return read.Load()
	}
	const mib = 1 << 20
	grow(mib)
	require.NoError(t, w.log.Tick(0)) // the first snapshot: there was none
	require.Less(t, start(), int64(mib/4))
	grow(3 * mib)
	require.NoError(t, w.log.Tick(0))
	require.Greater(t, start(), int64(3*mib), "not long enough for another")
	grow(2 * mib)
	require.NoError(t, w.log.Tick(0))
	require.Less(t, start(), int64(mib/4))
	w.close(t)
}

// otherDigit is a base64 digit that is not this one.
func otherDigit(digit string) string {
	if digit == "A" {
		return "B"
	}
	return "A"
}
