package ssh_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/servertest"
	"secretctl/providers/ssh/sshtest"
)

// long is for tests that take the machine's time to be sure.
func long() bool { return os.Getenv("SECRETCTL_LONG") != "" }

// TestEveryOtherByte: what is not the key's own line stays as it is, in place,
// after an issue, a roll back and a revocation; and the new line has the old
// one's options and end.
func TestEveryOtherByte(t *testing.T) {
	t.Parallel()
	h := sshtest.Start(t)
	w := newWorldOf(t, true, []*sshtest.Host{h}, nil)
	old := strings.Join(strings.Fields(w.line)[:2], " ")
	_, other := sshtest.Key(t, "other")
	var many strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&many, "ssh-rsa AAAA%d user%d@example.com\n", i, i)
	}
	// OLD stands for the key.
	for name, text := range map[string]string{
		"alone":            "OLD\n",
		"blanks":           " \t OLD  \t me@laptop (work) # \xff\xc3\x28  \n",
		"options":          `restrict,from="127.0.0.1,10.0.0.0/8",environment="A=b c" OLD x` + "\n",
		"quotes":           `environment="A=\"it's $(touch x) ` + "`id`" + `\"",no-pty OLD x` + "\n",
		"crlf":             "# windows\r\nOLD x\r\n\r\n" + other + "\r\n",
		"no final newline": "# a\n" + other + "\nOLD x",
		"another's end":    "OLD x\n" + other,
		"amid many":        many.String() + "OLD x\n" + many.String(),
		"twice":            `from="127.0.0.1" OLD a` + "\n" + other + "\nno-pty OLD b\n",
		"odd lines":        "\n\n \t\n#OLD not\n\x00\xff\xfe junk\x00\n\xc3\x28 %s %d \\n '\"`$x\nssh-rsa\nssh-ed25519 AAAA\nOLD x\n\x81\x88\\\n" + strings.Repeat("y", 100_000) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := *w
			w.T = t
			text = strings.ReplaceAll(text, "#OLD", "#"+old)
			before := strings.ReplaceAll(text, "OLD", old)
			h.Authorize(before)
			require.NoError(t, os.Chmod(h.AuthorizedKeys, 0o640))
			c := w.call()
			_, err := w.rotator.Check(t.Context(), c)
			require.NoError(t, err)
			next := w.issue(c)

			// What it must be: the text with each line of the old key followed by one of the
			// new.
			var after, without strings.Builder
			for line := range strings.SplitAfterSeq(text, "\n") {
				options, _, found := strings.Cut(line, "OLD")
				after.WriteString(strings.Replace(line, "OLD", old, 1))
				if !found {
					without.WriteString(line)
					continue
				}
				if !strings.HasSuffix(line, "\n") {
					after.WriteString("\n")
				}
				end := "\n"
				if strings.HasSuffix(line, "\r\n") {
					end = "\r\n"
				}
				added := options + next.Facts["public_key"] + " " + c.Tag + end
				after.WriteString(added)
				without.WriteString(added)
			}
			require.True(t, after.String() == h.Authorized(), "%q", h.Authorized())
			w.accepts(c, next)
			w.accepts(c, c.Old)

			back := *c // rolled back, then done after all
			require.NoError(t, w.rotator.Revoke(t.Context(), &back, next))
			require.Equal(t, strings.TrimSuffix(before, "\n"), strings.TrimSuffix(h.Authorized(), "\n"))
			_, err = w.rotator.Issue(t.Context(), c, next)
			require.NoError(t, err)

			require.NoError(t, w.rotator.Revoke(t.Context(), c, c.Old))
			require.True(t, without.String() == h.Authorized(), "%q", h.Authorized())
			w.refuses(c, c.Old)
			w.accepts(c, next)
			tidy(t, h)
			info, err := os.Stat(h.AuthorizedKeys)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o640), info.Mode(), "the file's mode")
			home, err := os.Stat(h.Home)
			require.NoError(t, err)
			require.Equal(t, home.Sys().(*syscall.Stat_t).Uid, info.Sys().(*syscall.Stat_t).Uid, "its owner")
		})
	}
}

