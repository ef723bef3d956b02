//go:build !unix

package durable

import (
	"errors"
	"io/fs"
	"os"
)

// openIn refuses: a link could lead elsewhere.
func openIn(*os.File, string, int, fs.FileMode) (*os.File, error) {
	return nil, errors.ErrUnsupported
}
