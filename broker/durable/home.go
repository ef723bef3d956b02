package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
)

// home is the real Disk.
type home struct {
	files tree
	whole wholeSync
}

// wholeSync is what it takes to sync the file system of a home as a whole.
type wholeSync struct {
	top *os.File // the home, open since before anything was written in it

	mu     sync.Mutex
	failed bool // once: it was told then, and to one who may not be concerned
}

// syncers is how many syncs are under way at once: a file system makes one
// write of what waits together.
const syncers = 16

// OpenHome returns the disk of an existing directory.
func OpenHome(dir string) (Disk, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	top, err := root.Open(".")
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return &home{files: newTree(root, top), whole: wholeSync{top: top}}, nil
}

func (h *home) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := h.open(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

func (h *home) open(name string, flag int, perm fs.FileMode) (*os.File, error) {
	if err := valid("open", name); err != nil {
		return nil, err
	}
	return h.files.open(name, flag, perm)
}

func (h *home) Mkdir(name string, perm fs.FileMode) error {
	if err := valid("mkdir", name); err != nil {
		return err
	}
	return h.files.mkdir(name, perm)
}

func (h *home) Rename(oldname, newname string) error {
	if err := errors.Join(valid("rename", oldname), valid("rename", newname)); err != nil {
		return err
	}
	return h.files.rename(oldname, newname)
}

func (h *home) Remove(name string) error {
	if err := valid("remove", name); err != nil {
		return err
	}
	return h.files.remove(name)
}

func (h *home) Stat(name string) (fs.FileInfo, error) {
	if err := valid("stat", name); err != nil {
		return nil, err
	}
	return h.files.stat(name)
}

// valid refuses names that [Disk] does not have.
func valid(op, name string) error {
	if !fs.ValidPath(name) {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	return nil
}

func (h *home) ReadDir(name string) ([]fs.DirEntry, error) {
	dir, err := h.files.openDir(name)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}

func (h *home) SyncDir(name string) error {
	dir, err := h.files.openDir(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// SyncAll implements [Disk].
func (h *home) SyncAll(files []File, dirs []string) (err error) {
	var all []*os.File
	for _, f := range files {
		own, ok := f.(file)
		if !ok {
			return syncEach(h, files, dirs)
		}
		all = append(all, own.File)
	}
	for _, name := range dirs {
		dir, err := h.files.openDir(name)
		if err != nil {
			return err
		}
		defer dir.Close()
		all = append(all, dir)
	}
	if done, err := h.whole.sync(all); done {
		return err
	}
	syncs := make(chan func() error)
	failed := make([]error, min(len(all), syncers))
	var workers sync.WaitGroup
	for i := range failed {
		workers.Go(func() {
			for sync := range syncs {
				failed[i] = errors.Join(failed[i], sync())
			}
		})
	}
	for i, f := range all {
		if i < len(files) {
			syncs <- files[i].Sync
		} else {
			syncs <- f.Sync
		}
	}
	close(syncs)
	workers.Wait()
	return errors.Join(failed...)
}

// Lock takes an flock on the directory itself: there is no lock file that
// could be removed, and the kernel lets go when the process ends.
func (h *home) Lock() (io.Closer, error) {
	dir, err := h.files.openDir(".")
	if err != nil {
		return nil, err
	}
	if err := flock(dir); err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

func (h *home) OpenDB(name string) (DB, error) {
	db, err := openBolt(h, name)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", name, err)
	}
	return db, nil
}

// file is a real File.
type file struct{ *os.File }

func (f file) Sync() error { return syncFile(f.File) }

func (f file) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
