//go:build !race

// The library compiles 9 MB of WebAssembly, which takes minutes under the race
// detector; make core runs this without.

package onepassword_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/providers/onepassword"
)

// TestCoreMemory: what the library costs is the helper's, and gone with it.
func TestCoreMemory(t *testing.T) {
	p := openProcess(t, onepassword.Setting{Idle: 300 * time.Millisecond}, "SECRETCTL_TEST_CORE=1")
	before := resident(os.Getpid())
	put(t, p, "a", "value")
	get(t, p, "a", "value")
	pid := p.last().Pid
	helper := resident(pid)
	require.Greater(t, helper, 100<<20, "the core is loaded")
	require.Less(t, resident(os.Getpid())-before, 8<<20)
	t.Logf("helper %d MiB; this process %d MiB before, %d after", helper>>20, before>>20, resident(os.Getpid())>>20)
	require.Eventually(t, func() bool { return resident(pid) == 0 }, 10*time.Second, 10*time.Millisecond)
	require.Len(t, p.started, 1)

	get(t, p, "a", "value")
	require.Len(t, p.started, 2, "it is started again")
}
