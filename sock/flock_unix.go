//go:build unix

package sock

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

const noFollow = unix.O_NOFOLLOW

// flock takes the lock without waiting, or fails with ErrInUse.
func flock(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(failed, unix.EWOULDBLOCK) {
		failed = ErrInUse
	}
	return errors.Join(err, failed)
}
