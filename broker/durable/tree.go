package durable

import (
	"io/fs"
	"os"
	"path"
)

// tree finds the files of a home by their names, and leads nowhere else.
type tree interface {
	open(name string, flag int, perm fs.FileMode) (*os.File, error)
	openDir(name string) (*os.File, error) // to read and sync it
	mkdir(name string, perm fs.FileMode) error
	rename(oldname, newname string) error
	remove(name string) error
	stat(name string) (fs.FileInfo, error)
}

// rooted is a tree anywhere. os.Root keeps every name below the directory, even
// when something in it has been replaced by a link.
type rooted struct{ *os.Root }

// open opens the file in its directory, by its last element: os.Root follows a
// link there that stays below it, whatever the flags say.
func (r rooted) open(name string, flag int, perm fs.FileMode) (*os.File, error) {
	dir, err := r.Open(path.Dir(name))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	f, err := openIn(dir, path.Base(name), flag, perm)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return f, nil
}

func (r rooted) openDir(name string) (*os.File, error)     { return r.Open(name) }
func (r rooted) mkdir(name string, perm fs.FileMode) error { return r.Mkdir(name, perm) }
func (r rooted) rename(oldname, newname string) error      { return r.Rename(oldname, newname) }
func (r rooted) remove(name string) error                  { return r.Remove(name) }
func (r rooted) stat(name string) (fs.FileInfo, error)     { return r.Lstat(name) }
