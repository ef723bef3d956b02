package sock_test

import (
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// denied is a system call that a thread may not make when one of its arguments is
// as given.
type denied struct {
	call     uint32
	argument uint32 // counted from 0
	is       uint32
	answer   syscall.Errno
}

// denying calls f on a thread that may not make some system calls.
func denying(t *testing.T, calls []denied, f func()) {
	t.Helper()
	var err error
	onThread(func() { // the filter ends with the thread
		if err = deny(calls); err == nil {
			f()
		}
	})
	require.NoError(t, err)
}

// deny has the kernel answer these calls of this thread with an error.
func deny(calls []denied) error {
	// Offsets in struct seccomp_data. Of an argument the low half is compared.
	const number, arguments, size = 0, 16, 8
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	skipUnless := func(k uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: skip}
	}
	result := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	var filter []unix.SockFilter
	for _, d := range calls {
		filter = append(filter,
			load(number), skipUnless(d.call, 3),
			load(arguments+d.argument*size), skipUnless(d.is, 1),
			result(unix.SECCOMP_RET_ERRNO|uint32(d.answer)))
	}
	filter = append(filter, result(unix.SECCOMP_RET_ALLOW))
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
}
