//go:build unix

package secret

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Harden keeps what this process knows inside it: it leaves no core dump, and on
// Linux no process of the same uid may look into it and nothing it starts
// inherits files it was started with. A broker calls it before it reads
// anything.
//
// Left open: root; the image a machine writes when it hibernates; on macOS a
// debugger of the same uid, whom only the hardened runtime of a signed binary
// keeps out. ptrace(PT_DENY_ATTACH) would not: task_for_pid does not ask it.
func Harden() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("turning core dumps off: %w", err)
	}
	return keepIn()
}
