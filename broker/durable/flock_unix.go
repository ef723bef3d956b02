//go:build unix

package durable

import (
	"os"

	"golang.org/x/sys/unix"
)

// flock takes an exclusive lock on an open file, or fails with ErrLocked.
func flock(f *os.File) error {
	err := withFD(f, func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if err == unix.EWOULDBLOCK {
		return ErrLocked
	}
	return err
}

// unlock lets go of a lock before its file is closed, which does not while a
// part of the file is mapped.
func unlock(f *os.File) error {
	return withFD(f, func(fd int) error { return unix.Flock(fd, unix.LOCK_UN) })
}
