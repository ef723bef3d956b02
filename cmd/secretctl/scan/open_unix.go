//go:build unix

package scan

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// errKind is the error of what is no file.
var errKind = errors.New("it is no regular file")

// openFile opens a regular file for reading: beneath a root, which no link leads
// out of, or anywhere (nil) if the file itself is no link. Nobody is waited for:
// a pipe without a writer, a device, a file that another process has leased.
func openFile(root *os.Root, path string) (*os.File, error) {
	const flags = os.O_RDONLY | syscall.O_NOFOLLOW | syscall.O_NONBLOCK | syscall.O_NOCTTY
	var f *os.File
	var err error
	if root == nil {
		f, err = os.OpenFile(path, flags, 0)
	} else {
		f, err = root.OpenFile(path, flags, 0)
	}
	if err != nil {
		return nil, reason(err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errKind
	}
	if err != nil {
		return nil, errors.Join(reason(err), f.Close())
	}
	return f, nil
}

// reason returns an error without the path that it repeats.
func reason(err error) error {
	var e *os.PathError
	if errors.As(err, &e) {
		return fmt.Errorf("%w", e.Err)
	}
	return err
}
