package scan

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// repository is one whose history is searched.
type repository struct {
	dir  string // it, or a directory in it
	part bool   // only what is below dir
}

// version is a file as it was in a commit, or the commit itself.
type version struct {
	id     string
	commit string
	path   string // from the top of the repository
}

// message is the path that is shown for what a commit says.
const message = "(commit message)"

// place is where a git runs.
type place struct {
	dir  string
	hook bool // as a hook of that repository, which is told by its environment
}

// git is a git that runs nothing a repository's config names, asks nobody and
// fetches nothing.
func (p place) git(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{
		"--no-pager", "--no-replace-objects", "--literal-pathspecs", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null",
		"-c", "log.showSignature=false", "-c", "protocol.allow=never", "-c", "core.quotePath=false",
	}, args...)
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = p.dir
	cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return !p.hook && isForeign(e) })
	cmd.Env = append(cmd.Env, "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "GIT_NO_LAZY_FETCH=1", "LC_ALL=C")
	return cmd
}

// isForeign reports whether a variable leads git to another repository than the
// one it is in.
func isForeign(variable string) bool {
	switch name, _, _ := strings.Cut(variable, "="); name {
	case "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_PREFIX", "GIT_NAMESPACE":
		return true
	}
	return false
}

// base returns the base of the repository.
func (p place) base(ctx context.Context) (base, error) {
	top, err := started(p.git(ctx, "rev-parse", "--show-toplevel"), io.ReadAll)
	if err != nil {
		return base{}, err
	}
	return baseOf(strings.TrimSuffix(string(top), "\n"))
}

// history searches every version of every file in the history of a repository
// once, and what its commits say.
func (s *Scanner) history(ctx context.Context, repo repository) error {
	at := place{dir: repo.dir}
	b, err := at.base(ctx)
	if err != nil {
		return err
	}
	args := []string{"log", "--all", "--reflog", "--topo-order", "--full-history", "-m", "--root", "--raw", "--no-abbrev", "--no-renames", "--format=%H", "-z"}
	if repo.part {
		args = append(args, "--", ".")
	}
	versions, err := started(at.git(ctx, args...), parseLog)
	if err != nil {
		return err
	}
	return s.versions(ctx, at, versions, func(t *text, v version, r io.Reader) error {
		return t.search(r, source{path: filepath.Join(repo.dir, v.path), place: v.path, commit: v.commit, version: v.id, base: &b})
	})
}

// parseLog reads what git log --raw -z prints and returns every version once,
// at the oldest commit that brought it.
func parseLog(r io.Reader) ([]version, error) {
	at := make(map[string]int)
	var all []version
	commit := ""
	add := func(v version) {
		if i, ok := at[v.id]; ok {
			if all[i].commit != v.commit { // the log goes back in time
				all[i] = v
			}
			return
		}
		at[v.id] = len(all)
		all = append(all, v)
	}
	words := bufio.NewReader(r)
	for {
		word, err := words.ReadString(0)
		if errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		word = strings.Trim(word, "\x00\n")
		switch {
		case word == "":
		case word[0] == ':':
			path, err := words.ReadString(0)
			fields := strings.Fields(word)
			if err != nil || len(fields) != 5 {
				return nil, errors.New("git log prints what is not understood")
			}
			if mode := fields[1]; mode == "100644" || mode == "100755" {
				add(version{fields[3], commit, strings.TrimSuffix(path, "\x00")})
			}
		default:
			commit = word
			add(version{commit, commit, message})
		}
	}
}

// versions has objects of a repository searched, through one git for each
// worker.
func (s *Scanner) versions(ctx context.Context, at place, all []version, search func(*text, version, io.Reader) error) error {
	work := make(chan version, 256)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	workers := s.workers(func(t *text) {
		if err := t.objects(at.git(ctx, "cat-file", "--batch"), work, search); err != nil {
			s.troublef(at.dir, err)
			for range work { // so that nobody waits for this one
			}
		}
	})
	for _, v := range all {
		select {
		case work <- v:
		case <-ctx.Done():
		}
	}
	close(work)
	workers.Wait()
	return ctx.Err()
}

// objects searches objects that it asks a git cat-file --batch for, one by one.
func (t *text) objects(cmd *exec.Cmd, work <-chan version, search func(*text, version, io.Reader) error) error {
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return noGit(err)
	}
	out := bufio.NewReaderSize(pipe, 64<<10)
	for v := range work {
		if err = t.object(in, out, v, search); err != nil {
			break
		}
	}
	return errors.Join(err, in.Close(), cmd.Wait())
}

