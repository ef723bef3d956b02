//go:build linux || darwin

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// copyAttributes gives a file the extended attributes of another, access lists
// among them. Those that the system keeps for itself it gives to each file anew.
func copyAttributes(from, to *os.File) error {
	names, err := sized(func(b []byte) (int, error) { return unix.Flistxattr(int(from.Fd()), b) })
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSYS) {
		return nil
	} else if err != nil {
		return fmt.Errorf("reading its extended attributes: %w", err)
	}
	for name := range bytes.SplitSeq(names, []byte{0}) {
		if len(name) == 0 || bytes.HasPrefix(name, []byte("security.")) || bytes.HasPrefix(name, []byte("com.apple.")) {
			continue
		}
		attr := string(name)
		value, err := sized(func(b []byte) (int, error) { return unix.Fgetxattr(int(from.Fd()), attr, b) })
		if err == nil {
			err = unix.Fsetxattr(int(to.Fd()), attr, value, 0)
		}
		if err != nil {
			return fmt.Errorf("keeping its extended attribute %q: %w", attr, err)
		}
	}
	return nil
}

// sized calls what fills a buffer, or says how large it must be when it is empty.
func sized(call func(b []byte) (int, error)) ([]byte, error) {
	for {
		n, err := ignoringEINTR(func() (int, error) { return call(nil) })
		if err != nil || n == 0 {
			return nil, err
		}
		b := make([]byte, n)
		n, err = ignoringEINTR(func() (int, error) { return call(b) })
		if err != unix.ERANGE { // it has not grown in between
			return b[:max(n, 0)], err
		}
	}
}
