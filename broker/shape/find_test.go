package shape

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
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

// TestBounds: what is looked at before a pattern is, refuses nothing that the
// pattern matches, and
// refuses something.
func TestBounds(t *testing.T) {
	for i := range load().rules {
		r := &load().rules[i]
		if r.find != nil {
			continue
		}
		matched := 0
		for _, e := range examples(t) {
			for at := range e.text {
				m := r.compiled().FindStringIndex(e.text[at:])
				if m == nil {
					continue
				}
				matched++
				require.GreaterOrEqual(t, m[1], r.least, r.ID)
				require.True(t, r.bytes.hasAll([]byte(e.text[at:at+r.least])), r.ID)
			}
		}
		require.NotZero(t, matched, r.ID)
		require.GreaterOrEqual(t, r.least, 12, r.ID)
		require.False(t, r.bytes.hasAll([]byte("\"%,")), r.ID)
	}
	least, _, may := bounds(`(?i:A)b(?:[c-e]{3,4}|f)g*h?i+`)
	require.Equal(t, 4, least)
	require.True(t, may.hasAll([]byte("Aabcdefghi")))
	require.False(t, may.hasAll([]byte("B")))
}

// TestLiterals: whatever a pattern matches begins with one of its literals.
func TestLiterals(t *testing.T) {
	for i := range load().rules {
		r := &load().rules[i]
		if r.find != nil {
			continue
		}
		t.Run(r.ID, rapid.MakeCheck(func(t *rapid.T) {
			text := []byte(rapid.StringMatching(r.pattern).Draw(t, "match"))
			// Folding case has it that U+017F is an s and U+212A a k.
			require.True(t, standsAny(r, text) || !r.bytes.hasAll(text[:r.least]), "%q", text)
		}))
	}
}

// TestEndless: a pattern that takes all there is of a kind is not asked where
// that is more than it would be matched against, since that is no match.
func TestEndless(t *testing.T) {
	for pattern, want := range map[string]bool{`ab{2,}`: false, `a[b-d]{2,}`: true, `a[b-d]{2,9}`: false, `(?:x|a[b-d]+)y`: true, `(?:[a-c]{4}\n)+`: false} {
		_, endless, _ := bounds(pattern)
		require.Equal(t, want, endless, pattern)
	}
	key := "xox" + "b-" + strings.Repeat("4Zk9Qw7R", usual/8)
	for n, want := range map[int]int{usual - 1: 1, usual: 1, usual + 1: 0} {
		for _, after := range []string{"", " "} {
			require.Len(t, Find(nil, []byte(key[:n]+after)), want, "%d bytes", n)
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
