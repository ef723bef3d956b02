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
	"time"
)

// Mem is a [Disk] in memory that knows what a power loss may take from it: what
// was written to a file since it was last synced, and the names in a directory
// that changed since SyncDir. [Mem.Images] shows what can be left. Make one with
// [NewMem]; it is safe for concurrent use.
type Mem struct {
	mu     sync.Mutex
	root   *memDir
	locked bool
	last   *memFile // written to most recently
}

// NewMem returns an empty disk.
func NewMem() *Mem { return &Mem{root: newMemDir(0o711)} }

// memNode is a *memDir or a *memFile.
type memNode interface{ mode() fs.FileMode }

// memDir is a directory: the names in it, those that are durable, and the
// changes that lead from the one to the other.
type memDir struct {
	perm    fs.FileMode
	names   map[string]memNode
	synced  map[string]memNode
	changes []map[string]memNode // each is one operation: name → node, nil for gone
}

func newMemDir(perm fs.FileMode) *memDir {
	return &memDir{perm: perm, names: map[string]memNode{}, synced: map[string]memNode{}}
}

func (d *memDir) mode() fs.FileMode { return d.perm | fs.ModeDir }

// change makes one operation's changes.
func (d *memDir) change(c map[string]memNode) {
	d.changes = append(d.changes, c)
	applyNames(d.names, c)
}

func applyNames(names, c map[string]memNode) {
	for name, node := range c {
		if node == nil {
			delete(names, name)
		} else {
			names[name] = node
		}
	}
}

func (d *memDir) sync() {
	d.synced, d.changes = maps.Clone(d.names), nil
}

// memFile is a file, or a database, which is durable with each commit.
type memFile struct {
	perm   fs.FileMode
	data   []byte
	synced []byte     // never written to again: images share it
	writes []memWrite // since synced
	db     *memDB     // nil: a plain file
}

func (f *memFile) mode() fs.FileMode { return f.perm }

// memWrite is one write, or, with nil data, a truncation to at.
type memWrite struct {
	at   int64
	data []byte
}

// apply returns content after the write.
func (w memWrite) apply(content []byte) []byte {
	if w.data == nil {
		return resize(content, w.at)
	}
	content = resize(content, max(int64(len(content)), w.at+int64(len(w.data))))
	copy(content[w.at:], w.data)
	return content
}

func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size]
	}
	return append(b, make([]byte, size-int64(len(b)))...)
}

func (f *memFile) write(w memWrite) {
	f.data = w.apply(f.data)
	f.writes = append(f.writes, w)
}

func (f *memFile) sync() {
	f.synced, f.writes = slices.Clone(f.data), nil
}

// find returns the directory that holds name, and its last element.
func (m *Mem) find(op, name string) (*memDir, string, error) {
	dir := m.root
	parts := strings.Split(path.Clean(name), "/")
	for _, p := range parts[:len(parts)-1] {
		next, ok := dir.names[p].(*memDir)
		if !ok {
			return nil, "", &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
		dir = next
	}
	return dir, parts[len(parts)-1], nil
}

func (m *Mem) node(op, name string) (memNode, error) {
	if path.Clean(name) == "." {
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

// OpenFile implements [Disk].
func (m *Mem) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, last, err := m.find("open", name)
	if err != nil {
		return nil, err
	}
	node, ok := dir.names[last]
	file, isFile := node.(*memFile)
	switch {
	case !ok && flag&os.O_CREATE == 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	case !ok:
		file = &memFile{perm: perm.Perm()}
		dir.change(map[string]memNode{last: file})
	case flag&os.O_EXCL != 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrExist}
	case !isFile:
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	case flag&os.O_TRUNC != 0 && len(file.data) > 0:
		file.write(memWrite{})
		m.last = file
	}
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
	if _, ok := dir.names[last]; ok || last == "." {
		return &fs.PathError{Op: "mkdir", Path: name, Err: fs.ErrExist}
	}
	dir.change(map[string]memNode{last: newMemDir(perm.Perm())})
	return nil
}

// Rename implements [Disk]. Within a directory it happens as a whole; between
// two, a power loss may leave the file in both or in neither.
func (m *Mem) Rename(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
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
	_, movesDir := node.(*memDir)
	if over, ok := to.names[newlast]; ok {
		target, isDir := over.(*memDir)
		if isDir != movesDir || isDir && len(target.names) > 0 {
			return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: syscall.EEXIST}
		}
	}
	if from == to {
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
	return infoOf(path.Base(name), node), nil
}

// ReadDir implements [Disk].
func (m *Mem) ReadDir(name string) ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.node("open", name)
	if err != nil {
		return nil, err
	}
	dir, ok := node.(*memDir)
	if !ok {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: syscall.ENOTDIR}
	}
	var out []fs.DirEntry
	for _, n := range slices.Sorted(maps.Keys(dir.names)) {
		out = append(out, fs.FileInfoToDirEntry(infoOf(n, dir.names[n])))
	}
	return out, nil
}

// SyncDir implements [Disk].
func (m *Mem) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.node("open", name)
	if err != nil {
		return err
	}
	dir, ok := node.(*memDir)
	if !ok {
		return &fs.PathError{Op: "sync", Path: name, Err: syscall.ENOTDIR}
	}
	dir.sync()
	return nil
}

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

// memInfo describes a node as it was.
type memInfo struct {
	name string
	mode fs.FileMode
	size int64
}

func infoOf(name string, n memNode) memInfo {
	i := memInfo{name: name, mode: n.mode()}
	if f, ok := n.(*memFile); ok {
		i.size = int64(len(f.data))
	}
	return i
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) Mode() fs.FileMode  { return i.mode }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) IsDir() bool        { return i.mode.IsDir() }
func (i memInfo) Sys() any           { return nil }

// memHandle is an open file. It keeps the file when its name goes.
type memHandle struct {
	m      *Mem
	file   *memFile
	name   string
	flag   int
	closed bool
}

// use runs f with the disk locked, unless the handle is closed.
func (h *memHandle) use(op string, f func() error) error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if h.closed {
		return &fs.PathError{Op: op, Path: h.name, Err: fs.ErrClosed}
	}
	return f()
}

func (h *memHandle) ReadAt(b []byte, at int64) (n int, err error) {
	err = h.use("read", func() error {
		if at < int64(len(h.file.data)) {
			n = copy(b, h.file.data[at:])
		}
		if n < len(b) {
			return io.EOF
		}
		return nil
	})
	return n, err
}

// write is for the methods that change the file.
func (h *memHandle) write(op string, w func() memWrite) error {
	return h.use(op, func() error {
		if h.flag&(os.O_WRONLY|os.O_RDWR) == 0 {
			return &fs.PathError{Op: op, Path: h.name, Err: syscall.EBADF}
		}
		h.file.write(w())
		h.m.last = h.file
		return nil
	})
}

func (h *memHandle) WriteAt(b []byte, at int64) (int, error) {
	if h.flag&os.O_APPEND != 0 {
		return 0, errors.New("os: invalid use of WriteAt on file opened with O_APPEND")
	}
	if err := h.write("write", func() memWrite { return memWrite{at, append([]byte{}, b...)} }); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (h *memHandle) Write(b []byte) (int, error) {
	err := h.write("write", func() memWrite { return memWrite{int64(len(h.file.data)), append([]byte{}, b...)} })
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

func (h *memHandle) Truncate(size int64) error {
	return h.write("truncate", func() memWrite { return memWrite{at: size} })
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
