package scan

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"unicode/utf16"
	"unicode/utf8"

	"secretctl/broker/shape"
)

// A file is searched through a window. What stands at its end is searched again
// at the beginning of the next, so that nothing is cut in two.
const (
	window  = 1 << 20
	overlap = 64 << 10 // longer than any find but a value of the vault
	lead    = 1 << 10  // longer than what a find is recognised by before it
)

// longer is how much longer window and overlap are, where the vault has a value
// that the overlap does not hold.
func (s *Scanner) longer() int { return max(0, s.Longest-overlap) }

// A source is where a text comes from.
type source struct {
	path    string // as it is shown
	place   string // below the base
	commit  string
	version string // of a file in the history, "" in a tree
	base    *base
	binary  bool // search it although it is binary
}

// text searches texts, one after the other. It has buffers that are worth
// keeping.
type text struct {
	s       *Scanner
	buf     []byte
	matches []shape.Match
	found   []candidate
	// seen, when not nil, is asked whether a find counts.
	seen func(rule string, value []byte) bool
}

// candidate is a find in the window.
type candidate struct {
	rule, what, secret string
	start, end         int
}

// search searches all of a text. size is about how long it is, 0 when that is
// not known.
func (t *text) search(r io.Reader, from source) error {
	var all []Finding
	defer func() { t.s.found(all) }()
	nth := make(map[string]int) // :: rule → finds so far
	lines := counter{line: 1}
	filled, searched := 0, 0 // in the window: what it holds, and what of it is done
	for first := true; ; first = false {
		n, err := readFull(r, t.buf[filled:])
		t.s.bytes.Add(int64(n))
		filled += n
		b := t.buf[:filled]
		if err != nil {
			return err
		}
		if first {
			t.s.files.Add(1)
			if order, ok := wide(b); ok {
				return t.searchWide(io.MultiReader(bytes.NewReader(bytes.Clone(b[2:])), r), order, from)
			}
			if !from.binary && isBinary(b) {
				return nil
			}
		}
		last := filled < len(t.buf)
		limit := len(b)
		if !last {
			limit -= overlap + t.s.longer()
		}
		for _, c := range t.candidates(b, from) {
			if c.start < searched || c.start >= limit {
				continue
			}
			if f, ok := t.judge(b, c, from, nth); ok {
				f.Line, f.Column = lines.at(b, c.start)
				all = append(all, f)
			}
		}
		if last {
			return nil
		}
		moved := limit - lead
		if lines.place < moved {
			lines.at(b, moved)
		}
		lines.move(moved)
		filled, searched = copy(t.buf, b[moved:]), lead
	}
}

// judge turns a candidate into a finding, unless it is allowed.
func (t *text) judge(b []byte, c candidate, from source, nth map[string]int) (Finding, bool) {
	nth[c.rule]++
	f := Finding{
		Path: from.path, Commit: from.commit, Rule: c.rule, What: c.what, Secret: c.secret,
		Fingerprint: fingerprint(c.rule, from.place, from.version, nth[c.rule]),
	}
	if t.seen != nil && !t.seen(c.rule, b[c.start:c.end]) {
		return f, false
	}
	if c.secret == "" && (commented(b, c.start, c.end) || from.base.allowed[f.Fingerprint]) {
		t.s.allowed.Add(1)
		return f, false
	}
	return f, true
}

// candidates returns the finds in a buffer, in order.
func (t *text) candidates(b []byte, from source) []candidate {
	t.found = t.found[:0]
	if t.s.Known != nil {
		end := 0
		for _, h := range t.s.Known(b) {
			if h.Start >= end { // a line of a value is in the value
				t.found = append(t.found, candidate{RuleVault, rules[RuleVault], h.Name, h.Start, h.End})
				end = h.End
			}
		}
	}
	known := len(t.found)
	t.matches = shape.Find(t.matches[:0], b)
	for _, m := range t.matches {
		t.add(known, candidate{rule: m.Rule.ID, what: m.Rule.What, start: m.Start, end: m.End})
	}
	guessed := len(t.found)
	for _, c := range byName(b, from.place) {
		t.add(guessed, c)
	}
	slices.SortStableFunc(t.found, func(a, b candidate) int { return cmp.Compare(a.start, b.start) })
	return t.found
}

// add adds a candidate that does not overlap with the first n there are.
func (t *text) add(n int, c candidate) {
	for _, k := range t.found[:n] {
		if c.start < k.end && k.start < c.end {
			return
		}
	}
	t.found = append(t.found, c)
}

// counter counts lines from place to place.
type counter struct {
	line  int // of the place
	begin int // of that line; may be before the window
	place int
}

// at returns the line and column of a place that is not before the last.
func (c *counter) at(b []byte, place int) (line, column int) {
	passed := b[c.place:place]
	if n := bytes.Count(passed, []byte{'\n'}); n > 0 {
		c.line += n
		c.begin = c.place + bytes.LastIndexByte(passed, '\n') + 1
	}
	c.place = place
	return c.line, place - c.begin + 1
}

// move tells that the window moves on.
func (c *counter) move(by int) { c.begin, c.place = c.begin-by, c.place-by }

// readFull fills b as far as there is something to read. The end is no error.
func readFull(r io.Reader, b []byte) (int, error) {
	n, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, err
}

// isBinary reports whether a file that begins like this is binary, as git does.
// A database of SQLite is not: agents keep what they log in with in one, and it
// holds text as it is.
func isBinary(b []byte) bool {
	return bytes.IndexByte(b[:min(len(b), 8000)], 0) >= 0 && !bytes.HasPrefix(b, []byte("SQLite format 3\x00"))
}

// wide reports whether a text says that it is UTF-16, as Windows writes files,
// and in which order its bytes are.
func wide(b []byte) (binary.ByteOrder, bool) {
	switch {
	case bytes.HasPrefix(b, []byte{0xff, 0xfe}):
		return binary.LittleEndian, true
	case bytes.HasPrefix(b, []byte{0xfe, 0xff}):
		return binary.BigEndian, true
	}
	return nil, false
}

// maxWide is the longest UTF-16 text that is searched, in bytes: people write
// those.
const maxWide = 16 << 20

// searchWide searches a UTF-16 text. Columns are those of its UTF-8.
func (t *text) searchWide(r io.Reader, order binary.ByteOrder, from source) error {
	b, err := io.ReadAll(io.LimitReader(r, maxWide+1))
	defer clear(b)
	if err != nil {
		return err
	}
	if len(b) > maxWide {
		return errors.New("it is UTF-16 and too long")
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = order.Uint16(b[2*i:])
	}
	var out []byte
	for _, r := range utf16.Decode(units) {
		out = utf8.AppendRune(out, r)
	}
	defer clear(out)
	from.binary = true // it has told what it is
	return t.search(bytes.NewReader(out), from)
}
