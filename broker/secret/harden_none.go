//go:build !unix

package secret

import "errors"

// Harden refuses: nothing is known here about keeping a process private.
func Harden() error { return errors.ErrUnsupported }
