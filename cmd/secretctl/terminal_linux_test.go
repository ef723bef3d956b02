package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret/canary"
)

func TestPromptHidesTheValue(t *testing.T) {
	h := newTestHome(t)
	value := canary.New(t, "typed")
	p := onTerminal(t, h.command("set", "key"))
	p.awaitHidden("value of key: ")
	p.enter(value + "\n")
	p.await("once more: ")
	require.False(t, p.echoes())
	p.enter(value + "\n")
	require.Equal(t, exitOK, p.ends())
	p.await("key version 1")
	require.NotContains(t, p.screen(), value)
	require.True(t, p.echoes())
	require.Equal(t, value+"\n", h.run("", "get", "key"))
}

func TestPromptRefuses(t *testing.T) {
	h := newTestHome(t)
	one := canary.New(t, "one")
	for name, c := range map[string]struct {
		typed []string
		says  string
		code  int
	}{
		"two values":       {[]string{one + "\n", canary.New(t, "two") + "\n"}, "the two values are not the same: nothing was set", exitError},
		"nothing":          {[]string{"\n", "\n"}, "the value is empty", exitUsage},
		"the end of input": {[]string{"\x04", "\x04"}, "the value is empty", exitUsage},
		"a cut line":       {[]string{strings.Repeat("x", maxLine+10) + "\n"}, "a terminal takes at most", exitError},
		"an interrupt":     {[]string{one[:20] + "\x03"}, "value of key: ", 128 + int(syscall.SIGINT)},
		"a quit":           {[]string{one + "\n", "\x1c"}, "SIGQUIT: quit", 2}, // how Go ends on it
	} {
		t.Run(name, func(t *testing.T) {
			p := onTerminal(t, h.command("set", "key"))
			for i, text := range c.typed {
				p.awaitHidden([]string{"value of key: ", "once more: "}[i])
				p.enter(text)
			}
			require.Equal(t, c.code, p.ends())
			p.await(c.says)
			require.NotContains(t, p.screen(), "sk-")
			require.True(t, p.echoes(), "the terminal is left silent")
			require.Equal(t, "[]\n", h.run("", "ls", "--json"))
		})
	}
}

func TestPromptAsksNobodyForNothing(t *testing.T) {
	h := newTestHome(t)
	require.NoError(t, h.broker.stop(syscall.SIGTERM))
	p := onTerminal(t, h.command("set", "key"))
	require.Equal(t, exitNotRunning, p.ends())
	p.await("the broker is not running")
	require.NotContains(t, p.screen(), "value of key")
}

func TestRemoveAsks(t *testing.T) {
	h := newTestHome(t)
	value := canary.New(t, "key")
	h.run(value+"\n", "set", "key")
	for answer, code := range map[string]int{"n\n": exitError, "\n": exitError, "\x04": exitError, "nyet\n": exitError} {
		p := onTerminal(t, h.command("rm", "key"))
		p.await("Remove key with all its versions? [y/N] ")
		p.enter(answer)
		require.Equal(t, code, p.ends(), "%q", answer)
		p.await("nothing was done")
	}
	require.Equal(t, value+"\n", h.run("", "get", "key"))
	p := onTerminal(t, h.command("rm", "key"))
	p.await("[y/N] ")
	p.enter("Yes\n")
	require.Equal(t, exitOK, p.ends())
	p.await("key is removed")
}

// TestScanSaysThatNothingIsThere: to a person, who could not tell it from nothing
// having been searched.
func TestScanSaysThatNothingIsThere(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "clean"), []byte("nothing\n"), 0o600))
	h := newTestHome(t)
	p := onTerminal(t, h.command("scan", dir))
	require.Equal(t, exitOK, p.ends())
	p.await("secretctl: found no secret in 1 file (1 KB)")
	cmd := h.command("scan", "--pre-commit")
	cmd.Dir = dir
	require.NoError(t, exec.Command("git", "init", "-q", dir).Run())
	p = onTerminal(t, cmd)
	require.Equal(t, exitOK, p.ends())
	require.Empty(t, p.screen())
}

func TestColourIsForTerminals(t *testing.T) {
	h := newTestHome(t)
	h.run(canary.New(t, "key")+"\n", "set", "key")
	for env, coloured := range map[string]bool{"LANG=C": true, "NO_COLOR=1": false, "TERM=dumb": false} {
		cmd := h.command("ls")
		cmd.Env = append(cmd.Env, env)
		p := onTerminal(t, cmd)
		require.Equal(t, exitOK, p.ends())
		p.await("key")
		require.Equal(t, coloured, strings.Contains(p.screen(), "\x1b["), "%s: %q", env, p.screen())
	}
	require.NotContains(t, h.run("", "ls"), "\x1b")
}

// The passphrase of the identity is asked for where nothing shows, again where it
// was wrong, and three times at most.
func TestPromptForThePassphrase(t *testing.T) {
	h := &testHome{t: t, dir: canary.Dir(t)}
	h.env = []string{"SECRETCTL_HOME=" + filepath.Join(h.dir, "home"), "PATH=/usr/bin:/bin", "TERM=xterm", "GORACE=atexit_sleep_ms=10"}
	right, wrong := canary.New(t, "right"), canary.New(t, "wrong")

	p := onTerminal(t, h.command("init", "--passphrase"))
	p.awaitHidden("new passphrase: ")
	p.enter(right + "\n")
	p.await("once more: ")
	p.enter(right + "\n")
	require.Equal(t, exitOK, p.ends())
	require.NotContains(t, p.screen(), right)

	p = onTerminal(t, h.command("init", "--passphrase")) // nobody types it for nothing
	require.Equal(t, exitError, p.ends())
	p.await("there is a home already")

	p = onTerminal(t, h.command("serve"))
	p.awaitHidden("passphrase of identity.txt: ")
	p.enter(wrong + "\n")
	p.await("that is not the passphrase of identity.txt")
	p.enter(right + "\n")
	p.await("ready owner=")
	require.True(t, p.echoes())
	value := canary.New(t, "value")
	h.run(value, "set", "weather")
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.Equal(t, exitOK, p.ends())

	// Debian's age opens the vault with the same file and passphrase.
	opened := filepath.Join(t.TempDir(), "opened"+canary.Channel)
	cmd := exec.CommandContext(t.Context(), "age", "-d", "-i", filepath.Join(h.dir, "home/identity.txt"), "-o", opened, filepath.Join(h.dir, "home/vault/weather/@1.age"))
	p = onTerminal(t, cmd)
	p.awaitHidden("Enter passphrase for identity file")
	p.enter(right + "\n")
	require.Equal(t, exitOK, p.ends(), p.screen())
	text, err := os.ReadFile(opened)
	require.NoError(t, err)
	require.Equal(t, value, string(text))

	p = onTerminal(t, h.command("serve"))
	for n := range maxTries {
		require.True(t, poll(func() bool {
			return strings.Count(p.screen(), "passphrase of identity.txt: ") == n+1 && !p.echoes()
		}))
		p.enter(wrong + "\n")
	}
	require.Equal(t, exitError, p.ends())
	p.await("identity.txt does not open with that passphrase")
	require.NotContains(t, p.screen(), "sk-")
}
