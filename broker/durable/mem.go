package durable

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// Mem is a [Disk] in memory that knows what a power loss may take from it: what
// was written to a file since it was last synced, and the names in a directory
// that changed since SyncDir. [Mem.Images] shows what can be left. Make one with
// [NewMem]; it is safe for concurrent use. It has no links.
type Mem struct {
	mu     sync.Mutex
	root   *memDir
	locked bool
	last   *memFile // written to most recently
}

// NewMem returns an empty disk.
func NewMem() *Mem { return &Mem{root: newMemDir(0o711)} }

// find returns the directory that holds name, and its last element.
func (m *Mem) find(op, name string) (*memDir, string, error) {
	if !fs.ValidPath(name) {
		return nil, "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	dir := m.root
	parts := strings.Split(name, "/")
	for _, p := range parts[:len(parts)-1] {
		next, ok := dir.names[p]
		if !ok {
			return nil, "", &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
		if dir, ok = next.(*memDir); !ok {
			return nil, "", &fs.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
		}
	}
	return dir, parts[len(parts)-1], nil
}

func (m *Mem) node(op, name string) (memNode, error) {
	if name == "." {
		return m.root, nil
	}
	dir, last, err := m.find(op, name)
	if err != nil {
		return nil, err
	}
	n, ok := dir.names[last]
	if !ok {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return n, nil
}

func (m *Mem) dir(op, name string) (*memDir, error) {
	n, err := m.node(op, name)
	if err != nil {
		return nil, err
	}
	d, ok := n.(*memDir)
	if !ok {
		return nil, &fs.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
	}
	return d, nil
}

// OpenFile implements [Disk].
func (m *Mem) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.node("open", name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && flag&os.O_CREATE != 0:
		return m.create(name, flag, perm)
	case err != nil:
		return nil, err
	case flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrExist}
	}
	file, ok := node.(*memFile)
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	}
	if flag&os.O_TRUNC != 0 && len(file.data) > 0 {
		file.write(memWrite{})
		m.last = file
	}
	return &memHandle{m: m, file: file, name: name, flag: flag}, nil
}

func (m *Mem) create(name string, flag int, perm fs.FileMode) (File, error) {
	dir, last, err := m.find("open", name)
	if err != nil {
		return nil, err
	}
	file := &memFile{perm: perm.Perm()}
	dir.change(map[string]memNode{last: file})
	return &memHandle{m: m, file: file, name: name, flag: flag}, nil
}

// Mkdir implements [Disk].
func (m *Mem) Mkdir(name string, perm fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, last, err := m.find("mkdir", name)
	if err != nil {
		return err
	}
	if _, ok := dir.names[last]; ok || name == "." {
		return &fs.PathError{Op: "mkdir", Path: name, Err: fs.ErrExist}
	}
	dir.change(map[string]memNode{last: newMemDir(perm.Perm())})
	return nil
}

// Rename implements [Disk]. Within a directory it happens as a whole; between
// two, a power loss may leave the file in both or in neither. A directory stays
// in its parent: it could be lost in itself otherwise.
func (m *Mem) Rename(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.rename(oldname, newname); err != nil {
		return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: err}
	}
	return nil
}

func (m *Mem) rename(oldname, newname string) error {
	node, err := m.node("rename", oldname)
	if err != nil {
		return err
	}
	from, oldlast, err := m.find("rename", oldname)
	if err != nil {
		return err
	}
	to, newlast, err := m.find("rename", newname)
	if err != nil {
		return err
	}
	_, isDir := node.(*memDir)
	over, taken := to.names[newlast]
	_, overDir := over.(*memDir)
	switch {
	case node == m.root || newname == ".":
		return syscall.EBUSY
	case node == over:
		return nil
	case taken && overDir:
		return fs.ErrExist
	case taken && isDir:
		return syscall.ENOTDIR
	case isDir && from != to:
		return errors.ErrUnsupported
	case from == to:
		from.change(map[string]memNode{oldlast: nil, newlast: node})
		return nil
	}
	to.change(map[string]memNode{newlast: node})
	from.change(map[string]memNode{oldlast: nil})
	return nil
}

// Remove implements [Disk].
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.node("remove", name)
	if err != nil {
		return err
	}
	if node == m.root {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrInvalid}
	}
	if d, ok := node.(*memDir); ok && len(d.names) > 0 {
		return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
	}
	dir, last, err := m.find("remove", name)
	if err != nil {
		return err
	}
	dir.change(map[string]memNode{last: nil})
	return nil
}

// Stat implements [Disk].
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.node("stat", name)
	if err != nil {
		return nil, err
	}
	return node.info(path.Base(name)), nil
}

// ReadDir implements [Disk].
func (m *Mem) ReadDir(name string) ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, err := m.dir("readdir", name)
	if err != nil {
		return nil, err
	}
	var out []fs.DirEntry
	for _, n := range slices.Sorted(maps.Keys(dir.names)) {
		out = append(out, fs.FileInfoToDirEntry(dir.names[n].info(n)))
	}
	return out, nil
}

// SyncDir implements [Disk].
func (m *Mem) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, err := m.dir("sync", name)
	if err != nil {
		return err
	}
	dir.sync()
	return nil
}

// SyncAll implements [Disk]. A power loss in the middle of it may leave what one
// before it may leave, so it is no change of its own.
func (m *Mem) SyncAll(files []File, dirs []string) error { return syncEach(m, files, dirs) }

// Lock implements [Disk].
func (m *Mem) Lock() (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locked {
		return nil, ErrLocked
	}
	m.locked = true
	return &memLock{m: m}, nil
}

type memLock struct {
	m    *Mem
	once sync.Once
}

func (l *memLock) Close() error {
	l.once.Do(func() {
		l.m.mu.Lock()
		defer l.m.mu.Unlock()
		l.m.locked = false
	})
	return nil
}
