package main

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// exchange makes two names of a directory change places, at once. It fails with
// [errors.ErrUnsupported] where the file system cannot.
func exchange(dir *os.File, a, b string) error {
	fd := int(dir.Fd())
	_, err := ignoringEINTR(func() (int, error) { return 0, unix.RenameatxNp(fd, a, fd, b, unix.RENAME_SWAP) })
	if err == unix.ENOTSUP || err == unix.EINVAL {
		return errors.ErrUnsupported
	}
	return err
}

// changeTime returns when the file's content, mode, owner or names changed last.
func changeTime(info fs.FileInfo) syscall.Timespec {
	return info.Sys().(*syscall.Stat_t).Ctimespec
}
