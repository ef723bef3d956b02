package audit_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"secretctl/broker/audit"
	"secretctl/broker/durable"
)

// oracle is a second verifier, made from what the package says of its files and
// from nothing else of it: encoding/json, SHA-256, and the libraries that define
// notes and trees. It is slow, keeps everything, and says only yes or no.
type oracle struct {
	key     note.Verifier
	origin  string
	stored  hashes
	seq     int
	running []byte
	heads   [][]byte // of the records, by number; the 0th is before the first
	since   int      // records since a checkpoint
	due     bool     // one must follow
	last    string   // time
	segment int
	records int            // in it
	places  map[[2]int]int // segment and offset behind a checkpoint → records
}

// hashes is the storage of a tree as tlog knows it.
type hashes []tlog.Hash

func (h hashes) ReadHashes(at []int64) (out []tlog.Hash, err error) {
	for _, n := range at {
		out = append(out, h[n])
	}
	return out, nil
}

// The lines, their fields in the order in which they are written.
type (
	headerLine struct {
		Segment  int      `json:"segment"`
		Origin   string   `json:"origin"`
		FirstSeq int      `json:"first_seq"`
		Head     string   `json:"head"`
		Tree     []string `json:"tree"`
		Cut      int      `json:"cut,omitempty"`
		Time     string   `json:"time"`
		Chain    string   `json:"chain"`
	}
	recordLine struct {
		Seq      int     `json:"seq"`
		Time     string  `json:"time"`
		Event    string  `json:"event"`
		Decision string  `json:"decision,omitempty"`
		Reason   string  `json:"reason,omitempty"`
		Stated   string  `json:"stated_reason,omitempty"`
		Agent    string  `json:"agent,omitempty"`
		UID      *uint32 `json:"uid,omitempty"`
		GID      *uint32 `json:"gid,omitempty"`
		PID      *int32  `json:"pid,omitempty"`
		Strength string  `json:"strength,omitempty"`
		Exe      string  `json:"exe,omitempty"`
		Secret   string  `json:"secret,omitempty"`
		Version  uint64  `json:"version,omitempty"`
		Lease    string  `json:"lease_id,omitempty"`
		Door     string  `json:"door,omitempty"`
		Pinned   bool    `json:"pinned,omitempty"`
		Group    string  `json:"group,omitempty"`
		TTL      int64   `json:"ttl,omitempty"`
		Issued   string  `json:"issued,omitempty"`
		First    string  `json:"first,omitempty"`
		Expires  string  `json:"expires,omitempty"`
		Deadline int64   `json:"boot_deadline_ms,omitempty"`
		Epoch    uint64  `json:"epoch,omitempty"`
		Grant    string  `json:"grant,omitempty"`
		Config   string  `json:"config,omitempty"`
		Mode     string  `json:"mode,omitempty"`
		BootID   string  `json:"boot_id,omitempty"`
		Count    uint64  `json:"count,omitempty"`
		Chain    string  `json:"chain"`
	}
	checkpointLine struct {
		Checkpoint string `json:"checkpoint"`
	}
)

