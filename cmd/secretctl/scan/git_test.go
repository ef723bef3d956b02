package scan_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/cmd/secretctl/scan"
)

// repo is a repository of a test.
type repo struct {
	t   *testing.T
	dir string
}

func newRepo(t *testing.T) repo {
	r := repo{t, t.TempDir()}
	r.git("init", "-q", "-b", "main")
	return r
}

func (r repo) git(args ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "git", args...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	out, err := cmd.CombinedOutput()
	require.NoError(r.t, err, "git %v: %s", args, out)
	return strings.TrimSpace(string(out))
}

// commit commits files and returns the commit.
func (r repo) commit(message string, files map[string]string) string {
	write(r.t, r.dir, files)
	r.git("add", "-A")
	r.git("commit", "-q", "--allow-empty", "-m", message)
	return r.git("rev-parse", "HEAD")
}

// where lists the findings of the history: commit and path.
func where(s *scan.Scanner) map[string]string {
	all := make(map[string]string)
	for _, f := range s.Findings() {
		if f.Commit != "" {
			all[f.Commit+" "+filepath.Base(f.Path)] = f.Rule
		}
	}
	return all
}

// TestHistory: what was committed once is found at the commit that brought it,
// whatever became of it.
func TestHistory(t *testing.T) {
	r := newRepo(t)
	r.commit("begin", map[string]string{"a": "nothing\n"})
	first := r.commit("add", map[string]string{"a": fake, "b\n\" c": "x\n" + fake})
	r.commit("keep", map[string]string{"other": "1"})
	r.git("mv", "a", "a2")
	r.commit("move", nil)
	r.commit("remove", map[string]string{"a2": "gone\n", "b\n\" c": "gone\n"})
	r.git("checkout", "-q", "-b", "side", "HEAD~3")
	side := r.commit("side", map[string]string{"s": "line\n" + strings.ReplaceAll(fake, "x7", "w6")})
	r.git("checkout", "-q", "main")
	write(t, r.dir, map[string]string{"stashed": strings.ReplaceAll(fake, "x7", "v5")})
	r.git("add", "stashed")
	r.git("stash", "-q")
	stash := r.git("rev-parse", "stash@{0}")
	says := r.commit("the pass"+"word: \"y8Gk2pQ9vTzL\"", nil)
	r.commit("then thrown away", map[string]string{"thrown": strings.ReplaceAll(fake, "x7", "u4")})
	thrown := r.git("rev-parse", "HEAD")
	r.git("reset", "-q", "--hard", "HEAD~1")
	write(t, r.dir, map[string]string{"untracked": fake})

	s := scanned(t, &scan.Scanner{History: true}, r.dir)
	got := where(s)
	index := ""
	for at := range got { // a stash is two commits
		if strings.HasSuffix(at, " stashed") {
			index = at
		}
	}
	require.Contains(t, []string{stash + " stashed", r.git("rev-parse", "stash@{0}^2") + " stashed"}, index)
	delete(got, index)
	const rule = "password-assignment"
	want := map[string]string{first + " a": rule, first + " b\n\" c": rule, says + " (commit message)": rule, side + " s": rule, thrown + " thrown": rule}
	require.Equal(t, want, got)
	require.Contains(t, places(t, s, r.dir), "untracked")

	// Below a directory of a repository: only what is there.
	write(t, r.dir, map[string]string{"sub/x": "1"})
	in := r.commit("below", map[string]string{"sub/y": strings.ReplaceAll(fake, "x7", "t3")})
	s = scanned(t, &scan.Scanner{History: true}, filepath.Join(r.dir, "sub"))
	require.Equal(t, map[string]string{in + " y": rule}, where(s))

	// A fingerprint of the history allows it.
	write(t, r.dir, map[string]string{scan.AllowFile: fingerprints(s)})
	require.Empty(t, scanned(t, &scan.Scanner{History: true}, filepath.Join(r.dir, "sub")).Findings())
}

func fingerprints(s *scan.Scanner) (text string) {
	for _, f := range s.Findings() {
		text += f.Fingerprint + "\n"
	}
	return text
}

// TestHistoryRunsNothing: the config of a repository names programs. None runs.
func TestHistoryRunsNothing(t *testing.T) {
	r := newRepo(t)
	r.commit("begin", map[string]string{"a": fake, ".gitattributes": "* diff=evil filter=evil\n"})
	mark := filepath.Join(t.TempDir(), "ran")
	evil := filepath.Join(t.TempDir(), "evil")
	require.NoError(t, os.WriteFile(evil, []byte("#!/bin/sh\ntouch "+mark+"\ncat\n"), 0o755))
	for _, key := range []string{"core.fsmonitor", "core.pager", "diff.external", "diff.evil.textconv", "diff.evil.command", "filter.evil.smudge", "filter.evil.clean", "gpg.program", "core.sshCommand", "pager.log"} {
		r.git("config", key, evil)
	}
	r.git("config", "log.showSignature", "true")
	s := scanned(t, &scan.Scanner{History: true}, r.dir)
	require.NotEmpty(t, where(s))
	s.Staged(t.Context(), r.dir)
	require.NoFileExists(t, mark)
}

// TestHistoryElsewhere: a hook's environment leads git to the hook's own
// repository. The history of another is searched all the same.
func TestHistoryElsewhere(t *testing.T) {
	here, there := newRepo(t), newRepo(t)
	here.commit("begin", map[string]string{"a": "nothing\n"})
	at := there.commit("begin", map[string]string{"b": fake})
	t.Setenv("GIT_DIR", filepath.Join(here.dir, ".git"))
	s := scanned(t, &scan.Scanner{History: true}, there.dir)
	require.Equal(t, map[string]string{at + " b": "password-assignment"}, where(s))
}

func TestNoHistory(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a": fake})
	s := &scan.Scanner{History: true}
	s.Paths(t.Context(), []string{dir})
	require.Len(t, s.Findings(), 1)
	require.Len(t, s.Troubles(), 1)
	require.ErrorContains(t, s.Troubles()[0], "not a git repository")

	r := newRepo(t)
	require.Empty(t, scanned(t, &scan.Scanner{History: true}, r.dir).Findings(), "one without a commit")
}

// TestStaged: only what is staged counts, and only what the change brings.
func TestStaged(t *testing.T) {
	staged := func(r repo) (all []string) {
		s := new(scan.Scanner)
		s.Staged(t.Context(), r.dir)
		require.Empty(t, s.Troubles())
		for _, f := range s.Findings() {
			all = append(all, f.Path)
		}
		return all
	}
	r := newRepo(t)
	write(t, r.dir, map[string]string{"a": fake})
	require.Empty(t, staged(r))
	r.git("add", "a")
	require.Equal(t, []string{"a"}, staged(r), "the first commit there is")
	write(t, r.dir, map[string]string{"a": "clean\n"})
	require.Equal(t, []string{"a"}, staged(r), "not what is in the tree")
	r.git("add", "a")
	require.Empty(t, staged(r))

	r.commit("legacy", map[string]string{"a": fake})
	write(t, r.dir, map[string]string{"a": "a line before\n" + fake, "b": "x\n"})
	r.git("add", "-A")
	require.Empty(t, staged(r), "what was there before")
	write(t, r.dir, map[string]string{"a": "a line before\n" + strings.ReplaceAll(fake, "x7", "y8")})
	r.git("add", "-A")
	require.Equal(t, []string{"a"}, staged(r), "another value at the same place")
	r.git("mv", "-f", "a", "moved")
	require.Equal(t, []string{"moved"}, staged(r))
}
