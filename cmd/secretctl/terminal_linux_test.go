package main

import (
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
