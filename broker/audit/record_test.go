package audit

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"secretctl/broker/secret"
)

// noon is a time that has a form on disk.
var noon = time.Date(2026, time.August, 1, 12, 0, 0, 123456000, time.UTC)

// lineOf is r as the log writes it behind a chain, without the newline.
func lineOf(r *Record, behind tlog.Hash) string {
	b := appendBody(appendStart(nil, r.Seq, r.Time), r)
	b = appendChain(b, newHasher().chain(behind, b))
	return strings.TrimSuffix(string(b), "\n")
}

// longest has every field, each as long on disk as it can be.
func longest() Record {
	token := strings.Repeat("世", 42) + "ab" // 128 bytes
	last := time.Date(9999, time.December, 31, 23, 59, 59, 999999000, time.UTC)
	return Record{
		Seq: math.MaxUint64, Time: last, Event: EventStart, Decision: Allow,
		Reason: strings.Repeat("a", maxReason), Stated: strings.Repeat("'", maxStated), Agent: token,
		Peer: true, UID: math.MaxUint32, GID: math.MaxUint32, PID: math.MaxInt32, Strength: token, Exe: strings.Repeat("/", maxExe),
		Secret: secret.Name(strings.Repeat("a", maxToken)), Version: math.MaxUint64, Lease: strings.Repeat("f", 32), Door: token, Pinned: true, Group: strings.Repeat("f", maxGroup),
		TTL: math.MaxInt64 / time.Second * time.Second, Issued: last, First: last, Expires: last,
		BootDeadline: math.MaxInt64 / time.Millisecond * time.Millisecond, Epoch: math.MaxUint64,
		Grant: token, Config: strings.Repeat("0", 16), Mode: token, BootID: token, Count: math.MaxUint64,
	}
}

// limits are, for each field, records at its limit and records beyond.
var limits = []struct {
	field     string
	good, bad []Record
}{
	{"event", []Record{{Event: EventInit}}, []Record{{}, {Event: "Init"}, {Event: "init "}, {Event: "lease\",\"agent\":\"x"}}},
	{"decision", []Record{{Decision: Allow}, {Decision: Deny}}, []Record{{Decision: "Allow"}, {Decision: "maybe"}}},
	{"reason", []Record{{Reason: strings.Repeat("_", 64)}},
		[]Record{{Reason: strings.Repeat("a", 65)}, {Reason: "no such grant"}, {Reason: "Granted"}, {Reason: "a1"}}},
	{"peer", []Record{{Peer: true}, {Peer: true, UID: math.MaxUint32, PID: math.MaxInt32}},
		[]Record{{UID: 1}, {GID: 1}, {PID: 1}, {Peer: true, PID: -1}}},
	{"lease", []Record{{Lease: strings.Repeat("0a", 16)}},
		[]Record{{Lease: strings.Repeat("0", 31)}, {Lease: strings.Repeat("0", 33)}, {Lease: strings.Repeat("A", 32)}, {Lease: strings.Repeat("g", 32)}}},
	{"config", []Record{{Config: "0123456789abcdef"}}, []Record{{Config: "0123456789abcde"}, {Config: "0123456789ABCDEF"}}},
	{"boot_id", []Record{{Event: EventStart, BootID: strings.Repeat("b", 128)}},
		[]Record{{BootID: "b"}, {Event: EventStop, BootID: "b"}, {Event: EventStart, BootID: strings.Repeat("b", 129)}, {Event: EventStart, BootID: "\x1b"}}},
	{"secret", []Record{{Secret: "openai/api-key"}},
		[]Record{{Secret: "OpenAI"}, {Secret: "../x"}, {Secret: secret.Name(strings.Repeat("a", 129))}, {Secret: "a\nb"}}},
	{"stated_reason", []Record{{Stated: strings.Repeat("s", 200)}}, []Record{{Stated: strings.Repeat("s", 201)}, {Stated: "a\"b"}}},
	{"agent", []Record{{Agent: strings.Repeat("a", 128)}}, []Record{{Agent: strings.Repeat("a", 129)}, {Agent: `a\u001b`}}},
	{"strength", []Record{{Strength: "pidfd"}}, []Record{{Strength: strings.Repeat("a", 129)}, {Strength: "a\u200bb"}}},
	{"exe", []Record{{Exe: strings.Repeat("/", 512)}}, []Record{{Exe: strings.Repeat("/", 513)}, {Exe: "/bin/\xff"}}},
	{"door", []Record{{Door: "value"}}, []Record{{Door: strings.Repeat("a", 129)}, {Door: "value\x00"}}},
	{"group", []Record{{Group: "0"}, {Group: strings.Repeat("f", 32)}}, []Record{{Group: strings.Repeat("f", 33)}, {Group: "F"}, {Group: "x"}}},
	{"grant", []Record{{Grant: "regel 1 §"}}, []Record{{Grant: strings.Repeat("a", 129)}, {Grant: "a\u202eb"}}},
	{"mode", []Record{{Mode: "same-user"}}, []Record{{Mode: strings.Repeat("a", 129)}, {Mode: "a\u2028b"}}},
	{"ttl", []Record{{TTL: time.Second}}, []Record{{TTL: -time.Second}, {TTL: time.Second + 1}}},
	{"boot_deadline", []Record{{BootDeadline: time.Millisecond}}, []Record{{BootDeadline: -time.Millisecond}, {BootDeadline: time.Microsecond}}},
	{"issued", []Record{{Issued: noon}}, []Record{{Issued: noon.Add(1)}, {Issued: noon.In(time.FixedZone("", 3600))}}},
	{"first", []Record{{First: time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC)}}, []Record{{First: time.Date(0, 12, 31, 0, 0, 0, 0, time.UTC)}}},
	{"expires", []Record{{Expires: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}}, []Record{{Expires: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}}},
}

