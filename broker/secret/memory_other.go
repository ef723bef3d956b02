//go:build unix && !linux

package secret

import "golang.org/x/sys/unix"

// keepOut does nothing: macOS has no such advice, and RLIMIT_CORE is 0.
func keepOut([]byte) {}

// lock keeps the memory from being swapped out.
func lock(mem []byte) error { return unix.Mlock(mem) }
