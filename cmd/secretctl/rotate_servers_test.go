package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/sock"
)

// rotateHome is a home whose secrets services know, and an agent of another uid
// that may have them.
type rotateHome struct {
	*testHome
	targets []*target
}

// agentUID is who the agent is.
const agentUID = 54321

// newRotateHome makes the home, with more lines of config, and starts a broker
// on it. ttl is the grant's.
func newRotateHome(t testing.TB, ttl, more string, all ...*target) *rotateHome {
	return newRotateHomeIn(t, nil, ttl, more, all...)
}

// newRotateHomeIn is newRotateHome with a broker that has more in its
// environment.
func newRotateHomeIn(t testing.TB, env []string, ttl, more string, all ...*target) *rotateHome {
	h := &rotateHome{testHome: madeTestHome(t), targets: all}
	h.broker.name = "tried"
	var names []string
	text := new(strings.Builder)
	fmt.Fprintf(text, "[agent.claw]\nuid = %d\n%s\n", agentUID, more)
	for _, x := range all {
		names = append(names, x.name)
		fmt.Fprintf(text, "[secret.%q]\nrotate = { %s }\n%s\n", x.name, x.rotate, x.lines)
	}
	fmt.Fprintf(text, "[[grant]]\nagent = \"claw\"\nsecrets = [%s]\ndoors = [\"value\"]\nttl = %q\n", quoted(names), ttl)
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "home", "secretctl.toml"), []byte(text.String()), 0o600))
	require.NoError(t, h.broker.start(filepath.Join(h.dir, "serve.log"), append(slices.Clone(h.env), env...)))
	for _, x := range all {
		for name, value := range x.own {
			h.run(value, "set", name)
		}
		h.run(x.first, "set", x.name)
	}
	return h
}

func quoted(words []string) string {
	var all []string
	for _, w := range words {
		all = append(all, fmt.Sprintf("%q", w))
	}
	return strings.Join(all, ", ")
}

// asAgent prepares a command of the agent's. args[0] is the program's name, see
// TestMain.
func (h *rotateHome) asAgent(args ...string) *exec.Cmd {
	cmd := h.command(args[1:]...)
	cmd.Args[0], cmd.Dir = args[0], "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: agentUID, Gid: agentUID}}
	// Later ones win.
	cmd.Env = append(cmd.Env, "GOCOVERDIR="+filepath.Join(stageDir, "cover"))
	return cmd
}

// agentGets returns what the agent is given.
func (h *rotateHome) agentGets(name string) string {
	cmd := h.asAgent("secretctl", "get", "-n", name)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(h.t, err, "%s", &stderr)
	return string(out)
}

// asOwner asks at the owner's socket.
func (h *rotateHome) asOwner(ctx context.Context, fn func(*broker.Client) error) error {
	c, err := broker.Dial(ctx, filepath.Join(h.dir, "home", "run", "owner.sock"), sock.DialOptions{AllowSticky: true})
	if err != nil {
		return err
	}
	return errors.Join(fn(c), c.Close())
}

// rotate rotates a secret to its end.
func (h *rotateHome) rotate(name string) (p providers.Progress, err error) {
	err = h.asOwner(h.t.Context(), func(c *broker.Client) error {
		p, err = c.Rotate(h.t.Context(), broker.RotateOrder{Secret: secret.Name(name), Wait: true}, secret.Value{}, func(providers.Progress) {})
		return err
	})
	return p, err
}

// whole checks what must be so whenever no rotation is under way.
func (h *rotateHome) whole() error {
	var trouble []error
	for _, x := range h.targets {
		if n := x.valid(h.t); n != 1 {
			trouble = append(trouble, fmt.Errorf("%s: the service would let in %d credentials", x.name, n))
		}
		if err := x.login(h.agentGets(x.name)); err != nil {
			trouble = append(trouble, fmt.Errorf("%s: what the agent is given: %w", x.name, err))
		}
		if err := h.asOwner(h.t.Context(), func(c *broker.Client) error { return oneVersion(h.t.Context(), c, x.name) }); err != nil {
			trouble = append(trouble, err)
		}
	}
	trouble = append(trouble, h.asOwner(h.t.Context(), func(c *broker.Client) error {
		if r, err := c.Verify(h.t.Context()); err != nil || !r.OK {
			return fmt.Errorf("the log is not whole: %v, %w", r, err)
		}
		return nil
	}))
	return errors.Join(trouble...)
}

// oneVersion checks that a secret has a current version and no other.
func oneVersion(ctx context.Context, c *broker.Client, name string) error {
	all, err := c.Versions(ctx, secret.Name(name))
	if err == nil && (len(all) != 1 || all[0].State != "current") {
		err = fmt.Errorf("%s: the versions are %v", name, all)
	}
	return err
}

// TestRotateServers: the old credential is refused, the new one accepted, and
// nothing else is left at the service, time after time.
func TestRotateServers(t *testing.T) {
	needRoot(t)
	t.Parallel()
	for name, start := range realTargets() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := start(t)
			x.lines = `grace = "0s"`
			h := newRotateHome(t, "10m", "", x)
			old := h.agentGets(x.name)
			require.NoError(t, x.login(old))
			times := several(5, 100)
			for i := range times {
				var out []rotateReply
				require.NoError(t, json.Unmarshal([]byte(h.run("", "rotate", "--wait", "--json", x.name)), &out))
				require.Len(t, out, 1)
				require.Equal(t, "done", out[0].State)
				require.EqualValues(t, i+1, out[0].From)
				require.EqualValues(t, i+2, out[0].To)
				require.ErrorIs(t, x.login(old), errRefused)
				require.NoError(t, h.whole())
				now := h.agentGets(x.name)
				require.False(t, now == old, "the value is the old one")
				old = now
			}
			var listed []broker.SecretInfo
			require.NoError(t, json.Unmarshal([]byte(h.run("", "ls", "--json", x.name)), &listed))
			require.Len(t, listed, 1)
			require.EqualValues(t, times+1, listed[0].Version)
			require.Less(t, listed[0].AgeSeconds, int64(60))
			require.False(t, listed[0].Overdue)
			require.Equal(t, "done", listed[0].LastRotation.State)
			require.Nil(t, listed[0].LastRotation.Error)
			require.Nil(t, listed[0].NextRotation, "there is no schedule")
			var versions []broker.VersionInfo
			require.NoError(t, json.Unmarshal([]byte(h.run("", "versions", "--json", x.name)), &versions))
			require.Len(t, versions, 1)
			require.Equal(t, "current", versions[0].State)
			require.Contains(t, h.run("", "audit", "verify", "--json"), `"ok": true`)
			log := h.run("", "audit", "--secret", x.name)
			require.Equal(t, times, strings.Count(log, " published"), log)
			require.Equal(t, times, strings.Count(log, " done"), log)
			require.Contains(t, h.run("", "status", "--json"), `"rotations": []`)
			t.Logf("rotated %d times", times)
		})
	}
}
