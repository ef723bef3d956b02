package sock_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/sock"
)

// Where there are no pidfds, a pid that came to mean another process is told by
// when that one started.
func TestOldKernelPidReuse(t *testing.T) {
	needRoot(t)
	if _, err := os.Stat(lastPID); err != nil {
		missing(t, "needs a kernel that can be told the next pid")
	}
	l, path := oldListen(t)
	exe := program(t, trustedDir(t), "puppet")
	for rounds := 0; ; rounds++ {
		require.Less(t, rounds, 20, "the pid does not come again")
		first := startProgram(t, agent, exe, nil)
		first.do("dial", path)
		conn := oldAccept(t, l)
		require.NoError(t, conn.Peer().Alive())
		for range 20 {
			pause() // start times are told to the hundredth of a second
		}
		first.end()
		if startWithPID(t, first.pid, exe) != nil {
			require.ErrorIs(t, conn.Peer().Alive(), sock.ErrGone)
			return
		}
	}
}
