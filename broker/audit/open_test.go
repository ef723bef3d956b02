package audit_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
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

// TestCreate: a log is made where there is none, and only there.
func TestCreate(t *testing.T) {
	d, clk := made(t)
	require.ErrorIs(t, audit.Create(d, dir, clk), audit.ErrExists)
	for _, name := range []string{dir + "/key", dir + "/" + segmentName(1)} {
		info, err := d.Stat(name)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode())
	}
	info, err := d.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
	w := openWorld(t, d, clk, 0)
	w.append(t, 1)
	w.close(t)

	all := files(t, d)
	require.ErrorIs(t, audit.Create(diskOf(t, map[string][]byte{"leases.snap": all["leases.snap"]}), dir, clk), audit.ErrExists)
	gap := diskOf(t, map[string][]byte{segmentName(1): nil, segmentName(3): nil})
	require.ErrorIs(t, audit.Create(gap, dir, clk), audit.ErrDamaged)
	require.NoError(t, audit.Create(diskOf(t, map[string][]byte{"key": []byte("half"), segmentName(1) + ".tmp": nil, "notes.jsonl": nil}), dir, clk))
}

// TestOpenAbsent: no log, and no key, are said to be that.
func TestOpenAbsent(t *testing.T) {
	clk := clock.NewFake(start)
	for what, d := range map[string]*durable.Mem{
		"no directory": durable.NewMem(), "an empty one": diskOf(t, nil), "a key": diskOf(t, map[string][]byte{"key": nil}),
	} {
		_, err := audit.Open(d, dir, clk, audit.Options{})
		require.ErrorIs(t, err, audit.ErrAbsent, what)
		require.ErrorIs(t, audit.Scan(d, dir, 0, time.Time{}, nil), audit.ErrAbsent)
	}
	all := files(t, closedLog(t, 3, 0))
	only := func(name string) *durable.Mem { return diskOf(t, map[string][]byte{name: all[name]}) }
	_, err := audit.Open(only("leases.snap"), dir, clk, audit.Options{})
	require.ErrorIs(t, err, audit.ErrDamaged)
	_, err = audit.Open(only(segmentName(1)), dir, clk, audit.Options{})
	require.ErrorIs(t, err, fs.ErrNotExist)
	for _, key := range []string{"", "PRIVATE+KEY+x\n", strings.TrimSuffix(string(all["key"]), "\n")} {
		all["key"] = []byte(key)
		_, err = audit.Open(diskOf(t, all), dir, clk, audit.Options{})
		require.ErrorContains(t, err, "audit/key")
		require.NotContains(t, err.Error(), "PRIVATE")
	}
}

// TestOpenForeignKey: a log whose key is another's is not opened.
func TestOpenForeignKey(t *testing.T) {
	all, other := files(t, closedLog(t, 3, 0)), files(t, closedLog(t, 3, 0))
	all["key"] = other["key"]
	_, err := audit.Open(diskOf(t, all), dir, clock.NewFake(start), audit.Options{})
	require.ErrorIs(t, err, audit.ErrUnreadable)
	delete(all, "leases.snap")
	_, err = audit.Open(diskOf(t, all), dir, clock.NewFake(start), audit.Options{})
	require.ErrorIs(t, err, audit.ErrDamaged)
}

// torn returns the files of a log of n records that ends in half a record.
func torn(t require.TestingT, n int) map[string][]byte {
	w := newWorld(t, 0)
	w.append(t, n)
	all := files(t, w.disk)
	w.append(t, 1)
	after := files(t, w.disk)[segmentName(1)]
	w.close(t)
	whole := len(all[segmentName(1)])
	all[segmentName(1)] = after[:whole+(len(after)-whole)/2]
	return all
}

// TestOpenTorn: half a record is cut off, and that is recorded, once.
func TestOpenTorn(t *testing.T) {
	all := torn(t, 5)
	d, clk := diskOf(t, all), clock.NewFake(start.Add(time.Hour))
	w := openWorld(t, d, clk, 0)
	require.EqualValues(t, 6, w.log.Head().Seq)
	records := scanned(t, synced(d))
	require.Len(t, records, 6)
	require.Equal(t, audit.EventRepair, records[5].Event)
	require.Positive(t, records[5].Count)
	require.Less(t, records[5].Count, uint64(500))
	require.EqualValues(t, 6, w.fold.N)
	w.close(t)
	again := w.reopen(t, 0)
	require.EqualValues(t, 6, again.log.Head().Seq)
	again.close(t)
	verified(t, d)
}

