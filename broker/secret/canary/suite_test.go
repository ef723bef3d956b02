package canary_test

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret/canary"
)

// TestCanarySuite: what make test runs all tests under finds a value wherever
// and however it leaks, never shows it, and finds nothing where nothing leaks.
func TestCanarySuite(t *testing.T) {
	canaries := build(t)
	t.Run("every leak", func(t *testing.T) {
		r := canaries.watch(t, "leak")
		require.Equal(t, 1, r.code)
		require.Empty(t, missing(planted(), r.leaks), "these were not found")
		require.Empty(t, missing(r.files(), planted()), "these were found and not planted")
		for leak := range r.leaks {
			require.Contains(t, planted(), leak)
		}
		t.Logf("%d leaks planted and found", total(planted()))
		r.requireDiscreet(t)
	})
	t.Run("names", func(t *testing.T) {
		r := canaries.watch(t, "names")
		require.Equal(t, 1, r.code)
		require.Equal(t, map[string]int{
			"the name of TMPDIR/…: raw":              1,
			"the target of TMPDIR/link: raw":         1,
			"a place whose name holds a canary: raw": 1,
		}, r.leaks)
		r.requireDiscreet(t)
	})
	for name, act := range map[string]string{"a process that has ended": "brief", "one that has just begun": "orphan"} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS != "linux" {
				t.Skip("needs /proc")
			}
			r := canaries.watch(t, act)
			require.Equal(t, 1, r.code)
			require.Len(t, r.leaks, 1)
			require.Contains(t, r.leaks, "cmdline: raw")
		})
	}
	for act, c := range map[string]struct {
		code int
		says string
	}{
		"clean":    {0, `files, \d+ processes: 0 leaks; 0 of 0 `},
		"deliver":  {0, `0 leaks; 1 of 1 delivery channels hold a canary`},
		"unminted": {1, `error: no delivery channel holds a canary`},
		"silent":   {1, `error: the command left no file in its TMPDIR: nothing was searched`},
		"fail":     {3, `0 leaks`},
	} {
		t.Run(act, func(t *testing.T) {
			r := canaries.watch(t, act)
			require.Equal(t, c.code, r.code, r.report)
			require.Empty(t, r.leaks)
			require.Regexp(t, c.says, r.report)
		})
	}
}

// planted is what must be found of what the act "leak" leaks: place and form →
// times.
func planted() map[string]int {
	all := make(map[string]int)
	for _, s := range spellings {
		all["TMPDIR/file-"+s.name+": "+s.form]++
		all["TMPDIR/gzip-"+s.name+": gzip, "+s.form]++
		if s.header {
			continue
		}
		for _, place := range []string{"stdout", "stderr", "new-" + s.name, "TMPDIR/core-" + s.name} {
			all[place+": "+s.form]++
		}
		if !s.binary && runtime.GOOS == "linux" {
			all["cmdline: "+s.form]++
			all["environ: "+s.form]++
		}
	}
	return all
}

// files are the leaks that are not a process's. A child that was forked shows its
// parent's arguments and environment until it is another program, so that one
// leak of a process may be found twice.
func (r run) files() map[string]int {
	files := maps.Clone(r.leaks)
	maps.DeleteFunc(files, func(leak string, _ int) bool {
		return strings.HasPrefix(leak, "cmdline: ") || strings.HasPrefix(leak, "environ: ")
	})
	return files
}

// missing lists what is in one but, as often, not in the other.
func missing(from, in map[string]int) (all []string) {
	for leak, times := range from {
		if in[leak] < times {
			all = append(all, leak)
		}
	}
	return all
}

func total(leaks map[string]int) (n int) {
	for _, times := range leaks {
		n += times
	}
	return n
}

// watcher is the program cmd/canaries.
type watcher string

func build(t *testing.T) watcher {
	for _, dir := range []string{".", "../../../cmd/canaries"} {
		sources, err := filepath.Glob(filepath.Join(dir, "*.go"))
		require.NoError(t, err)
		for _, name := range sources { // go test is to see what its cache depends on
			require.FileExists(t, name)
		}
	}
	path := filepath.Join(t.TempDir(), "canaries")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "secretctl/cmd/canaries").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return watcher(path)
}

// run is what a watched run came to.
type run struct {
	code   int
	dir    string         // it ran in
	report string         // what the watcher itself said
	leaks  map[string]int // place and form → times
}

// watch has this binary's act watched.
func (w watcher) watch(t *testing.T, act string) run {
	exe, err := os.Executable()
	require.NoError(t, err)
	r := run{dir: t.TempDir(), leaks: make(map[string]int)}
	tmp := t.TempDir()
	cmd := exec.CommandContext(t.Context(), string(w), exe)
	cmd.Dir = r.dir
	cmd.Env = append(cmd.Environ(), actVariable+"="+act, "TMPDIR="+tmp, "GORACE=atexit_sleep_ms=0")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_, err = cmd.StdinPipe() // closed when it has ended
	require.NoError(t, err)
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	require.Empty(t, left, "the watcher removes what it made")

	r.code = cmd.ProcessState.ExitCode()
	for line := range strings.Lines(stderr.String()) {
		if strings.HasPrefix(line, "canaries: ") {
			r.report += line
		}
	}
	found := regexp.MustCompile(`(?m)^canaries: leak: (?:/proc/\d+/(\w+) \(.*\)|(.*)): (.*) at byte \d+, (\d+) in all$`)
	for _, m := range found.FindAllStringSubmatch(r.report, -1) {
		times, err := strconv.Atoi(m[4])
		require.NoError(t, err)
		r.leaks[m[1]+m[2]+": "+m[3]] += times
	}
	return r
}

// requireDiscreet checks that the report holds no canary of that run.
func (r run) requireDiscreet(t *testing.T) {
	seed, err := os.ReadFile(filepath.Join(r.dir, "seed"))
	require.NoError(t, err)
	require.NotEmpty(t, seed)
	require.Empty(t, canary.NewFinder(string(seed)).FindIn([]byte(r.report)), "the report shows the value")
}
