package dotenv

import "bytes"

// Spelling is how the characters of a value are written that can be written in
// several ways. A reference keeps it, or what was one line could come back as
// many.
type Spelling string

// The spellings.
const (
	Plain       Spelling = ""            // as they are; a line end is \n
	CRLF        Spelling = "crlf"        // a line end is \r\n
	CR          Spelling = "cr"          // a line end is \r
	Escaped     Spelling = "escaped"     // in double quotes; a line end is a backslash and an n or r
	Backslashed Spelling = "backslashed" // in double quotes; " \ and $ have a backslash before them
)

var spellings = [...]Spelling{Plain, CRLF, CR, Escaped, Backslashed}

// write appends a value in a spelling. It does not check that it can be read.
func (s Spelling) write(dst, value []byte) []byte {
	for _, c := range value {
		switch {
		case c == '\n' && s == CRLF:
			dst = append(dst, '\r', '\n')
		case c == '\n' && s == CR:
			dst = append(dst, '\r')
		case c == '\n' && s == Escaped:
			dst = append(dst, '\\', 'n')
		case c == '\r' && s == Escaped:
			dst = append(dst, '\\', 'r')
		case s == Backslashed && (c == '"' || c == '\\' || c == '$'):
			dst = append(dst, '\\', c)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// Spelling returns how an entry's value is written, and false when it is a
// mixture: then [File.Write] would write the same value with other bytes.
func (f *File) Spelling(i int) (s Spelling, ok bool) {
	e := f.entries[i]
	written := make([]byte, 0, 2*len(e.Value)) // it must not grow: that would leave a copy behind
	for _, s := range spellings {
		clear(written)
		if written = s.write(written[:0], e.Value); bytes.Equal(written, e.Span.of(f.b)) {
			clear(written)
			return s, true
		}
	}
	clear(written)
	return Plain, false
}

// Write has a value written for an entry so that it is the entry's Value in the
// file that comes out: in the spelling and the quotes there are, or else in others.
// It reports false, and changes nothing, when there are no quotes for this value.
func (f *File) Write(i int, value []byte, s Spelling) bool {
	e := &f.entries[i]
	for _, try := range []struct {
		quote byte
		s     Spelling
	}{{e.Quote, s}, {e.Quote, Plain}, {'\'', Plain}, {'"', Plain}, {'"', Escaped}, {'"', Backslashed}, {'`', Plain}} {
		c := change{e.Span, try.s.write(make([]byte, 0, 2*len(value)), value), bytes.Clone(value)}
		c.requote(e.Quote, try.quote)
		if f.holds(i, c) {
			f.change(i, c)
			return true
		}
		c.clear()
	}
	return false
}

// requote puts a text between other quotes than there are.
func (c *change) requote(are, want byte) {
	if are == want {
		return
	}
	bare := c.text
	c.text = append(append(append(make([]byte, 0, len(bare)+2), want), bare...), want)
	clear(bare)
	if are != 0 {
		c.span.Start--
		c.span.End++
	}
}

// holds reports whether a change does what it should and nothing else. Unless what
// comes and what goes is plain it is looked at in the whole file: a quote that has
// no end could find one, or find a comment or nothing behind one.
func (f *File) holds(i int, c change) bool {
	e := &f.entries[i]
	before := f.b[e.statement.Start:c.span.Start]
	alone := bytes.Join([][]byte{before, c.text, f.b[c.span.End:e.statement.End]}, nil)
	defer clear(alone)
	g, err := Parse(alone)
	if err != nil {
		return false
	}
	defer g.clearValues()
	if len(g.entries) != 1 || len(g.strays) > 0 || g.entries[0].Key != e.Key || !bytes.Equal(g.entries[0].Value, c.value) {
		return false
	}
	return plain(c.text) && plain(c.span.of(f.b)) || f.holdsAmong(i, c)
}

// plain reports whether a text is something, and nothing in it is special to
// motdotla's dotenv, wherever in a file it is.
func plain(b []byte) bool {
	for _, c := range b {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', bytes.IndexByte([]byte("_./:?+@-"), c) >= 0:
		default:
			return false
		}
	}
	return len(b) > 0
}

// holdsAmong does that for a change in the whole file, with what is changed
// already.
func (f *File) holdsAmong(i int, c change) bool {
	whole := f.bytes(map[int]change{i: c})
	defer clear(whole)
	g, err := Parse(whole)
	if err != nil || len(g.entries) != len(f.entries) {
		return false
	}
	defer g.clearValues()
	for n, e := range g.entries {
		want := f.entries[n].Value
		if n == i {
			want = c.value
		} else if other, ok := f.changes[n]; ok {
			want = other.value
		}
		if e.Key != f.entries[n].Key || !bytes.Equal(e.Value, want) {
			return false
		}
	}
	return true
}
