package passage_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/providers/storetest"
)

// grown is a directory of passage with n secrets, all of which are the same file.
// BenchmarkGrowth of the age store has the limits: this one writes two such files.
func grown(t testing.TB, n int) storetest.Grown {
	home := place(t)
	s := storeIn(home)
	put(t, s, storetest.Filler(0), 1, "filler")
	paths := func(i int) []string {
		name := string(storetest.Filler(i))
		return []string{filepath.Join(home, "store", name+".age"), filepath.Join(home, "store", ".secretctl", name, "@1.age")}
	}
	sealed, err := os.ReadFile(paths(0)[0])
	require.NoError(t, err)
	for i := 1; i < n; i++ {
		for _, path := range paths(i) {
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
			require.NoError(t, os.WriteFile(path, sealed, 0o600))
		}
	}
	return storetest.Grown{Store: s, N: n, Value: func(int) string { return "filler" }}
}

// What a large directory costs.
func BenchmarkGrowth(b *testing.B) {
	storetest.Grow(b, func(b *testing.B, n int) storetest.Grown { return grown(b, n) })
}

// However many secrets there are, each is served as what it is.
func TestGrown(t *testing.T) {
	n := 300
	if os.Getenv("SECRETCTL_LONG") != "" {
		n = 10_000
	}
	storetest.Served(t, grown(t, n))
}
