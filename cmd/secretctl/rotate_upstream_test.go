package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/secret/canary"
	"secretctl/providers/ssh/sshtest"
)

// owner runs a command of the owner's, and returns what it says, exit code and
// all.
func (h *rotateHome) owner(stdin string, args ...string) (stdout, stderr string, code int) {
	cmd := h.command(args...)
	var out, said strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &said
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		require.NoError(h.t, err)
	}
	return out.String(), said.String(), cmd.ProcessState.ExitCode()
}

// upstream ends at the services what the agent was given.
func (h *rotateHome) upstream() (receipts []broker.Receipt, code int) {
	out, said, code := h.owner("", "kill", "--upstream", "--json")
	require.NoError(h.t, json.Unmarshal([]byte(out), &receipts), "%s", said)
	return receipts, code
}

// TestKillUpstream: all that the agent was given is dead at the server, the
// version before too, which is proven; after resume nobody is given the dead one;
// and a rotation makes another.
func TestKillUpstream(t *testing.T) {
	needRoot(t)
	all := realTargets()
	all["ssh"] = managedSSH
	for name, start := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := start(t)
			x.lines = `grace = "1h"`
			h := newRotateHome(t, "10m", "", x)
			var had []string
			had = append(had, h.agentGets(x.name))
			// Given up when the new one is in force: the one before stays valid.
			h.run("", "rotate", x.name)
			had = append(had, h.agentGets(x.name))
			h.run("", "rotate", "--give-up", x.name)
			for _, value := range had {
				require.NoError(t, x.login(value))
			}

			for range 2 { // the second time it is only looked
				got, code := h.upstream()
				require.Equal(t, 0, code)
				require.Len(t, got, 2)
				for i, r := range got {
					require.EqualValues(t, i+1, r.Version)
					require.Equal(t, "revoked", r.State)
					require.True(t, r.Proven)
					require.Nil(t, r.Error)
				}
				for _, value := range had {
					require.ErrorIs(t, x.login(value), errRefused)
				}
			}
			require.Zero(t, x.valid(t))

			h.run("", "resume")
			for range 2 {
				for _, args := range [][]string{{"get", x.name}, {"get", "--version", "1", x.name}} {
					out, said, code := h.owner("", args...)
					require.Equal(t, 1, code)
					require.Empty(t, out)
					require.Contains(t, said, "was ended at its service")
					require.Contains(t, said, "hint: secretctl rotate "+x.name)
				}
				cmd := h.asAgent("secretctl", "get", x.name)
				said, err := cmd.CombinedOutput()
				require.Error(t, err)
				require.Contains(t, string(said), "ask the owner to run: secretctl rotate "+x.name)
				_, text, code := h.owner("", "rollback", x.name)
				require.Equal(t, 1, code)
				require.Contains(t, text, "version 1 was ended at its service")
				require.Contains(t, h.run("", "versions", x.name), "current, ended")
				require.Contains(t, h.run("", "ls", x.name), " ended")
				_, said2, code := h.owner("", "status", "--check")
				require.Equal(t, 7, code)
				require.Contains(t, said2, "overdue: "+x.name)
				require.NoError(t, h.broker.stop(syscall.SIGTERM))
				h.serve() // and so after a restart
			}

			h.run("", "rotate", "--emergency", "--wait", x.name)
			require.NoError(t, h.whole())
			_, _, code := h.owner("", "status", "--check")
			require.Zero(t, code)
			got, code := h.upstream()
			require.Zero(t, code)
			require.Len(t, got, 1, "what a rotation retired has no receipt: %v", got)
			require.EqualValues(t, 3, got[0].Version)
		})
	}
}

// TestLeftOver: it is no success where something may still be valid, or nothing
// proves that it is not.
func TestLeftOver(t *testing.T) {
	dead := broker.Receipt{State: "revoked", Proven: true}
	for want, receipts := range map[string][]broker.Receipt{
		"": {dead, {State: "disabled", Proven: true}},
		"1 of 2 were ended, and it is not proven that they are refused": {dead, {State: "revoked"}},
		"1 of 3 may still be valid":                                     {dead, {State: "not-revoked"}, {State: "disabled"}},
	} {
		if err := new(world).leftOver(receipts); want == "" {
			require.NoError(t, err)
		} else {
			require.EqualError(t, err, want)
		}
	}
}

