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
	return walk(path, func(p string, info fs.FileInfo, last bool) error {
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
}

// Writable reports whether a uid that has these groups could change what the
// path leads to, and names the first place where: the file itself, a directory
// it could be replaced in, or one below it that root does not protect. Access
// lists beyond the mode are not seen.
func Writable(path string, uid uint32, gids []uint32) (where string, ok bool) {
	err := walk(path, func(p string, info fs.FileInfo, last bool) error {
		st := info.Sys().(*syscall.Stat_t)
		if info.Mode().Type() == fs.ModeSymlink {
			return nil
		}
		may := st.Uid == uid || // an owner can always chmod
			info.Mode().Perm()&0o002 != 0 ||
			info.Mode().Perm()&0o020 != 0 && slices.Contains(gids, st.Gid)
		if may && info.IsDir() && !last && info.Mode()&fs.ModeSticky != 0 && st.Uid != uid {
			return nil // only what is its own can be replaced there
		}
		if may {
			where = p
			return errFound
		}
		return nil
	})
	return where, errors.Is(err, errFound)
}

var errFound = errors.New("found")

// walk calls visit for every directory and symbolic link that the kernel passes
// on the way to path, and for what it leads to.
func walk(path string, visit func(p string, info fs.FileInfo, last bool) error) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	rest, at := strings.Split(strings.Trim(path, "/"), "/"), "/"
	if err := visitOne("/", false, visit); err != nil {
		return err
	}
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		target, err := os.Readlink(next)
		if err := visitOne(next, len(rest) == 0 && err != nil, visit); err != nil {
			return err
		}
		if err != nil {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return fmt.Errorf("%s: it leads through more than %d links", path, maxLinks)
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return nil
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
