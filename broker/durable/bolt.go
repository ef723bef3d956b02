package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// lockWait is how long OpenDB waits for a database another process has open.
const lockWait = 2 * time.Second

// bolt is a DB in a bbolt file: two alternating meta pages make each commit
// happen or not happen, whatever a crash leaves of it.
type bolt struct {
	db   *bbolt.DB
	file *os.File // of db

	mu      sync.Mutex
	damaged error // why db must not be used any more
}

// openBolt opens the database. Making one is not a commit: bbolt writes its
// first pages in place, and could not open what a crash left of them.
func openBolt(h *home, name string) (DB, error) {
	if _, err := h.Stat(name); errors.Is(err, fs.ErrNotExist) {
		if err := makeBolt(h, name); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	b, err := loadBolt(h, name)
	if err != nil {
		return nil, err
	}
	// bbolt syncs the file but not the directory that names it.
	if err := h.SyncDir(path.Dir(name)); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// makeBolt makes an empty database under a temporary name and renames it.
func makeBolt(h *home, name string) error {
	temp := name + tempSuffix
	if err := ignoreAbsent(h.Remove(temp)); err != nil {
		return err
	}
	b, err := loadBolt(h, temp)
	if err != nil {
		return errors.Join(err, ignoreAbsent(h.Remove(temp)))
	}
	if err := b.Close(); err != nil {
		return errors.Join(err, ignoreAbsent(h.Remove(temp)))
	}
	return h.Rename(temp, name)
}

func loadBolt(h *home, name string) (*bolt, error) {
	b := new(bolt)
	err := b.sound(new(boltTx), func() (err error) {
		b.db, err = bbolt.Open(name, 0o600, &bbolt.Options{
			Timeout:      lockWait,
			FreelistType: bbolt.FreelistMapType,
			OpenFile: func(name string, flag int, perm os.FileMode) (_ *os.File, err error) {
				b.file, err = h.open(name, flag, perm)
				return b.file, err
			},
		})
		return err
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, ErrLocked
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (b *bolt) View(fn func(Tx) error) error { return b.transact(b.db.View, fn) }

func (b *bolt) Update(fn func(Tx) error) error { return b.transact(b.db.Update, fn) }

func (b *bolt) transact(transaction func(func(*bbolt.Tx) error) error, fn func(Tx) error) error {
	if err := b.unusable(); err != nil {
		return err
	}
	t := new(boltTx)
	return b.sound(t, func() error {
		return transaction(func(tx *bbolt.Tx) error { return t.run(tx, fn) })
	})
}

// Close closes the database. What damage has left of one may hold its own locks
// for ever; its file is closed already.
func (b *bolt) Close() error {
	if b.unusable() != nil {
		return nil
	}
	return b.db.Close()
}

func (b *bolt) unusable() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.damaged
}

// damage gives the database up, and lets go of its file.
func (b *bolt) damage(why any) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.damaged != nil {
		return b.damaged
	}
	b.damaged = fmt.Errorf("%w: %v", errDamaged, why)
	if b.file != nil {
		// Nothing in it is waiting to be written, and nobody could do more about it.
		_ = unlock(b.file)
		_ = b.file.Close()
	}
	return b.damaged
}