// managedSSH makes a key that may only run true, and another that edits its line.
func managedSSH(t testing.TB) *target {
	h := sshtest.Start(t)
	x := sshTarget(t, h)
	admin, line := sshtest.Key(t, "admin")
	h.Authorize(line + "\n" + `restrict,command="true" ` + strings.TrimPrefix(h.Authorized(), "# of the owner\n"))
	x.rotate = strings.Replace(x.rotate, "self = true", `admin = "own/ssh-admin"`, 1)
	require.NoError(t, admin.Use(func(b []byte) error { x.own = map[string]string{"own/ssh-admin": string(b)}; return nil }))
	valid := x.valid
	x.valid = func(t testing.TB) int {
		n := valid(t) - 1
		require.Equal(t, n, strings.Count(h.Authorized(), `restrict,command="true" ssh-ed25519 `))
		return n
	}
	return x
}

// TestKillUpstreamLast: a key that edits its own line ends the one before, and
// cannot end itself.
func TestKillUpstreamLast(t *testing.T) {
	needRoot(t)
	x := targets["ssh"](t)
	h := newRotateHome(t, "10m", "", x)
	first := h.agentGets(x.name)
	h.run("", "rotate", x.name)
	second := h.agentGets(x.name)
	h.run("", "rotate", "--give-up", x.name)
	got, code := h.upstream()
	require.Equal(t, 1, code)
	require.Equal(t, []string{"revoked", "not-revoked"}, []string{got[0].State, got[1].State})
	require.Equal(t, []bool{true, false}, []bool{got[0].Proven, got[1].Proven})
	require.Contains(t, got[1].Hint, "admin = ")
	require.ErrorIs(t, x.login(first), errRefused)
	require.NoError(t, x.login(second))
	h.run("", "resume")
	require.Equal(t, second, h.agentGets(x.name), "it works")
}

// TestKillUpstreamSilent: a server that says nothing holds up no other, and who
// asked is told at once what is done.
func TestKillUpstreamSilent(t *testing.T) {
	needRoot(t)
	l, err := net.Listen("tcp", "127.0.0.1:0") // which accepts, and says nothing
	require.NoError(t, err)
	defer l.Close()
	server := newPostgres(t)
	var silent, others []*target
	for i := range 3 {
		silent = append(silent, &target{
			name: fmt.Sprintf("a/silent-%d", i), rotate: fmt.Sprintf(`provider = "redis", schedule = "", address = "%s", self = true`, l.Addr()),
			first: canary.New(t, fmt.Sprint("silent ", i)),
		})
		others = append(others, server.target(t, fmt.Sprintf("db/%d", i)))
	}
	h := newRotateHome(t, "10m", "", append(silent, others...)...)
	for _, x := range h.targets {
		h.agentGets(x.name)
	}
	cmd := h.command("kill", "--upstream")
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	begun := time.Now()
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(stderr)
	for lines.Scan() && !strings.Contains(lines.Text(), "version 1: revoked") {
		require.NotContains(t, lines.Text(), "a/silent")
	}
	require.Less(t, time.Since(begun), 15*time.Second)
	// Who asked leaves, and it goes on.
	require.NoError(t, cmd.Process.Kill())
	_, _ = io.Copy(io.Discard, stderr)
	_ = cmd.Wait()
	for _, x := range others {
		require.Eventually(t, func() bool { return errors.Is(x.login(x.first), errRefused) }, patience, 100*time.Millisecond)
	}
}

// TestKillUpstreamItself: what makes its successor itself cannot any more once it
// is ended, and that is said; one made by hand begins anew.
func TestKillUpstreamItself(t *testing.T) {
	needRoot(t)
	server := newRedis(t)
	x := server.target(t, "cache/one")
	x.own, x.rotate = nil, `provider = "redis", schedule = "", address = "`+server.Addr()+`", self = true`
	h := newRotateHome(t, "10m", "", x)
	had := h.agentGets(x.name)
	got, code := h.upstream()
	require.Zero(t, code)
	require.True(t, got[0].Proven)
	require.ErrorIs(t, x.login(had), errRefused)
	h.run("", "resume")
	_, said, code := h.owner("", "rotate", "--wait", x.name)
	require.Equal(t, 1, code)
	require.Contains(t, said, "version 1 was ended at its service, and no other credential is named that could make the next")
	require.Contains(t, said, "make one by hand at its service, then: secretctl set "+x.name)

	other := server.target(t, "cache/one") // the same user, with a password again
	h.run(other.first, "set", x.name)
	require.NoError(t, x.login(h.agentGets(x.name)))
	h.run("", "rotate", "--emergency", "--wait", x.name)
	require.NoError(t, x.login(h.agentGets(x.name)))
	require.ErrorIs(t, x.login(other.first), errRefused)
}
