package scan

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// file is one to be searched.
type file struct {
	root *os.Root // beneath which it is opened; nil: anywhere
	open string   // the path there
	source
}

// Paths searches files and trees, until ctx is done. A path that is a link is
// followed, a link in a tree is not.
func (s *Scanner) Paths(ctx context.Context, paths []string) {
	work := make(chan file, 256)
	workers := s.workers(func(t *text) {
		for f := range work {
			s.troublef(f.path, t.file(f))
		}
	})
	w := walk{ctx: ctx, s: s, work: work}
	for _, path := range paths {
		s.troublef(path, w.path(path))
	}
	close(work)
	workers.Wait()
	for _, root := range w.roots {
		s.trouble(root.Close())
	}
	for _, repo := range w.repositories {
		s.troublef(repo.dir, s.history(ctx, repo))
	}
}

// file searches a file.
func (t *text) file(f file) error {
	r, err := openFile(f.root, f.open)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was there a moment ago
	} else if err != nil {
		return err
	}
	return errors.Join(reason(t.search(r, f.source)), r.Close())
}

// walk sends the files of paths to be searched.
type walk struct {
	ctx          context.Context
	s            *Scanner
	work         chan<- file
	roots        []*os.Root // open until the work is done
	repositories []repository
}

func (w *walk) path(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return reason(err)
	}
	if info.IsDir() {
		return w.tree(path)
	}
	if !info.Mode().IsRegular() {
		return errKind
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return reason(err)
	}
	b, err := baseOf(filepath.Dir(real))
	if err != nil {
		return err
	}
	// Whoever names a file wants it searched, whatever is in it.
	w.send(file{nil, real, source{path: path, place: b.place(real), base: &b, binary: true}})
	return nil
}

func (w *walk) send(f file) {
	select {
	case w.work <- f:
	case <-w.ctx.Done():
	}
}

// tree is a directory that is walked.
type tree struct {
	*walk
	root  *os.Root
	shown string // its path, for people
	place string // and below the base
	base  *base
}

func (w *walk) tree(path string) error {
	b, err := baseOf(path)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return reason(err)
	}
	w.roots = append(w.roots, root)
	t := tree{w, root, path, b.place(path), &b}
	before := len(w.repositories)
	t.directory(".")
	if w.s.History && len(w.repositories) == before {
		// It may be in one.
		w.repositories = append(w.repositories, repository{dir: path, part: true})
	}
	return nil
}

// directory sends the files of a directory and those below it.
func (t *tree) directory(dir string) {
	entries, err := t.read(dir)
	t.s.troublef(filepath.Join(t.shown, dir), err)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case t.ctx.Err() != nil:
			return
		case e.Name() == ".git":
			t.repository(dir, e)
		case e.IsDir() && !isIgnored(e.Name()):
			t.directory(path)
		case e.Type().IsRegular():
			t.file(path)
		}
	}
}

// repository notes a repository. Of what is in .git only the URLs of remotes
// may be secret and can be read.
func (t *tree) repository(dir string, git fs.DirEntry) {
	if t.s.History {
		t.repositories = append(t.repositories, repository{dir: filepath.Join(t.shown, dir)})
	}
	config := filepath.Join(dir, git.Name(), "config")
	if info, err := t.root.Lstat(config); err == nil && info.Mode().IsRegular() {
		t.file(config)
	}
}

func (t *tree) file(path string) {
	t.send(file{t.root, path, source{path: filepath.Join(t.shown, path), place: filepath.Join(t.place, path), base: t.base}})
}

// read lists a directory, as far as that can be done.
func (t *tree) read(dir string) ([]fs.DirEntry, error) {
	f, err := t.root.Open(dir)
	if err != nil {
		return nil, reason(err)
	}
	entries, err := f.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return entries, errors.Join(reason(err), f.Close())
}