// TestOpenLostSectors: sectors of the last write that were never written read as
// zeros, and are cut; zeros that no lost sector leaves are damage.
func TestOpenLostSectors(t *testing.T) {
	w := newWorld(t, 0)
	w.append(t, 3)
	before := len(files(t, w.disk)[segmentName(1)])
	var records []*audit.Record
	for i := range 10 {
		records = append(records, plain(4+i))
	}
	w.clk.Advance(time.Second)
	require.NoError(t, w.log.AppendAll(records))
	all := files(t, w.disk)
	whole := all[segmentName(1)]
	end := len(whole)
	edge := (before/512 + 1) * 512 // the first that is all of the last write's
	require.NotZero(t, before%512)
	last := end / 512 * 512
	for _, c := range []struct {
		what     string
		from, to int
		torn     bool
	}{
		{"the first, in which others lie", before, edge, true},
		{"one in the middle", edge + 512, edge + 1024, true},
		{"the last", last, end, true},
		{"all", before, end, true},
		{"half of the first", before, edge - 1, false},
		{"the first half of one in the middle", edge + 512, edge + 600, false},
		{"one and a half", edge + 512, edge + 1300, false},
		{"the second half of one, and one", edge + 600, edge + 1536, false},
		{"a byte", edge + 700, edge + 701, false},
		{"what was synced", 512, 1024, false},
		{"the last that was synced", before - 512, before, false},
	} {
		lost := bytes.Clone(whole)
		clear(lost[c.from:c.to])
		all[segmentName(1)] = lost
		d := diskOf(t, all)
		log, err := audit.Open(d, dir, w.clk, audit.Options{})
		if !c.torn {
			require.ErrorIs(t, err, audit.ErrDamaged, c.what)
			require.Equal(t, lost, files(t, d)[segmentName(1)], "%s: it was changed", c.what)
			continue
		}
		require.NoError(t, err, c.what)
		require.GreaterOrEqual(t, log.Head().Seq, uint64(4), c.what)
		require.NoError(t, log.Close())
		verified(t, d)
	}
	w.close(t)
}

// TestOpenLostTooMuch: more than one write can hold is no lost write.
func TestOpenLostTooMuch(t *testing.T) {
	w := newWorld(t, 0)
	w.append(t, 3)
	all := files(t, w.disk)
	before := all[segmentName(1)]
	var records []*audit.Record
	for i := range 600 {
		records = append(records, plain(4+i))
	}
	require.NoError(t, w.log.AppendAll(records))
	lost := files(t, w.disk)[segmentName(1)]
	at := (len(before)/512 + 2) * 512
	clear(lost[at : at+512])
	w.close(t)
	for what, b := range map[string][]byte{"records": lost, "bytes": append(bytes.Clone(before), make([]byte, 1<<20+1)...)} {
		all[segmentName(1)] = b
		_, err := audit.Open(diskOf(t, all), dir, w.clk, audit.Options{})
		require.ErrorIs(t, err, audit.ErrDamaged, what)
	}
}

// TestOpenTornFull: a disk that takes no record does not keep the log from being
// opened; the cut is recorded when it takes records again.
func TestOpenTornFull(t *testing.T) {
	d := diskOf(t, torn(t, 5))
	full := true
	disk := &durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
		if full && (op.Kind == durable.OpWrite || op.Kind == durable.OpCreate) {
			return durable.Verdict{Err: syscall.ENOSPC}
		}
		return durable.Verdict{}
	}}
	w := openWorld(t, disk, clock.NewFake(start.Add(time.Hour)), 0)
	require.EqualValues(t, 5, w.log.Head().Seq)
	require.ErrorIs(t, w.log.Head().Err, syscall.ENOSPC)
	require.ErrorIs(t, w.log.Append(plain(6)), audit.ErrUnavailable)
	full = false
	w.append(t, 1)
	require.Equal(t, audit.EventRepair, events(t, d)[5])
	require.Len(t, events(t, d), 7)
	w.close(t)
	verified(t, d)
}

