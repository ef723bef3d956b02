package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"secretctl/cmd/secretctl/dotenv"
)

// remain is a place where the old plaintext still is, or may be.
type remain struct {
	Place string `json:"place"`
	What  string `json:"what"`
}

// histories are the files, below a home, in which shells and clients keep what was
// typed.
var histories = [...]string{
	".bash_history", ".zsh_history", ".zhistory", ".histfile", ".history", ".sh_history", ".ash_history", ".local/share/fish/fish_history",
	".python_history", ".node_repl_history", ".psql_history", ".mysql_history", ".rediscli_history", ".sqlite_history",
}

const (
	// minSearched is the shortest value that is searched for, in bytes: a shorter one
	// is found in places that have nothing to do with it.
	minSearched = 8
	// maxSearched is the largest file that is searched, in bytes.
	maxSearched = 64 << 20
	// gitTime is how long git may take.
	gitTime = 10 * time.Second
)

// search looks for values where they may have been left.
type search struct {
	f      *envFile
	home   string
	keys   []string // of the values
	values [][]byte
	found  []remain
}

func (s *search) want(e dotenv.Entry) {
	if len(e.Value) >= minSearched {
		s.keys, s.values = append(s.keys, e.Key), append(s.values, e.Value)
	}
}

// run searches everywhere and returns what it found.
func (s *search) run() []remain {
	s.itself()
	s.siblings()
	s.git()
	if s.home != "" {
		for _, name := range histories {
			s.look(filepath.Join(s.home, name), "what was typed")
		}
	}
	return s.found
}

func (s *search) add(place, format string, args ...any) {
	s.found = append(s.found, remain{place, fmt.Sprintf(format, args...)})
}

// itself looks at the file as it is now: a value may be in a comment, or a part of
// another one.
func (s *search) itself() {
	now, err := readRegular(s.f.path)
	if err != nil {
		return
	}
	defer clear(now)
	for i, value := range s.values {
		for at := 0; ; at += len(value) {
			n := bytes.Index(now[at:], value)
			if n < 0 {
				break
			}
			at += n
			s.add(s.f.path, "line %d still holds the value of %s", 1+bytes.Count(now[:at], []byte{'\n'}), s.keys[i])
		}
	}
}

// siblings looks at the files that editors and people leave beside a file, and at
// what a rewriting that was cut short left.
func (s *search) siblings() {
	dir := filepath.Dir(s.f.path)
	all, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range all {
		name := e.Name()
		path := filepath.Join(dir, name)
		swap := strings.HasPrefix(name, "."+s.f.base+".sw") || strings.HasPrefix(name, s.f.base+".sw")
		switch {
		case name == s.f.base || !e.Type().IsRegular():
		case isTemp(name, s.f.base):
			s.add(path, "a rewriting that was cut short left it: look at it, then remove it")
		case swap:
			s.add(path, "an editor's swap file: close the editor, or remove it")
		case strings.HasPrefix(name, s.f.base), strings.HasPrefix(name, "."+s.f.base), strings.HasPrefix(name, "#"+s.f.base):
			s.look(path, "a copy")
		}
	}
}

// look searches a file for the values, and names the keys of those in it.
func (s *search) look(path, what string) {
	text, err := readRegular(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		s.add(path, "%s: it could not be searched: %v", what, reason(err))
		return
	}
	defer clear(text)
	var keys []string
	for i, value := range s.values {
		if bytes.Contains(text, value) && !slices.Contains(keys, s.keys[i]) {
			keys = append(keys, s.keys[i])
		}
	}
	if len(keys) > 0 {
		s.add(path, "%s: it holds the value of %s", what, strings.Join(keys, ", "))
	}
}

var errTooLarge = fmt.Errorf("it is larger than %d MiB", maxSearched>>20)

// readRegular reads a file, and nothing that is no file.
func readRegular(path string) ([]byte, error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	f, err := openNoFollow(dir, filepath.Base(path))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fs.ErrNotExist
	case info.Size() > maxSearched:
		return nil, errTooLarge
	}
	b := make([]byte, info.Size())
	n, err := io.ReadFull(f, b)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return b[:n], err
}

// git reports whether the history of a repository has the file. It is asked for
// commits, not for values: those would be arguments.
func (s *search) git() {
	ctx, stop := context.WithTimeout(context.Background(), gitTime)
	defer stop()
	dir := filepath.Dir(s.f.path)
	cmd := exec.CommandContext(ctx, "git", "-c", "core.fsmonitor=false", "-c", "log.showSignature=false", "--no-pager", "log", "--all", "--format=%h", "--", s.f.base)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.home, "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C"}
	out, err := cmd.Output()
	switch commits := bytes.Count(out, []byte{'\n'}); {
	case ctx.Err() != nil:
		s.add(dir, "git did not say in time whether its history has the file")
	case err == nil && commits > 0:
		s.add(dir, "the history of this git repository has the file in %s: whoever has a clone has the values", counted(commits, "commit"))
	}
}
