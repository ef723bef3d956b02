package durable

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"sync"
)

// tempSuffix ends the names of files that are not whole yet. What a crash
// leaves behind under such a name is overwritten by the next that is written.
const tempSuffix = ".tmp"

// Batch is files that are written as a whole and become durable together: a
// disk is asked to sync twice for all of them, not for each. It may be written
// to from several goroutines. It ends with Commit or Discard.
type Batch struct {
	d Disk

	mu     sync.Mutex
	temps  []tempFile
	made   map[string]bool // directories that are there
	unsure map[string]bool // directories with names that may not be durable
}

// tempFile is a file that is to get its name.
type tempFile struct {
	File
	name string
}

// NewBatch returns an empty batch.
func NewBatch(d Disk) *Batch {
	return &Batch{d: d, made: map[string]bool{".": true}, unsure: make(map[string]bool)}
}

// MkdirAll makes a directory and the parents it lacks, which stay whatever
// becomes of the batch. Those that are there keep their mode; that their names
// are durable is not taken for granted, since whoever made them may have died,
// or failed, before they were.
func (b *Batch) MkdirAll(name string, perm fs.FileMode) error {
	b.mu.Lock()
	made := b.made[name]
	b.mu.Unlock()
	if made {
		return nil
	}
	parent := path.Dir(name)
	if err := b.MkdirAll(parent, perm); err != nil {
		return err
	}
	if err := b.d.Mkdir(name, perm); errors.Is(err, fs.ErrExist) {
		if info, err := b.d.Stat(name); err != nil {
			return err
		} else if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: name, Err: errors.New("is not a directory")}
		}
	} else if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.made[name], b.unsure[parent] = true, true
	return nil
}

// WriteFile gives the file this content when the batch is committed. No file is
// written twice in a batch.
func (b *Batch) WriteFile(name string, data []byte, perm fs.FileMode) error {
	temp := name + tempSuffix
	f, err := b.d.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return errors.Join(err, ignoreAbsent(b.d.Remove(temp)))
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		return errors.Join(err, f.Close(), ignoreAbsent(b.d.Remove(temp)))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.temps = append(b.temps, tempFile{f, name})
	b.unsure[path.Dir(name)] = true
	return nil
}

// Commit makes everything in the batch durable. When it fails each file has its
// old content or its new one, and no temporary file is left.
func (b *Batch) Commit() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.settle(); err != nil {
		return errors.Join(err, b.discard())
	}
	for len(b.temps) > 0 {
		name := b.temps[0].name
		if err := b.d.Rename(name+tempSuffix, name); err != nil {
			return errors.Join(err, b.discard())
		}
		b.temps = b.temps[1:]
	}
	return b.d.SyncAll(nil, slices.Sorted(maps.Keys(b.unsure)))
}

// settle makes the content of the files durable and closes them.
func (b *Batch) settle() error {
	files := make([]File, len(b.temps))
	for i, t := range b.temps {
		files[i] = t.File
	}
	err := b.d.SyncAll(files, nil)
	for i := range b.temps {
		err = errors.Join(err, b.temps[i].Close())
		b.temps[i].File = nil
	}
	return err
}

// Discard gives the batch up: its files are as they were.
func (b *Batch) Discard() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.discard()
}

func (b *Batch) discard() (err error) {
	for _, t := range b.temps {
		if t.File != nil {
			err = errors.Join(err, t.Close())
		}
		err = errors.Join(err, ignoreAbsent(b.d.Remove(t.name+tempSuffix)))
	}
	b.temps = nil
	return err
}

// WriteFile puts data in the file as a whole: temporary file in the same
// directory, write, sync, rename, sync of the directory. When it fails the old
// content is still there (or, if only the last step failed, old or new), and
// the temporary file is gone.
func WriteFile(d Disk, name string, data []byte, perm fs.FileMode) error {
	b := NewBatch(d)
	if err := b.WriteFile(name, data, perm); err != nil {
		return err
	}
	return b.Commit()
}

// MkdirAll makes a directory and the parents it lacks, durably. See
// [Batch.MkdirAll].
func MkdirAll(d Disk, name string, perm fs.FileMode) error {
	b := NewBatch(d)
	if err := b.MkdirAll(name, perm); err != nil {
		return err
	}
	return b.Commit()
}

// syncEach is what a disk's SyncAll comes to: one sync after the other.
func syncEach(d Disk, files []File, dirs []string) error {
	for _, f := range files {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	for _, dir := range dirs {
		if err := d.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}