// tidy checks that an edit left nothing beside the file.
func tidy(t *testing.T, h *sshtest.Host) {
	t.Helper()
	left, err := os.ReadDir(filepath.Dir(h.AuthorizedKeys))
	require.NoError(t, err)
	require.Len(t, left, 1, "%v", left)
}

// TestRestricted: a key for one command is verified and replaced, by another
// that may run a shell; by itself it cannot be, and Check says so.
func TestRestricted(t *testing.T) {
	t.Parallel()
	h := sshtest.Start(t)
	for _, command := range []string{"true", "cat", "echo begin; cat; exit 0", "exit 3", "kill $$"} {
		restrict := `restrict,command="` + command + `" `
		w := newWorldOf(t, true, []*sshtest.Host{h}, nil)
		h.Authorize(restrict + w.line + "\n")
		c := w.call()
		w.accepts(c, c.Old)
		_, err := w.rotator.Check(t.Context(), c)
		e := w.fails(err, providers.DefinitelyNot, providers.CodeDenied, "does not run sh for this key")
		require.Contains(t, e.Remedy, "admin")
		_, err = w.rotator.Issue(t.Context(), c, w.choose(c))
		w.fails(err, providers.DefinitelyNot, providers.CodeDenied, "does not run sh for this key")
		require.Equal(t, restrict+w.line+"\n", h.Authorized())
	}
	// A command that ends before it was sent everything has ended all the same.
	w := newWorldOf(t, true, []*sshtest.Host{h}, map[string]any{"authorized_keys": "/" + strings.Repeat("x", 8<<20)})
	h.Authorize(`command="true" ` + w.line + "\n")
	_, err := w.rotator.Check(t.Context(), w.call())
	w.fails(err, providers.DefinitelyNot, providers.CodeDenied, "does not run sh for this key")

	w = newWorldOf(t, false, []*sshtest.Host{h}, map[string]any{"comment": "the robot"})
	h.Authorize(w.file(`restrict,command="true" ` + w.line))
	w.rotate()
	require.Equal(t, w.file(`restrict,command="true" `+w.current.Facts["public_key"]+" the robot"), h.Authorized())
}

// TestDead: where a key was ended with none in its place, the next one has a line
// with the same options; where nobody knows them, there is none.
func TestDead(t *testing.T) {
	t.Parallel()
	hosts := []*sshtest.Host{sshtest.Start(t), sshtest.Start(t)}
	w := newWorldOf(t, false, hosts, map[string]any{"comment": "the robot"})
	lists := []string{`restrict,command="true" `, ""}
	for i, h := range hosts {
		h.Authorize(w.file(lists[i] + w.line))
	}
	c := w.call()
	before := maps.Clone(c.Old.Facts)
	facts := c.Old.Facts
	require.NoError(t, w.rotator.Revoke(t.Context(), c, c.Old))
	require.Equal(t, before, facts, "the map is its caller's")
	w.refuses(c, c.Old)
	for _, h := range hosts {
		require.Equal(t, w.file(), h.Authorized())
	}
	_, err := w.rotator.Check(t.Context(), w.call())
	w.fails(err, providers.DefinitelyNot, providers.CodeOptions, "does not hold the key") // one that should be there

	c = w.call()
	c.Dead = true
	_, err = w.rotator.Check(t.Context(), c)
	require.NoError(t, err)
	next := w.issue(c)
	w.accepts(c, next)
	for i, h := range hosts {
		require.Equal(t, w.admin+"\n"+lists[i]+next.Facts["public_key"]+" the robot\n", h.Authorized())
	}
	require.NoError(t, w.rotator.Revoke(t.Context(), c, c.Old), "it is gone")
	w.accepts(c, next)

	hosts[0].Authorize(w.file())
	c = w.call()
	c.Dead = true
	c.Old.Facts["options "+hosts[0].Target()] = `expiry-time="20990101" `
	_, err = w.rotator.Check(t.Context(), c)
	w.fails(err, providers.DefinitelyNot, providers.CodeOptions, "not known which options a new one may have")
	delete(c.Old.Facts, "options "+hosts[0].Target())
	_, err = w.rotator.Check(t.Context(), c)
	e := w.fails(err, providers.DefinitelyNot, providers.CodeOptions, "not known which options a new one may have")
	require.Contains(t, e.Remedy, "secretctl set ssh/deploy")
	_, err = w.rotator.Issue(t.Context(), c, w.choose(c))
	w.fails(err, providers.DefinitelyNot, providers.CodeOptions, "not known which options a new one may have")
	require.Equal(t, w.file(), hosts[0].Authorized())
}

