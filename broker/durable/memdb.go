package durable

import (
	"maps"
	"path"
	"slices"
)

// memDB is the content of a database: what has been committed, which is durable.
// A commit replaces it and changes nothing in place, so images share it.
type memDB struct {
	buckets map[string]map[string][]byte // :: bucket → key → value
}

// OpenDB implements [Disk]. What a commit does to the disk, and that it happens
// as a whole, is taken as given here: bbolt's own tests, and real kills, are the
// proof of that.
func (m *Mem) OpenDB(name string) (DB, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, last, err := m.find("open", name)
	if err != nil {
		return nil, err
	}
	file, ok := dir.names[last].(*memFile)
	if !ok {
		file = &memFile{perm: 0o600, db: &memDB{}}
		dir.change(map[string]memNode{last: file})
	}
	if file.db == nil {
		file.db = &memDB{}
	}
	dir.sync() // as for the real one
	return &memConn{m, file, path.Base(name)}, nil
}

// memConn is an open database.
type memConn struct {
	m    *Mem
	file *memFile
	name string
}

func (c *memConn) View(fn func(Tx) error) error {
	c.m.mu.Lock()
	db := c.file.db
	c.m.mu.Unlock()
	return fn(&memTx{db: db})
}

func (c *memConn) Update(fn func(Tx) error) error {
	c.m.mu.Lock()
	db := c.file.db
	c.m.mu.Unlock()
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

func (c *memConn) Close() error { return nil }

// memTx is a transaction. One that writes copies a bucket before it changes it.
type memTx struct {
	db  *memDB
	own map[string]bool // buckets that were copied
}

func (t *memTx) Get(bucket string, key []byte) []byte { return t.db.buckets[bucket][string(key)] }

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
	t.mine(bucket)[string(key)] = slices.Clone(value)
	return nil
}

func (t *memTx) Delete(bucket string, key []byte) error {
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
