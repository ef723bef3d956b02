// Package durable is where every byte goes that must survive a crash.
//
// It guards against losing or half-writing state when the machine dies, the
// process is killed, the disk fills or a write fails: [WriteFile] leaves the
// old content or the new and says which, and what has been acknowledged is on
// the disk. Everything below a home goes through one [Disk], so that crashes
// and faults can be tried at every single operation ([Mem], [Hook]) instead of
// at the ones somebody thought of.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
)

// Disk is what the rest asks of the file system below one home. Every method
// is one thing the kernel does, so that a crash can fall between any two.
// Names are slash-separated, relative to the home and as [fs.ValidPath] wants
// them; "." is the home.
type Disk interface {
	// OpenFile opens a regular file with os.O_* flags. It never follows a symbolic
	// link in the last element, nor one that leads out of the home.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	Mkdir(name string, perm fs.FileMode) error
	Rename(oldname, newname string) error
	Remove(name string) error                   // a file or an empty directory
	Stat(name string) (fs.FileInfo, error)      // of the name itself, not of what a link leads to
	ReadDir(name string) ([]fs.DirEntry, error) // sorted by name
	SyncDir(name string) error                  // makes the names in a directory durable
	// SyncAll is Sync of each of these open files of this disk and SyncDir of each
	// of these directories, in no order. When it fails, nothing is known about any.
	SyncAll(files []File, dirs []string) error
	// OpenDB opens the database file, making it, durably, if it is absent. One that
	// is damaged is an error, here or when the damage is met.
	OpenDB(name string) (DB, error)
	// Lock takes the home for this process alone, until the closer is closed or
	// the process ends. It fails with ErrLocked when somebody has it.
	Lock() (io.Closer, error)
}

// File is an open file of a [Disk]. Nothing written is durable before Sync
// returns nil; after it has failed once, nothing about the file's unsynced
// bytes is known, and it must not be tried again.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Writer // at the end, of a file opened with os.O_APPEND
	Truncate(size int64) error
	Sync() error
	Size() (int64, error)
	io.Closer
}

// DB is a small transactional store in one file.
type DB interface {
	View(func(Tx) error) error
	// Update runs fn in a transaction that happens as a whole, durably, when both
	// return nil, and not at all otherwise.
	Update(fn func(Tx) error) error
	Close() error
}

// Tx is a transaction. Keys are not empty. What it returns is valid until it
// ends and must not be changed.
type Tx interface {
	Get(bucket string, key []byte) []byte       // nil when absent
	Put(bucket string, key, value []byte) error // makes the bucket if needed
	Delete(bucket string, key []byte) error     // nil when absent
	// Scan calls fn with the entries from the first key >= from, ascending, until
	// it returns false.
	Scan(bucket string, from []byte, fn func(key, value []byte) (more bool)) error
}

// ErrLocked means that another process has the home, or the database in it.
var ErrLocked = errors.New("another process has it")

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// ReadFile returns the whole content of a file.
func ReadFile(d Disk, name string) ([]byte, error) { return ReadFileMax(d, name, math.MaxInt) }

// ReadFileMax is ReadFile for one that others can put there. A longer one, in bytes,
// is not read.
func ReadFileMax(d Disk, name string, longest int64) ([]byte, error) {
	f, err := d.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		if info, statErr := d.Stat(name); statErr == nil && !info.Mode().IsRegular() {
			err = notOurs(name)
		}
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > longest {
		return nil, notOurs(name)
	}
	data := make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if err != nil && !(errors.Is(err, io.EOF) && n == len(data)) {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return data, nil
}

func notOurs(name string) error { return fmt.Errorf("opening %s: it is not a file of ours", name) }

// Remove removes a file, durably.
func Remove(d Disk, name string) error {
	if err := d.Remove(name); err != nil {
		return err
	}
	return d.SyncDir(path.Dir(name))
}
