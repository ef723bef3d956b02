package audit_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/audit"
	"secretctl/broker/durable"
)

// victim is a log to tamper with, file by file and line by line.
type victim struct {
	t     require.TestingT
	files map[string][]byte
	notes [][]byte // of its checkpoints, oldest first
}

// theVictim is made once: 1,000 records in several segments, the snapshot, and
// checkpoints at 256 records, at a kill, and where somebody asked for one.
var theVictim struct {
	once sync.Once
	victim
}

const victims = 1000 // records

func newVictim(t require.TestingT) *victim {
	theVictim.once.Do(func() {
		w := newWorld(t, 150<<10)
		for n := 1; n < victims; n++ {
			w.append(t, 1)
			if n%190 == 0 {
				require.NoError(t, w.log.Checkpoint())
			}
		}
		require.NoError(t, w.log.Append(&audit.Record{Event: audit.EventKill}))
		w.close(t)
		theVictim.files = files(t, w.disk)
		for _, n := range notes(t, w.disk) {
			theVictim.notes = append(theVictim.notes, []byte(n))
		}
	})
	require.NotEmpty(t, theVictim.notes)
	return &victim{t, maps.Clone(theVictim.files), theVictim.notes}
}

func (v *victim) disk() *durable.Mem { return diskOf(v.t, v.files) }

// segments are the names of the segments, oldest first.
func (v *victim) segments() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(v.files)) {
		if strings.HasSuffix(name, ".jsonl") {
			names = append(names, name)
		}
	}
	return names
}

func (v *victim) last() string { names := v.segments(); return names[len(names)-1] }

// lines are a segment's, newlines included.
func (v *victim) lines(name string) [][]byte { return slices.Collect(bytes.Lines(v.files[name])) }

// find returns where the n-th record is.
func (v *victim) find(n int) (name string, line int) {
	for _, name := range v.segments() {
		for i, l := range v.lines(name) {
			if bytes.HasPrefix(l, fmt.Appendf(nil, `{"seq":%d,`, n)) {
				return name, i
			}
		}
	}
	require.FailNow(v.t, "no such record", "%d", n)
	return "", 0
}

// record is the line of the n-th record.
func (v *victim) record(n int) []byte {
	name, i := v.find(n)
	return v.lines(name)[i]
}

// splice replaces lines of a segment, from the i-th on.
func (v *victim) splice(name string, i, gone int, more ...[]byte) {
	v.files[name] = bytes.Join(slices.Replace(v.lines(name), i, i+gone, more...), nil)
}

// records are the lines of the records by number, of each the first.
func (v *victim) records() map[int][]byte {
	out := map[int][]byte{}
	for _, name := range v.segments() {
		for _, line := range v.lines(name) {
			var n int
			if _, err := fmt.Sscanf(string(line[:min(len(line), 30)]), `{"seq":%d,`, &n); err == nil && out[n] == nil {
				out[n] = line
			}
		}
	}
	return out
}

// edit replaces text in a line.
func (v *victim) edit(name string, i int, old, new string) {
	line := string(v.lines(name)[i])
	require.Equal(v.t, 1, strings.Count(line, old), line)
	v.splice(name, i, 1, []byte(strings.Replace(line, old, new, 1)))
}

// cutBehind takes away everything behind the n-th record.
func (v *victim) cutBehind(n int) {
	name, i := v.find(n)
	v.splice(name, i+1, len(v.lines(name))-i-1)
	for _, later := range v.segments() {
		if later > name {
			delete(v.files, later)
		}
	}
}

const chainField = `,"chain":"`

// chainOf is the chain in a header's or record's line.
func chainOf(line []byte) []byte {
	_, text, _ := bytes.Cut(line, []byte(chainField))
	chain, err := base64.RawURLEncoding.DecodeString(string(text[:43]))
	if err != nil {
		panic(err)
	}
	return chain
}

// chained is a line as whoever has no key can make one: with a good chain.
func chained(behind []byte, line []byte) []byte {
	body, _, _ := bytes.Cut(line, []byte(chainField))
	sum := sha256.Sum256(slices.Concat(behind, binary.BigEndian.AppendUint64(nil, uint64(len(body))), body))
	return fmt.Appendf(nil, "%s%s%s\"}\n", body, chainField, base64.RawURLEncoding.EncodeToString(sum[:]))
}

