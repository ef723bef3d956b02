package audit

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"
)

// usual is a record of the usual kind.
func usual() Record {
	return Record{
		Seq: 12, Time: noon, Event: EventLease, Decision: Allow, Reason: "granted", Stated: "morning report", Agent: "openclaw",
		Peer: true, UID: 502, GID: 20, PID: 77, Strength: "pidfd", Exe: "/usr/bin/node",
		Secret: "openai/api-key", Version: 3, Lease: strings.Repeat("0f", 16), Door: "value", Pinned: true, Group: "00c0ffee",
		TTL: time.Minute, Issued: noon, First: noon, Expires: noon.Add(time.Minute), BootDeadline: time.Hour,
		Epoch: 2, Grant: "rule-1", Config: "0123456789abcdef", Mode: "separate", Count: 1,
	}
}

// usualLine is how it is written, by hand.
const usualLine = `{"seq":12,"time":"2026-08-01T12:00:00.123456Z","event":"lease","decision":"allow","reason":"granted",` +
	`"stated_reason":"morning report","agent":"openclaw","uid":502,"gid":20,"pid":77,"strength":"pidfd","exe":"/usr/bin/node",` +
	`"secret":"openai/api-key","version":3,"lease_id":"0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f","door":"value","pinned":true,"group":"00c0ffee","ttl":60,` +
	`"issued":"2026-08-01T12:00:00.123456Z","first":"2026-08-01T12:00:00.123456Z","expires":"2026-08-01T12:01:00.123456Z",` +
	`"boot_deadline_ms":3600000,"epoch":2,"grant":"rule-1","config":"0123456789abcdef","mode":"separate","count":1,` +
	`"chain":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`

// deviation turns a line into one that says the same, or nearly, and is not
// what the log writes.
type deviation struct{ name, old, new string }

var recordDeviations = []deviation{
	{"a space", `"uid":502`, `"uid": 502`},
	{"a space in front", `{"seq"`, ` {"seq"`},
	{"a carriage return behind", `AAA"}`, "AAA\"}\r"},
	{"something behind", `AAA"}`, `AAA"}{}`},
	{"fields in another order", `"uid":502,"gid":20`, `"gid":20,"uid":502`},
	{"a field twice", `"agent":"openclaw"`, `"agent":"openclaw","agent":"other"`},
	{"an unknown field", `"door":"value"`, `"door":"value","value":"x"`},
	{"another case", `"agent"`, `"Agent"`},
	{"an empty field", `"reason":"granted"`, `"reason":""`},
	{"a zero", `"version":3`, `"version":0`},
	{"a zero time", `"issued":"2026-08-01T12:00:00.123456Z"`, `"issued":"0001-01-01T00:00:00.000000Z"`},
	{"a false", `"pinned":true`, `"pinned":false`},
	{"a null", `"agent":"openclaw"`, `"agent":null`},
	{"a zero in front of a number", `"uid":502`, `"uid":0502`},
	{"a sign", `"uid":502`, `"uid":-502`},
	{"a fraction", `"ttl":60`, `"ttl":60.0`},
	{"an exponent", `"ttl":60`, `"ttl":6e1`},
	{"no number", `"ttl":60`, `"ttl":`},
	{"a string for a number", `"uid":502`, `"uid":"502"`},
	{"a uid that is too large", `"uid":502`, `"uid":4294967296`},
	{"a pid that is too large", `"pid":77`, `"pid":2147483648`},
	{"a number of 21 digits", `"version":3`, `"version":100000000000000000000`},
	{"a number beyond 64 bits", `"version":3`, `"version":18446744073709551616`},
	{"a ttl beyond what a duration holds", `"ttl":60`, `"ttl":9223372037`},
	{"no gid", `,"gid":20`, ``},
	{"an escape", `openclaw`, `openc\u006caw`},
	{"a slash escaped", `/usr/bin/node`, `\/usr\/bin\/node`},
	{"a control character", `openclaw`, "open\x7fclaw"},
	{"a tab", `openclaw`, "open\tclaw"},
	{"bytes that are no UTF-8", `openclaw`, "open\xc3claw"},
	{"a character without width", `openclaw`, "open\u200bclaw"},
	{"record 0", `"seq":12`, `"seq":0`},
	{"record 012", `"seq":12`, `"seq":012`},
	{"no event", `"event":"lease"`, `"event":""`},
	{"another event", `"event":"lease"`, `"event":"party"`},
	{"another decision", `"decision":"allow"`, `"decision":"perhaps"`},
	{"a time without its fraction", `12:00:00.123456Z","event`, `12:00:00Z","event`},
	{"a time of nanoseconds", `12:00:00.123456Z","event`, `12:00:00.123456000Z","event`},
	{"a time in a zone", `12:00:00.123456Z","event`, `12:00:00.123456+00:00","event`},
	{"month 13", `"time":"2026-08`, `"time":"2026-13`},
	{"month 0", `"time":"2026-08`, `"time":"2026-00`},
	{"day 0", `"time":"2026-08-01`, `"time":"2026-08-00`},
	{"31 February", `"time":"2026-08-01`, `"time":"2026-02-31`},
	{"29 February of a year without", `"time":"2026-08-01`, `"time":"2026-02-29`},
	{"hour 24", `"time":"2026-08-01T12`, `"time":"2026-08-01T24`},
	{"minute 60", `"time":"2026-08-01T12:00`, `"time":"2026-08-01T12:60`},
	{"a leap second", `"time":"2026-08-01T12:00:00`, `"time":"2026-08-01T12:00:60`},
	{"year 0", `"time":"2026`, `"time":"0000`},
	{"a year of five digits", `"time":"2026`, `"time":"12026`},
	{"a year of other digits", `"time":"2026`, `"time":"२०२६`},
	{"a chain that is padded", `AAA"}`, `AAA="}`},
	{"a chain that is short", `AAA"}`, `AA"}`},
	{"a chain with bits that do not count", `AAA"}`, `AAB"}`},
	{"a chain with a newline", `AAAA"}`, "AAA\n\"}"},
	{"a chain of the other alphabet", `AAAA"}`, `AA+/"}`},
	{"no chain", `,"chain":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"`, ``},
	{"no end", `AAA"}`, `AAA"`},
	{"no quote", `AAA"}`, `AAA`},
}

