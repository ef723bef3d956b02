package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"secretctl/cmd/secretctl/dotenv"
	"secretctl/sock"
)

// tempPart is in the name of what a file is rewritten by, between the file's own
// name and a random text.
const tempPart = ".secretctl-"

// envFile is a .env file that was opened and read, and may be rewritten if it
// still is what it was. Its content is this process's own to change and to clear.
type envFile struct {
	path    string // absolute
	base    string // its last element
	root    *os.Root
	dir     *os.File // root's directory
	file    *os.File
	was     fs.FileInfo
	content []byte
	step    func(name string) // told before each step of rewriting; nil: nobody
	swap    func(dir *os.File, a, b string) error
}

// openEnvFile opens and reads a file of this process's user: a file itself, and
// no link to one that lies elsewhere.
func openEnvFile(path string) (*envFile, error) {
	f := &envFile{path: path, base: filepath.Base(path), swap: exchange}
	if err := f.open(); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *envFile) open() (err error) {
	dir := filepath.Dir(f.path)
	if os.Geteuid() == 0 {
		// What others can exchange is not for root to follow.
		if err := sock.TrustedPath(dir, 0, true); err != nil {
			return hinted(fmt.Errorf("opening %s: %w", f.path, err), "sudo secretctl import --user NAME "+f.path)
		}
	}
	if f.root, err = os.OpenRoot(dir); err != nil {
		return fmt.Errorf("opening %s: %w", f.path, reason(err))
	}
	if f.dir, err = f.root.Open("."); err != nil {
		return fmt.Errorf("opening %s: %w", f.path, reason(err))
	}
	if f.file, err = openNoFollow(f.dir, f.base); err != nil {
		if errors.Is(err, syscall.ELOOP) {
			return hinted(fmt.Errorf("%s is a symbolic link", f.path), "name the file that it leads to")
		}
		err = fmt.Errorf("opening %s: %w", f.path, reason(err))
		if errors.Is(err, fs.ErrNotExist) {
			err = hinted(err, findPlaintext)
		}
		return err
	}
	if f.was, err = f.file.Stat(); err != nil {
		return fmt.Errorf("opening %s: %w", f.path, reason(err))
	}
	if err := f.acceptable(f.was); err != nil {
		return err
	}
	f.content, err = f.read()
	return err
}

// acceptable reports why a file is none to be read or rewritten.
func (f *envFile) acceptable(info fs.FileInfo) error {
	st := info.Sys().(*syscall.Stat_t)
	us := uint32(os.Geteuid())
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file", f.path)
	case st.Uid != us:
		return hinted(fmt.Errorf("%s belongs to uid %d, and this is uid %d", f.path, st.Uid, us),
			fmt.Sprintf("sudo secretctl import --user %s %s", userName(st.Uid), f.path))
	case st.Nlink != 1:
		return hinted(fmt.Errorf("%s has %d names: another one would keep what is in it", f.path, st.Nlink),
			fmt.Sprintf("find the others: find / -xdev -inum %d", st.Ino))
	case info.Size() > dotenv.MaxSize:
		return fmt.Errorf("%s is larger than %d MiB", f.path, dotenv.MaxSize>>20)
	}
	return nil
}

// userName returns the name of a user, or else the uid.
func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// read returns what is in the open file.
func (f *envFile) read() ([]byte, error) {
	b := make([]byte, f.was.Size()+1) // one more, to see that it has not grown
	n, err := f.file.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		clear(b)
		return nil, fmt.Errorf("reading %s: %w", f.path, reason(err))
	}
	if int64(n) != f.was.Size() {
		clear(b)
		return nil, f.changed()
	}
	return b[:n], nil
}

func (f *envFile) changed() error {
	return hinted(fmt.Errorf("%s was changed while it was worked on: it is left as it is", f.path), "run it again: nothing is lost")
}

// close forgets the file.
func (f *envFile) close() {
	clear(f.content)
	if f.file != nil {
		f.file.Close()
	}
	if f.dir != nil {
		f.dir.Close()
	}
	if f.root != nil {
		f.root.Close()
	}
}

func (f *envFile) at(step string) {
	if f.step != nil {
		f.step(step)
	}
}

// rewrite replaces the file by one with another content, durably and as a whole,
// with the same owner, group, mode and extended attributes. A file that is no
// longer what was read stays, whatever it is now. A crash leaves the file as it
// was or as it is to be; one between the last steps leaves the old content beside
// it as well, under a name that [remains] knows.
func (f *envFile) rewrite(with []byte) (err error) {
	f.at("stage")
	temp := f.base + tempPart + rand.Text()
	staged, err := f.stage(temp, with)
	if err != nil {
		return fmt.Errorf("rewriting %s: %w", f.path, errors.Join(reason(err), f.removeIf(temp, staged)))
	}
	f.at("check")
	if err := f.unchanged(f.base, true); err != nil {
		return errors.Join(err, f.removeIf(temp, staged))
	}
	f.at("exchange")
	if err := f.exchange(temp, staged); err != nil {
		return err
	}
	f.at("sync")
	if err := f.dir.Sync(); err != nil {
		return fmt.Errorf("rewriting %s: syncing its directory: %w", f.path, reason(err))
	}
	f.at("done")
	return nil
}