// chainAnew gives every header and record of a segment from the i-th line on the
// chain that it must have.
func (v *victim) chainAnew(name string, i int) {
	lines := v.lines(name)
	var behind []byte
	for _, l := range lines[:i] {
		if bytes.Contains(l, []byte(chainField)) {
			behind = chainOf(l)
		}
	}
	for ; i < len(lines); i++ {
		if bytes.Contains(lines[i], []byte(chainField)) {
			lines[i] = chained(behind, lines[i])
			behind = chainOf(lines[i])
		}
	}
	v.files[name] = bytes.Join(lines, nil)
}

// forged is a record that never was, behind a line.
func forged(n int, behind []byte, at time.Time, rest string) []byte {
	return chained(chainOf(behind), fmt.Appendf(nil, `{"seq":%d,"time":%q,%s`, n, at.Format("2006-01-02T15:04:05.000000Z"), rest))
}

const forgedLease = `"event":"lease","decision":"allow","secret":"openai/api-key"`

// checkpoint finds the n-th checkpoint of a segment; the 0th is behind the header.
func (v *victim) checkpoint(name string, n int) int {
	for i, l := range v.lines(name) {
		if bytes.HasPrefix(l, []byte(`{"checkpoint"`)) {
			if n == 0 {
				return i
			}
			n--
		}
	}
	require.FailNow(v.t, "no such checkpoint")
	return 0
}

// firstOfSegment is the number of a segment's first record.
func (v *victim) firstOfSegment(name string) int {
	_, text, _ := bytes.Cut(v.lines(name)[0], []byte(`"first_seq":`))
	digits, _, _ := bytes.Cut(text, []byte{','})
	n, err := strconv.Atoi(string(digits))
	require.NoError(v.t, err)
	return n
}

// tampering is something that whoever can write the log's directory can do, and
// what is said of it.
type tampering struct {
	what string
	do   func(v *victim)
	bad  func(v *victim) int // first record that cannot be trusted, from the log as it was; nil: none is named
	why  string
	snap bool // only leases.snap shows it
}

func record(n int) func(*victim) int { return func(*victim) int { return n } }

// segmentFrom is the first record of a segment.
func segmentFrom(n int) func(*victim) int {
	return func(v *victim) int { return v.firstOfSegment(segmentName(n)) }
}

// onLine does something to the line of the n-th record.
func onLine(n int, do func(v *victim, name string, i int)) func(*victim) {
	return func(v *victim) {
		name, i := v.find(n)
		do(v, name, i)
	}
}

// unsnapped does something where nothing but the log is left.
func unsnapped(do func(v *victim)) func(*victim) {
	return func(v *victim) {
		delete(v.files, snap)
		do(v)
	}
}

