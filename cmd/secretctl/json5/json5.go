// Package json5 reads the JSON and JSON5 texts of other programs as trees of
// spans: where in the text each value lies.
//
// It guards against two things. A setting that is changed must leave every other
// byte of the file as it was, comments included, so a tree names places and is
// not written back. And a credential that lies in such a file must not become a
// Go string on its way out: [Node.AppendText] decodes a string into bytes of the
// caller's, which can be cleared. It does not check what the values mean, and
// keys, which name credentials and are none, are strings.
package json5

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Kind is what a value is.
type Kind uint8

// The kinds of values.
const (
	Object Kind = iota
	Array
	String
	Other // a number, true, false or null
)

// Node is a value, and where it lies in the text: text[Start:End].
type Node struct {
	Kind       Kind
	Start, End int
	Members    []Member // of an Object, in their order
	Items      []*Node  // of an Array
}

// Member is a key of an object with its value.
type Member struct {
	Key   string
	Start int // of the key
	Value *Node
}

// Get returns the value of an object's key, of the last one where it comes
// twice, as JSON.parse does; nil where there is none, or the node is no object.
func (n *Node) Get(key string) *Node {
	if n == nil {
		return nil
	}
	for i := len(n.Members) - 1; i >= 0; i-- {
		if n.Members[i].Key == key {
			return n.Members[i].Value
		}
	}
	return nil
}

// At follows keys into nested objects.
func (n *Node) At(keys ...string) *Node {
	for _, key := range keys {
		n = n.Get(key)
	}
	return n
}

// maxDepth is how deep values may be nested. A sanity check.
const maxDepth = 512

// Parse reads a JSON5 text, of which JSON is a part. An error names the line
// and nothing of the text.
func Parse(text []byte) (*Node, error) { return parse(text, false) }

// ParseJSON reads a text that must be JSON, to the letter.
func ParseJSON(text []byte) (*Node, error) { return parse(text, true) }

func parse(text []byte, strict bool) (*Node, error) {
	p := parser{b: text, strict: strict}
	n, err := p.whole()
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", 1+bytes.Count(text[:min(p.at, len(text))], []byte("\n")), err)
	}
	return n, nil
}

type parser struct {
	b      []byte
	at     int
	depth  int
	strict bool // JSON, not JSON5
}

func (p *parser) whole() (*Node, error) {
	if !utf8.Valid(p.b) {
		return nil, errors.New("the text is not UTF-8")
	}
	n, err := p.value()
	if err != nil {
		return nil, err
	}
	if err := p.space(); err != nil {
		return nil, err
	}
	if p.at < len(p.b) {
		return nil, errors.New("something follows the value")
	}
	return n, nil
}

// next returns the next byte, 0 at the end.
func (p *parser) next() byte {
	if p.at < len(p.b) {
		return p.b[p.at]
	}
	return 0
}

// space skips white space and, in JSON5, comments.
func (p *parser) space() error {
	for p.at < len(p.b) {
		switch c := p.b[p.at]; {
		case c == ' ', c == '\t', c == '\n', c == '\r':
			p.at++
		case p.strict:
			return nil
		case c == '\v', c == '\f':
			p.at++
		case c == '/':
			if err := p.comment(); err != nil {
				return err
			}
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRune(p.b[p.at:])
			if !isSpace(r) {
				return nil
			}
			p.at += size
		default:
			return nil
		}
	}
	return nil
}

func (p *parser) comment() error {
	rest := p.b[p.at:]
	switch {
	case bytes.HasPrefix(rest, []byte("//")):
		for p.at < len(p.b) && !p.lineEnds() {
			p.at++
		}
		return nil
	case bytes.HasPrefix(rest, []byte("/*")):
		end := bytes.Index(rest[2:], []byte("*/"))
		if end < 0 {
			return errors.New("a comment does not end")
		}
		p.at += end + 4
		return nil
	}
	return errors.New("a value is expected")
}

// lineEnds reports whether a line terminator is next.
func (p *parser) lineEnds() bool {
	rest := p.b[p.at:]
	return rest[0] == '\n' || rest[0] == '\r' || bytes.HasPrefix(rest, []byte("\u2028")) || bytes.HasPrefix(rest, []byte("\u2029"))
}

// isSpace knows the white space of JSON5 beyond ASCII.
func isSpace(r rune) bool {
	switch r {
	case 0xa0, 0xfeff, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000:
		return true
	}
	return r >= 0x2000 && r <= 0x200a
}

