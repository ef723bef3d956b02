package dotenv_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/cmd/secretctl/dotenv"
)

// TestReadings: of every file each of our readers reads what the real parser
// does, but where it says that it does not know.
func TestReadings(t *testing.T) {
	want := loadReadings(t)
	values, open := 0, 0
	for _, f := range fixtures(t) {
		got, unknown := dotenv.Readings(f.b)
		for _, d := range dotenv.Dialects() {
			expected := want[f.name][d]
			if expected == nil && knows(unknown[d]) {
				require.Nil(t, got[d], "%s: %s gives up on it", f.name, d)
			}
			if expected == nil {
				continue
			}
			require.NotNil(t, got[d], "%s: %s does not give up on it", f.name, d)
			for key, value := range expected {
				found, ok := got[d][key]
				if open++; unknown[d][key] {
					continue
				}
				open--
				values++
				require.True(t, ok, "%s: %s reads %q", f.name, d, key)
				if d == dotenv.Motdotla {
					found = string([]rune(found)) // what is no UTF-8 becomes U+FFFD there
				}
				require.Equal(t, value, found, "%s: %s: %q", f.name, d, key)
			}
			for key := range got[d] {
				_, ok := expected[key]
				require.True(t, ok || unknown[d][key], "%s: %s does not read %q", f.name, d, key)
			}
		}
	}
	require.Greater(t, values, 20*open, "the readers say that they do not know, too often")
	t.Logf("%d values compared, %d not known", values, open)
}

// knows reports whether a reader claims to know every value of a file. One that
// does not cannot tell either whether the real parser would give up on it.
func knows(open map[string]bool) bool {
	for _, is := range open {
		if is {
			return false
		}
	}
	return true
}

// TestDisagree: an entry names a dialect exactly when the real parser reads
// another value, or none. It may say so of a value that a program happens to print
// too.
func TestDisagree(t *testing.T) {
	want := loadReadings(t)
	agree, disagree, toomuch := 0, 0, 0
	for _, f := range fixtures(t) {
		file, err := dotenv.Parse(f.b)
		require.NoError(t, err, f.name)
		_, unknown := dotenv.Readings(f.b)
		var refused []dotenv.Dialect
		for _, r := range file.Refusals() {
			refused = append(refused, r.Dialect)
		}
		last := map[string]dotenv.Entry{}
		for _, e := range file.Entries() {
			last[e.Key] = e
		}
		for _, d := range dotenv.Dialects() {
			if want[f.name][d] == nil {
				require.True(t, slices.Contains(refused, d) || !knows(unknown[d]), f.name)
				continue
			}
			require.NotContains(t, refused, d, f.name)
			for key, e := range last {
				value, ok := want[f.name][d][key]
				if ok && value == string(e.Value) && unknown[d][key] {
					toomuch++
				} else if ok && value == string(e.Value) {
					require.NotContains(t, e.Disagree, d, "%s: %s", f.name, key)
					agree++
				} else {
					require.Contains(t, e.Disagree, d, "%s: %s", f.name, key)
					disagree++
				}
			}
		}
	}
	require.Greater(t, disagree, 100)
	require.Less(t, toomuch, 6)
	t.Logf("%d agree, %d do not, %d said to and do not", agree, disagree, toomuch)
}
