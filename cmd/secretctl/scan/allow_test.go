package scan_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/cmd/secretctl/scan"
)

const allow = "secretctl:" + "allow"

// TestAllowComment: where a comment allows a find and where it does not.
func TestAllowComment(t *testing.T) {
	line := strings.TrimSpace(fake)
	for text, allowed := range map[string]bool{
		line + " # " + allow:                           true,
		"/* " + allow + " */ " + line:                  true,
		"# " + allow + "\n" + line:                     true,
		"x\n\t// " + allow + ": made up\n" + line:      true,
		"<!-- " + allow + " -->\n" + line:              true,
		line + "\n# " + allow:                          false,
		"# " + allow + "\n\n" + line:                   false,
		"x = 1 # " + allow + "\n" + line:               false,
		"# " + allow[:len(allow)-1] + "\n" + line:      false,
		"pass" + "word: \"x7Gk2" + allow + "pQ9vTzL\"": false,
	} {
		dir := t.TempDir()
		write(t, dir, map[string]string{"f": text})
		s := scanned(t, new(scan.Scanner), dir)
		require.Equal(t, allowed, len(s.Findings()) == 0, text)
		require.Equal(t, allowed, s.Progress().Allowed == 1, text)
	}
}

// TestAllowFile: a fingerprint allows one find, from wherever the scan is
// started, and says nothing of the value.
func TestAllowFile(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{".git/HEAD": "", "sub/f": fake + "x\n" + fake})
	found := scanned(t, new(scan.Scanner), dir).Findings()
	require.Len(t, found, 2)
	require.NotEqual(t, found[0].Fingerprint, found[1].Fingerprint)

	write(t, dir, map[string]string{scan.AllowFile: "# made up\n\n" + found[0].Fingerprint + " # " + "the first\n"})
	for _, path := range []string{dir, filepath.Join(dir, "sub"), filepath.Join(dir, "sub/f")} {
		left := scanned(t, new(scan.Scanner), path).Findings()
		require.Len(t, left, 1, path)
		require.Equal(t, found[1].Fingerprint, left[0].Fingerprint)
	}
	t.Chdir(filepath.Join(dir, "sub"))
	require.Len(t, scanned(t, new(scan.Scanner), ".").Findings(), 1)

	// Lines before it do not matter, the value does not either.
	write(t, dir, map[string]string{"sub/f": "one\nmore\n" + strings.Replace(fake, "x7Gk", "y8Hl", 1)})
	require.Empty(t, scanned(t, new(scan.Scanner), dir).Findings())
	// Another file does, and so does a value that is in the vault.
	write(t, dir, map[string]string{"sub/g": fake})
	require.Len(t, scanned(t, new(scan.Scanner), dir).Findings(), 1)
	require.Len(t, scanned(t, known("a", "y8Hl2pQ9vTzL"), dir).Findings(), 2)
}

// TestAllowFileIsStrict: a line that is no fingerprint is trouble, not nothing.
func TestAllowFileIsStrict(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"x7Gk2pQ9vTzL\n", "0123\n", strings.Repeat("0", 18) + "\n", "sub/f\n"} {
		write(t, dir, map[string]string{"f": fake, scan.AllowFile: "# first\n" + text})
		s := new(scan.Scanner)
		s.Paths(t.Context(), []string{dir})
		require.Len(t, s.Troubles(), 1)
		require.ErrorContains(t, s.Troubles()[0], "line 2 is no fingerprint")
		require.NotContains(t, s.Troubles()[0].Error(), strings.TrimSpace(text))
	}
	require.NoError(t, os.Remove(filepath.Join(dir, scan.AllowFile)))
	require.NoError(t, os.Symlink("f", filepath.Join(dir, scan.AllowFile)))
	s := new(scan.Scanner)
	s.Paths(t.Context(), []string{dir})
	require.Len(t, s.Troubles(), 1)
}
