package durable

import (
	"errors"
	"io/fs"
	"os"
	"sync"
)

// OpKind is one kind of operation that changes a disk.
type OpKind string

// The kinds.
const (
	OpCreate   OpKind = "create" // open with O_CREATE or O_TRUNC, or of a database that is not there yet
	OpMkdir    OpKind = "mkdir"
	OpRename   OpKind = "rename" // Name is the new name
	OpRemove   OpKind = "remove"
	OpWrite    OpKind = "write"
	OpTruncate OpKind = "truncate"
	OpSync     OpKind = "sync"
	OpSyncDir  OpKind = "syncdir"
	OpCommit   OpKind = "commit" // a database's
)

// Op is an operation that is about to happen.
type Op struct {
	N    int // from 0, of all on this Hook
	Kind OpKind
	Name string
}

// Verdict is what becomes of an operation. The zero value lets it happen.
type Verdict struct {
	Err   error // it fails with this, and has no effect
	Short int   // of a write that fails: bytes that are written all the same
	Skip  bool  // of anything but an open: it has no effect and says that all is well: a disk that lies
}

// Hook is a [Disk] whose every change can be watched, failed or lied about, so
// that crashes and faults are tried at each operation by number.
type Hook struct {
	Disk
	Before func(Op) Verdict // called for one operation at a time; nil lets everything happen

	mu sync.Mutex
	n  int // operations so far
}

// do asks what becomes of an operation and makes it happen.
func (h *Hook) do(kind OpKind, name string, f func() error) error {
	v := h.ask(kind, name)
	switch {
	case v.Err != nil:
		return v.Err
	case v.Skip && kind != OpCreate:
		return nil
	}
	return f()
}

func (h *Hook) ask(kind OpKind, name string) Verdict {
	h.mu.Lock()
	defer h.mu.Unlock()
	op := Op{h.n, kind, name}
	h.n++
	if h.Before == nil {
		return Verdict{}
	}
	return h.Before(op)
}

// OpenFile implements [Disk].
func (h *Hook) OpenFile(name string, flag int, perm fs.FileMode) (file File, err error) {
	open := func() error { file, err = h.Disk.OpenFile(name, flag, perm); return err }
	if flag&(os.O_CREATE|os.O_TRUNC) != 0 {
		err = h.do(OpCreate, name, open)
	} else {
		err = open()
	}
	if err != nil {
		return nil, err
	}
	return &hookFile{file, h, name}, nil
}

// Mkdir implements [Disk].
func (h *Hook) Mkdir(name string, perm fs.FileMode) error {
	return h.do(OpMkdir, name, func() error { return h.Disk.Mkdir(name, perm) })
}

// Rename implements [Disk].
func (h *Hook) Rename(oldname, newname string) error {
	return h.do(OpRename, newname, func() error { return h.Disk.Rename(oldname, newname) })
}

// Remove implements [Disk].
func (h *Hook) Remove(name string) error {
	return h.do(OpRemove, name, func() error { return h.Disk.Remove(name) })
}

// SyncDir implements [Disk].
func (h *Hook) SyncDir(name string) error {
	return h.do(OpSyncDir, name, func() error { return h.Disk.SyncDir(name) })
}

// SyncAll implements [Disk]. Each of its syncs is an operation, so that any of
// them can be the one that does not happen.
func (h *Hook) SyncAll(files []File, dirs []string) error { return syncEach(h, files, dirs) }

// OpenDB implements [Disk].
func (h *Hook) OpenDB(name string) (DB, error) {
	var db DB
	open := func() (err error) { db, err = h.Disk.OpenDB(name); return err }
	_, err := h.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = h.do(OpCreate, name, open)
	} else {
		err = open()
	}
	if err != nil {
		return nil, err
	}
	return &hookDB{db, h, name}, nil
}

type hookDB struct {
	DB
	h    *Hook
	name string
}

func (d *hookDB) Update(fn func(Tx) error) error {
	return d.h.do(OpCommit, d.name, func() error { return d.DB.Update(fn) })
}

type hookFile struct {
	File
	h    *Hook
	name string
}

func (f *hookFile) Write(b []byte) (int, error) {
	return f.write(b, f.File.Write)
}

func (f *hookFile) WriteAt(b []byte, at int64) (int, error) {
	return f.write(b, func(b []byte) (int, error) { return f.File.WriteAt(b, at) })
}

func (f *hookFile) write(b []byte, write func([]byte) (int, error)) (int, error) {
	v := f.h.ask(OpWrite, f.name)
	switch {
	case v.Err != nil && v.Short > 0:
		n, err := write(b[:min(v.Short, len(b))])
		if err == nil {
			err = v.Err
		}
		return n, err
	case v.Err != nil:
		return 0, v.Err
	case v.Skip:
		return len(b), nil
	}
	return write(b)
}

func (f *hookFile) Truncate(size int64) error {
	return f.h.do(OpTruncate, f.name, func() error { return f.File.Truncate(size) })
}

func (f *hookFile) Sync() error {
	return f.h.do(OpSync, f.name, f.File.Sync)
}
