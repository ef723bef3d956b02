//go:build unix

package durable

import (
	"errors"
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
	err = conn.Control(func(fd uintptr) { failed = retried(func() error { return call(int(fd)) }) })
	if err != nil {
		return fs.ErrClosed // nothing else makes it fail, and it says so in a way of its own
	}
	return failed
}

// retried makes a system call until no signal interrupts it.
func retried(call func() error) (err error) {
	for {
		if err = call(); err != unix.EINTR {
			return err
		}
	}
}

// waitless is what a file is opened with: a pipe with nobody at its other end
// would be waited for.
const waitless = unix.O_NONBLOCK

// regular is the file with the descriptor, which was opened waitless. What is no
// regular file is closed.
func regular(fd int, name string) (*os.File, error) {
	var st unix.Stat_t
	err := retried(func() error { return unix.Fstat(fd, &st) })
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errors.New("it is not a file")
	}
	if err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}
