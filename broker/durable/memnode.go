package durable

import (
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"
)

// memNode is a *memDir or a *memFile.
type memNode interface{ info(name string) memInfo }

// memDir is a directory: the names in it that are durable, and the changes that
// lead from them to those that are seen.
type memDir struct {
	perm    fs.FileMode
	synced  map[string]memNode   // never changed: a change makes another
	names   map[string]memNode   // synced itself until the first change
	changes []map[string]memNode // each is one operation: name → node, nil for gone
}

func newMemDir(perm fs.FileMode) *memDir {
	none := map[string]memNode{}
	return &memDir{perm: perm, synced: none, names: none}
}

// change makes one operation's changes.
func (d *memDir) change(c map[string]memNode) {
	if len(d.changes) == 0 {
		d.names = maps.Clone(d.synced)
	}
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

func (d *memDir) sync() { d.synced, d.changes = d.names, nil }

// memFile is a file, or a database, which is durable with each commit.
type memFile struct {
	perm   fs.FileMode
	synced []byte     // never written to: images share it
	data   []byte     // synced itself until the first write
	writes []memWrite // since synced

	db      *memDB     // nil: a plain file
	opened  bool       // by a memConn
	writing sync.Mutex // held by the one transaction that writes
}

// memWrite is one write, or, with nil data, a truncation to at.
type memWrite struct {
	at   int64
	data []byte
}

// apply returns content after the write. It may write to content.
func (w memWrite) apply(content []byte) []byte {
	switch {
	case w.data == nil:
		return resize(content, w.at)
	case len(w.data) == 0:
		return content
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
	if len(f.writes) == 0 {
		f.data = slices.Clone(f.synced)
	}
	f.data = w.apply(f.data)
	f.writes = append(f.writes, w)
}

func (f *memFile) sync() { f.synced, f.writes = f.data, nil }

// memInfo describes a node as it was.
type memInfo struct {
	name string
	mode fs.FileMode
	size int64
}

func (d *memDir) info(name string) memInfo {
	return memInfo{name: name, mode: d.perm | fs.ModeDir}
}

func (f *memFile) info(name string) memInfo {
	return memInfo{name: name, mode: f.perm, size: int64(len(f.data))}
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) Mode() fs.FileMode  { return i.mode }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) IsDir() bool        { return i.mode.IsDir() }
func (i memInfo) Sys() any           { return nil }
