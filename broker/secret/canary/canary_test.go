package canary_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret/canary"
)

func TestNew(t *testing.T) {
	for _, seed := range []string{"", "a run", "another run"} {
		t.Setenv(canary.Variable, seed)
		find := func(s string) []canary.Hit { return canary.NewFinder(seed).FindIn([]byte(s)) }
		value := canary.New(t, "weather")
		require.Len(t, value, canary.Len)
		require.Regexp(t, `^sk-[0-9A-Za-z]+-[0-9A-Za-z]+-[0-9A-Za-z]+$`, value)
		require.Equal(t, value, canary.New(t, "weather"))
		require.NotEqual(t, value, canary.New(t, "news"))
		require.NotEqual(t, value, canary.Of("weather"), "another test's")
		require.Len(t, find(value), 2)
		require.Len(t, find(value[:16]), 1, "its beginning is enough")
		require.Len(t, find(value[len(value)-12:]), 1, "its end is enough")
		require.Empty(t, canary.NewFinder("yet another run").FindIn([]byte(value)))
		require.Empty(t, find(canary.Environ()), "the environment holds the marker")
	}
}

// TestDir: what a test wrote stays for the watcher, where there is one.
func TestDir(t *testing.T) {
	for seed, kept := range map[string]bool{"": false, "a run": true} {
		t.Setenv(canary.Variable, seed)
		t.Setenv("TMPDIR", t.TempDir())
		t.Run("test", func(t *testing.T) { require.DirExists(t, canary.Dir(t)) })
		left, err := filepath.Glob(filepath.Join(filepath.Dir(mkdir(t)), "*"))
		require.NoError(t, err)
		if kept {
			require.Len(t, left, 2)
		} else {
			require.Len(t, left, 1, "of two, the test's own was removed")
		}
	}
}

func TestNoneIn(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	write("log", "nothing of note")
	write("value.canary", canary.New(t, "value"))
	said := failures{TB: t}
	canary.NoneIn(&said, dir)
	require.Empty(t, said.all)
	write("log", canary.New(t, "value"))
	canary.NoneIn(&said, dir)
	require.Len(t, said.all, 1)
	require.Contains(t, said.all[0], "/log: raw at byte 3")
}

// failures is a test that fails without failing.
type failures struct {
	testing.TB
	all []string
}

func (f *failures) Error(args ...any) { f.all = append(f.all, fmt.Sprint(args...)) }

func mkdir(t *testing.T) string {
	dir, err := canary.MkdirTemp()
	require.NoError(t, err)
	return dir
}
