package secret_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCoreHasNoCanary: even where a core is written, no value is in it.
func TestCoreHasNoCanary(t *testing.T) {
	canary, heap := newText(), "heap-"+rand.Text()
	c := start(t, "holder", func(c *exec.Cmd) {
		c.Env = append(c.Env, "HEAP="+heap, "GOTRACEBACK=crash")
		c.Dir = t.TempDir()
		c.Stderr = nil
	})
	c.tell(t, canary)
	require.Equal(t, "ready", c.line(t))
	core := dump(t, c)
	require.True(t, inFile(t, core, heap+heap), "the core has no heap in it")
	require.False(t, inFile(t, core, canary))
}

// dump makes the kernel write a core of the child, or gcore where the kernel
// hands it to somebody else.
func dump(t *testing.T, c *child) (file string) {
	t.Helper()
	pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	require.NoError(t, err)
	if strings.ContainsAny(string(pattern), "|/") {
		gcore, err := exec.LookPath("gcore")
		if err != nil {
			missing(t, "needs gcore, of gdb")
		}
		out, err := exec.CommandContext(t.Context(), gcore, "-o", filepath.Join(c.Dir, "core"), strconv.Itoa(c.Process.Pid)).CombinedOutput()
		require.NoError(t, err, "%s", out)
	} else {
		require.NoError(t, c.Process.Signal(syscall.SIGABRT))
		var exit *exec.ExitError
		require.ErrorAs(t, c.Wait(), &exit)
		require.True(t, exit.Sys().(syscall.WaitStatus).CoreDump(), "cores are forbidden here: ulimit -H -c")
	}
	require.Len(t, files(t, c.Dir), 1)
	return filepath.Join(c.Dir, files(t, c.Dir)[0])
}

// inFile reports whether the text is in the file, which is large.
func inFile(t *testing.T, name, text string) bool {
	t.Helper()
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<20)
	for {
		window, err := r.Peek(r.Size())
		if bytes.Contains(window, []byte(text)) {
			return true
		}
		if err == io.EOF {
			return false
		}
		require.NoError(t, err)
		_, err = r.Discard(len(window) - len(text))
		require.NoError(t, err)
	}
}
