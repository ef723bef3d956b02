package dotenv

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// MaxSize is the largest file, in bytes. A sanity check.
const MaxSize = 4 << 20

// File is a .env file: its bytes, what is assigned in them, and what is to be
// written in the place of values.
type File struct {
	b        []byte
	entries  []Entry
	refusals []Refusal
	strays   []int
	changes  map[int]change // by entry
}

// Entry is one assignment.
type Entry struct {
	Key    string
	Line   int    // where the key is, from 1
	Value  []byte // as the package comment says; not a part of the file
	Span   Span   // what is written for it, between the quotes if there are any
	Quote  byte   // ' " or `; 0: none
	Export bool   // "export" is before the key
	// Disagree are the dialects that read the file and not this value: another
	// one, one that depends on other variables or on what programs print, or none.
	Disagree []Dialect

	colon     bool // stands behind the key, and no =
	statement Span // from the key to where the last line of it ends
}

// change is what is to be written in the place of a part of a file.
type change struct {
	span  Span
	text  []byte
	value []byte // what the entry's value is then
}

func (c change) clear() {
	clear(c.text)
	clear(c.value)
}

// Refusal is a dialect that gives up on the file. No entry says that it
// disagrees.
type Refusal struct {
	Dialect Dialect
	Line    int // where it does, from 1
}

// ParseError is why a file cannot be read, without anything that is in it.
type ParseError struct {
	Line   int // from 1; 0: the whole file
	Text   string
	Remedy string // what to do about it
}

func (e *ParseError) Error() string {
	if e.Line == 0 {
		return e.Text
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Text)
}

// Parse reads a file, whose bytes it goes on using. Every text is a file, with
// entries or without; what it refuses, with a [*ParseError], is no text, or is
// text whose lines no two readers can be trusted to see alike.
func Parse(b []byte) (*File, error) {
	if err := check(b); err != nil {
		return nil, err
	}
	f := &File{b: b}
	statements := motdotla(b)
	f.strays = strays(b, statements)
	lines := lineCounter{b: b}
	for _, s := range statements {
		e := Entry{Key: string(s.key.of(b)), Line: lines.at(s.key.Start), Value: s.value, Span: s.raw, Quote: s.quote, Export: s.export, colon: s.colon, statement: Span{s.key.Start, s.end}}
		f.entries = append(f.entries, e)
	}
	found := make([]map[int]assignment, len(others))
	for i, d := range others {
		all, refused := d.read(b)
		if refused >= 0 {
			f.refusals = append(f.refusals, Refusal{d.name, lineOf(b, refused)})
		} else {
			found[i] = byKey(all)
		}
		defer clearAll(all)
	}
	for i := range f.entries {
		f.entries[i].compare(b, statements[i], found)
	}
	return f, nil
}

// check refuses what is no file of this kind.
func check(b []byte) error {
	switch {
	case len(b) > MaxSize:
		return &ParseError{0, fmt.Sprintf("it is larger than %d MiB", MaxSize>>20), "take out what is not KEY=value"}
	case bytes.HasPrefix(b, []byte("\xff\xfe")), bytes.HasPrefix(b, []byte("\xfe\xff")):
		return &ParseError{0, "it is UTF-16", "save it as UTF-8"}
	}
	for _, c := range [...]struct{ bytes, what, remedy string }{
		{"\x00", "it has a zero byte, which no environment can hold", "take it out, if the file is a .env file at all"},
		{"\u2028", "it has a line separator (U+2028), which some readers take for the end of a line", "replace it by a space or a new line"},
		{"\u2029", "it has a paragraph separator (U+2029), which some readers take for the end of a line", "replace it by a space or a new line"},
	} {
		if n := bytes.Index(b, []byte(c.bytes)); n >= 0 {
			return &ParseError{lineOf(b, n), c.what, c.remedy}
		}
	}
	return nil
}

// lineCounter tells the line of places that are asked for in ascending order. A
// line ends with \n, \r\n or \r.
type lineCounter struct {
	b     []byte
	to    int // counted so far
	lines int
}

func (l *lineCounter) at(place int) int {
	for ; l.to < place; l.to++ {
		if c := l.b[l.to]; c == '\n' || c == '\r' && !bytes.HasPrefix(l.b[l.to+1:], []byte{'\n'}) {
			l.lines++
		}
	}
	return l.lines + 1
}

func lineOf(b []byte, place int) int { return (&lineCounter{b: b}).at(place) }

// strays returns the lines that say something and are no part of a statement.
func strays(b []byte, statements []statementOf) (lines []int) {
	count, next := lineCounter{b: b}, 0
	for at := 0; at < len(b); {
		end := len(b)
		if n := bytes.IndexAny(b[at:], "\r\n"); n >= 0 {
			end = at + n
		}
		for next < len(statements) && statements[next].end < at {
			next++
		}
		inside := next < len(statements) && statements[next].key.Start <= end
		if line := bytes.TrimLeftFunc(b[at:end], isJSSpace); !inside && len(line) > 0 && line[0] != '#' {
			lines = append(lines, count.at(at))
		}
		at = end + 1
	}
	return lines
}

