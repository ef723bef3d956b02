package dotenv

import (
	"bytes"
	"strings"
)

// jsSpace is what \s is in JavaScript, as the inside of a character class.
const jsSpace = `\t\n\v\f\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}`

// motdotlaLine is the LINE of motdotla's lib/main.js, the same from version 15 to
// 18, with a group more for the key's end. What Go and JavaScript match
// differently is \s, spelled out, and lines that end in U+2028 and U+2029, which
// Parse refuses.
var motdotlaLine = lazily(`(?m)` + strings.ReplaceAll(
	`^\s*(export\s+)?([\w.-]+)(\s*=\s*?|:\s+?)(\s*'(?:\\'|[^'])*'|\s*"(?:\\"|[^"])*"|\s*`+"`(?:\\\\`|[^`])*`"+`|[^#\r\n]+)?\s*(?:#.*)?$`,
	`\s`, `[`+jsSpace+`]`))

// statementOf is an assignment and the whole that it was read from.
type statementOf struct {
	assignment
	export bool
	colon  bool // stands behind the key, and no =
	begin  int  // of the line
	end    int  // of the last line, before its line end
}

// motdotla reads a file as motdotla's dotenv does, which gives up on none.
func motdotla(b []byte) (found []statementOf) {
	t := withLF(b, true)
	defer t.clear()
	for _, m := range motdotlaLine().FindAllSubmatchIndex(t.b, -1) {
		start, end := m[7], m[7] // after the = when there is nothing
		if m[8] >= 0 {
			start, end = trimmed(t.b, m[8], m[9])
		}
		s := statementOf{export: m[2] >= 0, colon: bytes.IndexByte(t.b[m[6]:m[7]], '=') < 0, begin: t.span(m[0], m[0]).Start, end: t.span(m[1], m[1]).Start}
		s.key = t.span(m[4], m[5])
		double := start < end && t.b[start] == '"'
		if quoted(t.b[start:end]) {
			s.quote = t.b[start]
			start, end = start+1, end-1
		}
		s.raw = t.span(start, end)
		s.value = bytes.Clone(t.b[start:end])
		if double {
			s.value = withNewlines(s.value)
		}
		found = append(found, s)
	}
	return found
}

// trimmed takes JavaScript's space off both ends of b[start:end].
func trimmed(b []byte, start, end int) (int, int) {
	body := bytes.TrimRightFunc(b[start:end], isJSSpace)
	end = start + len(body)
	return end - len(bytes.TrimLeftFunc(body, isJSSpace)), end
}

func isJSSpace(r rune) bool {
	switch {
	case r >= '\t' && r <= '\r', r == ' ', r == 0xa0, r == 0x1680, r >= 0x2000 && r <= 0x200a,
		r == 0x2028, r == 0x2029, r == 0x202f, r == 0x205f, r == 0x3000, r == 0xfeff:
		return true
	}
	return false
}

// quoted reports whether the first and the last character are one quote.
func quoted(b []byte) bool {
	n := len(b)
	return n >= 2 && b[0] == b[n-1] && isQuote(b[0])
}

func isQuote(c byte) bool { return c == '\'' || c == '"' || c == '`' }

// withNewlines makes line ends of \n and \r, in place.
func withNewlines(b []byte) []byte {
	to := b[:0]
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '\\' && i+1 < len(b) && (b[i+1] == 'n' || b[i+1] == 'r') {
			i++
			if c = '\n'; b[i] == 'r' {
				c = '\r'
			}
		}
		to = append(to, c)
	}
	clear(b[len(to):])
	return to
}
