package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// manyTargets are several secrets at one server, which are rotated side by side:
// rotations are mostly waiting.
func manyTargets(t testing.TB, kind string, n int) (all []*target) {
	var next func(testing.TB, string) *target
	switch kind {
	case "postgres":
		next = newPostgres(t).target
	case "redis":
		next = newRedis(t).target
	}
	for i := range n {
		all = append(all, next(t, fmt.Sprintf("db/%d", i)))
	}
	return all
}

// hammering is a client that runs.
type hammering struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	out    bytes.Buffer
	stderr bytes.Buffer
}

func (h *rotateHome) hammer() *hammering {
	args := []string{"hammers"}
	for _, x := range h.targets {
		args = append(args, x.name)
	}
	c := &hammering{cmd: h.asAgent(args...)}
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.stderr
	var err error
	c.stdin, err = c.cmd.StdinPipe()
	require.NoError(h.t, err)
	require.NoError(h.t, c.cmd.Start())
	return c
}

func (c *hammering) ends(t testing.TB) (out hammered) {
	require.NoError(t, c.stdin.Close())
	require.NoError(t, c.cmd.Wait(), "%s", &c.stderr)
	require.NoError(t, json.Unmarshal(c.out.Bytes(), &out), "%s", &c.stderr)
	return out
}

// TestRotateHammered: a client that renews is never refused, however often what
// it uses is replaced.
func TestRotateHammered(t *testing.T) {
	needRoot(t)
	t.Parallel()
	const clients, secrets = 4, 10
	for _, kind := range []string{"postgres", "redis"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			all := manyTargets(t, kind, secrets)
			for _, x := range all {
				x.lines = `grace = "1s"` // as long as a lease
			}
			h := newRotateHome(t, "1s", "[rotation]\nparallel = 8\n", all...)
			var hammers []*hammering
			for range clients {
				hammers = append(hammers, h.hammer())
			}
			times := several(5, 50)
			var rotating sync.WaitGroup
			trouble := make([]error, secrets)
			for i, x := range all {
				rotating.Go(func() {
					for range times {
						p, err := h.rotate(x.name)
						if err == nil && p.State != "done" {
							err = fmt.Errorf("%s: %s: %v", x.name, p.State, p.Reason)
						}
						trouble[i] = errors.Join(trouble[i], err)
					}
				})
			}
			rotating.Wait()
			require.NoError(t, errors.Join(trouble...))
			logins, versions, late := 0, 0, 0
			for _, c := range hammers {
				out := c.ends(t)
				require.Empty(t, out.Failed)
				require.Greater(t, out.Versions, secrets, "it did not see that anything was replaced")
				logins, versions, late = logins+out.Logins, versions+out.Versions, late+out.Late
			}
			require.NoError(t, h.whole())
			t.Logf("%d rotations, %d clients: %d logins with %d versions, 0 refused (%d after the lease had expired)",
				secrets*times, clients, logins, versions, late)
		})
	}
}

// underRun starts a command with a value in its environment as the agent's run
// does.
func (h *rotateHome) underRun(name, onRotate string) *consumer {
	c, err := consume(h.asAgent("secretctl", "run", "--on-rotate", onRotate, "--env", useVariable+"="+name, "--", filepath.Join(stageDir, "uses")))
	require.NoError(h.t, err)
	h.t.Cleanup(c.end)
	h.awaitUses(c, 3)
	return c
}

// likeOpenClaw starts a consumer that has a value resolved once, and watch, which
// has it resolved again after a while.
func (h *rotateHome) likeOpenClaw(name string) *consumer {
	c, err := consume(h.asAgent("uses", name))
	require.NoError(h.t, err)
	h.t.Cleanup(c.end)
	h.awaitUses(c, 3)
	_, pids, _ := c.seen()
	watch := h.asAgent("secretctl", "watch", name, "--", "/bin/sh", "-c", "sleep 0.3; kill -USR1 "+pids[0])
	require.NoError(h.t, watch.Start())
	h.t.Cleanup(func() { _ = watch.Process.Kill(); _ = watch.Wait() })
	// A version with the same value shows that it listens.
	for again := time.Now(); !c.wasTold(); {
		if time.Now().After(again) {
			h.run(h.targets[0].first, "set", h.targets[0].name)
			again = time.Now().Add(time.Second)
		}
		h.awaitUses(c, 1)
	}
	return c
}

