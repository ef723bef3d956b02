package shape

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// findUngated is what Find does, without the gate: it asks every rule
// everywhere, and those with a pattern whether a literal stands there or not.
func findUngated(b []byte) []Match {
	var all []Match
	rules := load().rules
	for at := range b {
		for i := range rules {
			r := &rules[i]
			if r.find != nil && !standsAny(r, b[at:]) {
				continue
			}
			if start, end, ok := r.at(b, at); ok {
				all = append(all, Match{r, start, end})
			}
		}
	}
	return settle(all)
}

func standsAny(r *Rule, b []byte) bool {
	for _, text := range r.literals {
		if bytes.HasPrefix(b, []byte(text)) || r.fold && len(b) >= len(text) && strings.EqualFold(string(b[:len(text)]), text) {
			return true
		}
	}
	return false
}

func requireFindsAll(t *testing.T, b []byte) {
	found := Find(nil, b)
	at := 0
	for _, m := range found {
		require.NotNil(t, m.Rule)
		require.LessOrEqual(t, at, m.Start, "out of order, or overlapping: %s", m.Rule.ID)
		require.Less(t, m.Start, m.End, m.Rule.ID)
		require.LessOrEqual(t, m.End, len(b), m.Rule.ID)
		at = m.End
	}
	require.Equal(t, findUngated(b), append([]Match(nil), found...))
}

// TestGate: the gate lets everything pass that a rule would find, wherever it
// stands.
func TestGate(t *testing.T) {
	for _, e := range examples(t) {
		for pad := range 9 {
			requireFindsAll(t, []byte(strings.Repeat(" ", pad)+e.text+strings.Repeat(".", 8-pad)))
		}
	}
}

// TestFindAppends: what is in dst stays, and settles nothing.
func TestFindAppends(t *testing.T) {
	e := examples(t)[0]
	once := Find(nil, []byte(e.text))
	require.Len(t, once, 1)
	require.Equal(t, append(once, once...), Find(once, []byte(e.text)))
}

func FuzzFind(f *testing.F) {
	for _, e := range examples(f) {
		f.Add([]byte(e.text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4<<10 {
			return // the oracle is slow
		}
		requireFindsAll(t, b)
		LooksSecret("PASSWORD", b)
		LooksSecret(string(b), b)
	})
}
