package audit_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/audit"
	"secretctl/broker/clock"
)

// formatDir is a log as format 1 writes it, its key among its files: 14 records
// in four segments, the last of which begins behind a write that failed.
var formatDir = filepath.Join("..", "..", "testdata", "formats", "audit-v1")

// formatSegment is the size at which its segments begin.
const formatSegment = 2 << 10

var formatEvents = []audit.Event{
	audit.EventInit, audit.EventStart, audit.EventLease, audit.EventLease, audit.EventLease, audit.EventLease, audit.EventLease,
	audit.EventLease, audit.EventKill, audit.EventResume, audit.EventClockStep, audit.EventRevoke, audit.EventLease, audit.EventStop,
}

// formatRecord is its third record.
var formatRecord = audit.Record{
	Seq: 3, Time: start.Add(3*time.Second + 3702*time.Microsecond),
	Event: audit.EventLease, Decision: audit.Allow, Reason: "granted", Stated: "größer 世界 <U+001B>[2J", Agent: "openclaw",
	Peer: true, UID: 502, GID: 20, PID: 3, Strength: "pidfd", Exe: "/usr/bin/node",
	Secret: "openai/api-key", Version: 4, Lease: "00000000000000000000000000000003", Door: "value", Pinned: true,
	TTL: 10 * time.Minute, Issued: start, First: start, Expires: start.Add(10 * time.Minute), BootDeadline: time.Hour,
	Epoch: 1, Grant: "rule-1", Config: "0123456789abcdef", Mode: "separate",
}

func formatFiles(t *testing.T) map[string][]byte {
	entries, err := os.ReadDir(formatDir)
	require.NoError(t, err)
	all := map[string][]byte{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(formatDir, e.Name()))
		require.NoError(t, err)
		all[e.Name()] = b
	}
	require.Len(t, all, 6, "the key, the snapshot and four segments")
	return all
}

// TestFormat1: what format 1 has written is verified, read, and gone on with.
func TestFormat1(t *testing.T) {
	all := formatFiles(t)
	d := diskOf(t, all)
	r := verified(t, d)
	require.EqualValues(t, 14, r.Records)
	require.EqualValues(t, 14, r.SignedSeq)
	require.Equal(t, "secretctl/358cd22fc1ebe765", r.Origin)
	require.Equal(t, "qBsKmjWG6PGIFjXNHK7LGKcPYBmtu7aSRMTTRea6-qo", r.Head)
	require.Equal(t, formatEvents, events(t, d))
	require.Equal(t, formatRecord, scanned(t, d)[2])

	for _, snapshot := range [][]byte{all[snap], nil} {
		if snapshot == nil {
			delete(all, snap)
		}
		d, count := diskOf(t, all), 0
		log, err := audit.Open(d, dir, clock.NewFake(start), audit.Options{
			Apply:    func(*audit.Record) { count++ },
			Snapshot: func() []byte { return []byte(strconv.Itoa(count)) },
			Restore:  func(b []byte) (err error) { count, err = strconv.Atoi(string(b)); return err },
		})
		require.NoError(t, err)
		require.Equal(t, 14, count)
		require.NoError(t, log.Append(plain(15)))
		require.NoError(t, log.Close())
		require.EqualValues(t, 15, verified(t, d).SignedSeq)
	}
}

// TestFormat1Written: what is written today is the same, byte for byte.
func TestFormat1Written(t *testing.T) {
	all := formatFiles(t)
	records := scanned(t, diskOf(t, all))
	one, two := segmentName(1), segmentName(2)
	lines := strings.SplitAfter(string(all[one]), "\n")
	d := diskOf(t, map[string][]byte{"key": all["key"], one: []byte(lines[0] + lines[1])})
	clk := clock.NewFake(start)
	log, err := audit.Open(d, dir, clk, audit.Options{SegmentBytes: formatSegment})
	require.NoError(t, err)
	for _, r := range slices.Clone(records[:9]) {
		clk.Advance(r.Time.Sub(clk.Now().Wall))
		require.NoError(t, log.Append(&r))
	}
	require.NoError(t, log.Close())
	written := files(t, d)
	require.Equal(t, string(all[one]), string(written[one]))
	require.Equal(t, string(all[two]), string(written[two]))
}
