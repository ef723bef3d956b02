package secret

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// keepIn makes the process one that cannot be dumped: /proc/PID then belongs to
// root, ptrace needs CAP_SYS_PTRACE, and no core is piped to a handler, which
// RLIMIT_CORE does not prevent. Kernels before 5.11 do not know the last step.
func keepIn() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("keeping debuggers of the same uid out: %w", err)
	}
	_ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	return nil
}