var tamperings = []tampering{
	{"a record is gone", onLine(300, func(v *victim, name string, i int) { v.splice(name, i, 1) }), record(300), "it is record 301, after record 299", false},
	{"a record is there twice", onLine(300, func(v *victim, name string, i int) { v.splice(name, i, 0, v.record(300)) }), record(301), "it is record 300, after record 300", false},
	{"two records have changed places", onLine(300, func(v *victim, name string, i int) { v.splice(name, i, 2, v.record(301), v.record(300)) }), record(300), "it is record 301, after record 299", false},
	{"a record comes again later", onLine(300, func(v *victim, name string, i int) { v.splice(name, i, 0, v.record(20)) }), record(300), "it is record 20, after record 299", false},
	{"a field is changed", onLine(300, func(v *victim, name string, i int) { v.edit(name, i, `"uid":502`, `"uid":503`) }), record(300), "its chain is wrong", false},
	{"a field is changed, and the record's own chain", onLine(300, func(v *victim, name string, i int) {
		v.edit(name, i, `"uid":502`, `"uid":503`)
		v.splice(name, i, 1, chained(chainOf(v.record(299)), v.record(300)))
	}), record(301), "its chain is wrong", false},
	{"a field is changed, and every chain behind it", onLine(300, func(v *victim, name string, i int) {
		v.edit(name, i, `"uid":502`, `"uid":503`)
		v.chainAnew(name, i)
	}), func(v *victim) int { return signedBefore(v, 300) + 1 }, "records that are not the", false},
	{"a record is added, with a good chain", onLine(300, func(v *victim, name string, i int) {
		v.splice(name, i+1, 0, forged(301, v.record(300), start.Add(300*time.Second), forgedLease))
	}), record(302), "it is record 301, after record 301", false},
	{"a key is there twice", onLine(300, func(v *victim, name string, i int) { v.edit(name, i, `"uid":502`, `"uid":502,"uid":502`) }), record(300), "malformed", false},
	{"a space is added", onLine(300, func(v *victim, name string, i int) { v.edit(name, i, `"uid":502`, `"uid": 502`) }), record(300), "malformed", false},
	{"an empty line is added", onLine(300, func(v *victim, name string, i int) { v.splice(name, i, 0, []byte("\n")) }), record(300), "malformed", false},
	{"a long line is added", onLine(300, func(v *victim, name string, i int) {
		v.splice(name, i, 0, append(bytes.Repeat([]byte("x"), 5000), '\n'))
	}), record(300), "too long", false},
	{"a line longer than any buffer is added", onLine(300, func(v *victim, name string, i int) {
		v.splice(name, i, 0, append(bytes.Repeat([]byte("x"), 100_000), '\n'))
	}), record(300), "too long", false},
	{"a line without its end", onLine(300, func(v *victim, name string, i int) { v.splice(name, i, 1, v.record(300)[:100]) }), record(300), "malformed", false},
	{"zeros in the middle", onLine(300, func(v *victim, name string, i int) { v.splice(name, i, 3, make([]byte, 4<<10)) }), record(300), "too long", false},

	{"an old segment is cut within a record", func(v *victim) { name := segmentName(2); v.files[name] = v.files[name][:5000] }, func(v *victim) int {
		return v.firstOfSegment(segmentName(2)) + bytes.Count(v.files[segmentName(2)][:5000], []byte("\n{\"seq\"")) - 1
	}, "the line has no end", false},
	{"an old segment is cut behind a record", onLine(300, func(v *victim, name string, i int) { v.splice(name, i+1, len(v.lines(name))-i-1) }), record(301), "it does not continue after record 300", false},
	{"an old segment has bytes behind", func(v *victim) { v.files[segmentName(2)] = append(slices.Clip(v.files[segmentName(2)]), "x"...) }, segmentFrom(3), "the line has no end", false},
	{"the last segment has a line behind", func(v *victim) { v.files[v.last()] = append(slices.Clip(v.files[v.last()]), "{}\n"...) }, record(victims + 1), "malformed", false},
	{"a segment is missing", func(v *victim) { delete(v.files, segmentName(2)) }, segmentFrom(2), "segment 00000002.jsonl is missing", false},
	{"the first segment is missing", func(v *victim) { delete(v.files, segmentName(1)) }, record(1), "are missing, and no record says that they were pruned", false},
	{"two segments have changed places", func(v *victim) {
		v.files[segmentName(2)], v.files[segmentName(3)] = v.files[segmentName(3)], v.files[segmentName(2)]
	}, segmentFrom(2), "it has no header of this segment", false},
	{"two segments have changed places and numbers", func(v *victim) {
		two, three := segmentName(2), segmentName(3)
		v.edit(two, 0, `"segment":2`, `"segment":3`)
		v.edit(three, 0, `"segment":3`, `"segment":2`)
		v.files[two], v.files[three] = v.files[three], v.files[two]
	}, segmentFrom(2), "it does not continue after record", false},
	{"a segment is there twice", func(v *victim) {
		n := len(v.segments())
		v.files[segmentName(n+1)] = v.files[segmentName(n)]
		v.edit(segmentName(n+1), 0, fmt.Sprintf(`"segment":%d`, n), fmt.Sprintf(`"segment":%d`, n+1))
	}, record(victims + 1), "it does not continue after record 1000", false},
	{"an empty segment is behind", func(v *victim) { v.files[segmentName(len(v.segments())+1)] = nil }, record(victims + 1), "it has no header of this segment", false},

	{"there is no header", func(v *victim) { v.splice(segmentName(1), 0, 1) }, record(1), "it has no header of this segment", false},
	{"the first file is empty", func(v *victim) { v.files[segmentName(1)] = nil }, record(1), "it has no header of this segment", false},
	{"nothing is left but a header", unsnapped(func(v *victim) {
		v.files = map[string][]byte{"key": v.files["key"], segmentName(1): v.lines(segmentName(1))[0]}
	}), record(1), "it ends before its first checkpoint", false},
	{"nothing is left but a header and half of its checkpoint", unsnapped(func(v *victim) {
		lines := v.lines(segmentName(1))
		v.files = map[string][]byte{"key": v.files["key"], segmentName(1): slices.Concat(lines[0], lines[1][:50])}
	}), record(1), "the line has no end", false},
	{"a header's time is changed", func(v *victim) { v.edit(segmentName(2), 0, `"time":"2026`, `"time":"2025`) }, segmentFrom(2), "its chain is wrong", false},
	{"a header's time is changed, and its chain", func(v *victim) {
		v.edit(segmentName(2), 0, `"time":"2026`, `"time":"2025`)
		v.splice(segmentName(2), 0, 1, chained(chainOf(v.record(v.firstOfSegment(segmentName(2))-1)), v.lines(segmentName(2))[0]))
	}, segmentFrom(2), "its chain is wrong", false},
	{"a header begins with another record", func(v *victim) {
		n := v.firstOfSegment(segmentName(2))
		v.edit(segmentName(2), 0, fmt.Sprintf(`"first_seq":%d`, n), fmt.Sprintf(`"first_seq":%d`, n+1))
	}, segmentFrom(2), "it does not continue after record", false},
	{"a header has another tree", func(v *victim) {
		v.edit(segmentName(2), 0, `"tree":["`, `"tree":["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","`)
	}, segmentFrom(2), "it does not continue after record", false},
	{"the first header begins later", func(v *victim) { v.edit(segmentName(1), 0, `"first_seq":1,`, `"first_seq":5,`) }, record(5), "its tree does not fit", false},
	{"a header cuts the segment before it", func(v *victim) { v.edit(segmentName(2), 0, `,"time"`, `,"cut":5000,"time"`) }, func(v *victim) int {
		return bytes.Count(v.files[segmentName(1)][:5000], []byte("\n{\"seq\""))
	}, "the line has no end", false},
	{"a header cuts behind the end of the segment before it", func(v *victim) { v.edit(segmentName(2), 0, `,"time"`, `,"cut":5000000,"time"`) }, record(1), "it is shorter than the segment behind it says", false},
	{"a header cuts where the segment before it ends", func(v *victim) {
		v.edit(segmentName(2), 0, `,"time"`, fmt.Sprintf(`,"cut":%d,"time"`, len(v.files[segmentName(1)])))
	}, segmentFrom(2), "its chain is wrong", false},
	{"a header cuts within the segment's own header", func(v *victim) {
		v.edit(segmentName(2), 0, `,"time"`, fmt.Sprintf(`,"cut":%d,"time"`, len(v.lines(segmentName(1))[0])))
	}, record(1), "it ends before its first checkpoint", false},

	{"a segment has no checkpoints", func(v *victim) {
		lines := slices.DeleteFunc(v.lines(segmentName(1)), func(l []byte) bool { return bytes.HasPrefix(l, []byte(`{"checkpoint"`)) })
		v.files[segmentName(1)] = bytes.Join(lines, nil)
	}, record(1), "a checkpoint is missing before it", false},
	{"a checkpoint that was due is gone", func(v *victim) { v.splice(segmentName(2), v.checkpoint(segmentName(2), 0), 1) }, segmentFrom(2), "a checkpoint is missing before it", false},
	{"a checkpoint is there twice", func(v *victim) {
		i := v.checkpoint(segmentName(1), 1)
		v.splice(segmentName(1), i, 0, v.lines(segmentName(1))[i])
	}, record(191), "it is the second checkpoint of the same records", false},
	{"a checkpoint is an earlier one", func(v *victim) {
		name := segmentName(1)
		v.splice(name, v.checkpoint(name, 1), 1, v.lines(name)[v.checkpoint(name, 0)])
	}, record(1), "the checkpoint signs 0 records that are not the 190 before it", false},
	{"a checkpoint is a later one", func(v *victim) {
		name := segmentName(1)
		v.splice(name, v.checkpoint(name, 0), 1, v.lines(name)[v.checkpoint(name, 1)])
	}, record(1), "the checkpoint signs 190 records that are not the 0 before it", false},
	{"a checkpoint is another log's", func(v *victim) {
		v.splice(segmentName(1), v.checkpoint(segmentName(1), 1), 1, otherLog(v.t).lines(segmentName(1))[1])
	}, record(1), "it is not signed by this log's key", false},
	{"a checkpoint has a second signature", func(v *victim) {
		name := segmentName(1)
		i := v.checkpoint(name, 1)
		line := v.lines(name)[i]
		at := bytes.Index(line, []byte("— "))
		v.splice(name, i, 1, slices.Concat(line[:len(line)-3], line[at:]))
	}, record(1), "not in the form this log writes", false},
	{"a segment is another log's", func(v *victim) { v.files[segmentName(2)] = otherLog(v.t).files[segmentName(2)] }, segmentFrom(2), "it is the header of another log", false},
	{"the key is another log's", func(v *victim) { v.files["key"] = otherLog(v.t).files["key"] }, record(1), "it is the header of another log than the key's", false},

	{"time goes backwards in what is not signed", unsnapped(func(v *victim) {
		v.cutBehind(996)
		v.files[v.last()] = append(slices.Clip(v.files[v.last()]), forged(997, v.record(996), start, forgedLease)...)
	}), record(997), "its time is before that of the record before", false},
	{"more is written than can be unsigned", unsnapped(func(v *victim) {
		v.cutBehind(700)
		behind := v.record(700)
		for n := 701; n <= 1000; n++ {
			behind = forged(n, behind, start.Add(time.Hour), forgedLease)
			v.files[v.last()] = append(slices.Clip(v.files[v.last()]), behind...)
		}
	}), func(v *victim) int { return signedBefore(v, 701) + 257 }, "a checkpoint is missing before it", false},

	{"the log is cut behind a record", func(v *victim) { v.cutBehind(990) }, record(991), "it ends with record 990, but there were 1000: records were cut off", true},
	{"the log is cut within a record", func(v *victim) { v.cutBehind(990); v.files[v.last()] = v.files[v.last()][:len(v.files[v.last()])-9] }, record(990), "it ends with record 989, but there were 1000", true},
	{"the log's last sectors are zero", func(v *victim) {
		b := slices.Clone(v.files[v.last()])
		clear(b[len(b)/1024*1024-4096:])
		v.files[v.last()] = b
	}, func(v *victim) int {
		b := v.files[v.last()]
		lost := bytes.Count(b[len(b)/1024*1024-4096:], []byte("\n{\"seq\""))
		return victims - lost
	}, "records were cut off", true},
	{"the last segment is missing", func(v *victim) { delete(v.files, v.last()) }, func(v *victim) int { return v.firstOfSegment(v.last()) }, "records were cut off", true},
	{"the last checkpoint is gone", func(v *victim) { v.splice(v.last(), len(v.lines(v.last()))-1, 1) }, record(victims + 1), "the place in 00000004.jsonl that leases.snap speaks of, behind record 1000, is not there", true},
	{"the last newline is gone", func(v *victim) { v.files[v.last()] = v.files[v.last()][:len(v.files[v.last()])-1] }, record(victims + 1), "that leases.snap speaks of", true},
	{"the log is cut, and goes on without the key", func(v *victim) {
		v.cutBehind(990)
		behind := v.record(990)
		for n := 991; n <= 1005; n++ {
			behind = forged(n, behind, start.Add(time.Hour), forgedLease)
			v.files[v.last()] = append(slices.Clip(v.files[v.last()]), behind...)
		}
	}, record(1), "its first 1000 records are not those that a checkpoint kept elsewhere, or leases.snap, speaks of", true},
	{"the snapshot is not intact", func(v *victim) { v.files[snap] = append(slices.Clip(v.files[snap]), ' ') }, nil, "leases.snap: it is not intact", true},
	{"the snapshot is empty", func(v *victim) { v.files[snap] = nil }, nil, "leases.snap: it is not intact", true},
	{"the snapshot is another log's", func(v *victim) { v.files[snap] = otherLog(v.t).files[snap] }, nil, "leases.snap: it is of another log", true},
}