// stage writes the new file beside the old one.
func (f *envFile) stage(temp string, with []byte) (staged fs.FileInfo, err error) {
	to, err := f.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer to.Close()
	if staged, err = to.Stat(); err != nil {
		return nil, err
	}
	was := f.was.Sys().(*syscall.Stat_t)
	if is := staged.Sys().(*syscall.Stat_t); is.Gid != was.Gid {
		if err := to.Chown(-1, int(was.Gid)); err != nil {
			return staged, fmt.Errorf("giving it the group %d: %w", was.Gid, reason(err))
		}
	}
	f.at("write")
	if _, err := to.Write(with); err != nil {
		return staged, err
	}
	if err := copyAttributes(f.file, to); err != nil {
		return staged, err
	}
	if err := to.Chmod(f.was.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)); err != nil {
		return staged, err
	}
	f.at("sync file")
	if err := to.Sync(); err != nil {
		return staged, err
	}
	return staged, nil
}

// unchanged reports whether a name still leads to the file that was read, and
// that it still holds what was read.
func (f *envFile) unchanged(name string, sameChange bool) error {
	info, err := f.root.Lstat(name)
	if err != nil || !os.SameFile(info, f.was) || info.Size() != f.was.Size() || !info.ModTime().Equal(f.was.ModTime()) ||
		info.Mode() != f.was.Mode() || sameChange && changeTime(info) != changeTime(f.was) {
		return f.changed()
	}
	if err := f.acceptable(info); err != nil {
		return err
	}
	now, err := f.read()
	if err != nil {
		return err
	}
	defer clear(now)
	if !bytes.Equal(now, f.content) {
		return f.changed()
	}
	return nil
}

// exchange puts the new file in the place of the old one. The two change places,
// so that whatever was at the file's name at that moment can be looked at, and put
// back if it is not what was read.
func (f *envFile) exchange(temp string, staged fs.FileInfo) error {
	err := f.swap(f.dir, temp, f.base)
	if errors.Is(err, errors.ErrUnsupported) {
		return f.replace(temp, staged)
	}
	if err != nil {
		return fmt.Errorf("rewriting %s: %w", f.path, errors.Join(reason(err), f.removeIf(temp, staged)))
	}
	f.at("look")
	if err := f.unchanged(temp, false); err != nil {
		f.at("put back")
		if back := f.swap(f.dir, temp, f.base); back != nil {
			return errors.Join(err, fmt.Errorf("putting back what is now at %s: %w", filepath.Join(filepath.Dir(f.path), temp), reason(back)))
		}
		return errors.Join(err, f.removeIf(temp, staged))
	}
	f.at("sync exchange")
	if err := f.dir.Sync(); err != nil {
		return fmt.Errorf("rewriting %s: syncing its directory: %w", f.path, reason(err))
	}
	f.at("remove")
	if err := f.removeIf(temp, f.was); err != nil {
		return err
	}
	return f.gone()
}

// gone reports whether what was read has no name any more. One that was being
// given to it when the files changed places can come after every look.
func (f *envFile) gone() error {
	info, err := f.file.Stat()
	if err != nil {
		return fmt.Errorf("rewriting %s: %w", f.path, reason(err))
	}
	if st := info.Sys().(*syscall.Stat_t); st.Nlink != 0 {
		return hinted(fmt.Errorf("%s is rewritten, and what was in it was given another name meanwhile", f.path),
			fmt.Sprintf("find it: find / -xdev -inum %d", st.Ino))
	}
	return nil
}

// replace renames over the old file, where the file system cannot exchange two.
// What is put there between the last look and the rename is lost: that is as close
// as it gets.
func (f *envFile) replace(temp string, staged fs.FileInfo) error {
	if err := f.unchanged(f.base, true); err != nil {
		return errors.Join(err, f.removeIf(temp, staged))
	}
	if err := f.root.Rename(temp, f.base); err != nil {
		return fmt.Errorf("rewriting %s: %w", f.path, errors.Join(reason(err), f.removeIf(temp, staged)))
	}
	return nil
}

// removeIf removes a name if it leads to that file (nil: to none) and says where
// it was left if it does not.
func (f *envFile) removeIf(name string, is fs.FileInfo) error {
	info, err := f.root.Lstat(name)
	switch {
	case is == nil, errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && os.SameFile(info, is):
		err = f.root.Remove(name)
	case err == nil:
		err = errors.New("somebody else put it there")
	}
	if err != nil {
		return fmt.Errorf("%s is left: %w", filepath.Join(filepath.Dir(f.path), name), reason(err))
	}
	return nil
}

// reason returns what the system said, without the operation and the path, which
// the caller says better.
func reason(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}

// isTemp reports whether a name is of what another file was being rewritten by.
func isTemp(name, base string) bool { return strings.HasPrefix(name, base+tempPart) }