// TestOpenMakesDurable: a broker that was killed between a write and its sync
// leaves bytes, and names, that are there for the next one and gone after a
// power loss. What the next one acknowledges does not stand on them.
func TestOpenMakesDurable(t *testing.T) {
	steps := 0
	for k := 0; ; k++ {
		d, clk := made(t)
		hook, crashed := crashing(d, k)
		log, err := audit.Open(hook, dir, clk, new(fold).options(1<<10))
		for i := 0; err == nil && i < 6; i++ {
			err = log.Append(&audit.Record{Event: audit.EventStart, Count: uint64(i) + 1})
		}
		if err == nil {
			err = log.Close()
		}
		steps++

		w := openWorld(t, d, clk, 1<<10)
		head := w.log.Head()
		require.Equal(t, w.fold.N, openWorld(t, synced(d), clk, 0).fold.N, "crashed at operation %d", k)
		w.append(t, 1)
		require.Equal(t, head.Seq+1, openWorld(t, synced(d), clk, 0).log.Head().Seq)
		w.close(t)
		require.Equal(t, head.Seq+1, openWorld(t, synced(d), clk, 0).log.Head().Seq)
		if !*crashed {
			require.NoError(t, err)
			break
		}
	}
	require.Greater(t, steps, 30)
}

// handles is a disk that counts the files that are open.
type handles struct {
	durable.Disk
	open *atomic.Int32
}

func (h handles) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := h.Disk.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	h.open.Add(1)
	return &handle{File: f, open: h.open}, nil
}

type handle struct {
	durable.File
	open *atomic.Int32
}

func (h *handle) Close() error {
	err := h.File.Close()
	if err == nil {
		h.open.Add(-1)
	}
	return err
}

// unreadable is a disk on which opening, or reading, the k-th time fails.
type unreadable struct {
	durable.Disk
	k *int
}

var errUnreadable = errors.New("the disk cannot read this")

func (u unreadable) fail() error {
	*u.k--
	if *u.k == -1 {
		return errUnreadable
	}
	return nil
}

func (u unreadable) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	if flag&(os.O_WRONLY|os.O_CREATE) == 0 {
		if err := u.fail(); err != nil {
			return nil, err
		}
	}
	f, err := u.Disk.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return unreadableFile{f, u}, nil
}

func (u unreadable) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := u.fail(); err != nil {
		return nil, err
	}
	return u.Disk.ReadDir(name)
}

func (u unreadable) Stat(name string) (fs.FileInfo, error) {
	if err := u.fail(); err != nil {
		return nil, err
	}
	return u.Disk.Stat(name)
}

type unreadableFile struct {
	durable.File
	u unreadable
}

func (f unreadableFile) ReadAt(b []byte, at int64) (int, error) {
	if err := f.u.fail(); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, at)
}

func (f unreadableFile) Size() (int64, error) {
	if err := f.u.fail(); err != nil {
		return 0, err
	}
	return f.File.Size()
}

// TestUnreadableDisk fails each reading operation: the error is the disk's, not
// that there is no log or that it was changed, no file stays open, and nothing
// on the disk is other than before.
func TestUnreadableDisk(t *testing.T) {
	closed := files(t, closedLog(t, 20, 2<<10))
	killed := newWorld(t, 2<<10)
	killed.append(t, 20)
	crashed := files(t, killed.disk)
	last := segmentName(len(segments(t, killed.disk)))
	crashed[last] = crashed[last][:len(crashed[last])-100]
	delete(closed, "leases.snap") // all of it is read
	for what, do := range map[string]func(d durable.Disk) error{
		"opening": func(d durable.Disk) error {
			log, err := audit.Open(d, dir, clock.NewFake(start), new(fold).options(0))
			if err == nil {
				err = log.Close()
			}
			return err
		},
		"scanning": func(d durable.Disk) error {
			return audit.Scan(d, dir, 1, start, func(*audit.Record, []byte) error { return nil })
		},
		"creating": func(d durable.Disk) error {
			return audit.Create(d, "other", clock.NewFake(start))
		},
	} {
		for _, all := range []map[string][]byte{closed, crashed} {
			k := 0
			for ; ; k++ {
				mem, left, open := diskOf(t, all), k, new(atomic.Int32)
				err := do(unreadable{handles{mem, open}, &left})
				require.Zero(t, open.Load(), "%s: files are open, after failure %d", what, k)
				if left >= 0 {
					require.NoError(t, err)
					break
				}
				require.ErrorIs(t, err, errUnreadable, "%s, failure %d", what, k)
				require.NotErrorIs(t, err, audit.ErrAbsent)
				require.NotErrorIs(t, err, audit.ErrDamaged)
				require.Equal(t, all, files(t, mem))
			}
			require.Positive(t, k, what)
		}
	}
}
