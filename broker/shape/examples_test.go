package shape

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// example is a line of testdata/examples.txt.
type example struct {
	rule       string
	text       string
	start, end int // of the secret; both 0 when there is none
}

func examples(t testing.TB) (all []example) {
	text, err := os.ReadFile("testdata/examples.txt")
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.SplitN(strings.TrimSpace(line), " ", 3)
		require.Len(t, fields, 3, line)
		text, err := strconv.Unquote(fields[2])
		require.NoError(t, err, line)
		e := example{rule: fields[1]}
		text = strings.ReplaceAll(text, "·", "")
		before, rest, marked := strings.Cut(text, "«")
		require.Equal(t, fields[0] == "+", marked, line)
		if secret, after, ok := strings.Cut(rest, "»"); ok {
			e.start, e.end = len(before), len(before)+len(secret)
			text = before + secret + after
		}
		e.text = text
		all = append(all, e)
	}
	require.NotEmpty(t, all)
	return all
}

// TestExamples: every rule finds its example, all of it and nothing more, and
// nothing in its near miss.
func TestExamples(t *testing.T) {
	found, missed := make(map[string]int), make(map[string]int)
	for _, e := range examples(t) {
		var got []example
		for _, m := range Find(nil, []byte(e.text)) {
			got = append(got, example{m.Rule.ID, e.text, m.Start, m.End})
		}
		if e.end == 0 {
			missed[e.rule]++
			assert.Empty(t, got, e)
			continue
		}
		found[e.rule]++
		assert.Equal(t, []example{e}, got)
	}
	for _, r := range Rules() {
		require.NotZero(t, found[r.ID], "%s has no example", r.ID)
		require.NotZero(t, missed[r.ID], "%s has no near miss", r.ID)
	}
}