// awaitUses waits for more logins.
func (h *rotateHome) awaitUses(c *consumer, more int) {
	from, _, _ := c.seen()
	used := poll(func() bool { ok, _, wrong := c.seen(); return ok >= from+more || len(wrong) > 0 })
	if !used {
		c.end()
	}
	require.True(h.t, used, "it is never used: %s %v", c.said(), c.cmd.ProcessState)
}

// TestRotatePinned: what copied a value once and takes the new one when it is told
// never has a dead one.
func TestRotatePinned(t *testing.T) {
	needRoot(t)
	t.Parallel()
	for name, c := range map[string]struct {
		ttl   string
		start func(*rotateHome, string) *consumer
	}{
		"run":                    {"10m", func(h *rotateHome, name string) *consumer { return h.underRun(name, "restart") }},
		"openclaw":               {"10m", (*rotateHome).likeOpenClaw},
		"openclaw, long expired": {"1s", (*rotateHome).likeOpenClaw},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newRedis(t).target(t, "cache/one")
			x.lines = `grace = "1m"`
			h := newRotateHome(t, c.ttl, "", x)
			consumer := c.start(h, x.name)
			times := several(3, 20)
			for range times {
				p, err := h.rotate(x.name)
				require.NoError(t, err)
				require.Equal(t, "done", p.State, p.Reason)
				h.awaitUses(consumer, 3)
				if c.ttl == "1s" { // and nothing is asked for meanwhile
					require.True(t, poll(func() bool { return !strings.Contains(h.run("", "leases"), x.name) }), "the lease does not expire")
				}
			}
			ok, _, wrong := consumer.seen()
			require.Empty(t, wrong, "%s", consumer.said())
			require.NoError(t, h.whole())
			t.Logf("%d rotations: %d logins, 0 refused", times, ok)
		})
	}
}

// TestRotateNeedsOwner: who copied a value and does not react keeps it working,
// and the owner is told; it ends with its consumer, or when grace_hard is over.
func TestRotateNeedsOwner(t *testing.T) {
	needRoot(t)
	t.Parallel()
	s := newPostgres(t)
	waits, hard := s.target(t, "db/waits"), s.target(t, "db/hard")
	waits.lines, hard.lines = `grace = "1s"`, "grace = \"1s\"\ngrace_hard = \"3s\""
	h := newRotateHome(t, "10m", "", waits, hard)
	stays, dies := h.underRun(waits.name, "warn"), h.underRun(hard.name, "warn")

	// Both need their owner, who sees what is in the way.
	p, err := h.rotate(waits.name)
	require.NoError(t, err)
	require.Equal(t, "needs-owner", p.State)
	require.EqualValues(t, "pinned_leases", p.Reason)
	status := h.run("", "status", "--json")
	require.Contains(t, status, `"state": "needs-owner"`)
	require.Contains(t, status, `"reason": "pinned_leases"`)
	require.Contains(t, h.run("", "status"), "needs-owner")
	for _, how := range [][]string{{"rotate", "--wait", waits.name}, {"rotate", waits.name}} { // it is tried once more, and that is the answer
		out, err := h.command(how...).CombinedOutput()
		require.Error(t, err, how)
		require.Contains(t, string(out), "consumers that took a copy still have the old version", how)
		require.Contains(t, string(out), "hint: restart them, or end their leases: secretctl revoke --secret "+waits.name, how)
	}
	require.Regexp(t, waits.name+" +1 ", h.run("", "leases"))

	p, err = h.rotate(hard.name)
	require.NoError(t, err)
	require.Equal(t, "needs-owner", p.State)
	require.True(t, poll(func() bool { _, _, wrong := dies.seen(); return len(wrong) > 0 }), "the old one lives on")
	_, _, wrong := dies.seen()
	require.Contains(t, wrong[0], errRefused.Error())

	// The one without grace_hard is untouched all the while.
	h.awaitUses(stays, 10)
	_, _, wrong = stays.seen()
	require.Empty(t, wrong)
	require.Equal(t, 2, waits.valid(t))
	stays.end()
	require.True(t, poll(func() bool { return waits.valid(t) == 1 }), "it is not retired once its consumer has ended")
	require.True(t, poll(func() bool { return strings.Contains(h.run("", "status", "--json"), `"rotations": []`) }))
	_, _, wrong = stays.seen()
	require.Empty(t, wrong)
	require.NoError(t, h.whole())
}