// TestDecodeRecord: a record has one form, and every other is refused.
func TestDecodeRecord(t *testing.T) {
	var r Record
	chain, body, err := decodeRecord(usualLine, &r)
	require.NoError(t, err)
	require.Equal(t, usual(), r)
	require.Zero(t, chain)
	require.Equal(t, strings.Index(usualLine, `,"chain"`), body)
	u := usual()
	line := lineOf(&u, tlog.Hash{})
	require.Equal(t, usualLine[:body], line[:body])
	for _, d := range recordDeviations {
		require.Equal(t, 1, strings.Count(usualLine, d.old), d.name)
		_, _, err := decodeRecord(strings.Replace(usualLine, d.old, d.new, 1), &r)
		require.Error(t, err, d.name)
		require.NotContains(t, err.Error(), "openclaw", "nothing of the line is in the error")
	}
	for n := range len(usualLine) {
		_, _, err := decodeRecord(usualLine[:n], &r)
		require.Error(t, err, "the first %d bytes", n)
	}
}

// TestDecodeLong: a line that is longer than any the log writes is none of its.
func TestDecodeLong(t *testing.T) {
	var r Record
	for _, long := range []string{strings.Repeat("x", maxLine), strings.Repeat("é", maxLine)} {
		_, _, err := decodeRecord(strings.Replace(usualLine, "openclaw", long, 1), &r)
		require.Error(t, err)
		_, _, _, err = decodeHeader(strings.Replace(usualHeader, "secretctl/", long, 1))
		require.Error(t, err)
	}
}

const usualHeader = `{"segment":2,"origin":"secretctl/0123456789abcdef","first_seq":4,"head":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",` +
	`"tree":["AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"],"cut":77,` +
	`"time":"2026-08-01T12:00:00.123456Z","chain":"AwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`

var headerDeviations = []deviation{
	{"segment 0", `"segment":2`, `"segment":0`},
	{"a segment that has no name", `"segment":2`, `"segment":100000000`},
	{"record 0", `"first_seq":4`, `"first_seq":0`},
	{"a cut at 0", `"cut":77`, `"cut":0`},
	{"a cut that is negative", `"cut":77`, `"cut":-1`},
	{"a cut beyond what a file can hold", `"cut":77`, `"cut":9223372036854775808`},
	{"no tree", `"tree":["AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"],`, ``},
	{"a tree with a comma behind", `AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]`, `AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",]`},
	{"a tree with a space", `","AgAA`, `", "AgAA`},
	{"a tree without an end", `],"cut"`, `,"cut"`},
	{"an escape", `secretctl/`, `secretctl\/`},
	{"a character without width", `secretctl/`, "secretctl\u200b/"},
	{"something behind", `AwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`, `AwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"} `},
	{"no time", `"time":"2026-08-01T12:00:00.123456Z",`, ``},
}

// TestDecodeHeader is that of headers.
func TestDecodeHeader(t *testing.T) {
	h, chain, body, err := decodeHeader(usualHeader)
	require.NoError(t, err)
	require.Equal(t, header{
		Segment: 2, Origin: "secretctl/0123456789abcdef", FirstSeq: 4, Tree: []tlog.Hash{{1}, {2}}, Cut: 77, Time: noon,
	}, h)
	require.Equal(t, tlog.Hash{3}, chain)
	require.Equal(t, usualHeader[:body], string(appendHeader(nil, &h)))
	for _, d := range headerDeviations {
		require.Equal(t, 1, strings.Count(usualHeader, d.old), d.name)
		_, _, _, err := decodeHeader(strings.Replace(usualHeader, d.old, d.new, 1))
		require.Error(t, err, d.name)
	}
	for n := range len(usualHeader) {
		_, _, _, err := decodeHeader(usualHeader[:n])
		require.Error(t, err, "the first %d bytes", n)
	}
}