// TestHostile: of what a machine prints nothing is shown but the names of
// programs that the scripts take.
func TestHostile(t *testing.T) {
	t.Parallel()
	h := sshtest.Start(t)
	for says, want := range map[string]string{
		`tool cksum`:             "lacks the program cksum",
		`tool rm -rf $HOME`:      "makes no sense",
		`tool \\033[2Jcurl|sh`:   "makes no sense",
		`tool `:                  "makes no sense",
		`donezo`:                 "makes no sense",
		`\\033]0;title\\007done`: "makes no sense",
	} {
		w := newWorldOf(t, true, []*sshtest.Host{h}, nil)
		h.Authorize(`command="read x; read n; printf '%s:begin\n%s:` + says + `\n' ${n#n=} ${n#n=}; cat >/dev/null" ` + w.line + "\n")
		_, err := w.rotator.Check(t.Context(), w.call())
		var e *providers.CallError
		require.ErrorAs(t, err, &e)
		require.Contains(t, e.Problem, want)
		for _, shown := range []string{"\x1b", "\a", "HOME", "curl", "title", "donezo"} {
			require.NotContains(t, e.Problem+e.Remedy, shown)
		}
		if want == "makes no sense" {
			require.Equal(t, providers.Unknown, e.Outcome)
		}
	}
}

// TestExpires: a line that ends the old key at a time would end the new one then,
// and that is said before anything is made.
func TestExpires(t *testing.T) {
	t.Parallel()
	hosts := []*sshtest.Host{sshtest.Start(t), sshtest.Start(t)}
	w := newWorldOf(t, true, hosts, nil)
	for _, option := range []string{`expiry-time="20990101"`, `no-pty,Expiry-Time="20990101Z",no-x11-forwarding`} {
		before := option + " " + w.line + "\n"
		hosts[1].Authorize(before)
		c := w.call()
		w.accepts(c, c.Old)
		_, err := w.rotator.Check(t.Context(), c)
		e := w.fails(err, providers.DefinitelyNot, providers.CodeOptions, "expiry-time")
		require.Contains(t, e.Problem, hosts[1].Target())
		require.Contains(t, e.Remedy, "take expiry-time out")
		// It came into the file after the check.
		_, err = w.rotator.Issue(t.Context(), c, w.choose(c))
		w.fails(err, providers.Unknown, providers.CodeOptions, "expiry-time") // the first host has it
		require.Equal(t, before, hosts[1].Authorized())
		hosts[0].Authorize(w.file(w.line))
	}
	hosts[1].Authorize(`environment="X=,expiry-time=1" ` + w.line + "\n")
	_, err := w.rotator.Check(t.Context(), w.call())
	require.NoError(t, err)
}