// signedBefore is how many records the last checkpoint before the n-th signs.
func signedBefore(v *victim, n int) (signed int) {
	for _, note := range v.notes {
		if size := sizeOf(v.t, string(note)); size < n {
			signed = max(signed, size)
		}
	}
	return signed
}

// otherLog is a log of the same size with another key.
var anotherLog struct {
	once sync.Once
	victim
}

func otherLog(t require.TestingT) *victim {
	anotherLog.once.Do(func() { anotherLog.files = files(t, closedLog(t, victims, 150<<10)) })
	return &victim{t, anotherLog.files, nil}
}

// TestAuditTamper: Verify says of each that the log is not what was written, why,
// and from which record on. What it calls proven all the same is true.
func TestAuditTamper(t *testing.T) {
	v := newVictim(t)
	require.Len(t, v.segments(), 4)
	whole := verified(t, v.disk())
	require.EqualValues(t, victims, whole.Records)
	require.EqualValues(t, victims, whole.SignedSeq)
	for _, tamper := range tamperings {
		t.Run(tamper.what, func(t *testing.T) {
			v, as := newVictim(t), newVictim(t)
			tamper.do(v)
			r, err := audit.Verify(v.disk(), dir)
			require.NoError(t, err)
			require.False(t, r.OK)
			require.Contains(t, *r.Reason, tamper.why)
			if tamper.bad == nil {
				require.Nil(t, r.FirstBadSeq, *r.Reason)
			} else {
				require.NotNil(t, r.FirstBadSeq, *r.Reason)
				require.EqualValues(t, tamper.bad(as), *r.FirstBadSeq, *r.Reason)
				if *r.FirstBadSeq >= r.FirstSeq {
					require.Less(t, r.Records, *r.FirstBadSeq, "it is intact only before what is not")
				}
			}
			if r.Origin == whole.Origin {
				asWritten(t, as, v, r)
			}
		})
	}
}

