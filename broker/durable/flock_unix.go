//go:build unix

package durable

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

const noFollow = unix.O_NOFOLLOW

// flock takes an exclusive lock on an open file, or fails with ErrLocked.
func flock(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for {
			if failed = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB); failed != unix.EINTR {
				return
			}
		}
	})
	if failed == unix.EWOULDBLOCK {
		failed = ErrLocked
	}
	return errors.Join(err, failed)
}
