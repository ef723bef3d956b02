package audit

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// FuzzSanitise: whatever comes from outside, what is kept fits, is one line that
// JSON need not escape and nothing obeys, and stays as it is.
func FuzzSanitise(f *testing.F) {
	for _, s := range []string{"", "morning report", `say "hi" \n`, "\x1b[2J\a", "a\u202eb\u200b", "\xff\xc3(", "世界🙂", "\U000e0041<U+001B>", "\u0085\u2028\ufeff\u00ad"} {
		for _, max := range []int{0, 1, 7, 200} {
			f.Add(s, max)
		}
	}
	f.Fuzz(func(t *testing.T, s string, max int) {
		max = int(uint(max) % 1024)
		got := Sanitise(s, max)
		require.LessOrEqual(t, len(got), max)
		require.True(t, isSafe(got, max), "%q", got)
		require.Equal(t, got, Sanitise(got, max))
		require.True(t, strings.HasPrefix(Sanitise(s, 8*len(s)), got), "%q is not the beginning", got)

		require.True(t, utf8.ValidString(got))
		for _, r := range got {
			require.True(t, unicode.IsPrint(r), "%q has %U", got, r)
		}
		var plain strings.Builder
		enc := json.NewEncoder(&plain)
		enc.SetEscapeHTML(false)
		require.NoError(t, enc.Encode(got))
		require.Equal(t, `"`+got+"\"\n", plain.String())
	})
}