// exactly decodes a line that is written again in the same bytes.
func exactly(line []byte, into any) error {
	if err := json.Unmarshal(line, into); err != nil {
		return err
	}
	var again bytes.Buffer
	enc := json.NewEncoder(&again)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(into); err != nil {
		return err
	}
	if !bytes.Equal(bytes.TrimSuffix(again.Bytes(), []byte("\n")), line) {
		return errors.New("written otherwise")
	}
	return nil
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// verdict is what the oracle, or Verify, says.
type verdict struct {
	ok      bool
	records int
	torn    int
}

// newOracle reads the key.
func newOracle(key []byte) (*oracle, error) {
	parts := strings.SplitN(strings.TrimSuffix(string(key), "\n"), "+", 5)
	seed, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil {
		return nil, err
	}
	vkey, err := note.NewEd25519VerifierKey(parts[2], ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(vkey)
	zero := make([]byte, 32)
	return &oracle{key: v, running: zero, heads: [][]byte{zero}, places: map[[2]int]int{}, origin: parts[2]}, err
}

// ask has the oracle judge a log that was not pruned.
func ask(files map[string][]byte) verdict {
	o, err := newOracle(files["key"])
	if err != nil {
		return verdict{}
	}
	v := &victim{files: files}
	names, torn := v.segments(), 0
	for i, name := range names {
		if name != segmentName(i+1) {
			return verdict{}
		}
		b := files[name]
		if i+1 < len(names) {
			var next headerLine
			if first, _, _ := bytes.Cut(files[names[i+1]], []byte("\n")); exactly(first, &next) != nil || next.Cut > len(b) {
				return verdict{}
			} else if next.Cut > 0 {
				b = b[:next.Cut]
			}
		}
		left, ok := o.read(i+1, b)
		if !ok || left > 0 && i+1 < len(names) {
			return verdict{}
		}
		torn = left
	}
	return verdict{o.agreesWith(files[snap]), o.seq, torn}
}

// read reads a segment. left is how many bytes of a lost write are at its end.
func (o *oracle) read(segment int, b []byte) (left int, ok bool) {
	whole := len(b)
	o.segment = segment
	for n := 0; ; n++ {
		if len(b) == 0 {
			return 0, n >= 2
		}
		line, rest, ended := bytes.Cut(b, []byte("\n"))
		var err error
		switch {
		case !ended:
			err = errors.New("no end")
		case n == 0:
			err = o.header(line)
		case bytes.HasPrefix(line, []byte(`{"checkpoint"`)):
			if err = o.checkpoint(line); err == nil {
				o.places[[2]int{segment, whole - len(rest)}] = o.seq
			}
		default:
			err = o.record(line)
		}
		if err != nil {
			zeros := bytes.TrimRight(b, "\x00")
			lost := len(zeros) < len(b) && bytes.IndexByte(zeros, '\n') < 0
			return len(b), n >= 2 && (!ended && len(line) <= 4096 && bytes.IndexByte(line, 0) < 0 || lost)
		}
		b = rest
	}
}

// link checks a line's chain.
func (o *oracle) link(line []byte, chain string) error {
	body := line[:bytes.LastIndex(line, []byte(`,"chain":`))]
	sum := sha256.Sum256(slices.Concat(o.running, binary.BigEndian.AppendUint64(nil, uint64(len(body))), body))
	if b64(sum[:]) != chain {
		return errors.New("chain")
	}
	o.running = sum[:]
	return nil
}

func (o *oracle) header(line []byte) error {
	var h headerLine
	if err := exactly(line, &h); err != nil {
		return err
	}
	var tree []string
	for _, n := range frontier(o.seq, o.stored) {
		tree = append(tree, b64(n[:]))
	}
	if h.Segment != o.segment || h.Origin != o.origin || h.FirstSeq != o.seq+1 || h.Head != b64(o.heads[o.seq]) ||
		!slices.Equal(h.Tree, tree) || o.segment > 1 && o.records == 0 {
		return errors.New("header")
	}
	if o.segment == 1 {
		o.last = h.Time
	}
	o.due, o.records = true, 0
	return o.link(line, h.Chain)
}

// frontier returns the roots of the complete subtrees over n records, largest
// first.
func frontier(n int, stored hashes) (out []tlog.Hash) {
	for at, level := 0, 30; level >= 0; level-- {
		if n&(1<<level) != 0 {
			out = append(out, stored[tlog.StoredHashIndex(level, int64(at>>level))])
			at += 1 << level
		}
	}
	return out
}

func (o *oracle) record(line []byte) error {
	var r recordLine
	if err := exactly(line, &r); err != nil {
		return err
	}
	_, err := time.Parse("2006-01-02T15:04:05.000000Z", r.Time)
	if err != nil || len(r.Time) != 27 || r.Seq != o.seq+1 || o.due || r.Time < o.last && r.Event != "clock-step" {
		return errors.New("record")
	}
	if err := o.link(line, r.Chain); err != nil {
		return err
	}
	more, err := tlog.StoredHashes(int64(o.seq), line, o.stored)
	if err != nil {
		return err
	}
	o.stored = append(o.stored, more...)
	o.seq, o.last, o.heads = r.Seq, r.Time, append(o.heads, o.running)
	o.records++
	o.since++
	o.due = o.since == 256 || slices.Contains([]string{"start", "stop", "kill"}, r.Event)
	return nil
}

func (o *oracle) checkpoint(line []byte) error {
	var c checkpointLine
	if err := exactly(line, &c); err != nil {
		return err
	}
	n, err := note.Open([]byte(c.Checkpoint), note.VerifierList(o.key))
	if err != nil {
		return err
	}
	root, err := tlog.TreeHash(int64(o.seq), o.stored)
	if err != nil {
		return err
	}
	want := fmt.Sprintf("%s\n%d\n%s\nchain %s\n", o.origin, o.seq, root, b64(o.heads[o.seq]))
	if n.Text != want || len(n.Sigs) != 1 || strings.Count(c.Checkpoint, "— ") != 1 || o.since == 0 && !o.due {
		return errors.New("checkpoint")
	}
	o.since, o.due = 0, false
	return nil
}

// agreesWith holds the log against the snapshot.
func (o *oracle) agreesWith(b []byte) bool {
	if b == nil {
		return true
	}
	var s struct {
		Format  int      `json:"format"`
		Origin  string   `json:"origin"`
		Segment int      `json:"segment"`
		Offset  int      `json:"offset"`
		Seq     int      `json:"seq"`
		Head    string   `json:"head"`
		Tree    []string `json:"tree"`
		Time    string   `json:"time"`
		BootID  string   `json:"boot_id,omitempty"`
		Sum     string   `json:"sha256"`
	}
	line, state, _ := bytes.Cut(b, []byte("\n"))
	if exactly(line, &s) != nil {
		return false
	}
	covered, _, _ := bytes.Cut(line, []byte(`,"sha256"`))
	sum := sha256.Sum256(slices.Concat(covered, state))
	if hex.EncodeToString(sum[:]) != s.Sum || s.Origin != o.origin || s.Seq > o.seq || s.Head != b64(o.heads[s.Seq]) {
		return false
	}
	if s.Offset == 0 {
		return s.Segment <= o.segment
	}
	n, ok := o.places[[2]int{s.Segment, s.Offset}]
	return ok && n == s.Seq
}

// randomLog is a log with a life of its own.
func randomLog(t require.TestingT, rnd *rand.Rand) map[string][]byte {
	d, clk := made(t)
	broken := false
	hook := &durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
		if broken && strings.HasSuffix(op.Name, ".jsonl") && (op.Kind == durable.OpSync || op.Kind == durable.OpTruncate) {
			broken = op.Kind == durable.OpSync
			return durable.Verdict{Err: syscall.EIO}
		}
		return durable.Verdict{}
	}}
	w := openWorld(t, hook, clk, int64(1+rnd.IntN(8))<<10)
	for range 3 + rnd.IntN(12) {
		switch rnd.IntN(8) {
		case 0:
			require.NoError(t, w.log.Checkpoint())
		case 1:
			require.NoError(t, w.log.Append(&audit.Record{Event: audit.EventKill}))
		case 2:
			clk.StepWall(-time.Duration(rnd.IntN(10)) * time.Second)
		case 3:
			require.NoError(t, w.log.Tick(0))
		case 4:
			w = w.reopen(t, int64(1+rnd.IntN(8))<<10) // killed
		case 5:
			broken = true // a sync fails, and so does taking the bytes back
			w.append(t, 1)
		default:
			w.append(t, 1+rnd.IntN(9))
		}
	}
	all := files(t, d)
	if rnd.IntN(3) > 0 {
		w.close(t)
		all = files(t, d)
	}
	if rnd.IntN(4) == 0 {
		delete(all, snap)
	}
	return all
}

