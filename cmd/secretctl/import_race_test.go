package main

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const (
	oldContent = "TOKEN=old\n"
	newContent = "TOKEN=secret://token\n"
	putContent = "TOKEN=of-somebody-else\n" // what somebody puts in the place of the file
)

// scene is a directory with a file that is rewritten, and one that is none of
// ours.
type scene struct {
	t            *testing.T
	dir          string
	file, victim string
}

func newScene(t *testing.T, dir string) *scene {
	s := &scene{t, dir, filepath.Join(dir, "app.env"), filepath.Join(dir, "victim")}
	for path, text := range map[string]string{s.file: oldContent, s.victim: putContent} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return s
}

// swaps are what somebody may do to the file's name, at once.
var swaps = map[string]func(s *scene) error{
	"a symbolic link": func(s *scene) error {
		return errors.Join(os.Symlink(s.victim, s.dir+"/put"), os.Rename(s.dir+"/put", s.file))
	},
	"a hard link of another file": func(s *scene) error {
		return errors.Join(os.Link(s.victim, s.dir+"/put"), os.Rename(s.dir+"/put", s.file))
	},
	"another file": func(s *scene) error {
		return errors.Join(os.WriteFile(s.dir+"/put", []byte(putContent), 0o600), os.Rename(s.dir+"/put", s.file))
	},
	"a second name of this file": func(s *scene) error {
		for {
			// It is not there for whoever looked the name up before the rewriting and
			// would link what it led to after.
			if err := os.Link(s.file, s.dir+"/second"); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	},
}

// work opens and rewrites the file and says what it read.
func (s *scene) work(step func(string), swap func(*os.File, string, string) error) (read string, err error) {
	f, err := openEnvFile(s.file)
	if err != nil {
		return "", err
	}
	defer f.close()
	read = string(f.content)
	f.step = step
	if swap != nil {
		f.swap = swap
	}
	return read, f.rewrite([]byte(newContent))
}

// check looks at what is left when both are done.
func (s *scene) check(name, read string, err error) {
	t := s.t
	text := func(path string) string {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(b)
	}
	require.Equal(t, putContent, text(s.victim), "%s: the other file is touched", name)
	now := text(s.file)
	if name == "a second name of this file" {
		if second := text(s.dir + "/second"); now == second {
			require.Equal(t, err == nil, now == newContent, "%s: %v", name, err)
		} else {
			require.ErrorContains(t, err, "another name", "%s: what was in the file is still at its second name", name)
		}
	} else {
		switch {
		case err != nil:
			require.Equal(t, putContent, now, "%s: what was put there is lost (%v)", name, err)
		case read == oldContent:
			require.Equal(t, putContent, now, "%s: what was put there is lost, and nothing said", name)
		default:
			require.Equal(t, newContent, now, "%s: what was put there was read, and not rewritten", name)
		}
	}
	left, globErr := filepath.Glob(s.file + tempPart + "*")
	require.NoError(t, globErr)
	require.Empty(t, left, "%s: %v", name, err)
}

// memoryDir makes a directory in memory where there is one: a hundred thousand
// syncs of a disk take an hour.
func memoryDir(t *testing.T) string {
	parent := "/dev/shm"
	if _, err := os.Stat(parent); err != nil {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "sc")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// raceRounds is how often the file is exchanged under the rewriting.
const raceRounds = 12_000

// TestEnvRace: whoever exchanges the file while it is rewritten finds what they
// put there, or the rewriting of it. Half of the time they do it at a step, the
// other half whenever it happens.
func TestEnvRace(t *testing.T) {
	dir := memoryDir(t)
	names := []string{"a symbolic link", "a hard link of another file", "another file", "a second name of this file"}
	require.Len(t, swaps, len(names))
	steps := stepsOf(t, dir)
	require.Greater(t, len(steps), 8)
	outcomes := map[string]int{}
	for round := range raceRounds {
		at := filepath.Join(dir, "round")
		require.NoError(t, os.Mkdir(at, 0o755))
		s := newScene(t, at)
		name := names[round/2%len(names)]
		var read string
		var err error
		if round%2 == 0 {
			step := steps[round/2/len(names)%len(steps)]
			read, err = s.work(func(now string) {
				if now == step {
					require.NoError(t, swaps[name](s))
				}
			}, nil)
		} else {
			var both sync.WaitGroup
			swap := func() {
				if err := swaps[name](s); err != nil {
					t.Error(err)
				}
			}
			if spin := rand.IntN(400); spin < 20 {
				swap() // before it is opened
			} else {
				both.Go(func() {
					for range spin * 100 {
						_ = spin
					}
					swap()
				})
			}
			read, err = s.work(nil, nil)
			both.Wait()
		}
		s.check(name, read, err)
		outcomes[outcome(read, err)]++
		require.NoError(t, os.RemoveAll(at))
	}
	t.Logf("%d rounds: %v", raceRounds, outcomes)
	for _, o := range []string{"refused at the open", "refused at the rewriting", "rewritten before"} {
		require.Greater(t, outcomes[o], raceRounds/100, "%s is hardly ever met", o)
	}
}

func outcome(read string, err error) string {
	switch {
	case err != nil && read == "":
		return "refused at the open"
	case err != nil:
		return "refused at the rewriting"
	case read == putContent:
		return "rewritten after"
	}
	return "rewritten before"
}

// stepsOf returns the steps of a rewriting that nobody disturbs, with those of one
// that is.
func stepsOf(t *testing.T, dir string) (steps []string) {
	at := filepath.Join(dir, "steps")
	require.NoError(t, os.Mkdir(at, 0o755))
	s := newScene(t, at)
	_, err := s.work(func(step string) { steps = append(steps, step) }, nil)
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(at))
	return steps
}

// TestEnvRaceOfRename: where two names cannot be exchanged, what is put there
// before the last look is found too.
func TestEnvRaceOfRename(t *testing.T) {
	none := func(*os.File, string, string) error { return errors.ErrUnsupported }
	for name, swap := range swaps {
		for _, step := range []string{"stage", "write", "sync file", "check", "exchange"} {
			s := newScene(t, t.TempDir())
			read, err := s.work(func(now string) {
				if now == step {
					require.NoError(t, swap(s))
				}
			}, none)
			require.Error(t, err, "%s at %s", name, step)
			s.check(name, read, err)
		}
	}
	s := newScene(t, t.TempDir())
	_, err := s.work(nil, none)
	require.NoError(t, err)
	text, err := os.ReadFile(s.file)
	require.NoError(t, err)
	require.Equal(t, newContent, string(text))
}

// TestEnvWrites: a file that is written to while it is rewritten stays, with what
// was written, also when its time says that nothing was.
func TestEnvWrites(t *testing.T) {
	for _, step := range []string{"stage", "write", "sync file", "check", "exchange", "look"} {
		for _, text := range []string{"TOKEN=xyz\n", "TOKEN=old\nMORE=more\n", ""} { // as long, longer, shorter
			s := newScene(t, t.TempDir())
			whole := time.Unix(1_700_000_000, 0)
			require.NoError(t, os.Chtimes(s.file, whole, whole))
			f, err := os.OpenFile(s.file, os.O_WRONLY, 0)
			require.NoError(t, err)
			_, err = s.work(func(now string) {
				if now == step {
					require.NoError(t, f.Truncate(0))
					_, err := f.WriteAt([]byte(text), 0)
					require.NoError(t, err)
					at := unix.Timeval{Sec: whole.Unix()}
					require.NoError(t, unix.Futimes(int(f.Fd()), []unix.Timeval{at, at}))
				}
			}, nil)
			require.NoError(t, f.Close())
			require.ErrorContains(t, err, "was changed while it was worked on", step)
			now, err := os.ReadFile(s.file)
			require.NoError(t, err)
			require.Equal(t, text, string(now), step)
		}
	}
}

// TestEnvLinks: what is not the file itself, and the caller's, is not opened.
func TestEnvLinks(t *testing.T) {
	s := newScene(t, t.TempDir())
	link := func(name string) string {
		path := filepath.Join(s.dir, name)
		require.NoError(t, os.Symlink(s.file, path))
		return path
	}
	_, err := openEnvFile(link("link"))
	require.ErrorContains(t, err, "is a symbolic link")
	require.NoError(t, os.Symlink("nowhere", s.dir+"/dangling"))
	_, err = openEnvFile(s.dir + "/dangling")
	require.ErrorContains(t, err, "is a symbolic link")
	_, err = openEnvFile(s.dir)
	require.ErrorContains(t, err, "is not a file")
	_, err = openEnvFile("/dev/null")
	require.ErrorContains(t, err, "is not a file")
	_, err = openEnvFile(s.dir + "/missing")
	require.ErrorContains(t, err, "no such file")

	// A directory that is reached through a link is what the person named.
	other := filepath.Join(t.TempDir(), "through")
	require.NoError(t, os.Symlink(s.dir, other))
	f, err := openEnvFile(filepath.Join(other, "app.env"))
	require.NoError(t, err)
	f.close()

	require.NoError(t, os.Link(s.file, s.dir+"/second"))
	_, err = openEnvFile(s.file)
	require.ErrorContains(t, err, "has 2 names")
	require.NoError(t, os.Remove(s.dir+"/second"))

	if os.Getuid() == 0 {
		require.NoError(t, os.Chown(s.file, 54321, 54321))
		_, err = openEnvFile(s.file)
		require.ErrorContains(t, err, "belongs to uid 54321")
		require.NoError(t, os.Chown(s.file, 0, 0))
		require.NoError(t, os.Chmod(s.dir, 0o777))
		_, err = openEnvFile(s.file)
		require.ErrorContains(t, err, "not trusted")
		require.NoError(t, os.Chmod(s.dir, 0o755))
	}
	require.NoError(t, os.WriteFile(s.file, []byte(strings.Repeat("x", 5<<20)), 0o600))
	_, err = openEnvFile(s.file)
	require.ErrorContains(t, err, "larger than 4 MiB")
}

// TestRewriteKeeps: the new file has the mode, the group and the attributes of the
// old one.
func TestRewriteKeeps(t *testing.T) {
	for _, mode := range []fs.FileMode{0o600, 0o640, 0o644, 0o400, 0o777} {
		s := newScene(t, t.TempDir())
		require.NoError(t, os.Chmod(s.file, mode))
		if os.Getuid() == 0 {
			require.NoError(t, os.Chown(s.file, 0, 54321))
		}
		before, err := os.Stat(s.file)
		require.NoError(t, err)
		kept := attributes(t, s.file)
		_, err = s.work(nil, nil)
		require.NoError(t, err)
		after, err := os.Stat(s.file)
		require.NoError(t, err)
		require.Equal(t, before.Mode(), after.Mode())
		require.Equal(t, ownerAndGroup(before), ownerAndGroup(after))
		require.False(t, os.SameFile(before, after))
		requireAttributes(t, s.file, kept)
	}
}
