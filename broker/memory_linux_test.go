package broker_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/secret/canary"
	"secretctl/sock"
)

// copies counts how often needle is in the memory of a process.
func copies(t *testing.T, pid int, needle []byte) (n int) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	require.NoError(t, err)
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	require.NoError(t, err)
	defer mem.Close()
	scanned := 0
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil || !strings.HasPrefix(mode, "r") {
			continue
		}
		const step = 1 << 20
		for at := from; at < to; at += step {
			// A piece overlaps the next by the needle, or a copy on the border is missed.
			buf := make([]byte, min(step+int64(len(needle))-1, to-at))
			got, _ := mem.ReadAt(buf, at) // [vvar] cannot be read
			n += bytes.Count(buf[:got], needle)
			scanned += got
		}
	}
	require.Greater(t, scanned, 1<<20, "the process's memory was not read")
	return n
}

// TestMemScan: two seconds after the last lease on it has ended, no copy of a
// value is left that handing it out has made. Opening the file leaves what age's
// own buffers leave; that number is published.
func TestMemScan(t *testing.T) {
	needRoot(t)
	h := newHome(t, grants)
	b, err := h.open()
	require.NoError(t, err)
	value := canary.New(t, "value")
	mint(t, b, "weather", "value")
	mint(t, b, "other", "nothing")
	require.NoError(t, b.Close())
	p := h.start("serve")

	// The whole value is in no memory of ours that could be mistaken.
	lease := func(times int) {
		c, err := broker.Dial(t.Context(), h.path(broker.OwnerSocket), sock.DialOptions{AllowSticky: true})
		require.NoError(t, err)
		defer c.Close()
		for range times {
			handed, err := c.Lease(t.Context(), broker.LeaseRequest{Secret: "weather"})
			require.NoError(t, err)
			require.Equal(t, value, reveal(t, handed.Value))
			handed.Value.Clear()
			_, err = c.Renew(t.Context(), handed.LeaseID, false)
			require.NoError(t, err)
			require.NoError(t, c.Release(t.Context(), handed.LeaseID))
		}
	}
	c := h.client(broker.OwnerSocket)
	held, err := c.Lease(t.Context(), broker.LeaseRequest{Secret: "weather"})
	require.NoError(t, err)
	opened := copies(t, p.Process.Pid, []byte(value))
	require.NotZero(t, opened, "a value that is leased is in memory: the scan finds it")
	lease(50)
	require.LessOrEqual(t, copies(t, p.Process.Pid, []byte(value)), opened, "handing out left copies")

	require.NoError(t, c.Release(t.Context(), held.LeaseID))
	held.Value.Clear()
	var left int
	require.Eventually(t, func() bool {
		left = copies(t, p.Process.Pid, []byte(value))
		return left < opened
	}, patience, 50*time.Millisecond, "the cached value was not cleared")
	t.Logf("copies after the lease ended: 0 of the response path, %d of opening the age file", left)
	require.NoError(t, p.stop())
}
