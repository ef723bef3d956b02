package main

import (
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

// TestTerminalSafe: whatever comes from outside, nothing that is printed is
// obeyed by a terminal or makes a line of its own.
func TestTerminalSafe(t *testing.T) {
	for name, c := range map[string]struct{ in, out string }{
		"plain":            {"openai/api-key", "openai/api-key"},
		"quotes":           {`name "a": \ and '`, `name "a": \ and '`},
		"other scripts":    {"schlüssel 鍵", "schlüssel 鍵"},
		"an escape":        {"a\x1b[31mb", "a<U+001B>[31mb"},
		"a title":          {"\x1b]0;root\x07", "<U+001B>]0;root<U+0007>"},
		"C1":               {"\u009b31m", "<U+009B>31m"},
		"bidirectional":    {"a\u202eb", "a<U+202E>b"},
		"another line":     {"a\nsecretctl: hint: rm -rf /", "a; secretctl: hint: rm -rf /"},
		"a carriage":       {"denied\rallow", "denied<U+000D>allow"},
		"bytes":            {"\xff", "<0xFF>"},
		"after a quote":    {"\"\x1b\"", `"<U+001B>"`},
		"a line separator": {"a\u2028b", "a<U+2028>b"},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.out, shown(c.in)) })
	}
	for r := range rune(0x10ffff) {
		for _, c := range shown(string(r)) {
			if !unicode.IsPrint(c) {
				t.Fatalf("U+%04X is shown with U+%04X", r, c)
			}
		}
	}
	require.Less(t, len(shown(strings.Repeat("x", 1<<20))), 2*maxShown)
}

func TestErrorsAreShownSafely(t *testing.T) {
	var stderr strings.Builder
	w := &world{stderr: &stderr}
	w.report(hinted(&usageError{text: "name \"a\x1b[2J\" \n is bad"}, "\x1b]0;"))
	require.Equal(t, "secretctl: name \"a<U+001B>[2J\" ;  is bad\nsecretctl: hint: secretctl help\n", stderr.String())
}

func TestSpan(t *testing.T) {
	for text, n := range map[string]int64{
		"0s": 0, "59s": 59, "1m": 60, "2m 5s": 125, "1h": 3600, "1h 1m": 3661, "23h 59m": 86399,
		"1d": 86400, "3d 4h": 3*86400 + 4*3600 + 59*60, "400d": 400 * 86400,
	} {
		require.Equal(t, text, span(seconds(n)), "%d", n)
	}
	require.Equal(t, "0s", span(-1))
}

func TestBar(t *testing.T) {
	for _, c := range []struct {
		part, whole int64
		drawn       string
	}{
		{0, 100, "[..........]"}, {9, 100, "[..........]"}, {10, 100, "[#.........]"}, {99, 100, "[#########.]"},
		{100, 100, "[##########]"}, {1000, 100, "[##########]"}, {0, 0, "[##########]"},
	} {
		require.Equal(t, c.drawn, bar(seconds(c.part), seconds(c.whole)), "%d of %d", c.part, c.whole)
	}
}

func TestTableIsAligned(t *testing.T) {
	var out strings.Builder
	w := &world{stdout: &out, env: func(string) (string, bool) { return "", false }}
	require.NoError(t, w.printTable([]string{"NAME", "STATE"}, [][]cell{
		{{"schlüssel", ""}, {"ok", green}},
		{{"a\x1b", ""}, {"", ""}},
	}))
	require.Equal(t, "NAME       STATE\nschlüssel  ok\na<U+001B>\n", out.String())
	out.Reset()
	require.NoError(t, w.printTable([]string{"NAME"}, nil))
	require.Empty(t, out.String())
}
