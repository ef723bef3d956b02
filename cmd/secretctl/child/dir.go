package child

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir is a private directory with files for one program: mode 0700, in memory
// where the machine has a file system there. It is locked while this process or
// a keeper lives, and one that is not is nobody's: a guard removes it, and where
// that was killed too, [Sweep].
type Dir struct {
	path  string
	lock  *os.File // the directory itself
	guard *guard
	links []string
}

// prefix is how the name of every such directory begins.
const prefix = "secretctl-run-"

// Roots lists where such directories may be, the one to use first. runtime is
// the value of XDG_RUNTIME_DIR.
func Roots(runtime string) []string {
	var roots []string
	for _, dir := range []string{runtime, "/dev/shm"} {
		if filepath.IsAbs(dir) && writable(dir) {
			roots = append(roots, dir)
		}
	}
	return append(roots, os.TempDir())
}

// writable reports whether files can be made in a directory in which others
// cannot put something else in their place.
func writable(dir string) bool {
	info, err := os.Stat(dir)
	return err == nil && info.IsDir() && (info.Mode().Perm()&0o022 == 0 || info.Mode()&fs.ModeSticky != 0) &&
		unix.Access(dir, unix.W_OK) == nil
}

// NewDir makes a directory in root.
func NewDir(root string) (*Dir, error) {
	for {
		path, err := os.MkdirTemp(root, prefix)
		if err != nil {
			return nil, fmt.Errorf("making a directory for the files: %w", err)
		}
		d, err := lockDir(path, unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
			continue // it was swept before it was locked
		}
		if err != nil {
			return nil, err
		}
		if d.guard, err = newGuard(path); err != nil {
			return nil, errors.Join(err, d.Remove())
		}
		return d, nil
	}
}

// lockDir locks a directory that is there, as how says. Another user's it leaves
// alone, as root too.
func lockDir(path string, how int) (*Dir, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil || int(stat.Uid) != os.Geteuid() {
		f.Close()
		return nil, errors.Join(fs.ErrPermission, err)
	}
	for {
		if err = unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	locked, err := f.Stat()
	if err == nil {
		var there fs.FileInfo
		if there, err = os.Lstat(path); err == nil && !os.SameFile(locked, there) {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Dir{path: path, lock: f}, nil
}

// Path returns where the directory is.
func (d *Dir) Path() string { return d.path }

// Put makes a file of mode 0400 with these bytes. A path that is not absolute is
// one in the directory. At an absolute one, where nothing may be yet but a link
// that an earlier Dir left behind, there is then a symbolic link to a file in
// the directory: the bytes themselves are in no other place.
func (d *Dir) Put(path string, b []byte) error {
	if filepath.IsAbs(path) {
		inside := filepath.Join(d.path, fmt.Sprintf("link-%d", len(d.links)), filepath.Base(path))
		if err := d.link(path, inside); err != nil {
			return err
		}
		return write(inside, b)
	}
	return write(filepath.Join(d.path, path), b)
}

// Replace gives a file that Put made other bytes, all at once.
func (d *Dir) Replace(path string, b []byte) error {
	if filepath.IsAbs(path) {
		inside, err := os.Readlink(path)
		if err != nil {
			return err
		}
		if !d.holds(inside) {
			return fmt.Errorf("%s is no longer the link that was made there", path)
		}
		path = inside
	} else {
		path = filepath.Join(d.path, path)
	}
	next := path + ".next"
	if err := write(next, b); err != nil {
		return err
	}
	return os.Rename(next, path)
}

func (d *Dir) holds(path string) bool { return strings.HasPrefix(path, d.path+"/") }

// link makes the link at an absolute path.
func (d *Dir) link(path, inside string) error {
	if to, err := os.Readlink(path); err == nil && leftBehind(to) {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	if err := d.guard.note(path); err != nil {
		return err
	}
	if err := os.Symlink(inside, path); err != nil {
		return err
	}
	d.links = append(d.links, path)
	return nil
}

// leftBehind reports whether a link leads to where a Dir was.
func leftBehind(to string) bool {
	_, err := os.Lstat(to)
	return errors.Is(err, fs.ErrNotExist) && strings.Contains(to, "/"+prefix)
}

// write makes a file that is not there yet.
func write(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

// Remove removes the directory, its files and the links to them. Doing so again
// does nothing.
func (d *Dir) Remove() error {
	err := removeFiles(d.path, d.links)
	d.lock.Close()
	if d.guard != nil {
		d.guard.end()
	}
	return err
}

// removeFiles removes a directory and the links into it.
func removeFiles(dir string, links []string) (err error) {
	for _, path := range links {
		if to, e := os.Readlink(path); e == nil && strings.HasPrefix(to, dir+"/") {
			err = errors.Join(err, os.Remove(path))
		}
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// Sweep removes the directories in a root that were left behind because this
// process's like, its keeper and the guard were all killed. It passes over what
// is in use, or another user's.
func Sweep(root string) error {
	all, err := filepath.Glob(filepath.Join(root, prefix+"*"))
	for _, path := range all {
		d, e := lockDir(path, unix.LOCK_EX|unix.LOCK_NB)
		if e != nil {
			continue // in use, another's, or gone
		}
		err = errors.Join(err, d.Remove())
	}
	return err
}