// mutilate does something to a log.
func mutilate(t require.TestingT, rnd *rand.Rand, all map[string][]byte) (what string) {
	v := &victim{t, all, nil}
	names := v.segments()
	name := names[rnd.IntN(len(names))]
	if rnd.IntN(2) == 0 {
		name = v.last()
	}
	b, lines := all[name], v.lines(name)
	i := rnd.IntN(len(lines))
	kinds := []string{"nothing", "flip", "drop", "double", "swap", "cut", "insert", "lose a segment", "zeros", "no newline", "chain anew", "a record more", "another checkpoint", "swap segments", "snapshot"}
	what = kinds[rnd.IntN(len(kinds))]
	switch what {
	case "flip":
		b = slices.Clone(b)
		b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
		all[name] = b
	case "drop":
		v.splice(name, i, 1)
	case "double":
		v.splice(name, i, 0, lines[i])
	case "swap":
		j := rnd.IntN(len(lines))
		lines[i], lines[j] = lines[j], lines[i]
		all[name] = bytes.Join(lines, nil)
	case "cut":
		all[name] = b[:rnd.IntN(len(b))]
	case "insert":
		at := rnd.IntN(len(b))
		all[name] = slices.Concat(b[:at], []byte{byte(rnd.IntN(256))}, b[at:])
	case "lose a segment":
		delete(all, name)
	case "zeros":
		b = slices.Clone(b)
		clear(b[rnd.IntN(len(b)/512+1)*512:])
		all[name] = b
	case "no newline":
		all[name] = b[:len(b)-1]
	case "chain anew":
		line := bytes.Replace(lines[i], []byte(`"uid":502`), []byte(`"uid":501`), 1)
		v.splice(name, i, 1, line)
		v.chainAnew(name, i)
	case "a record more":
		for k := i; k >= 0; k-- {
			if bytes.HasPrefix(lines[k], []byte(`{"seq"`)) {
				var r recordLine
				require.NoError(t, json.Unmarshal(lines[k], &r))
				v.splice(name, i+1, 0, forged(r.Seq+1, lines[k], start.Add(time.Duration(rnd.IntN(3000))*time.Second), forgedLease))
				break
			}
		}
	case "another checkpoint":
		j := rnd.IntN(len(lines))
		if bytes.HasPrefix(lines[j], []byte(`{"checkpoint"`)) {
			v.splice(name, i+1, 0, lines[j])
		}
	case "swap segments":
		other := names[rnd.IntN(len(names))]
		all[name], all[other] = all[other], all[name]
	case "snapshot":
		if s := all[snap]; s != nil {
			all[snap] = s[:rnd.IntN(len(s))]
		}
	}
	return what
}