// TestTrouble: what is wrong with a file is said before anything is changed.
func TestTrouble(t *testing.T) {
	t.Parallel()
	h := sshtest.Start(t)
	for name, c := range map[string]struct {
		spoil func(t *testing.T)
		says  string
		root  bool
	}{
		"no file":        {func(t *testing.T) { require.NoError(t, os.Remove(h.AuthorizedKeys)) }, "refuses the key that is to edit", false},
		"no line":        {func(t *testing.T) { h.Authorize("") }, "refuses the key that is to edit", false},
		"read-only file": {func(t *testing.T) { require.NoError(t, os.Chmod(h.AuthorizedKeys, 0o400)) }, "cannot be written", true},
		"read-only directory": {func(t *testing.T) {
			dir := filepath.Dir(h.AuthorizedKeys)
			require.NoError(t, os.Chmod(dir, 0o500))
			t.Cleanup(func() { require.NoError(t, os.Chmod(dir, 0o700)) })
		}, "cannot be written", true},
		"a link": {func(t *testing.T) {
			there := filepath.Join(h.Home, "keys")
			require.NoError(t, os.Rename(h.AuthorizedKeys, there))
			require.NoError(t, os.Symlink(there, h.AuthorizedKeys))
			t.Cleanup(func() { require.NoError(t, os.Rename(there, h.AuthorizedKeys)) })
		}, "is a symbolic link", false},
		"another's file": {func(t *testing.T) {
			info, err := os.Stat(h.Home)
			require.NoError(t, err)
			require.NoError(t, os.Chown(h.AuthorizedKeys, 0, 0))
			require.NoError(t, os.Chmod(h.AuthorizedKeys, 0o644))
			t.Cleanup(func() {
				require.NoError(t, os.Chown(h.AuthorizedKeys, int(info.Sys().(*syscall.Stat_t).Uid), -1))
				require.NoError(t, os.Chmod(h.AuthorizedKeys, 0o600))
			})
		}, "belongs to another user", true},
		"nothing": {func(t *testing.T) {}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			if c.root && os.Getuid() != 0 {
				servertest.Missing(t, "needs root: a second uid")
			}
			w := newWorldOf(t, true, []*sshtest.Host{h}, nil)
			t.Cleanup(func() {
				require.NoError(t, os.Chmod(h.AuthorizedKeys, 0o600))
			})
			call := w.call()
			next := w.choose(call)
			c.spoil(t)
			before, _ := os.ReadFile(h.AuthorizedKeys)
			_, err := w.rotator.Check(t.Context(), call)
			if c.says == "" {
				require.NoError(t, err)
				return
			}
			var e *providers.CallError
			require.ErrorAs(t, err, &e)
			require.Equal(t, providers.DefinitelyNot, e.Outcome)
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, err, h.Target())
			require.NotEmpty(t, e.Remedy)
			_, err = w.rotator.Issue(t.Context(), call, next)
			require.ErrorContains(t, err, c.says)
			require.Equal(t, providers.DefinitelyNot, providers.OutcomeOf(err))
			after, _ := os.ReadFile(h.AuthorizedKeys)
			require.Equal(t, before, after)
			if before == nil {
				h.Authorize("")
				chown(t, h, h.AuthorizedKeys)
			}
		})
	}
}

// TestAnotherFile: a key that sshd has from elsewhere is not replaced in a file
// that it does not read.
func TestAnotherFile(t *testing.T) {
	t.Parallel()
	h := sshtest.Start(t)
	w := newWorldOf(t, false, []*sshtest.Host{h}, map[string]any{"authorized_keys": filepath.Join(h.Home, "other_keys")})
	_, err := w.rotator.Check(t.Context(), w.call())
	w.fails(err, providers.DefinitelyNot, providers.CodeOptions, "there is no "+filepath.Join(h.Home, "other_keys"))

	require.NoError(t, os.WriteFile(filepath.Join(h.Home, "other_keys"), []byte(w.admin+"\n"), 0o644))
	chown(t, h, filepath.Join(h.Home, "other_keys"))
	c := w.call()
	_, err = w.rotator.Check(t.Context(), c)
	w.fails(err, providers.DefinitelyNot, providers.CodeOptions, "does not hold the key")
	_, err = w.rotator.Issue(t.Context(), c, w.choose(c))
	w.fails(err, providers.DefinitelyNot, providers.CodeOptions, "does not hold the key")
}

