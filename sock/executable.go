package sock

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// Executable is what a process runs, as the kernel has it open. Path is for
// showing only: a process can make it say anything.
type Executable struct {
	Path     string
	Dev, Ino uint64
}

// Pin is an executable named in the config: what its file was when the config
// was read. An interpreter can be pinned, but then any script of the uid is.
type Pin struct {
	path string
	sum  [sha256.Size]byte
	last *identity // shared by copies of the Pin
}

// identity is a file as it was when its content was last found to be the same.
type identity struct {
	mu   sync.Mutex
	stat fingerprint
}

// fingerprint changes when a file's content can have changed.
type fingerprint struct {
	dev, ino     uint64
	size         int64
	mtime, ctime int64
}

// PinExecutable pins the file at an absolute path. It must be a regular file
// that nobody but root and this process's user can change.
func PinExecutable(path string) (Pin, error) {
	if !filepath.IsAbs(path) {
		return Pin{}, fmt.Errorf("%q is not an absolute path", path)
	}
	if err := TrustedPath(path, uint32(os.Getuid()), false); err != nil {
		return Pin{}, err
	}
	sum, stat, err := hashFile(path)
	if err != nil {
		return Pin{}, err
	}
	return Pin{path, sum, &identity{stat: stat}}, nil
}

// current returns the file's fingerprint now, or an error when its content is
// not what it was.
func (p Pin) current() (fingerprint, error) {
	info, err := os.Stat(p.path)
	if err != nil {
		return fingerprint{}, err
	}
	now := fingerprintOf(info)
	p.last.mu.Lock()
	defer p.last.mu.Unlock()
	if now == p.last.stat {
		return now, nil
	}
	sum, now, err := hashFile(p.path)
	if err != nil {
		return fingerprint{}, err
	}
	if sum != p.sum {
		return fingerprint{}, fmt.Errorf("%s is not the file it was when the config was read", p.path)
	}
	p.last.stat = now
	return now, nil
}

func hashFile(path string) (sum [sha256.Size]byte, fp fingerprint, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, fp, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return sum, fp, err
	}
	if !info.Mode().IsRegular() {
		return sum, fp, fmt.Errorf("%s is not a regular file", path)
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, fp, err
	}
	return [sha256.Size]byte(h.Sum(nil)), fingerprintOf(info), nil
}

func fingerprintOf(info fs.FileInfo) fingerprint {
	st := info.Sys().(*syscall.Stat_t)
	return fingerprint{uint64(st.Dev), uint64(st.Ino), info.Size(), info.ModTime().UnixNano(), changeTime(st)}
}

// Runs returns nil when the peer runs one of the pinned executables: the very
// file, by device and inode, with the content it had when it was pinned, seen
// from our own mount and user namespace.
func (p *Peer) Runs(pins []Pin) error {
	exe, err := p.Executable()
	if err != nil {
		return err
	}
	var errs []error
	for _, pin := range pins {
		now, err := pin.current()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if now.dev == exe.Dev && now.ino == exe.Ino {
			return nil
		}
	}
	return errors.Join(append(errs, ErrOtherExecutable)...)
}