// TestRecordLimits: what is at a field's limit is written and read back as it
// was; what is beyond has no form, and is not read where somebody writes it.
func TestRecordLimits(t *testing.T) {
	for _, l := range limits {
		for i, r := range append(l.good, l.bad...) {
			if r.Event == "" && l.field != "event" {
				r.Event = EventLease
			}
			r.Seq, r.Time = 7, noon
			var back Record
			_, _, err := decodeRecord(lineOf(&r, tlog.Hash{}), &back)
			if i < len(l.good) {
				require.Empty(t, r.flaw(), "%s: %+v", l.field, r)
				require.NoError(t, err, "%s: %+v", l.field, r)
				require.Equal(t, r, back)
				continue
			}
			require.Equal(t, l.field, r.flaw(), "%+v", r)
			if err == nil { // what is finer than the disk, it does not show
				require.NotEqual(t, r, back)
			}
		}
	}
}

// TestEvents: each event has its form; nothing else is one.
func TestEvents(t *testing.T) {
	all := []Event{
		EventInit, EventStart, EventStop, EventConnect, EventLease, EventRenew, EventRelease, EventExpire,
		EventUndelivered, EventRevoke, EventKill, EventResume, EventSet, EventRemove, EventMove, EventRollback, EventAdopt,
		EventRotate, EventIdentity, EventRecover, EventReload, EventRead, EventFingerprint, EventClockStep, EventRepair, EventPrune, EventDropped,
	}
	for _, e := range all {
		require.True(t, e.known(), e)
		require.Regexp(t, `^[a-z-]+$`, string(e))
		require.Equal(t, e == EventStart || e == EventStop || e == EventKill, e.seals(), e)
		require.False(t, (e + "x").known())
	}
}

// TestRotateRecord: a rotation's state is written so, and read so, for ever.
func TestRotateRecord(t *testing.T) {
	r := Record{Seq: 9, Time: noon, Event: EventRotate, Secret: "openai/api-key", Version: 4, Reason: "needs_owner", Stated: "still_accepted"}
	line := lineOf(&r, tlog.Hash{})
	require.True(t, strings.HasPrefix(string(line), rotateLine), "%s", line)
	var back Record
	_, _, err := decodeRecord(line, &back)
	require.NoError(t, err)
	require.Equal(t, r, back)
}

const rotateLine = `{"seq":9,"time":"2026-08-01T12:00:00.123456Z","event":"rotate","reason":"needs_owner","stated_reason":"still_accepted","secret":"openai/api-key","version":4,`

// TestLongestRecord: no record is longer than a line can be, nor than the writer
// reserves for one.
func TestLongestRecord(t *testing.T) {
	r := longest()
	require.Empty(t, r.flaw())
	line := lineOf(&r, tlog.Hash{})
	require.Less(t, len(line), maxLine)
	require.Greater(t, len(line), 2100)
	require.LessOrEqual(t, len(line)+1-len(appendBody(nil, &r)), aroundBody)
	var back Record
	_, _, err := decodeRecord(line, &back)
	require.NoError(t, err)
	require.Equal(t, r, back)
}

// TestLongestHeader: a header with the largest tree is a line too.
func TestLongestHeader(t *testing.T) {
	h := header{
		Segment: maxSegment, Origin: "secretctl/0123456789abcdef", FirstSeq: math.MaxInt64,
		Tree: make([]tlog.Hash, 63), Cut: math.MaxInt64, Time: noon,
	}
	b := appendChain(appendHeader(nil, &h), tlog.Hash{})
	require.LessOrEqual(t, len(b), maxLine)
	back, _, _, err := decodeHeader(string(b[:len(b)-1]))
	require.NoError(t, err)
	require.Equal(t, h, back)
}

// TestNormalise: a record is cut down to what the disk can hold, never up, and
// its two free texts are made safe.
func TestNormalise(t *testing.T) {
	tokyo := time.FixedZone("", 9*3600)
	r := Record{
		Event: EventLease, Stated: "why\x1b[2J" + strings.Repeat("x", 300), Exe: "/tmp/\n" + strings.Repeat("x", 600),
		TTL: 1999 * time.Millisecond, BootDeadline: 1999 * time.Microsecond,
		Issued: noon.Add(999), First: noon.In(tokyo), Expires: time.Time{}.In(tokyo),
	}
	r.normalise()
	require.Empty(t, r.flaw())
	require.Equal(t, "why<U+001B>[2J", r.Stated[:14])
	require.Len(t, r.Stated, maxStated)
	require.Len(t, r.Exe, maxExe)
	require.Equal(t, time.Second, r.TTL)
	require.Equal(t, time.Millisecond, r.BootDeadline)
	require.Equal(t, []time.Time{noon, noon, {}}, []time.Time{r.Issued, r.First, r.Expires})
	again := r
	again.normalise()
	require.Equal(t, r, again)
}
