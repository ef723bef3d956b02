package main

import (
	"io"
	"sync/atomic"

	"secretctl/broker/mask"
)

// masked masks what is written to it, with the values that are known at the
// time. It is for one goroutine.
type masked struct {
	known *atomic.Pointer[mask.Set]
	set   *mask.Set // that w has
	w     *mask.Writer
}

func newMasked(dst io.Writer, known *atomic.Pointer[mask.Set]) *masked {
	set := known.Load()
	return &masked{known, set, mask.NewWriter(dst, set, mask.Options{})}
}

func (m *masked) Write(p []byte) (int, error) {
	if set := m.known.Load(); set != m.set {
		m.w.Know(set)
		m.set = set
	}
	return m.w.Write(p)
}

// Close writes what is held back.
func (m *masked) Close() error { return m.w.Close() }
