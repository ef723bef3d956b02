package scan_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/cmd/secretctl/scan"
)

// TestPlanted: what is planted in real sources is found, and nothing else.
func TestPlanted(t *testing.T) {
	size, secrets := 12<<20, 350
	if os.Getenv("SECRETCTL_LONG") != "" {
		size, secrets = 200<<20, 1_400
	}
	c := plant(t, size, secrets, 1)
	began := time.Now()
	s, found := c.find(t)
	took := time.Since(began)
	require.GreaterOrEqual(t, len(kinds), 15)
	require.GreaterOrEqual(t, len(c.planted), secrets)
	wrong := 0
	for _, f := range s.Findings() {
		rel, err := filepath.Rel(c.dir, f.Path)
		require.NoError(t, err)
		if c.planted[planted{rel, f.Line}] == "" {
			wrong++
			t.Errorf("not planted: %s:%d:%d %s", rel, f.Line, f.Column, f.Rule)
		}
	}
	left := maps.Clone(c.planted)
	maps.DeleteFunc(left, func(p planted, _ string) bool { return found[p] })
	missed := make(map[string]int)
	for p, kind := range left {
		if missed[kind]++; missed[kind] < 3 {
			t.Logf("missed: %s, %s:%d", kind, p.path, p.line)
		}
	}
	recall := 1 - float64(len(left))/float64(len(c.planted))
	plain := readAll(t, c.dir)
	t.Logf("%d kinds, %d secrets, %d files, %d MB: recall %.1f %%, %d false; %.0f MB/s beside %.0f MB/s for reading alone (%.2f); missed %v",
		len(kinds), len(c.planted), c.files, c.bytes>>20, 100*recall, wrong, rate(c.bytes, took), rate(c.bytes, plain), plain.Seconds()/took.Seconds(), missed)
	require.GreaterOrEqual(t, recall, 0.95)
}

func rate(bytes int, took time.Duration) float64 { return float64(bytes) / 1e6 / took.Seconds() }

// readAll reads a tree and returns how long that takes.
func readAll(t testing.TB, dir string) time.Duration {
	began := time.Now()
	n := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		n += len(b)
		return err
	}))
	require.NotZero(t, n)
	return time.Since(began)
}

// find searches a corpus and returns the places that were found.
func (c *corpus) find(t *testing.T) (s *scan.Scanner, found map[planted]bool) {
	s = scanned(t, new(scan.Scanner), c.dir)
	found = make(map[planted]bool)
	for _, f := range s.Findings() {
		rel, err := filepath.Rel(c.dir, f.Path)
		require.NoError(t, err)
		found[planted{rel, f.Line}] = true
	}
	return s, found
}

// TestGitleaks: what gitleaks finds of what is planted, this finds too.
// SECRETCTL_GITLEAKS is where gitleaks is; it is no part of a usual run.
func TestGitleaks(t *testing.T) {
	program := os.Getenv("SECRETCTL_GITLEAKS")
	if program == "" {
		t.Skip("SECRETCTL_GITLEAKS does not say where gitleaks is")
	}
	c := plant(t, 12<<20, 350, 2)
	_, ours := c.find(t)
	report := filepath.Join(t.TempDir(), "report.json")
	began := time.Now()
	out, err := exec.CommandContext(t.Context(), program, "dir", "--no-banner", "--exit-code", "0", "-f", "json", "-r", report, c.dir).CombinedOutput()
	took := time.Since(began)
	require.NoError(t, err, "%s", out)
	text, err := os.ReadFile(report)
	require.NoError(t, err)
	var all []struct {
		File      string
		StartLine int
		RuleID    string
	}
	require.NoError(t, json.Unmarshal(text, &all))
	theirs, wrong := make(map[planted]string), 0
	for _, f := range all {
		rel, err := filepath.Rel(c.dir, f.File)
		require.NoError(t, err)
		at := planted{rel, f.StartLine}
		if c.planted[at] == "" {
			at.line++ // it counts the line before some finds
		}
		if c.planted[at] == "" {
			wrong++
			continue
		}
		theirs[at] = f.RuleID
	}
	require.NotEmpty(t, theirs)
	both := 0
	for at := range c.planted {
		if ours[at] {
			both++
		}
	}
	t.Logf("of %d planted gitleaks finds %d, and %d that are none, at %.1f MB/s; this finds %d", len(c.planted), len(theirs), wrong, rate(c.bytes, took), both)
	for at, rule := range theirs {
		require.True(t, ours[at], "only gitleaks finds %s (%s) at %v", c.planted[at], rule, at)
	}
}

// TestThisRepository: no secret lies about here, and what looks like one is in
// testdata.
func TestThisRepository(t *testing.T) {
	top, err := filepath.Abs("../../..")
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(top, "go.mod"))
	s := scanned(t, new(scan.Scanner), top)
	require.Greater(t, s.Progress().Files, int64(100))
	for _, f := range s.Findings() {
		rel, err := filepath.Rel(top, f.Path)
		require.NoError(t, err)
		if !slices.Contains(strings.Split(filepath.ToSlash(rel), "/"), "testdata") {
			t.Errorf("%s:%d:%d: %s", rel, f.Line, f.Column, f.Rule)
		}
	}
}

// BenchmarkTree searches real sources; the limit is to read them.
func BenchmarkTree(b *testing.B) {
	c := plant(b, 24<<20, 100, 3)
	b.Run("scan", func(b *testing.B) {
		b.SetBytes(int64(c.bytes))
		for b.Loop() {
			new(scan.Scanner).Paths(b.Context(), []string{c.dir})
		}
	})
	b.Run("limit: reading", func(b *testing.B) {
		b.SetBytes(int64(c.bytes))
		for b.Loop() {
			readAll(b, c.dir)
		}
	})
}