func byKey(all []assignment) map[int]assignment {
	at := make(map[int]assignment, len(all))
	for _, a := range all {
		at[a.key.Start] = a
	}
	return at
}

func clearAll(all []assignment) {
	for _, a := range all {
		clear(a.value)
	}
}

// compare settles the value, and says who reads another.
func (e *Entry) compare(b []byte, s statementOf, found []map[int]assignment) {
	statement := e.statement.of(b)
	longer, other := e.extend(statement), e.overrule(statement)
	if longer || other || !utf8.Valid(e.Value) { // each byte that is no UTF-8 becomes U+FFFD there
		e.Disagree = append(e.Disagree, Motdotla)
	}
	for i, d := range others {
		if found[i] == nil {
			continue
		}
		if a, ok := found[i][s.key.Start]; !ok || a.key != s.key || a.open || !bytes.Equal(a.value, e.Value) {
			e.Disagree = append(e.Disagree, d.name)
		}
	}
}

// extend lets a value without quotes go on behind a # that follows a character.
func (e *Entry) extend(statement []byte) (changed bool) {
	own := e.within()
	before, _ := utf8.DecodeLastRune(statement[:own.End])
	if e.Quote != 0 || own.End == len(statement) || statement[own.End] != '#' || isJSSpace(before) {
		return false
	}
	end := len(statement)
	for i := own.End; i < len(statement); i++ {
		if before, _ := utf8.DecodeLastRune(statement[:i]); statement[i] == '#' && isJSSpace(before) {
			end = i
			break
		}
	}
	own = trimmedEnd(statement, Span{own.Start, end}, isJSSpace)
	e.Span.End = e.Span.Start + own.End - own.Start
	e.become(own.of(statement))
	return true
}

// overrule asks the others to read the statement by itself, so that what one of
// them makes of other lines is not held against this one, and takes what they all
// read.
func (e *Entry) overrule(statement []byte) (changed bool) {
	if plain(e.Value) && e.Quote != '`' {
		return false // nobody reads that otherwise
	}
	var votes []assignment
	for _, d := range others {
		all, refused := d.read(statement)
		defer clearAll(all)
		a, ok := byKey(all)[0]
		switch {
		case refused >= 0, !ok, d.name == Docker && e.Quote != 0: // it has no say
		case a.open, a.quote != e.Quote, a.raw != e.within(), len(votes) > 0 && !bytes.Equal(a.value, votes[0].value):
			return false
		default:
			votes = append(votes, a)
		}
	}
	if len(votes) < 2 || bytes.Equal(votes[0].value, e.Value) {
		return false
	}
	e.become(votes[0].value)
	return true
}

// within returns where in the statement the value is written.
func (e *Entry) within() Span {
	return Span{e.Span.Start - e.statement.Start, e.Span.End - e.statement.Start}
}

func (e *Entry) become(value []byte) {
	clear(e.Value)
	e.Value = bytes.Clone(value)
}

// Entries returns the assignments in their order. They are the file's own.
func (f *File) Entries() []Entry { return f.entries }

// Refusals returns the dialects that do not read the file at all.
func (f *File) Refusals() []Refusal { return f.refusals }

// Strays returns the lines, from 1, that are neither empty nor a comment nor a
// part of an entry.
func (f *File) Strays() []int { return f.strays }

// Replace has a text written for the value of an entry, between the quotes if
// there are any: one that no reader takes for anything but itself, such as a
// reference. It reports false, and changes nothing, where that would change
// another entry: a quote without an end finds one when another goes.
func (f *File) Replace(i int, with []byte) bool {
	c := change{f.entries[i].Span, with, bytes.Clone(with)}
	if !f.holds(i, c) {
		return false
	}
	f.change(i, c)
	return true
}

func (f *File) change(i int, c change) {
	if f.changes == nil {
		f.changes = make(map[int]change)
	}
	f.changes[i] = c
}

// Bytes returns the file with what was changed.
func (f *File) Bytes() []byte { return f.bytes(nil) }

// bytes returns the file with what was changed and what is to be.
func (f *File) bytes(too map[int]change) []byte {
	size := len(f.b)
	for _, changes := range []map[int]change{f.changes, too} {
		for _, c := range changes {
			size += len(c.text)
		}
	}
	out := make([]byte, 0, size) // it must not grow: that would leave a copy behind
	at := 0
	for i := range f.entries {
		c, ok := too[i]
		if !ok {
			c, ok = f.changes[i]
		}
		if ok {
			out = append(append(out, f.b[at:c.span.Start]...), c.text...)
			at = c.span.End
		}
	}
	return append(out, f.b[at:]...)
}

// Clear overwrites the file, its values and its changes in memory.
func (f *File) Clear() {
	clear(f.b)
	f.clearValues()
	for _, c := range f.changes {
		c.clear()
	}
}

func (f *File) clearValues() {
	for _, e := range f.entries {
		clear(e.Value)
	}
}
