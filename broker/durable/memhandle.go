package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// memHandle is an open file. It keeps the file when its name goes.
type memHandle struct {
	m      *Mem
	file   *memFile
	name   string
	flag   int
	closed bool
}

func (h *memHandle) fail(op string, err error) error {
	return &fs.PathError{Op: op, Path: h.name, Err: err}
}

// use runs f with the disk locked, unless the handle is closed.
func (h *memHandle) use(op string, f func() error) error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if h.closed {
		return h.fail(op, fs.ErrClosed)
	}
	return f()
}

func (h *memHandle) ReadAt(b []byte, at int64) (n int, err error) {
	err = h.use("read", func() error {
		switch size := int64(len(h.file.data)); {
		case h.flag&os.O_WRONLY != 0:
			return h.fail("read", syscall.EBADF)
		case at < 0:
			return h.fail("read", fs.ErrInvalid)
		case at < size:
			n = copy(b, h.file.data[at:])
		}
		if n < len(b) {
			return io.EOF
		}
		return nil
	})
	return n, err
}

// change is what the methods that change the file have in common.
func (h *memHandle) change(op string, at int64, w func() memWrite) error {
	return h.use(op, func() error {
		if h.flag&(os.O_WRONLY|os.O_RDWR) == 0 {
			return h.fail(op, syscall.EBADF)
		}
		if at < 0 {
			return h.fail(op, fs.ErrInvalid)
		}
		h.file.write(w())
		h.m.last = h.file
		return nil
	})
}

func (h *memHandle) WriteAt(b []byte, at int64) (int, error) {
	if h.flag&os.O_APPEND != 0 {
		return 0, h.fail("write", errors.New("it is open for appending"))
	}
	return h.write(b, at, func() int64 { return at })
}

// Write refuses what a real disk does not, and what no [File] should be asked
// for: to write at a place that depends on the writes before.
func (h *memHandle) Write(b []byte) (int, error) {
	if h.flag&os.O_APPEND == 0 {
		return 0, h.fail("write", errors.New("it is not open for appending"))
	}
	return h.write(b, 0, func() int64 { return int64(len(h.file.data)) })
}

func (h *memHandle) write(b []byte, asked int64, at func() int64) (int, error) {
	err := h.change("write", asked, func() memWrite { return memWrite{at(), append([]byte{}, b...)} })
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

func (h *memHandle) Truncate(size int64) error {
	return h.change("truncate", size, func() memWrite { return memWrite{at: size} })
}

func (h *memHandle) Sync() error {
	return h.use("sync", func() error { h.file.sync(); return nil })
}

func (h *memHandle) Size() (size int64, err error) {
	err = h.use("stat", func() error { size = int64(len(h.file.data)); return nil })
	return size, err
}

func (h *memHandle) Close() error {
	return h.use("close", func() error { h.closed = true; return nil })
}
