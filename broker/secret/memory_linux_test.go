package secret

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// The memory for values and for answers is locked (lo), left out of core dumps
// (dd) and of children (wf).
func TestMemoryIsKept(t *testing.T) {
	require.NoError(t, Lock())
	a, err := values()
	require.NoError(t, err)
	b, err := GetBuffer()
	require.NoError(t, err)
	defer b.Release()
	for what, mem := range map[string][]byte{
		"first value":  a.mem[:1],
		"last value":   a.mem[len(a.mem)-1:],
		"buffer":       b.own[:1],
		"buffer's end": b.own[BufferSize-1 : BufferSize],
	} {
		require.Subset(t, flagsOf(t, mem), []string{"lo", "dd", "wf"}, what)
	}
	require.NotContains(t, flagsOf(t, make([]byte, 1<<20)), "dd", "as any memory is")
}

// flagsOf returns the VmFlags of the mapping that b is in.
func flagsOf(t *testing.T, b []byte) []string {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	require.NoError(t, err)
	defer f.Close()
	at := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	inside := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var from, to uintptr
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x ", &from, &to); n == 2 {
			inside = from <= at && at < to
		}
		if flags, ok := strings.CutPrefix(lines.Text(), "VmFlags:"); ok && inside {
			return strings.Fields(flags)
		}
	}
	t.Fatal("no mapping")
	return nil
}