func (t *text) object(in io.Writer, out *bufio.Reader, v version, search func(*text, version, io.Reader) error) error {
	if _, err := fmt.Fprintln(in, v.id); err != nil {
		return err
	}
	line, err := out.ReadString('\n')
	if err != nil {
		return fmt.Errorf("git cat-file ended: %w", err)
	}
	fields := strings.Fields(line)
	if len(fields) == 2 && fields[1] == "missing" {
		return nil // a clone that does not have everything
	}
	if len(fields) != 3 {
		return errors.New("git cat-file prints what is not understood")
	}
	size, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return errors.New("git cat-file prints what is not understood")
	}
	content := &io.LimitedReader{R: out, N: size}
	t.s.troublef(v.path, search(t, v, content))
	if _, err := out.Discard(int(content.N)); err != nil {
		return err
	}
	_, err = out.Discard(1) // the end of the line
	return err
}

// Staged searches what is about to be committed in the repository of a
// directory. What was there before the change is not reported.
func (s *Scanner) Staged(ctx context.Context, dir string) {
	s.troublef(dir, s.staged(ctx, dir))
}

func (s *Scanner) staged(ctx context.Context, dir string) error {
	at := place{dir: dir, hook: true}
	b, err := at.base(ctx)
	if err != nil {
		return err
	}
	changes, err := started(at.git(ctx, "diff", "--cached", "--raw", "-z", "--no-abbrev", "--no-renames", "--no-ext-diff", "--diff-filter=AMT"), parseChanges)
	if err != nil {
		return err
	}
	var after, before []version
	for _, c := range changes {
		after = append(after, version{id: c.after, path: c.path})
		if strings.Trim(c.before, "0") != "" {
			before = append(before, version{id: c.before, path: c.path})
		}
	}
	old := newMemory()
	past := &Scanner{Known: s.Known, Longest: s.Longest}
	err = past.versions(ctx, at, before, func(t *text, v version, r io.Reader) error {
		t.seen = func(rule string, value []byte) bool { old.note(v.path, rule, value); return false }
		return t.search(r, source{path: v.path, place: v.path, base: &b})
	})
	if err = errors.Join(err, errors.Join(past.Troubles()...)); err != nil {
		return err
	}
	return s.versions(ctx, at, after, func(t *text, v version, r io.Reader) error {
		t.seen = func(rule string, value []byte) bool { return !old.has(v.path, rule, value) }
		return t.search(r, source{path: v.path, place: v.path, base: &b})
	})
}

// change is a file that is staged.
type change struct{ before, after, path string }

// parseChanges reads what git diff --raw -z prints.
func parseChanges(r io.Reader) (all []change, err error) {
	words := bufio.NewReader(r)
	for {
		word, err := words.ReadString(0)
		if errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		path, err := words.ReadString(0)
		fields := strings.Fields(strings.TrimSuffix(word, "\x00"))
		if err != nil || len(fields) != 5 {
			return nil, errors.New("git diff prints what is not understood")
		}
		if mode := fields[1]; mode == "100644" || mode == "100755" {
			all = append(all, change{fields[2], fields[3], strings.TrimSuffix(path, "\x00")})
		}
	}
}

// started runs a git and reads what it prints meanwhile.
func started[T any](cmd *exec.Cmd, read func(io.Reader) (T, error)) (T, error) {
	var none T
	var says bytes.Buffer
	cmd.Stderr = &says
	out, err := cmd.StdoutPipe()
	if err != nil {
		return none, err
	}
	if err := cmd.Start(); err != nil {
		return none, noGit(err)
	}
	got, err := read(out)
	if err != nil {
		_, _ = io.Copy(io.Discard, out) // so that it can end
	}
	if ended := cmd.Wait(); ended != nil {
		// What git says of a repository are its paths; a value it has never seen.
		first, _, _ := strings.Cut(strings.TrimSpace(says.String()), "\n")
		return none, fmt.Errorf("git: %s", strings.TrimPrefix(first, "fatal: "))
	}
	return got, err
}

func noGit(err error) error {
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("there is no git to read the history with")
	}
	return err
}

// memory knows which finds there were, without their values.
type memory struct {
	key [32]byte

	mu   sync.Mutex // protects seen
	seen map[[sha256.Size]byte]bool
}

func newMemory() *memory {
	m := &memory{seen: make(map[[sha256.Size]byte]bool)}
	rand.Read(m.key[:]) // never fails
	return m
}

func (m *memory) digest(path, rule string, value []byte) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, m.key[:])
	fmt.Fprintf(h, "%q %q ", path, rule)
	h.Write(value)
	h.Sum(sum[:0])
	return sum
}

func (m *memory) note(path, rule string, value []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen[m.digest(path, rule, value)] = true
}

func (m *memory) has(path, rule string, value []byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seen[m.digest(path, rule, value)]
}
