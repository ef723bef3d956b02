package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/secret/canary"
)

// generated is a secret whose values are made up.
func generated(t testing.TB, lines string) *target {
	return &target{
		name: "app/key", rotate: `provider = "generate", schedule = ""`, first: canary.New(t, "app/key"),
		lines: "grace = \"0s\"\n" + lines,
	}
}

// shell is a command of the config that runs a script.
func shell(script string) string { return "[" + quoted([]string{"/bin/sh", "-c", script}) + "]" }

// notes is a directory for what commands leave to be looked at.
func notes(t testing.TB) string {
	dir := canary.Dir(t)
	require.NoError(t, os.Chmod(dir, 0o700))
	return dir
}

func read(t testing.TB, parts ...string) string {
	text, err := os.ReadFile(filepath.Join(parts...))
	require.NoError(t, err)
	return string(text)
}

// TestEnvOfCommands: the owner's commands have no environment and no directory,
// read the name and the version and no value, and what they say nobody hears.
func TestEnvOfCommands(t *testing.T) {
	needRoot(t)
	t.Parallel()
	dir := notes(t)
	note := func(what string) string {
		return shell(fmt.Sprintf(`/bin/cat /proc/$$/environ >%[1]s/%[2]s.env
/bin/readlink /proc/$$/cwd >%[1]s/%[2]s.cwd
/bin/tr '\000' '\n' </proc/$$/cmdline >%[1]s/%[2]s.argv
/bin/ls /proc/$$/fd >%[1]s/%[2]s.fds
/bin/cat >%[1]s/%[2]s.stdin
echo loud words; echo loud words >&2`, dir, what))
	}
	x := generated(t, "announce = ["+note("announce")+"]\nconfirm = "+note("confirm"))
	h := newRotateHome(t, "10m", "", x)
	require.True(t, x.first == h.agentGets(x.name))
	out, err := h.command("rotate", "--wait", x.name).CombinedOutput()
	require.NoError(t, err, "%s", out)
	value := h.agentGets(x.name)
	for _, what := range []string{"announce", "confirm"} {
		require.Empty(t, read(t, dir, what+".env"), what)
		require.Equal(t, "/\n", read(t, dir, what+".cwd"), what)
		require.JSONEq(t, `{"secret":"app/key","version":2}`, read(t, dir, what+".stdin"), what)
		require.Equal(t, 1, strings.Count(read(t, dir, what+".stdin"), "\n"), what)
		require.Contains(t, read(t, dir, what+".argv"), "/bin/sh\n-c\n")
		require.Subset(t, []string{"0", "1", "2", "3", "10", "255"}, strings.Fields(read(t, dir, what+".fds")), "it has files of the broker's")
		for _, kind := range []string{".stdin", ".argv", ".env"} {
			for _, v := range []string{x.first, value} {
				require.False(t, strings.Contains(read(t, dir, what+kind), v), "%s%s has the value", what, kind)
			}
		}
	}
	for _, text := range []string{string(out), h.broker.said(), h.run("", "audit"), h.run("", "status", "--json"), h.run("", "versions", x.name)} {
		require.NotContains(t, text, "loud words")
		require.False(t, strings.Contains(text, value), "it has the value")
	}
}

// TestAnnounceFails: that consumers could not be told is a warning, with nothing of
// what the commands said; one that does not end is killed with what it began; and
// the rotation goes on.
func TestAnnounceFails(t *testing.T) {
	needRoot(t)
	t.Parallel()
	dir := notes(t)
	x := generated(t, "announce = ["+shell("echo again >>"+dir+"/tries; echo loud words >&2; exit 3")+", "+
		shell("/bin/sleep 1000 & echo $! >>"+dir+"/pids; echo $$ >>"+dir+"/pids; wait")+", "+shell("echo too >>"+dir+"/last")+"]")
	h := newRotateHome(t, "10m", "", x)
	out, err := h.command("rotate", "--wait", x.name).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), `secretctl: warning: app/key: [secret."app/key"] announce: /bin/sh: exit status 3`)
	require.Contains(t, string(out), `announce: /bin/sh did not end within 2s`)
	require.NotContains(t, string(out), "loud words")
	require.Equal(t, strings.Repeat("again\n", 3), read(t, dir, "tries"))
	require.Contains(t, read(t, dir, "last"), "too\n", "the last command is told all the same")
	require.Contains(t, h.run("", "versions", "--json", "--history", x.name), "exit status 3", "the outcome is not kept")
	pids := strings.Fields(read(t, dir, "pids"))
	require.Len(t, pids, 6) // two, three times
	for _, pid := range pids {
		n, err := strconv.Atoi(pid)
		require.NoError(t, err)
		require.True(t, poll(func() bool { return gone(n) }), "process %d lives on", n)
	}
	require.False(t, h.agentGets(x.name) == x.first, "the value is the old one")
}

