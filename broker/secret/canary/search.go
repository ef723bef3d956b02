package canary

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// errNothing is the error of a run that left nothing to search.
var errNothing = errors.New("the command left no file in its TMPDIR: nothing was searched")

// search searches everything that the run has written and not removed.
func (w *watcher) search() error {
	for _, name := range []string{"stdout", "stderr"} {
		if err := w.found.file(filepath.Join(w.dir, name), name); err != nil {
			return err
		}
	}
	before := w.found.files
	if err := w.found.tree(w.tmp, "TMPDIR", time.Time{}, ""); err != nil {
		return err
	}
	if w.found.files == before {
		return errNothing
	}
	// A process with an empty environment has the machine's temporary directory,
	// where others write and remove meanwhile.
	return errors.Join(w.found.tree(".", ".", w.began, w.dir), w.found.tree(os.TempDir(), os.TempDir(), w.began, w.dir))
}

// tree searches the names and files under a directory, which is shown as a name.
// With a time it is a directory that others use too: what is older, or gone
// meanwhile, or closed to us is passed over, and so is one directory in it.
func (f *findings) tree(dir, shown string, since time.Time, except string) error {
	ours := since.IsZero()
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if path == except {
			return fs.SkipDir
		}
		var info fs.FileInfo
		if err == nil {
			info, err = d.Info()
		}
		if !ours && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("searching: %w", err)
		}
		name := filepath.Join(shown, strings.TrimPrefix(path, dir))
		if info.ModTime().Before(since) {
			return nil
		}
		f.text("the name of "+filepath.Dir(name)+"/…", filepath.Base(path))
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			f.text("the target of "+name, target)
		case d.Type().IsRegular():
			err = f.file(path, name)
			if ours || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
				return err
			}
		}
		return nil
	})
}
