package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// newTree returns the tree of a home. openat2(2) is there since Linux 5.6, and is
// forbidden in some containers.
func newTree(root *os.Root, top *os.File) tree {
	b := beneath{top}
	dir, err := b.openDir(".")
	if err != nil {
		return rooted{root}
	}
	dir.Close()
	return b
}

// beneath is a tree whose names the kernel follows as a whole, and keeps below
// the home: one call where [rooted] makes two for each element of a name.
type beneath struct{ top *os.File }

// tries bounds how often a name is followed that leads up again, by a link, while
// somebody moves directories: the kernel cannot tell where it leads then.
const tries = 32

// at follows a name. What is done with the descriptor is not tried again.
func (b beneath) at(op, name string, flag int, perm fs.FileMode) (fd int, err error) {
	how := unix.OpenHow{Flags: uint64(flag | unix.O_CLOEXEC), Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}
	if flag&unix.O_CREAT != 0 {
		how.Mode = uint64(perm.Perm())
	}
	err = withFD(b.top, func(top int) (err error) {
		for range tries {
			if fd, err = unix.Openat2(top, name, &how); err != unix.EAGAIN {
				return err
			}
		}
		return err
	})
	switch err {
	case nil:
		return fd, nil
	case unix.EXDEV:
		err = errors.New("leads out of the home")
	}
	return -1, &fs.PathError{Op: op, Path: name, Err: err}
}

// in makes a call on the directory that a name is in, and the name's last element.
func (b beneath) in(op, name string, call func(dir int, base string) error) error {
	dir, err := b.at(op, path.Dir(name), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := retried(func() error { return call(dir, path.Base(name)) }); err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

func (b beneath) open(name string, flag int, perm fs.FileMode) (*os.File, error) {
	fd, err := b.at("open", name, flag|unix.O_NOFOLLOW|waitless, perm)
	if err != nil {
		return nil, err
	}
	f, err := regular(fd, filepath.Join(b.top.Name(), name))
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return f, nil
}

func (b beneath) openDir(name string) (*os.File, error) {
	fd, err := b.at("open", name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), filepath.Join(b.top.Name(), name)), nil
}

func (b beneath) mkdir(name string, perm fs.FileMode) error {
	return b.in("mkdir", name, func(dir int, base string) error { return unix.Mkdirat(dir, base, uint32(perm.Perm())) })
}

func (b beneath) rename(oldname, newname string) error {
	err := b.in("rename", oldname, func(from int, oldbase string) error {
		if path.Dir(oldname) == path.Dir(newname) {
			return unix.Renameat(from, oldbase, from, path.Base(newname))
		}
		return b.in("rename", newname, func(to int, newbase string) error { return unix.Renameat(from, oldbase, to, newbase) })
	})
	if err != nil {
		return fmt.Errorf("renaming %s to %s: %w", oldname, newname, err)
	}
	return nil
}

// remove asks for a file first: what is there is not known, and may change.
func (b beneath) remove(name string) error {
	return b.in("remove", name, func(dir int, base string) error {
		err := unix.Unlinkat(dir, base, 0)
		if err != unix.EISDIR && err != unix.EPERM { // EPERM is what POSIX wants for a directory
			return err
		}
		if asDir := unix.Unlinkat(dir, base, unix.AT_REMOVEDIR); asDir != unix.ENOTDIR {
			err = asDir
		}
		return err
	})
}

func (b beneath) stat(name string) (fs.FileInfo, error) {
	fd, err := b.at("stat", name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	return f.Stat()
}
