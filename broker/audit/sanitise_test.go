package audit

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSanitise: text from outside is one line that nothing obeys, and says what
// it was.
func TestSanitise(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "",
		"morning report":           "morning report",
		"größer 世界 🙂":              "größer 世界 🙂",
		`say "hi"`:                 `say 'hi'`,
		`C:\n`:                     `C:<U+005C>n`,
		"a\nb\r\tc":                "a<U+000A>b<U+000D><U+0009>c",
		"\x1b[2J\x1b]0;x\a":        "<U+001B>[2J<U+001B>]0;x<U+0007>",
		"\u009b2J":                 "<U+009B>2J",
		"\x00\x7f":                 "<U+0000><U+007F>",
		"admin\u202egpj.exe":       "admin<U+202E>gpj.exe",
		"a\u200bb\u2028c\ufeffd":   "a<U+200B>b<U+2028>c<U+FEFF>d",
		"\U000e0041\u00ad":         "<U+E0041><U+00AD>",
		"\xff\xc3(":                "<0xFF><0xC3>(",
		"\xed\xa0\x80":             "<0xED><0xA0><0x80>", // a surrogate
		"\ufffd":                   "\ufffd",             // said, not decoded
		"<U+001B>":                 "<U+001B>",
		"\u00a0\u3000\ue000\uffff": "<U+00A0><U+3000><U+E000><U+FFFF>",
	} {
		require.Equal(t, want, Sanitise(in, 200), "%q", in)
		require.True(t, isSafe(want, 200), "%q", want)
	}
}

// TestSanitiseCut: what does not fit is cut off, never in the middle of a form
// or a character, and nothing behind it is taken instead.
func TestSanitiseCut(t *testing.T) {
	for _, c := range []struct {
		in   string
		max  int
		want string
	}{
		{"abc", 3, "abc"}, {"abcd", 3, "abc"}, {"abc", 0, ""}, {"世界", 5, "世"}, {"世界", 2, ""},
		{"ab\x1bcd", 9, "ab"}, {"ab\x1bcd", 10, "ab<U+001B>"}, {"ab\xffcd", 7, "ab"}, {"ab\xffcd", 8, "ab<0xFF>"},
		{strings.Repeat("\x1b", 100), 200, strings.Repeat("<U+001B>", 25)},
	} {
		require.Equal(t, c.want, Sanitise(c.in, c.max), "%q to %d", c.in, c.max)
	}
}

// TestSafe: what a record may contain does not go beyond its limit, and has
// nothing that is escaped or hidden.
func TestSafe(t *testing.T) {
	for s, safe := range map[string]bool{
		"": true, "abcde": true, "é世": true, "abcdef": false, "世世": false, "a\"": false, "a\\": false, "a\n": false, "a\x7f": false, "a\xff": false,
		"\u0085": false, "\u009f": false, "\u00a0": true, "\u00ad": false, "\u061c": false, "\u180e": false, "\u200a": true, "\u200b": false, "\u200f": false, "\u2010": true,
		"\u2027": true, "\u2028": false, "\u202e": false, "\u202f": true, "\u205f": true, "\u2060": false, "\u206f": false, "\u2070": true,
		"\ufefe": true, "\ufeff": false, "\ufff8": true, "\ufff9": false, "\ufffb": false, "\ufffc": true, "\ufffd": true,
		"\U000e0000": false, "\U000e007f": false, "\U000e0080": true,
	} {
		require.Equal(t, safe, isSafe(s, 5), "%q", s)
	}
}
