package broker_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"secretctl/broker"
)

// TestTenThousand: ten thousand half-open connections cost memory in measure,
// and an honest caller waits no longer for them.
func TestTenThousand(t *testing.T) {
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	// A container may not raise its limit, and a connection costs the broker two.
	n := min(10_000, int(min(limit.Max, 1<<20)-300)/2)
	require.Greater(t, n, 4_000, "RLIMIT_NOFILE is too low here: ulimit -Hn 20000")
	// One agent, or each would get half of the descriptors.
	h, p := weatherProcess(t, strings.SplitAfter(grants, "uid = 61001")[0]+"\n[broker]\nmax_connections = 20000\nowners = [61002]\n")
	held, release := h.hold(agentUID, n)
	defer release()
	require.Greater(t, held, n-100)
	took := h.answered(t, broker.OwnerSocket, otherUID, 200)
	p99, rss := took[len(took)*99/100], residentKiB(t, p.Process.Pid)>>10
	t.Logf("%d half-open connections: RSS %d MiB, an honest caller's p99 %v", held, rss, p99)
	if !raceEnabled { // its shadow memory is not the broker's
		require.Less(t, rss, 300)
	}
}

func residentKiB(t testing.TB, pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(status), "VmRSS:")
	require.True(t, ok)
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	require.NoError(t, err)
	return kib
}

// TestFdExhaust: with few descriptors and a uid that takes all it can get, the
// other agent and the owner are answered within a second.
func TestFdExhaust(t *testing.T) {
	h, p := weatherProcess(t, grants)
	limit := unix.Rlimit{Cur: 64, Max: 64}
	require.NoError(t, unix.Prlimit(p.Process.Pid, unix.RLIMIT_NOFILE, &limit, nil))
	_, release := h.hold(agentUID, 200)
	defer release()
	for range 5 {
		took := h.answered(t, broker.AgentSocket, otherUID, 4)
		require.Less(t, took[len(took)-1], time.Second)
		began := time.Now()
		_, err := h.client(broker.OwnerSocket).Status(t.Context())
		require.NoError(t, err)
		require.Less(t, time.Since(began), time.Second)
	}
}