// TestAuditOracle: on many logs, left alone and mutilated, Verify says what a
// verifier says that was written from the description of the format alone.
func TestAuditOracle(t *testing.T) {
	said, cuts := map[string][2]int{}, 0
	for seed := range uint64(sizes(40, 6, 400)) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		whole := randomLog(t, rnd)
		for _, name := range (&victim{files: whole}).segments() {
			if bytes.Contains(whole[name], []byte(`,"cut":`)) {
				cuts++
			}
		}
		for range 25 {
			all := maps.Clone(whole)
			what := mutilate(t, rnd, all)
			if len((&victim{files: all}).segments()) == 0 {
				continue
			}
			want := ask(all)
			r, err := audit.Verify(diskOf(t, all), dir)
			require.NoError(t, err)
			got := verdict{r.OK, int(r.Records), int(r.TornBytes)}
			if !want.ok {
				want, got.records, got.torn = verdict{}, 0, 0
			}
			reason := ""
			if r.Reason != nil {
				reason = *r.Reason
			}
			require.Equal(t, want, got, "seed %d, %s: %s", seed, what, reason)
			n := said[what]
			if want.ok {
				n[0]++
			} else {
				n[1]++
			}
			said[what] = n
		}
	}
	t.Log("sound and not, by what was done: ", said)
	require.Positive(t, cuts, "segments behind a write that failed")
	require.Zero(t, said["nothing"][1])
	for _, what := range []string{"flip", "drop", "double", "swap", "cut", "insert", "zeros", "chain anew", "a record more", "another checkpoint"} {
		require.Positive(t, said[what][1], what)
	}
	for _, what := range []string{"cut", "chain anew", "a record more"} {
		require.Positive(t, said[what][0], "%s: with what is not signed", what)
	}
}
