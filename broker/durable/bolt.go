package durable

import (
	"errors"
	"os"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// lockWait is how long OpenDB waits for a database another process has open.
const lockWait = 2 * time.Second

// bolt is a DB in a bbolt file: two alternating meta pages make each commit
// happen or not happen, whatever a crash leaves of it.
type bolt struct{ db *bbolt.DB }

func openBolt(h *home, name string) (DB, error) {
	db, err := bbolt.Open(name, 0o600, &bbolt.Options{
		Timeout:      lockWait,
		FreelistType: bbolt.FreelistMapType,
		OpenFile: func(name string, flag int, perm os.FileMode) (*os.File, error) {
			return h.root.OpenFile(name, flag|noFollow, perm)
		},
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, ErrLocked
	}
	if err != nil {
		return nil, err
	}
	// bbolt syncs the file but not the directory that names it.
	if err := h.SyncDir("."); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return bolt{db}, nil
}

func (b bolt) View(fn func(Tx) error) error {
	return b.db.View(func(tx *bbolt.Tx) error { return fn(boltTx{tx}) })
}

func (b bolt) Update(fn func(Tx) error) error {
	return b.db.Update(func(tx *bbolt.Tx) error { return fn(boltTx{tx}) })
}

func (b bolt) Close() error { return b.db.Close() }

type boltTx struct{ tx *bbolt.Tx }

func (t boltTx) Get(bucket string, key []byte) []byte {
	b := t.tx.Bucket([]byte(bucket))
	if b == nil {
		return nil
	}
	return b.Get(key)
}

func (t boltTx) Put(bucket string, key, value []byte) error {
	b, err := t.tx.CreateBucketIfNotExists([]byte(bucket))
	if err != nil {
		return err
	}
	return b.Put(key, value)
}

func (t boltTx) Delete(bucket string, key []byte) error {
	b := t.tx.Bucket([]byte(bucket))
	if b == nil {
		return nil
	}
	return b.Delete(key)
}

func (t boltTx) Scan(bucket string, from []byte, fn func(key, value []byte) bool) error {
	b := t.tx.Bucket([]byte(bucket))
	if b == nil {
		return nil
	}
	c := b.Cursor()
	for k, v := c.Seek(from); k != nil && fn(k, v); k, v = c.Next() {
	}
	return nil
}
