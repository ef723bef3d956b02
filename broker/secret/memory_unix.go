//go:build unix

package secret

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// lockedMemory maps zeroed memory outside the Go heap. notLocked says why it
// could not be locked against swapping; it is usable all the same.
func lockedMemory(size int) (mem []byte, notLocked, err error) {
	mem, err = unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, nil, err
	}
	keepOut(mem)
	return mem, lock(mem), nil
}

// distance is how many bytes after the start of mem b begins.
func distance(mem, b []byte) int {
	return int(uintptr(unsafe.Pointer(unsafe.SliceData(b))) - uintptr(unsafe.Pointer(unsafe.SliceData(mem))))
}