// chown gives a file to the user who logs in.
func chown(t *testing.T, h *sshtest.Host, path string) {
	info, err := os.Stat(h.Home)
	require.NoError(t, err)
	s := info.Sys().(*syscall.Stat_t)
	require.NoError(t, os.Chown(path, int(s.Uid), int(s.Gid)))
}

// TestNeverLockedOut: a line goes only while another key, which stays, is proven
// to get in.
func TestNeverLockedOut(t *testing.T) {
	t.Parallel()
	h := sshtest.Start(t)
	unchanged := func(w *world, c *providers.Call, cred *providers.Credential, code providers.Code, says string) {
		w.Helper()
		before := h.Authorized()
		w.fails(w.rotator.Revoke(w.Context(), c, cred), providers.DefinitelyNot, code, says)
		require.Equal(w, before, h.Authorized())
	}
	t.Run("self", func(t *testing.T) {
		w := newWorldOf(t, true, []*sshtest.Host{h}, nil)
		c := w.call()
		unchanged(w, c, c.Old, providers.CodeOptions, "no other key that could edit")
		c.New = w.choose(c)
		unchanged(w, c, c.Old, providers.CodeDenied, "refuses the key that is to edit") // it was never issued
		c.New = c.Old
		unchanged(w, c, c.Old, providers.CodeOptions, "is the one that would remove it")
	})
	t.Run("admin", func(t *testing.T) {
		w := newWorldOf(t, false, []*sshtest.Host{h}, nil)
		c := w.call()
		c.New = w.choose(c)
		unchanged(w, c, c.Old, providers.CodeOptions, "does not hold the key")
		admin, line := sshtest.Key(t, "admin")
		c.New = nil
		unchanged(w, c, &providers.Credential{Value: admin}, providers.CodeOptions, "is the one that would remove it")
		require.NoError(t, w.rotator.Revoke(t.Context(), c, c.Old), "only to be ended, and the managing key's line is there")
		require.Equal(t, line+"\n", h.Authorized())
	})
	t.Run("last", func(t *testing.T) {
		keys := filepath.Join(h.Home, "more_keys")
		more := sshtest.Start(t, "StrictModes no", "AuthorizedKeysFile "+h.AuthorizedKeys+" "+keys)
		w := newWorldOf(t, false, []*sshtest.Host{more}, map[string]any{"authorized_keys": h.AuthorizedKeys})
		h.Authorize("# nobody\n" + w.line + "\nssh-rsa AAAA junk\n")
		require.NoError(t, os.WriteFile(keys, []byte(w.admin+"\n"), 0o644))
		chown(t, h, keys)
		c := w.call()
		unchanged(w, c, c.Old, providers.CodeOptions, "is the last one")
	})
}

