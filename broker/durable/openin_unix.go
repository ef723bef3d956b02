//go:build unix

package durable

import (
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// openIn opens a file of an open directory, and never what a link there leads to.
func openIn(dir *os.File, base string, flag int, perm fs.FileMode) (*os.File, error) {
	var file int
	err := withFD(dir, func(fd int) (err error) {
		file, err = unix.Openat(fd, base, flag|unix.O_NOFOLLOW|unix.O_CLOEXEC|waitless, uint32(perm.Perm()))
		return err
	})
	if err != nil {
		return nil, err
	}
	return regular(file, filepath.Join(dir.Name(), base))
}
