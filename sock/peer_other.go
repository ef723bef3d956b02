//go:build !linux && !darwin

package sock

import (
	"errors"
	"io/fs"
)

// Elsewhere nothing is known about who is at the other end, so nobody is let in.

type pin struct{}

func peerOf(int) (*Peer, error)            { return nil, errors.ErrUnsupported }
func (pin) alive() error                   { return ErrGone }
func (pin) close() error                   { return nil }
func serverUID(int) (uint32, error)        { return 0, errors.ErrUnsupported }
func prepare(int, fs.FileMode) error       { return errors.ErrUnsupported }
func checkSender(*Peer, []byte, int) error { return errors.ErrUnsupported }

const controlSize = 0

// InUserNamespace reports false.
func InUserNamespace() bool { return false }