// TestOtherKinds: an imported key of another kind is replaced by an ed25519 one,
// and what no key is says so.
func TestOtherKinds(t *testing.T) {
	t.Parallel()
	h := sshtest.Start(t)
	for _, args := range [][]string{{"-t", "rsa", "-b", "2048"}, {"-t", "ecdsa"}, {"-t", "ed25519"}, {"-t", "rsa", "-b", "2048", "-m", "PEM"}, {"-t", "ed25519", "-C", strings.Repeat("x", 900)}} {
		w := newWorldOf(t, true, []*sshtest.Host{h}, nil)
		path := filepath.Join(t.TempDir(), "key")
		run(t, "ssh-keygen", append([]string{"-q", "-N", "", "-f", path}, args...)...)
		public, err := os.ReadFile(path + ".pub")
		require.NoError(t, err)
		private, err := os.ReadFile(path)
		require.NoError(t, err)
		v, err := secret.New(private)
		require.NoError(t, err)
		h.Authorize(string(public))
		w.current = &providers.Credential{Value: v}
		require.NoError(t, w.rotator.(providers.Identifier).Identify(t.Context(), nil, w.current))
		require.Equal(t, strings.Join(strings.Fields(string(public))[:2], " "), w.current.Facts["public_key"])
		require.Contains(t, run(t, "ssh-keygen", "-l", "-f", path), w.current.ID)
		w.rotate()

		// What we make is what ssh-keygen reads and writes.
		var ours []byte
		require.NoError(t, w.current.Value.Use(func(b []byte) error { ours = append(ours, b...); return nil }))
		require.NoError(t, os.WriteFile(path, ours, 0o600))
		require.Equal(t, w.current.Facts["public_key"]+" secretctl/ssh/deploy/1\n", run(t, "ssh-keygen", "-y", "-f", path))
		run(t, "ssh-keygen", "-q", "-p", "-N", "", "-f", path)
		again, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Len(t, again, len(ours))
		first, second := strings.Split(string(ours), "\n"), strings.Split(string(again), "\n")
		require.Equal(t, first[:2], second[:2], "up to the random check bytes")
	}
	w := newWorldOf(t, true, []*sshtest.Host{h}, nil)
	path := filepath.Join(t.TempDir(), "key")
	run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "sesame", "-f", path)
	locked, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, text := range []string{string(locked), "hunter2", "", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----\n"} {
		v, err := secret.New([]byte(text))
		require.NoError(t, err)
		w.current = &providers.Credential{Value: v}
		c := w.call()
		for _, err := range []error{
			w.rotator.(providers.Identifier).Identify(t.Context(), c, w.current),
			second(w.rotator.Verify(t.Context(), c, w.current)),
			second(w.rotator.Check(t.Context(), c)),
			w.rotator.Revoke(t.Context(), c, w.current),
		} {
			w.fails(err, providers.DefinitelyNot, providers.CodeBadValue, "no private SSH key")
		}
	}
}

func second[T any](_ T, err error) error { return err }

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).Output()
	require.NoError(t, err, "%s", name)
	return string(out)
}

// TestTwoAtOnce: rotations of two keys in one file do not lose a line of each
// other's, nor of an editor that knows no lock.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	h := sshtest.Start(t)
	n := 5
	if long() {
		n = 50
	}
	var worlds []*world
	for _, name := range []string{"one", "two", "three"} {
		w := newWorldOf(t, true, []*sshtest.Host{h}, nil)
		v, line := sshtest.Key(t, name)
		w.current, w.line = &providers.Credential{Value: v}, line
		worlds = append(worlds, w)
	}
	h.Authorize(worlds[0].line + "\n" + worlds[1].line + "\n" + worlds[2].line + "\n")
	var all sync.WaitGroup
	for _, w := range worlds {
		all.Go(func() {
			for range n {
				for tries := 0; ; tries++ {
					err := w.tryRotate()
					if err == nil {
						break
					}
					if providers.OutcomeOf(err) != providers.DefinitelyNot || providers.CodeOf(err) != providers.CodeUnavailable || tries == 20 {
						t.Errorf("%v", err)
						return
					}
				}
			}
		})
	}
	all.Wait()
	require.Len(t, strings.Split(strings.TrimSpace(h.Authorized()), "\n"), len(worlds))
	for _, w := range worlds {
		require.Contains(t, h.Authorized(), w.current.Facts["public_key"])
		c := w.call()
		w.accepts(c, w.current)
	}
	tidy(t, h)
}

// tryRotate rotates, as an engine does that repeats what definitely did not
// happen.
func (w *world) tryRotate() error {
	c := w.call()
	next, err := w.rotator.(providers.Chooser).Choose(w.Context(), c)
	if err != nil {
		return err
	}
	w.Cleanup(next.Value.Clear)
	for tries := 0; ; tries++ {
		_, err = w.rotator.Issue(w.Context(), c, next)
		if err == nil || tries == 20 || providers.CodeOf(err) != providers.CodeUnavailable {
			break
		}
	}
	if err != nil {
		return err
	}
	c.New = next
	for tries := 0; ; tries++ {
		err = w.rotator.Revoke(w.Context(), c, c.Old)
		if err == nil || tries == 20 || providers.CodeOf(err) != providers.CodeUnavailable {
			break
		}
	}
	if err == nil {
		w.current = next
	}
	return err
}