// asWritten says that the records a report calls signed are those of the log as
// it was written.
func asWritten(t *testing.T, as, v *victim, r audit.Report) {
	is, was := v.records(), as.records()
	for n := int(r.FirstSeq); n > 0 && n <= int(r.SignedSeq); n++ {
		if !bytes.Equal(was[n], is[n]) {
			require.Equal(t, string(was[n]), string(is[n]), "record %d is not what was signed", n)
		}
	}
}

// TestAuditTamperFlip: a log with any one bit turned over is not verified.
func TestAuditTamperFlip(t *testing.T) {
	all := newVictim(t).files
	type place struct {
		name string
		at   int
	}
	var places []place
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for i := range all[name] {
			places = append(places, place{name, i})
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	rnd.Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
	ends := []place{{"key", len(all["key"]) - 1}, {snap, len(all[snap]) - 1}}
	for _, name := range newVictim(t).segments() {
		ends = append(ends, place{name, len(all[name]) - 1})
	}
	n := sizes(1500, 100, len(places))
	if long() && raced() {
		n = 10_000 // all of them take hours
	}
	places = append(ends, places[:n]...)

	var wg sync.WaitGroup
	for worker := range 2 {
		d, rnd := diskOf(t, all), rand.New(rand.NewPCG(3, uint64(worker)))
		wg.Go(func() {
			for i := worker; i < len(places); i += 2 {
				p := places[i]
				was := all[p.name][p.at]
				is := was ^ 1<<rnd.IntN(8)
				poke(t, d, p.name, p.at, is)
				r, err := audit.Verify(d, dir)
				poke(t, d, p.name, p.at, was)
				if p.name == "key" && was|0x20 == is|0x20 {
					continue // a digit of its hash, in capitals or not
				}
				if err == nil && r.OK {
					t.Errorf("%s: %q at %d may be %q", p.name, was, p.at, is)
				}
			}
			if r, err := audit.Verify(d, dir); err != nil || !r.OK {
				t.Errorf("untouched, it does not verify: %v %+v", err, r)
			}
		})
	}
	wg.Wait()
	t.Logf("%d bits of %d", len(places), len(places)*8)
}

// poke changes one byte of a file.
func poke(t *testing.T, d durable.Disk, name string, at int, b byte) {
	f, err := d.OpenFile(dir+"/"+name, os.O_RDWR, 0)
	if err == nil {
		_, err = f.WriteAt([]byte{b}, int64(at))
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Errorf("changing a byte: %v", err)
	}
}