// gone reports whether a process has ended.
func gone(pid int) bool {
	state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(state), ") Z ")
}

// TestConfirmFails: while confirm fails, the old credential works, and it is shown
// why.
func TestConfirmFails(t *testing.T) {
	needRoot(t)
	t.Parallel()
	dir := notes(t)
	x := newRedis(t).target(t, "cache/one")
	x.lines = "grace = \"0s\"\nconfirm = " + shell("echo loud words; test -e "+dir+"/used")
	h := newRotateHome(t, "10m", "", x)
	out, err := h.command("rotate", x.name).CombinedOutput()
	require.NoError(t, err, "%s", out)
	var flights struct {
		Rotations []struct{ Secret, State, Reason, Error string }
	}
	require.True(t, poll(func() bool {
		require.NoError(t, json.Unmarshal([]byte(h.run("", "status", "--json")), &flights))
		return len(flights.Rotations) == 1 && flights.Rotations[0].Reason == "not_confirmed"
	}), "that it is not confirmed is not shown: %v", flights)
	require.Equal(t, x.name, flights.Rotations[0].Secret)
	require.Equal(t, `[secret."cache/one"] confirm: /bin/sh: exit status 1`, flights.Rotations[0].Error)
	require.NoError(t, x.login(x.first))
	require.NoError(t, x.login(h.agentGets(x.name)))
	require.Equal(t, 2, x.valid(t))
	var versions []broker.VersionInfo
	require.NoError(t, json.Unmarshal([]byte(h.run("", "versions", "--json", x.name)), &versions))
	require.Len(t, versions, 2)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "used"), nil, 0o600))
	h.run("", "rotate", "--wait", x.name)
	require.ErrorIs(t, x.login(x.first), errRefused)
	require.NoError(t, h.whole())
	require.NotContains(t, h.broker.said(), "loud words")
}

// trusted is a directory that nobody but root can change, which temporary ones are
// not.
func trusted(t testing.TB) string {
	dir, err := os.MkdirTemp("/var", "secretctl-test")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

// TestCommandsOfAgents: a command that an agent can write is refused when the
// config is read, and again when it is to run.
func TestCommandsOfAgents(t *testing.T) {
	needRoot(t)
	t.Parallel()
	left := notes(t)
	for what, argv := range map[string]string{"announce": "[[%q]]", "confirm": "[%q]", "announce by sh": `[["/bin/sh", %q]]`} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			key, _, _ := strings.Cut(what, " ")
			dir := trusted(t)
			program, ran := filepath.Join(dir, "tell"), filepath.Join(left, what)
			require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\necho ran >>'"+ran+"'\n"), 0o755))
			x := generated(t, fmt.Sprintf(key+" = "+argv, program))
			h := newRotateHome(t, "10m", "", x)
			h.run("", "rotate", "--wait", x.name)
			require.Equal(t, "ran\n", read(t, ran))

			ways := map[string]struct{ open, shut func() error }{
				"its mode": {func() error { return os.Chmod(program, 0o777) }, func() error { return os.Chmod(program, 0o755) }},
				"its owner": {func() error { return os.Chown(program, agentUID, agentUID) },
					func() error { return os.Chown(program, 0, 0) }},
				"its directory": {func() error { return os.Chmod(dir, 0o777) }, func() error { return os.Chmod(dir, 0o755) }},
			}
			// At a reload the config before stays in force.
			for what, way := range ways {
				require.NoError(t, way.open())
				out, err := h.command("reload").CombinedOutput()
				require.Error(t, err, what)
				require.Contains(t, string(out), fmt.Sprintf(`[secret."app/key"] %s: `, key), what)
				require.NoError(t, way.shut())
				h.run("", "reload")
			}
			// What is changed after the config was read is not run.
			require.NoError(t, os.Chmod(program, 0o777))
			rotating := h.command("rotate", x.name) // it would wait for the last try
			require.NoError(t, rotating.Start())
			says := fmt.Sprintf(`[secret.\"app/key\"] %s: %s: `, key, program)
			require.True(t, poll(func() bool {
				return strings.Contains(h.run("", "status", "--json"), says) ||
					strings.Contains(h.run("", "versions", "--json", "--history", x.name), says)
			}), "it is not said")
			require.Equal(t, "ran\n", read(t, ran))

			require.NoError(t, h.broker.stop(syscall.SIGTERM))
			_ = rotating.Wait()
			err := h.broker.start(filepath.Join(h.dir, "serve.log"), h.env)
			require.ErrorContains(t, err, program)
			require.ErrorContains(t, err, "lets others change it (chmod go-w "+program+")")
			require.NoError(t, os.Chmod(program, 0o755))
			h.serve()
			h.run("", "rotate", "--wait", x.name)
			require.NotEqual(t, "ran\n", read(t, ran))
		})
	}
}