func (p *parser) value() (*Node, error) {
	if err := p.space(); err != nil {
		return nil, err
	}
	n := &Node{Start: p.at}
	var err error
	switch c := p.next(); {
	case p.at == len(p.b):
		err = errors.New("a value is expected, and the text ends")
	case c == '{':
		n.Kind, err = Object, p.nested(n, '}', p.member)
	case c == '[':
		n.Kind, err = Array, p.nested(n, ']', p.item)
	case c == '"', c == '\'' && !p.strict:
		n.Kind, err = String, p.quoted()
	default:
		n.Kind, err = Other, p.bare()
	}
	n.End = p.at
	return n, err
}

// nested reads what is in an object or an array, up to its end.
func (p *parser) nested(n *Node, end byte, one func(n *Node) error) error {
	if p.depth++; p.depth > maxDepth {
		return errors.New("it is nested too deep")
	}
	p.at++
	for first := true; ; first = false {
		if err := p.space(); err != nil {
			return err
		}
		if p.next() == end && (first || !p.strict) {
			break
		}
		if err := one(n); err != nil {
			return err
		}
		if err := p.space(); err != nil {
			return err
		}
		if p.next() == end {
			break
		}
		if p.next() != ',' {
			return fmt.Errorf("a comma or %q is expected", end)
		}
		p.at++
	}
	p.at++
	p.depth--
	return nil
}

func (p *parser) item(n *Node) error {
	item, err := p.value()
	n.Items = append(n.Items, item)
	return err
}

func (p *parser) member(n *Node) error {
	m := Member{Start: p.at}
	switch c := p.next(); {
	case c == '"', c == '\'' && !p.strict:
		if err := p.quoted(); err != nil {
			return err
		}
		m.Key = string(appendText(nil, p.b[m.Start:p.at]))
	case p.strict:
		return errors.New(`a key in quotes is expected`)
	default:
		for p.at < len(p.b) && isIdentifier(p.b[p.at]) {
			p.at++
		}
		if p.at == m.Start {
			return errors.New("a key is expected")
		}
		m.Key = string(p.b[m.Start:p.at])
	}
	if err := p.space(); err != nil {
		return err
	}
	if p.next() != ':' {
		return errors.New("a colon is expected after a key")
	}
	p.at++
	var err error
	m.Value, err = p.value()
	n.Members = append(n.Members, m)
	return err
}

// isIdentifier reports whether a byte may be in a key without quotes. Which
// letters beyond ASCII those are is left to who wrote them.
func isIdentifier(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c >= utf8.RuneSelf
}

// bare reads a number or a word.
func (p *parser) bare() error {
	start := p.at
	for p.at < len(p.b) && (isIdentifier(p.b[p.at]) || p.b[p.at] == '.' || p.b[p.at] == '+' || p.b[p.at] == '-') {
		p.at++
	}
	word := p.b[start:p.at]
	switch string(word) {
	case "true", "false", "null":
		return nil
	}
	number := isNumber5
	if p.strict {
		number = isNumber
	}
	if !number(word) {
		return errors.New("a value is expected")
	}
	return nil
}

// isNumber5 reports whether b is a number of JSON5.
func isNumber5(b []byte) bool {
	if len(b) > 0 && (b[0] == '+' || b[0] == '-') {
		b = b[1:]
	}
	switch hex, _ := bytes.CutPrefix(bytes.ToLower(b), []byte("0x")); {
	case string(b) == "Infinity", string(b) == "NaN":
		return true
	case len(hex) < len(b):
		return len(hex) > 0 && len(bytes.Trim(hex, "0123456789abcdef")) == 0
	case bytes.HasPrefix(b, []byte(".")) && digits(b[1:]) > 0:
		return isNumber(append([]byte("0"), b...))
	}
	whole := digits(b)
	if whole < len(b) && b[whole] == '.' && digits(b[whole+1:]) == 0 { // 5. and 5.e3
		b = append(b[:whole:whole], b[whole+1:]...)
	}
	return isNumber(b) && !bytes.HasPrefix(b, []byte("-"))
}

// isNumber reports whether b is a number of JSON.
func isNumber(b []byte) bool {
	b = bytes.TrimPrefix(b, []byte("-"))
	whole := digits(b)
	if whole == 0 || whole > 1 && b[0] == '0' {
		return false
	}
	b = b[whole:]
	if len(b) > 0 && b[0] == '.' {
		n := digits(b[1:])
		if n == 0 {
			return false
		}
		b = b[1+n:]
	}
	if len(b) > 0 && (b[0] == 'e' || b[0] == 'E') {
		b = b[1:]
		if len(b) > 0 && (b[0] == '+' || b[0] == '-') {
			b = b[1:]
		}
		n := digits(b)
		return n > 0 && n == len(b)
	}
	return len(b) == 0
}

// digits returns how many decimal digits b begins with.
func digits(b []byte) (n int) {
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	return n
}
