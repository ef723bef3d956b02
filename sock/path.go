package sock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// maxLinks is how many symbolic links a path may lead through. A sanity check.
const maxLinks = 16

// TrustedPath returns nil when nobody but root and uid can change what the path
// leads to: it, every directory above it, and every symbolic link on the way
// belong to one of the two and are writable by no one else. Where allowSticky
// is set, a sticky directory of root's may be on the way: others can add to it
// but not replace what is there.
func TrustedPath(path string, uid uint32, allowSticky bool) error {
	_, err := walk(path, func(p string, info fs.FileInfo, last bool) error {
		owner := info.Sys().(*syscall.Stat_t).Uid
		if owner != 0 && owner != uid {
			return fmt.Errorf("%s: %w: it belongs to uid %d, not to root or uid %d", p, ErrUntrusted, owner, uid)
		}
		if info.Mode().Type() == fs.ModeSymlink || info.Mode().Perm()&0o022 == 0 {
			return nil // a link has no mode of its own that means anything
		}
		sticky := info.IsDir() && info.Mode()&fs.ModeSticky != 0 && owner == 0
		if sticky && allowSticky && !last {
			return nil
		}
		return fmt.Errorf("%s: %w: its mode %04o lets others change it (chmod go-w %s)", p, ErrUntrusted, info.Mode().Perm(), p)
	})
	return err
}

// Writable reports whether a uid that has these groups could change what the
// path leads to, and names the first place where: the file itself, a directory
// it could be replaced in, or one below it that root does not protect. What
// cannot be looked at counts as writable. Access lists beyond the mode are not
// seen.
func Writable(path string, uid uint32, gids []uint32) (where string, ok bool) {
	sticky := "" // the last directory in which it can add, but not replace
	at, err := walk(path, func(p string, info fs.FileInfo, last bool) error {
		st := info.Sys().(*syscall.Stat_t)
		if st.Uid == uid {
			return errFound // an owner can chmod, and replace its link in a sticky directory
		}
		perm := info.Mode().Perm()
		may := perm&0o002 != 0 || perm&0o020 != 0 && slices.Contains(gids, st.Gid)
		if !may || info.Mode().Type() == fs.ModeSymlink {
			return nil
		}
		if info.IsDir() && !last && info.Mode()&fs.ModeSticky != 0 {
			sticky = p
			return nil
		}
		return errFound
	})
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist) && filepath.Dir(at) != sticky:
		return "", false
	case errors.Is(err, fs.ErrNotExist):
		return sticky, true
	}
	return at, true
}

var errFound = errors.New("found")

// walk calls visit for every directory and symbolic link that the kernel passes
// on the way to path, and at last for what it leads to. It returns where it
// ended, which is there when there was no error. The path is taken as the kernel
// takes it: ".." after a link is the parent of what the link leads to.
func walk(path string, visit func(p string, info fs.FileInfo, last bool) error) (at string, err error) {
	if !filepath.IsAbs(path) {
		dir, err := os.Getwd()
		if err != nil {
			return "", err
		}
		path = dir + "/" + path
	}
	at = "/"
	rest := strings.Split(path, "/")
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == "" || name == "." {
			continue
		}
		if err := visitOne(at, false, visit); err != nil {
			return at, err
		}
		if name == ".." {
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		target, err := os.Readlink(next)
		if err != nil { // no link; if there is nothing, the next visit says so
			at = next
			continue
		}
		if err := visitOne(next, false, visit); err != nil {
			return next, err
		}
		if links++; links > maxLinks {
			return next, fmt.Errorf("%s: it leads through more than %d links", path, maxLinks)
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return at, visitOne(at, true, visit)
}

// dirOf returns the directory that a path's last name is in. It leaves ".." to
// the kernel, where filepath.Dir takes it for the parent of a link.
func dirOf(path string) string {
	dir, _ := filepath.Split(path)
	if dir == "" {
		return "."
	}
	return dir
}

func visitOne(p string, last bool, visit func(string, fs.FileInfo, bool) error) error {
	info, err := os.Lstat(p)
	if err != nil {
		return err
	}
	return visit(p, info, last)
}

func ownerOf(path string) (uint32, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Sys().(*syscall.Stat_t).Uid, nil
}
