//go:build unix

package durable

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// withFD makes a system call on an open file until no signal interrupts it.
func withFD(f *os.File, call func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for {
			if failed = call(int(fd)); failed != unix.EINTR {
				return
			}
		}
	})
	if err != nil {
		return fs.ErrClosed // nothing else makes it fail, and it says so in a way of its own
	}
	return failed
}