// TestLock: a lock whose process is gone is taken over, and one that is held is
// waited for and then told of.
func TestLock(t *testing.T) {
	t.Parallel()
	h := sshtest.Start(t)
	lock := h.AuthorizedKeys + ".secretctl-lock"
	w := newWorldOf(t, true, []*sshtest.Host{h}, nil)
	require.NoError(t, os.Symlink("secretctl-pid-99999999", lock))
	require.NoError(t, os.WriteFile(h.AuthorizedKeys+".secretctl-99999999", nil, 0o600)) // its copy
	w.rotate()
	tidy(t, h)

	before := h.Authorized()
	require.NoError(t, os.Symlink("of somebody", lock))
	c := w.call()
	_, err := w.rotator.Issue(t.Context(), c, w.choose(c))
	e := w.fails(err, providers.DefinitelyNot, providers.CodeUnavailable, "is being edited by another")
	require.Contains(t, e.Remedy, "rm .ssh/authorized_keys.secretctl-lock")
	require.Equal(t, before, h.Authorized())
	require.FileExists(t, h.AuthorizedKeys)
	require.NoError(t, os.Remove(lock))
	w.rotate()
}

// TestCut: wherever the connection ends, the file is whole, a key in it gets in,
// and the rotation can be done afterwards.
func TestCut(t *testing.T) {
	t.Parallel()
	h := sshtest.Start(t)
	step := 800
	if long() {
		step = 37
	}
	for _, self := range []bool{true, false} {
		t.Run(fmt.Sprintf("self=%v", self), func(t *testing.T) {
			w := newWorldOf(t, self, []*sshtest.Host{h}, nil)
			p := servertest.NewProxy(t, "tcp", h.Addr)
			direct := w.rotator
			set := map[string]any{"hosts": []string{h.User + "@" + p.Addr()}, "host_keys": []string{h.HostKey}}
			cut := newWorldOf(t, self, []*sshtest.Host{h}, set).rotator
			w.use(cut)
			c := w.call()
			next := w.choose(c)
			c.New = next
			oldLine := w.line + "\n"
			newLine := next.Facts["public_key"] + " " + c.Tag + "\n"
			rest := strings.TrimPrefix(w.file(w.line), oldLine)
			var outcomes [3]int
			whole := func(upTo int, err error, done string, not string) {
				h.Settle() // a shell that was given all of its script does not need the line
				got := h.Authorized()
				outcome := providers.OutcomeOf(err)
				outcomes[outcome]++
				switch {
				case got != done && got != not:
					t.Fatalf("cut after %d bytes: %q", upTo, got)
				case outcome == providers.OK && got != done, outcome == providers.DefinitelyNot && got != not:
					t.Fatalf("cut after %d bytes, %v: %q", upTo, err, got)
				}
			}
			for n := 1; ; n += step {
				h.Authorize(oldLine + rest)
				p.Cut(n)
				_, err := cut.Issue(t.Context(), c, next)
				whole(n, err, oldLine+newLine+rest, oldLine+rest)
				if p.Whole() {
					require.NoError(t, err)
					break
				}
			}
			for n := 1; ; n += step {
				h.Authorize(oldLine + newLine + rest)
				p.Cut(n)
				err := cut.Revoke(t.Context(), c, c.Old)
				whole(n, err, newLine+rest, oldLine+newLine+rest)
				if p.Whole() {
					require.NoError(t, err)
					break
				}
			}
			t.Logf("%d unknown, %d ok, %d definitely not", outcomes[providers.Unknown], outcomes[providers.OK], outcomes[providers.DefinitelyNot])
			require.Positive(t, outcomes[providers.Unknown], "no cut fell into an edit")
			w.use(direct)
			h.Authorize(oldLine + rest)
			w.rotate()
			tidy(t, h)
		})
	}
}
