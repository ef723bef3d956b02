package scan_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"secretctl/cmd/secretctl/scan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a line with a secret in it, which was made here.
const fake = "pass" + "word: \"x7Gk2pQ9vTzL\"\n"

// write makes files below a directory: name → text.
func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
}

// places lists where was found something below a directory.
func places(t testing.TB, s *scan.Scanner, dir string) (all []string) {
	t.Helper()
	for _, f := range s.Findings() {
		rel, err := filepath.Rel(dir, f.Path)
		require.NoError(t, err)
		require.NotEmpty(t, f.Rule)
		require.NotEmpty(t, f.What)
		require.Len(t, f.Fingerprint, 16)
		all = append(all, rel)
	}
	return all
}

// scanned searches paths and requires that all of them could be.
func scanned(t testing.TB, s *scan.Scanner, paths ...string) *scan.Scanner {
	t.Helper()
	s.Paths(t.Context(), paths)
	require.Empty(t, s.Troubles())
	return s
}

// known is a scanner that knows a value of the vault.
func known(name, value string) *scan.Scanner {
	return &scan.Scanner{Longest: len(value), Known: func(b []byte) (hits []scan.Hit) {
		for at := 0; ; {
			n := strings.Index(string(b[at:]), value)
			if n < 0 {
				return hits
			}
			hits = append(hits, scan.Hit{Name: name, Start: at + n, End: at + n + len(value)})
			at += n + len(value)
		}
	}}
}

// ruleAt returns the rules that findings are of, by place.
func rulesOf(s *scan.Scanner) (all []string) {
	for _, f := range s.Findings() {
		all = append(all, f.Rule)
	}
	slices.Sort(all)
	return all
}
