package audit_test

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/audit"
	"secretctl/broker/durable"
)

// opened is a disk that keeps the names of the segments that are opened.
type opened struct {
	durable.Disk
	names map[string]bool
}

func (o opened) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	if path.Ext(name) == ".jsonl" {
		o.names[path.Base(name)] = true
	}
	return o.Disk.OpenFile(name, flag, perm)
}

// TestScan: the records that are wanted, each once and oldest first, with their
// lines, and no segment is read that has none.
func TestScan(t *testing.T) {
	w := newWorld(t, 2<<10)
	aged(t, w.disk, w, 6)
	all := scanned(t, w.disk)
	require.Len(t, all, int(w.log.Head().Seq))
	content := files(t, w.disk)
	for _, c := range []struct {
		what  string
		from  uint64
		since time.Time
		want  func(r audit.Record) bool
		reads int // segments at most; 0: all
	}{
		{"everything", 0, time.Time{}, func(audit.Record) bool { return true }, 0},
		{"from the first", 1, time.Time{}, func(audit.Record) bool { return true }, 0},
		{"the last three", all[len(all)-3].Seq, time.Time{}, func(r audit.Record) bool { return r.Seq >= all[len(all)-3].Seq }, 3},
		{"behind the end", 1 << 40, start, func(audit.Record) bool { return false }, 2},
		{"since then", 0, all[12].Time, func(r audit.Record) bool { return !r.Time.Before(all[12].Time) }, 0},
		{"since the last minute", 0, all[len(all)-1].Time, func(r audit.Record) bool { return !r.Time.Before(all[len(all)-1].Time) }, 3},
		{"both", all[13].Seq, all[9].Time, func(r audit.Record) bool { return r.Seq >= all[13].Seq && !r.Time.Before(all[9].Time) }, 0},
	} {
		t.Run(c.what, func(t *testing.T) {
			d := opened{w.disk, map[string]bool{}}
			var got []audit.Record
			require.NoError(t, audit.Scan(d, dir, c.from, c.since, func(r *audit.Record, line []byte) error {
				got = append(got, *r)
				require.Contains(t, string(line), r.Lease)
				require.True(t, slices.ContainsFunc(segments(t, w.disk), func(name string) bool {
					return strings.Contains(string(content[name]), string(line)+"\n")
				}))
				return nil
			}))
			var want []audit.Record
			for _, r := range all {
				if c.want(r) {
					want = append(want, r)
				}
			}
			require.Equal(t, want, got)
			if c.reads > 0 {
				require.LessOrEqual(t, len(d.names), c.reads)
			}
		})
	}
	w.close(t)
}

// TestScanStops: what fn returns ends it and is returned.
func TestScanStops(t *testing.T) {
	d := closedLog(t, 20, 2<<10)
	enough := errors.New("enough")
	seen := 0
	err := audit.Scan(d, dir, 5, time.Time{}, func(r *audit.Record, _ []byte) error {
		if seen++; r.Seq == 9 {
			return enough
		}
		return nil
	})
	require.ErrorIs(t, err, enough)
	require.Equal(t, 5, seen)
}

// TestScanCut: what a failed write has left behind is no record.
func TestScanCut(t *testing.T) {
	d, clk := made(t)
	fail := failing(durable.OpSync, syscall.EIO)
	broken := false
	disk := &durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
		switch {
		case !broken:
		case op.Kind == durable.OpTruncate:
			return durable.Verdict{Err: syscall.EIO}
		default:
			return durable.Verdict{Err: fail(op)}
		}
		return durable.Verdict{}
	}}
	w := openWorld(t, disk, clk, 0)
	w.append(t, 3)
	broken = true
	w.append(t, 2)
	require.Equal(t, 2, strings.Count(string(files(t, d)[segmentName(1)])+string(files(t, d)[segmentName(2)]), `"seq":4,`))
	require.Equal(t, []int{1, 2, 3, 4, 5}, leases(t, d))
	w.close(t)
}

// TestScanTorn: what a crash leaves of a write ends the log; anything else that
// is no record is damage, also where the tail could be torn only of the last.
func TestScanTorn(t *testing.T) {
	all := files(t, closedLog(t, 20, 2<<10))
	last := segmentName(len(segments(t, diskOf(t, all))))
	whole := string(all[last])
	scan := func(name, content string) (n int, err error) {
		changed := map[string][]byte{}
		for k, v := range all {
			changed[k] = v
		}
		changed[name] = []byte(content)
		err = audit.Scan(diskOf(t, changed), dir, 0, time.Time{}, func(*audit.Record, []byte) error { n++; return nil })
		return n, err
	}
	n, err := scan(last, whole+`{"seq":21,"time":"20`)
	require.NoError(t, err)
	require.Equal(t, 20, n)
	n, err = scan(last, whole+strings.Repeat("\x00", 3072-len(whole)%512)+"\"}\n")
	require.NoError(t, err)
	require.Equal(t, 20, n)

	for what, tail := range map[string]string{
		"a line": "{}\n", "a long line": strings.Repeat("a", 5000) + "\n", "no line, and too long": strings.Repeat("a", 70_000),
	} {
		_, err = scan(last, whole+tail)
		require.ErrorIs(t, err, audit.ErrDamaged, what)
		require.ErrorContains(t, err, last, what)
	}
	_, err = scan(segmentName(1), string(all[segmentName(1)])+"{")
	require.ErrorIs(t, err, audit.ErrDamaged)
	_, err = scan(segmentName(2), "no header\n")
	require.ErrorIs(t, err, audit.ErrDamaged)
	_, err = scan(segmentName(40), "")
	require.ErrorIs(t, err, audit.ErrDamaged, "segments are missing before it")
}

// TestScanLive: it may run while the log is written and pruned, and finds all
// records there were when it began, in their order.
func TestScanLive(t *testing.T) {
	w := newHome(t, 16<<10)
	w.append(t, 10)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for g := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := w.log.Append(plain(g<<20 | i)); err != nil {
					t.Errorf("appending: %v", err)
					return
				}
			}
		})
	}
	for range 30 {
		at := w.log.Head().Seq
		last := uint64(0)
		require.NoError(t, audit.Scan(w.disk, dir, 0, time.Time{}, func(r *audit.Record, _ []byte) error {
			require.Equal(t, last+1, r.Seq)
			last = r.Seq
			return nil
		}))
		require.GreaterOrEqual(t, last, at)
	}
	close(stop)
	wg.Wait()
	w.close(t)
}
