package openclaw

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"secretctl/cmd/secretctl/json5"
)

// ConfigFile is the name of the config in OpenClaw's directory.
const ConfigFile = "openclaw.json"

// Limits of OpenClaw's own.
const (
	maxConfig   = 16 << 20
	maxIncludes = 10 // how deep they may be nested
)

// File is a file of OpenClaw's with its tree.
type File struct {
	Name string // below OpenClaw's directory
	Text []byte // holds credentials: see [File.Clear]
	Root *json5.Node
}

// Clear overwrites the text.
func (f *File) Clear() { clear(f.Text) }

// Config is openclaw.json and what it includes.
type Config struct {
	Files  []*File
	leaves map[string]leaf // joined path → what is in force there
}

// leaf is a string or a reference at a place of the config.
type leaf struct {
	path []string
	file *File
	node *json5.Node
}

// ReadConfig reads openclaw.json and its includes from OpenClaw's directory,
// which no include may lead out of.
func ReadConfig(dir *os.Root) (*Config, error) {
	c := &Config{leaves: map[string]leaf{}}
	f, err := c.read(dir, ConfigFile)
	if err == nil {
		err = c.visit(dir, f, f.Root, nil, 0)
	}
	if err != nil {
		c.Clear()
		return nil, err
	}
	return c, nil
}

// Clear overwrites the texts.
func (c *Config) Clear() {
	for _, f := range c.Files {
		f.Clear()
	}
}

func (c *Config) read(dir *os.Root, name string) (*File, error) {
	text, err := readFile(dir, name)
	if err != nil {
		return nil, err
	}
	f := &File{Name: name, Text: text}
	c.Files = append(c.Files, f)
	if f.Root, err = json5.Parse(text); err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if f.Root.Kind != json5.Object {
		return nil, fmt.Errorf("reading %s: it is not an object", name)
	}
	return f, nil
}

// readFile reads a regular file into memory that is as large as it, so that
// nothing of it stays behind in a buffer that grew.
func readFile(dir *os.Root, name string) ([]byte, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, reason(err))
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", name, reason(err))
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("reading %s: it is not a file", name)
	case info.Size() > maxConfig:
		return nil, fmt.Errorf("reading %s: it is larger than %d MiB", name, maxConfig>>20)
	}
	text := make([]byte, info.Size())
	if _, err := io.ReadFull(f, text); err != nil {
		clear(text)
		return nil, fmt.Errorf("reading %s: %w", name, reason(err))
	}
	return text, nil
}

// reason is an error without the path, which the caller gives.
func reason(err error) error {
	if e := new(fs.PathError); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// visit notes what an object says, includes first: its own keys come after them.
func (c *Config) visit(dir *os.Root, f *File, n *json5.Node, at []string, depth int) error {
	if n.Kind != json5.Object {
		return nil
	}
	if err := c.include(dir, f, n.Get("$include"), at, depth); err != nil {
		return err
	}
	for _, m := range n.Members {
		if m.Key == "$include" {
			continue
		}
		here := append(slices.Clip(at), m.Key)
		switch {
		case m.Value.Kind == json5.String, m.Value.Get("source") != nil:
			c.leaves[strings.Join(here, "\x00")] = leaf{here, f, m.Value}
		default:
			if err := c.visit(dir, f, m.Value, here, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Config) include(dir *os.Root, f *File, what *json5.Node, at []string, depth int) error {
	if what == nil {
		return nil
	}
	if depth == maxIncludes {
		return fmt.Errorf("reading %s: includes are nested too deep", f.Name)
	}
	for _, item := range append(slices.Clip(what.Items), what) {
		if item.Kind != json5.String {
			continue
		}
		name := string(item.AppendText(nil, f.Text))
		if path.IsAbs(name) {
			// What does not lie in the directory is refused when it is opened.
			if inside, err := filepath.Rel(dir.Name(), name); err == nil {
				name = inside
			}
		} else {
			name = path.Join(path.Dir(f.Name), name)
		}
		included, err := c.read(dir, name)
		if err != nil {
			return err
		}
		if err := c.visit(dir, included, included.Root, at, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// Uses returns the ids that the config asks a provider for, sorted.
func (c *Config) Uses(provider string) (ids []string) {
	for _, l := range c.leaves {
		if id, ok := l.refTo(provider); ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// refTo returns the id of an exec reference to a provider.
func (l leaf) refTo(provider string) (id string, ok bool) {
	if l.text("source") != "exec" || l.text("provider") != provider {
		return "", false
	}
	return l.text("id"), true
}

// text returns what a key of a reference says. References are no credentials.
func (l leaf) text(key string) string {
	return string(l.node.Get(key).AppendText(nil, l.file.Text))
}
