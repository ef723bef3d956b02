package durable

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"syscall"
)

// memDB is the content of a database: what has been committed, which is durable.
// A commit replaces it and changes nothing in place, so images share it.
type memDB struct {
	buckets map[string]map[string][]byte // :: bucket → key → value
}

// OpenDB implements [Disk]. What a commit does to the disk, and that it happens
// as a whole, is taken as given here: bbolt's own tests, and real kills, are the
// proof of that. Its file has no bytes to read.
func (m *Mem) OpenDB(name string) (DB, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, last, err := m.find("open", name)
	if err != nil {
		return nil, err
	}
	node, ok := dir.names[last]
	file, isFile := node.(*memFile)
	switch {
	case name == "." || ok && !isFile:
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	case !ok:
		file = &memFile{perm: 0o600}
		dir.change(map[string]memNode{last: file})
	case len(file.data) > 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: errDamaged}
	case file.opened:
		return nil, &fs.PathError{Op: "open", Path: name, Err: ErrLocked}
	}
	if file.db == nil {
		file.db = &memDB{}
	}
	file.opened = true
	dir.sync() // as for the real one
	return &memConn{m: m, file: file, name: name}, nil
}

// memConn is an open database.
type memConn struct {
	m      *Mem
	file   *memFile
	name   string
	closed bool
}

// content returns what is committed.
func (c *memConn) content() (*memDB, error) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if c.closed {
		return nil, &fs.PathError{Op: "begin", Path: c.name, Err: fs.ErrClosed}
	}
	return c.file.db, nil
}

func (c *memConn) View(fn func(Tx) error) error {
	db, err := c.content()
	if err != nil {
		return err
	}
	return fn(&memTx{db: db})
}

func (c *memConn) Update(fn func(Tx) error) error {
	c.file.writing.Lock()
	defer c.file.writing.Unlock()
	db, err := c.content()
	if err != nil {
		return err
	}
	tx := &memTx{db: &memDB{maps.Clone(db.buckets)}, own: map[string]bool{}}
	if tx.db.buckets == nil {
		tx.db.buckets = map[string]map[string][]byte{}
	}
	if err := fn(tx); err != nil {
		return err
	}
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	c.file.db = tx.db
	return nil
}

// Close, like the real one, waits for the transaction that writes.
func (c *memConn) Close() error {
	c.file.writing.Lock()
	defer c.file.writing.Unlock()
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if !c.closed {
		c.closed, c.file.opened = true, false
	}
	return nil
}

// memTx is a transaction. One that writes copies a bucket before it changes it.
type memTx struct {
	db  *memDB
	own map[string]bool // buckets that were copied; nil: it does not write
}

func (t *memTx) Get(bucket string, key []byte) []byte { return t.db.buckets[bucket][string(key)] }

var errReadOnly = errors.New("writing in a transaction that reads")

func (t *memTx) mine(bucket string) map[string][]byte {
	if !t.own[bucket] {
		t.own[bucket] = true
		t.db.buckets[bucket] = maps.Clone(t.db.buckets[bucket])
		if t.db.buckets[bucket] == nil {
			t.db.buckets[bucket] = map[string][]byte{}
		}
	}
	return t.db.buckets[bucket]
}

func (t *memTx) Put(bucket string, key, value []byte) error {
	switch {
	case t.own == nil:
		return errReadOnly
	case bucket == "" || len(key) == 0:
		return errors.New("a bucket and a key must have a name")
	}
	t.mine(bucket)[string(key)] = append([]byte{}, value...)
	return nil
}

func (t *memTx) Delete(bucket string, key []byte) error {
	if t.own == nil {
		return errReadOnly
	}
	if t.db.buckets[bucket] != nil {
		delete(t.mine(bucket), string(key))
	}
	return nil
}

func (t *memTx) Scan(bucket string, from []byte, fn func(key, value []byte) bool) error {
	entries := t.db.buckets[bucket]
	for _, k := range slices.Sorted(maps.Keys(entries)) {
		if k >= string(from) && !fn([]byte(k), entries[k]) {
			return nil
		}
	}
	return nil
}
