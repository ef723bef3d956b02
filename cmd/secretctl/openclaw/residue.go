package openclaw

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"secretctl/cmd/secretctl/json5"
)

// Backups returns the names of the copies of the config that OpenClaw keeps:
// openclaw.json.bak, .bak.1 and their like.
func Backups(dir *os.Root) (names []string, err error) {
	entries, err := fs.ReadDir(dir.FS(), ".")
	for _, e := range entries {
		if e.Type().IsRegular() && strings.HasPrefix(e.Name(), ConfigFile+".") {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// ScrubBackup replaces the credentials in a copy of the config by the references
// that are in their places now, and returns how many. A copy stays a config that
// can be put back.
func (c *Config) ScrubBackup(dir *os.Root, name string) (int, error) {
	backup := &Config{leaves: map[string]leaf{}}
	defer backup.Clear()
	f, err := backup.read(dir, name)
	if err != nil {
		return 0, err
	}
	if err := backup.note(f, f.Root, nil); err != nil {
		return 0, err
	}
	var plain []leaf
	for key, old := range backup.leaves {
		now, ok := c.leaves[key]
		if _, ours := now.refTo(ProviderAlias); ok && ours && old.isValue() {
			plain = append(plain, old)
		}
	}
	if len(plain) == 0 {
		return 0, nil
	}
	slices.SortFunc(plain, func(a, b leaf) int { return a.node.Start - b.node.Start })
	var text []byte
	defer func() { clear(text) }()
	text = make([]byte, 0, len(f.Text)+len(plain)*256)
	at := 0
	for _, l := range plain {
		now := c.leaves[strings.Join(l.path, "\x00")]
		id, _ := now.refTo(ProviderAlias)
		ref, err := json.Marshal(RefTo(id))
		if err != nil {
			return 0, err
		}
		text = append(append(text, f.Text[at:l.node.Start]...), ref...)
		at = l.node.End
	}
	text = append(text, f.Text[at:]...)
	return len(plain), ReplaceFile(dir, name, f.Text, text)
}

// note is visit without includes, which a backup shares with the config.
func (c *Config) note(f *File, n *json5.Node, at []string) error {
	return c.visit(nil, f, &json5.Node{Kind: n.Kind, Members: slices.DeleteFunc(slices.Clone(n.Members), func(m json5.Member) bool {
		return m.Key == "$include"
	})}, at, 0)
}

// isValue reports whether a leaf is a credential itself and no variable.
func (l leaf) isValue() bool {
	if l.node.Kind != json5.String || patternOf(l.path) == nil {
		return false
	}
	text := l.node.AppendText(make([]byte, 0, l.node.End-l.node.Start), l.file.Text)
	defer clear(text)
	return len(bytes.TrimSpace(text)) > 0 && !bytes.Contains(text, []byte("$"))
}

// ErrChanged means that a file is no longer what was read.
var ErrChanged = errors.New("somebody has changed it meanwhile")

// ReplaceFile puts text in a file that is to hold what it was: with its mode, as
// a whole, and durably. A file that is not that any more is left alone.
func ReplaceFile(dir *os.Root, name string, was, text []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("rewriting %s: %w", name, reason(err))
		}
	}()
	info, err := dir.Lstat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is not a file")
	}
	temp := path.Join(path.Dir(name), "."+path.Base(name)+"."+rand.Text()[:8]+".tmp")
	if err := writeNew(dir, temp, info.Mode().Perm(), text); err != nil {
		return errors.Join(err, dir.Remove(temp))
	}
	now, err := readFile(dir, name)
	same := bytes.Equal(now, was)
	clear(now)
	switch {
	case err != nil:
		return errors.Join(err, dir.Remove(temp))
	case !same:
		return errors.Join(ErrChanged, dir.Remove(temp))
	}
	if err := dir.Rename(temp, name); err != nil {
		return errors.Join(err, dir.Remove(temp))
	}
	return syncDir(dir, path.Dir(name))
}

// writeNew writes a file that was not there, durably.
func writeNew(dir *os.Root, name string, perm fs.FileMode, text []byte) error {
	f, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Chmod(perm), f.Sync(), f.Close())
}

func syncDir(dir *os.Root, name string) error {
	d, err := dir.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Residue is a file in which a value is still to be found.
type Residue struct {
	File string
	Name string // of the secret
}

// maxSearched is the largest file that is searched as a whole, in bytes.
const maxSearched = 256 << 20

// Search looks through all of OpenClaw's files for the values of credentials, as
// they are and as JSON writes them. What it could not read is an error.
func Search(dir *os.Root, credentials []*Credential) (found []Residue, err error) {
	var unread []error
	err = fs.WalkDir(dir.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			unread = append(unread, err)
			return nil
		case !e.Type().IsRegular():
			return nil
		}
		text, err := readWhole(dir, name)
		if err != nil {
			unread = append(unread, fmt.Errorf("reading %s: %w", name, reason(err)))
			return nil
		}
		defer clear(text)
		seen := map[string]bool{}
		for _, c := range credentials {
			if !seen[c.Name] && c.isIn(text) {
				found = append(found, Residue{name, c.Name})
				seen[c.Name] = true
			}
		}
		return nil
	})
	return found, errors.Join(append(unread, err)...)
}

func readWhole(dir *os.Root, name string) ([]byte, error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case info.Size() > maxSearched:
		return nil, fmt.Errorf("it is larger than %d MiB", maxSearched>>20)
	}
	text := make([]byte, info.Size())
	n, err := io.ReadFull(f, text)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = nil // it became shorter
	}
	return text[:n], err
}

// Is reports whether this is the value.
func (c *Credential) Is(value []byte) (is bool) {
	_ = c.Value.Use(func(v []byte) error { is = bytes.Equal(v, value); return nil })
	return is
}

// isIn reports whether the value is in a text.
func (c *Credential) isIn(text []byte) (is bool) {
	_ = c.Value.Use(func(v []byte) error {
		is = bytes.Contains(text, v)
		if !is {
			quoted := json5.AppendString(make([]byte, 0, 6*len(v)+2), v)
			is = bytes.Contains(text, quoted[1:len(quoted)-1])
			clear(quoted)
		}
		return nil
	})
	return is
}
