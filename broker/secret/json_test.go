package secret_test

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
)

func TestText(t *testing.T) {
	for s, text := range map[string]bool{
		"":                       true,
		"sk-abc \"\\/'":          true,
		"a\tb\r\nc":              true,
		"żółw \u2028 \U0001f422": true,
		"\x00":                   false,
		"a\x1b[31m":              false,
		"a\x7f":                  false,
		"a\xff":                  false,
		"\xc0\xaf":               false,
		"\xed\xa0\x80":           false,
	} {
		require.Equal(t, text, secret.Text([]byte(s)), "%q", s)
	}
}

// What AppendJSON writes, encoding/json reads back as the same bytes.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{"", "sk-live_0", `"quoted" \ back`, "\t\r\n", "żółw\u2028\u2029", "</script>", "\x00\x1f\x7f", "\xff", "\\u0041", "\ufffd"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if want := utf8.Valid(b) && !controls(b); want != secret.Text(b) {
			t.Fatalf("Text(%q) is %t", b, !want)
		}
		if !secret.Text(b) {
			return
		}
		inside := secret.AppendJSON([]byte(`"`), b)
		require.Equal(t, secret.JSONLen(b), len(inside)-1, "%q", b)
		var back string
		require.NoError(t, json.Unmarshal(append(inside, '"'), &back), "%q", b)
		require.Equal(t, string(b), back)
	})
}

// controls reports whether b has a control character that is not white space.
func controls(b []byte) bool {
	for _, r := range string(b) {
		switch {
		case r == '\t', r == '\n', r == '\r':
		case r < ' ', r == 0x7f:
			return true
		}
	}
	return false
}

func TestAppendJSONAllocatesNothing(t *testing.T) {
	b := []byte("\"sk\"\n\\")
	dst := make([]byte, 0, secret.JSONLen(b))
	require.Zero(t, testing.AllocsPerRun(100, func() { secret.AppendJSON(dst, b) }))
}
