package audit

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Sanitise makes text from outside fit to be stored and shown: at most max
// bytes, on one line, and without anything that a terminal obeys or that JSON
// must escape. A character that does not print (control characters, escapes,
// bidirectional overrides, line separators), and the backslash, becomes
// <U+001B>; a byte that is no UTF-8 becomes <0xFF>; a double quote becomes a
// single one. What does not fit is cut off, never in the middle of a form.
//
// Sanitising twice changes nothing more.
func Sanitise(s string, max int) string {
	if len(s) <= max && isPlain(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		form := s[i : i+n]
		switch {
		case r == utf8.RuneError && n <= 1:
			form = fmt.Sprintf("<0x%02X>", s[i])
		case r == '"':
			form = "'"
		case r == '\\' || !unicode.IsPrint(r) || hidden(r):
			form = fmt.Sprintf("<U+%04X>", r)
		}
		if b.Len()+len(form) > max {
			break
		}
		b.WriteString(form)
		i += n
	}
	return b.String()
}

// isPlain reports whether s is printable ASCII that Sanitise leaves alone.
func isPlain(s string) bool {
	for i := range len(s) {
		if !plain[s[i]] {
			return false
		}
	}
	return true
}

// plain marks the ASCII characters that stand for themselves in a record.
var plain = func() (t [256]bool) {
	for c := ' '; c <= '~'; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// isSafe reports whether s may be a string of a record: at most max bytes of
// UTF-8 with nothing to escape and nothing hidden. What it accepts does not
// depend on the version of Unicode this was built with, so that every version
// of this program reads the same logs; Sanitise is stricter.
func isSafe(s string, max int) bool {
	if len(s) > max {
		return false
	}
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if !plain[c] {
				return false
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n <= 1 || hidden(r) {
			return false
		}
		i += n
	}
	return true
}

// hidden reports whether r is a character beyond ASCII that is obeyed rather
// than shown: C1 controls, joiners and marks without width, bidirectional
// controls, line separators, interlinear and tag characters.
func hidden(r rune) bool {
	switch {
	case r >= 0x80 && r <= 0x9f,
		r == 0xad, r == 0x61c, r == 0x180e,
		r >= 0x200b && r <= 0x200f,
		r >= 0x2028 && r <= 0x202e,
		r >= 0x2060 && r <= 0x206f,
		r == 0xfeff,
		r >= 0xfff9 && r <= 0xfffb,
		r >= 0xe0000 && r <= 0xe007f:
		return true
	}
	return false
}
