//go:build !unix

package durable

import (
	"errors"
	"os"
)

// flock refuses: without a lock two brokers could share a home.
func flock(*os.File) error { return errors.ErrUnsupported }

func unlock(*os.File) error { return errors.ErrUnsupported }
