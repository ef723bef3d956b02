package child

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Find looks a program up as execvp(3) does: a name with a slash is a path, any
// other is looked for in the directories of path. One that is there and cannot
// be run is fs.ErrPermission, else it is fs.ErrNotExist; both in a
// [*StartError].
func Find(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		return name, found(name, runnable(name))
	}
	err := error(unix.ENOENT)
	for _, dir := range filepath.SplitList(path) {
		if dir == "" {
			dir = "."
		}
		at := filepath.Join(dir, name)
		if !strings.Contains(at, "/") {
			at = "./" + at
		}
		switch e := runnable(at); {
		case e == nil:
			return at, nil
		case errors.Is(e, fs.ErrPermission):
			err = e
		}
	}
	return "", found(name, err)
}

func found(name string, err error) error {
	if err == nil {
		return nil
	}
	return &StartError{name, err}
}

// runnable returns why a file cannot be run, as an errno.
func runnable(path string) error {
	info, err := os.Stat(path)
	if pathErr := new(fs.PathError); errors.As(err, &pathErr) {
		return pathErr.Err
	}
	if err != nil {
		return err
	}
	if info.IsDir() || info.Mode().Perm()&0o111 == 0 {
		return unix.EACCES
	}
	return unix.Access(path, unix.X_OK)
}
