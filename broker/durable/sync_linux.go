package durable

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncFile makes the content durable, and of the metadata what is needed to
// read it back, the size included; not the time stamps.
func syncFile(f *os.File) error {
	if err := withFD(f, unix.Fdatasync); err != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}
