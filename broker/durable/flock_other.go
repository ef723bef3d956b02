//go:build !unix

package durable

import (
	"errors"
	"os"
)

const noFollow = 0

// flock refuses: without a lock two brokers could share a home.
func flock(*os.File) error { return errors.ErrUnsupported }
