package secret

import "golang.org/x/sys/unix"

// keepOut leaves the memory out of core dumps and out of children. Kernels
// that do not know the advice go on without: RLIMIT_CORE is 0 as well.
func keepOut(mem []byte) {
	_ = unix.Madvise(mem, unix.MADV_DONTDUMP)
	_ = unix.Madvise(mem, unix.MADV_WIPEONFORK)
}
