package audit_test

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/audit"
	"secretctl/broker/clock"
	"secretctl/broker/durable"
)

// start is a whole second, so that nothing is lost to the log's resolution.
var start = time.Date(2026, time.March, 4, 12, 0, 0, 0, time.UTC)

// dir is where the log of a test's disk is.
const dir = "audit"

// fold is the state of a log in a test: how many records there were, and a sum
// over all they say, in their order.
type fold struct {
	mu  sync.Mutex
	N   uint64 `json:"n"`
	Sum uint64 `json:"sum"`
}

// Apply folds one record.
func (f *fold) Apply(r *audit.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := fnv.New64a()
	fmt.Fprintln(h, f.Sum, *r)
	f.N, f.Sum = f.N+1, h.Sum64()
}

// Snapshot is the state in bytes.
func (f *fold) Snapshot() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	return b
}

// Restore takes a state back.
func (f *fold) Restore(b []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return json.Unmarshal(b, f)
}

// options folds a log into f, with segments of a size (0: the usual one).
func (f *fold) options(segmentBytes int64) audit.Options {
	return audit.Options{Apply: f.Apply, Snapshot: f.Snapshot, Restore: f.Restore, SegmentBytes: segmentBytes}
}

// world is a log that is open, and what surrounds it.
type world struct {
	disk durable.Disk
	clk  *clock.Fake
	log  *audit.Log
	fold *fold
}

// made returns a disk in memory with a log that has no records.
func made(t require.TestingT) (*durable.Mem, *clock.Fake) {
	d, clk := durable.NewMem(), clock.NewFake(start)
	require.NoError(t, audit.Create(d, dir, clk))
	return d, clk
}

// newWorld returns an open log in memory with segments of a size (0: the usual
// one).
func newWorld(t require.TestingT, segmentBytes int64) *world {
	d, clk := made(t)
	return openWorld(t, d, clk, segmentBytes)
}

// newHome is newWorld on the real disk.
func newHome(t testing.TB, segmentBytes int64) *world {
	d, err := durable.OpenHome(t.TempDir())
	require.NoError(t, err)
	clk := clock.NewFake(start)
	require.NoError(t, audit.Create(d, dir, clk))
	return openWorld(t, d, clk, segmentBytes)
}

// openWorld opens the log of a disk.
func openWorld(t require.TestingT, d durable.Disk, clk *clock.Fake, segmentBytes int64) *world {
	w := &world{disk: d, clk: clk, fold: new(fold)}
	log, err := audit.Open(d, dir, clk, w.fold.options(segmentBytes))
	require.NoError(t, err)
	w.log = log
	return w
}

// plain returns the n-th of records that differ, of the usual size.
func plain(n int) *audit.Record {
	return &audit.Record{
		Event: audit.EventLease, Decision: audit.Allow, Reason: "granted", Agent: "openclaw",
		Peer: true, UID: 502, GID: 20, PID: int32(n) & 0xffff, Strength: "pidfd", Exe: "/usr/bin/node",
		Secret: "openai/api-key", Version: uint64(n)%9 + 1, Lease: fmt.Sprintf("%032x", n), Door: "value",
		TTL: 10 * time.Minute, Issued: start, First: start, Expires: start.Add(10 * time.Minute),
		BootDeadline: time.Hour, Grant: "rule-1",
	}
}

// append appends n plain records, one after the other, a second apart.
func (w *world) append(t require.TestingT, n int) {
	for i := range n {
		w.clk.Advance(time.Second)
		require.NoError(t, w.log.Append(plain(int(w.log.Head().Seq)+1)), "the %d. of %d", i+1, n)
	}
}

// close closes the log.
func (w *world) close(t require.TestingT) { require.NoError(t, w.log.Close()) }

// reopen opens the log again, without closing it.
func (w *world) reopen(t require.TestingT, segmentBytes int64) *world {
	return openWorld(t, w.disk, w.clk, segmentBytes)
}

// closedLog returns a disk with a closed log of n plain records in segments of
// a size.
func closedLog(t require.TestingT, n int, segmentBytes int64) *durable.Mem {
	w := newWorld(t, segmentBytes)
	w.append(t, n)
	w.close(t)
	return w.disk.(*durable.Mem)
}

// files returns the content of every file of a log, by name.
func files(t require.TestingT, d durable.Disk) map[string][]byte {
	list, err := d.ReadDir(dir)
	require.NoError(t, err)
	out := map[string][]byte{}
	for _, e := range list {
		b, err := durable.ReadFile(d, dir+"/"+e.Name())
		require.NoError(t, err)
		out[e.Name()] = b
	}
	return out
}

// diskOf returns a disk with these files in its log's directory.
func diskOf(t require.TestingT, files map[string][]byte) *durable.Mem {
	d := durable.NewMem()
	require.NoError(t, durable.MkdirAll(d, dir, 0o700))
	for name, b := range files {
		require.NoError(t, durable.WriteFile(d, dir+"/"+name, b, 0o600))
	}
	return d
}

// segmentName is the name of a segment's file.
func segmentName(n int) string { return fmt.Sprintf("%08d.jsonl", n) }

// segments returns the names of the segments there are, oldest first.
func segments(t require.TestingT, d durable.Disk) (names []string) {
	list, err := d.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range list {
		if strings.HasSuffix(e.Name(), ".jsonl") {
			names = append(names, e.Name())
		}
	}
	return names
}

// scanned returns every record of a log.
func scanned(t require.TestingT, d durable.Disk) (records []audit.Record) {
	require.NoError(t, audit.Scan(d, dir, 0, time.Time{}, func(r *audit.Record, _ []byte) error {
		records = append(records, *r)
		return nil
	}))
	return records
}

// verified says what Verify finds, and that it is sound.
func verified(t require.TestingT, d durable.Disk, kept ...[]byte) audit.Report {
	r, err := audit.Verify(d, dir, kept...)
	require.NoError(t, err)
	if !r.OK {
		require.FailNow(t, "the log does not verify", *r.Reason)
	}
	return r
}
