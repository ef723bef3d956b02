package durable

import (
	"errors"
	"runtime/debug"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// errDamaged is of a database file that is there and is no database any more.
var errDamaged = errors.New("the file is damaged")

// boltTx is a transaction. callers says whose code runs: that of whoever asked
// for the transaction, or bbolt's.
type boltTx struct {
	tx      *bbolt.Tx
	callers bool
}

// sound runs f, and makes an error of how bbolt ends on a file that is damaged
// or cut short: it panics, or reads beyond the end of its mapping. A panic of
// the caller's goes on.
func (b *bolt) sound(t *boltTx, f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		why := recover()
		if why == nil {
			return
		}
		// The caller may be the one who reads what the file no longer has.
		if _, fault := why.(interface{ Addr() uintptr }); fault {
			why = "it ends too early"
		} else if t.callers {
			panic(why)
		}
		err = b.damage(why)
	}()
	return f()
}

// run runs the caller's part of a transaction.
func (t *boltTx) run(tx *bbolt.Tx, fn func(Tx) error) error {
	t.tx, t.callers = tx, true
	err := fn(t)
	t.callers = false
	return err
}

// bucket returns nil when there is none.
func (t *boltTx) bucket(name string) *bbolt.Bucket { return t.tx.Bucket([]byte(name)) }

func (t *boltTx) Get(bucket string, key []byte) (value []byte) {
	t.callers = false
	if b := t.bucket(bucket); b != nil {
		value = b.Get(key)
	}
	t.callers = true
	return value
}

func (t *boltTx) Put(bucket string, key, value []byte) error {
	t.callers = false
	b, err := t.tx.CreateBucketIfNotExists([]byte(bucket))
	if err == nil {
		// To bbolt nil is a value that, in this transaction, is not there.
		err = b.Put(key, append([]byte{}, value...))
	}
	t.callers = true
	return err
}

func (t *boltTx) Delete(bucket string, key []byte) (err error) {
	t.callers = false
	if !t.tx.Writable() {
		err = bolterrors.ErrTxNotWritable
	} else if b := t.bucket(bucket); b != nil {
		err = b.Delete(key)
	}
	t.callers = true
	return err
}

func (t *boltTx) Scan(bucket string, from []byte, fn func(key, value []byte) bool) error {
	t.callers = false
	if b := t.bucket(bucket); b != nil {
		c := b.Cursor()
		for k, v := c.Seek(from); k != nil && t.more(fn, k, v); k, v = c.Next() {
		}
	}
	t.callers = true
	return nil
}

// more asks the caller.
func (t *boltTx) more(fn func(key, value []byte) bool, key, value []byte) bool {
	t.callers = true
	more := fn(key, value)
	t.callers = false
	return more
}
