package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/clock"
	"secretctl/broker/secret/canary"
)

// TestImportEveryFile imports the files that the tests of package dotenv have, a
// quarter of the generated ones unless there is time, with all that is in them, and puts
// them back, byte for byte. What could not be put back so is refused.
func TestImportEveryFile(t *testing.T) {
	found, err := filepath.Glob("dotenv/testdata/*/*.env")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(found), 150)
	h := newTestHome(t)
	dir := canary.Dir(t)
	refused, moved := 0, 0
	for n, path := range found {
		if n%4 != 0 && strings.Contains(path, "generated") && os.Getenv("SECRETCTL_LONG") == "" {
			continue
		}
		before, err := os.ReadFile(path)
		require.NoError(t, err)
		if bytes.Contains(before, []byte("secret://")) {
			continue // of secrets that are not there
		}
		file := filepath.Join(dir, filepath.Base(path))
		require.NoError(t, os.WriteFile(file, before, 0o600))
		out, code := h.inside("import", "--all", "--json", "--prefix", canonical(path), file)
		if code != exitOK || !strings.Contains(out, `"rewritten": true`) {
			requireContent(t, file, before)
			if code != exitOK {
				refused++
			}
			continue
		}
		moved++
		said, code := h.inside("import", "--undo", file)
		require.Equal(t, exitOK, code, "%s: %s", path, said)
		requireContent(t, file, before)
	}
	require.Greater(t, moved, 100)
	t.Logf("%d files: %d moved in and came back byte for byte, %d were refused and stayed as they are", len(found), moved, refused)
}

// inside runs a command in this process and returns what it prints.
func (h *testHome) inside(args ...string) (out string, code int) {
	var b bytes.Buffer
	w := &world{args: args, stdin: strings.NewReader(""), stdout: &b, stderr: &b, clock: clock.System()}
	w.env = func(key string) (string, bool) {
		for _, v := range h.env {
			if name, value, _ := strings.Cut(v, "="); name == key {
				return value, true
			}
		}
		return "", false
	}
	code = run(w)
	return b.String(), code
}

// canonical makes a part of a name of a file's path.
func canonical(path string) string {
	return strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(strings.TrimSuffix(filepath.Base(path), ".env")))
}

func requireContent(t *testing.T, path string, want []byte) {
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), path)
}
