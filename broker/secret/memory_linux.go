package secret

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// keepOut leaves the memory out of core dumps and out of children. Kernels
// that do not know the advice go on without: RLIMIT_CORE is 0 as well.
func keepOut(mem []byte) {
	_ = unix.Madvise(mem, unix.MADV_DONTDUMP)
	_ = unix.Madvise(mem, unix.MADV_WIPEONFORK)
}

// lock keeps the memory from being swapped out, each page from when it is first
// used: a command that holds one value need not touch 4 MiB first.
func lock(mem []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_MLOCK2, uintptr(unsafe.Pointer(unsafe.SliceData(mem))), uintptr(len(mem)), unix.MLOCK_ONFAULT)
	switch errno {
	case 0:
		return nil
	case unix.ENOSYS: // before Linux 4.4
		return unix.Mlock(mem)
	}
	return errno
}
