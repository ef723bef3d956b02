package audit_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/audit"
	"secretctl/broker/clock"
	"secretctl/broker/durable"
)

// bare is the least that a group commit can be: whoever appends waits for the
// next write and sync of all there is. It is the limit that a log is held
// against.
type bare struct {
	f    durable.File
	mu   sync.Mutex
	buf  []byte
	wait chan struct{}
	kick chan struct{}
}

func newBare(b *testing.B) *bare {
	d, err := durable.OpenHome(b.TempDir())
	require.NoError(b, err)
	f, err := d.OpenFile("log", os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	require.NoError(b, err)
	return &bare{f: f, wait: make(chan struct{}), kick: make(chan struct{}, 1)}
}

func (l *bare) append(line []byte) {
	l.mu.Lock()
	l.buf = append(l.buf, line...)
	w := l.wait
	l.mu.Unlock()
	select {
	case l.kick <- struct{}{}:
	default:
	}
	<-w
}

// run writes until kick is closed.
func (l *bare) run(b *testing.B) {
	var spare []byte
	for range l.kick {
		l.mu.Lock()
		buf, w := l.buf, l.wait
		l.buf, l.wait = spare[:0], make(chan struct{})
		l.mu.Unlock()
		if len(buf) > 0 {
			if _, err := l.f.Write(buf); err != nil {
				b.Error(err)
			}
			if err := l.f.Sync(); err != nil {
				b.Error(err)
			}
		}
		close(w)
		spare = buf
	}
}

// share has goroutines do something n times in all, and returns how long that
// took.
func share(goroutines, n int, do func(i int)) time.Duration {
	var next atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for range goroutines {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				do(int(i))
			}
		})
	}
	wg.Wait()
	return time.Since(begin)
}

// limit is how long the bare group commit takes for n lines of 300 bytes.
func limit(b *testing.B, goroutines, n int) time.Duration {
	l := newBare(b)
	var wg sync.WaitGroup
	wg.Go(func() { l.run(b) })
	line := make([]byte, 300)
	took := share(goroutines, n, func(int) { l.append(line) })
	close(l.kick)
	wg.Wait()
	require.NoError(b, l.f.Close())
	return took
}

// BenchmarkAppend appends on the real disk. of-limit is how fast that is beside
// a bare group commit of as many lines by as many goroutines, half of it before
// and half after.
func BenchmarkAppend(b *testing.B) {
	for _, goroutines := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(goroutines), func(b *testing.B) {
			d, err := durable.OpenHome(b.TempDir())
			require.NoError(b, err)
			clk := clock.System()
			require.NoError(b, audit.Create(d, dir, clk))
			log, err := audit.Open(d, dir, clk, audit.Options{Apply: func(*audit.Record) {}, Snapshot: func() []byte { return nil }})
			require.NoError(b, err)
			half := b.N/2 + 1
			before := limit(b, goroutines, half)
			b.ReportAllocs()
			b.ResetTimer()
			took := share(goroutines, b.N, func(i int) {
				if err := log.Append(plain(i)); err != nil {
					b.Error(err)
				}
			})
			b.StopTimer()
			after := limit(b, goroutines, half)
			least := float64(before+after) / float64(2*half)
			b.ReportMetric(least/(float64(took)/float64(b.N)), "of-limit")
			b.ReportMetric(float64(b.N)/took.Seconds(), "records/s")
			require.NoError(b, log.Close())
		})
	}
}

// longLog returns a home with a closed log of n records, and how many bytes its
// segments have.
func longLog(b *testing.B, n int) (d durable.Disk, bytes int64) {
	home := b.TempDir()
	d, err := durable.OpenHome(home)
	require.NoError(b, err)
	clk := clock.NewFake(start)
	require.NoError(b, audit.Create(d, dir, clk))
	log, err := audit.Open(d, dir, clk, audit.Options{})
	require.NoError(b, err)
	records := make([]*audit.Record, 0, 128)
	for i := range n {
		records = append(records, plain(i))
		if len(records) == cap(records) || i == n-1 {
			require.NoError(b, log.AppendAll(records))
			records = records[:0]
		}
	}
	require.NoError(b, log.Close())
	names, err := filepath.Glob(home + "/" + dir + "/*.jsonl")
	require.NoError(b, err)
	for _, name := range names {
		info, err := os.Stat(name)
		require.NoError(b, err)
		bytes += info.Size()
	}
	return d, bytes
}

// perRecord reports how many records were read each second.
func perRecord(b *testing.B, n int) {
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkVerify verifies a log of 100,000 records.
func BenchmarkVerify(b *testing.B) {
	const n = 100_000
	d, size := longLog(b, n)
	b.SetBytes(size)
	for b.Loop() {
		r, err := audit.Verify(d, dir)
		require.NoError(b, err)
		require.True(b, r.OK)
	}
	perRecord(b, n)
}

// BenchmarkOpen opens a log of which everything is read: what a start after
// kill -9 costs with so many records behind the snapshot.
func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{0, 1_000, 10_000, 40_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d, size := longLog(b, n)
			b.SetBytes(size)
			for b.Loop() {
				log, err := audit.Open(d, dir, clock.NewFake(start), audit.Options{})
				require.NoError(b, err)
				require.NoError(b, log.Close())
			}
			perRecord(b, n)
		})
	}
}

// BenchmarkScan reads the last 10 of 200,000 records.
func BenchmarkScan(b *testing.B) {
	const n = 200_000
	d, _ := longLog(b, n)
	for b.Loop() {
		seen := 0
		require.NoError(b, audit.Scan(d, dir, n-9, time.Time{}, func(*audit.Record, []byte) error { seen++; return nil }))
		require.Equal(b, 10, seen)
	}
}
