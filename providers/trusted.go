package providers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"secretctl/sock"
)

// Trusted returns nil where nobody but root and the broker's own user can change
// the file: whoever writes what says which server is the right one is given the
// credential. It is asked before each reading, since what was so when the config
// was read may have changed. what is the file, for a person.
func Trusted(what, path string) error {
	err := sock.TrustedPath(path, uint32(os.Geteuid()), true)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return &CallError{DefinitelyNot, CodeOptions, 0, fmt.Sprintf("%s %q is not there", what, path), "make it, or name the right one"}
	case errors.Is(err, sock.ErrUntrusted):
		return &CallError{DefinitelyNot, CodeOptions, 0, fmt.Sprintf("%s could be changed by others: %v", what, err), "let it, and all directories above it, belong to root or to the broker's user, and nobody else write them"}
	}
	return &CallError{DefinitelyNot, CodeOptions, 0, fmt.Sprintf("%s cannot be looked at: %v", what, err), "let the broker's user read it"}
}
