package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestImportProgress: many files have a line on a terminal that says how far it
// is, and is gone at the end; a few have none, and a pipe neither.
func TestImportProgress(t *testing.T) {
	h := newTestHome(t)
	args := []string{"import", "--dry-run"}
	for n := range 12 {
		path := filepath.Join(h.dir, fmt.Sprintf("%d.env", n))
		require.NoError(t, os.WriteFile(path, []byte("PORT=3000\n"), 0o600))
		args = append(args, path)
	}
	p := onTerminal(t, h.command(args...))
	require.Equal(t, exitOK, p.ends())
	p.await("12 of 12 files read\r\x1b[K")
	p = onTerminal(t, h.command(args[:6]...))
	require.Equal(t, exitOK, p.ends())
	p.await("it does not look secret")
	require.NotContains(t, p.screen(), "files read")
	out, err := h.command(args...).CombinedOutput()
	require.NoError(t, err)
	require.NotContains(t, string(out), "files read")
	require.Equal(t, 12, strings.Count(string(out), "it does not look secret"))
}
