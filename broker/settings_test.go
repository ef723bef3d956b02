package broker_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/grant"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/sock"
)

// TestReload: a config is put in force whole, or nothing changes.
func TestReload(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	mint(t, b, "weather", "sunny")
	held := leaseWeather(t, b)
	for _, bad := range []string{"nonsense", grants + "[broker]\nmax_tll = \"1h\"\n", grants + "[[grant]]\nagent = \"claw\"\nsecrets = [\"*\"]\n"} {
		h.configure(bad)
		require.Error(t, b.Reload(), bad)
		_, err := b.Renew(t.Context(), b.Agent(agentUID), held.ID.String())
		require.NoError(t, err, "the old config stays in force")
	}
	h.configure("[agent.claw]\nuid = 61001\n")
	require.NoError(t, b.Reload())
	_, err := b.Renew(t.Context(), b.Agent(agentUID), held.ID.String())
	require.ErrorIs(t, err, broker.ErrDenied, "the grant is gone, and with it the lease's next use")
	require.Contains(t, h.log(), "reload")
	h.configure("")
	require.NoError(t, b.Reload())
	_, err = b.AsAgent(&sock.Peer{UID: agentUID})
	require.ErrorIs(t, err, broker.ErrDenied, "who is no agent any more is a stranger")
}

// TestExplain: check names the rule that decides.
func TestExplain(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	mint(t, b, "weather", "sunny")
	for _, c := range []struct {
		agent, name string
		allow       bool
		code        grant.Code
		line        int
		exists      bool
	}{
		{"claw", "weather", true, grant.CodeGranted, 7, true},
		{"claw", "openai/key", true, grant.CodeGranted, 7, false},
		{"claw", "openai/billing-key", false, grant.CodeDenied, 11, false},
		{"other", "openai/key", false, grant.CodeNoGrant, 0, false},
		{"claw", "own/admin", false, grant.CodeOwnSecret, 0, false},
	} {
		got, err := b.Explain(c.agent, secret.Name(c.name), grant.DoorValue)
		require.NoError(t, err)
		require.Equal(t, c.allow, got.Allow, c)
		require.Equal(t, string(c.code), got.Reason, c)
		require.Equal(t, c.line, got.Line, c)
		require.Equal(t, c.exists, got.Exists, c)
	}
	_, err := b.Explain("nobody", "weather", grant.DoorValue)
	require.ErrorIs(t, err, broker.ErrNotFound)
}

// TestMode: the boundary is worth what the agent cannot get around.
func TestMode(t *testing.T) {
	mode := func(t *testing.T, config string, spoil func(dir string)) (string, []string) {
		h := newHome(t, config)
		if spoil != nil {
			spoil(h.dir)
		}
		b := h.broker()
		status, err := b.Status(context.Background())
		require.NoError(t, err)
		return status.Mode, status.ModeReasons
	}
	t.Run("separate", func(t *testing.T) {
		needRoot(t)
		m, _ := mode(t, grants, nil)
		require.Equal(t, "separate", m)
	})
	t.Run("same user", func(t *testing.T) {
		m, reasons := mode(t, fmt.Sprintf("[agent.claw]\nuid = %d\n", os.Getuid()), nil)
		require.Equal(t, "same-user", m)
		require.NotEmpty(t, reasons)
	})
	t.Run("an owner's uid", func(t *testing.T) {
		m, _ := mode(t, "[broker]\nowners = [61001]\n[agent.claw]\nuid = 61001\n", nil)
		require.Equal(t, "same-user", m)
	})
	t.Run("the agent owns the vault", func(t *testing.T) {
		needRoot(t)
		m, reasons := mode(t, grants, func(dir string) {
			require.NoError(t, os.Chown(filepath.Join(dir, "vault"), agentUID, agentUID))
		})
		require.True(t, strings.HasPrefix(m, "separate (not effective: "), m)
		require.Contains(t, reasons[0], "can write /")
		require.Contains(t, reasons[0], "/vault")
	})
	t.Run("anybody can replace the config", func(t *testing.T) {
		needRoot(t)
		m, _ := mode(t, grants, func(dir string) { require.NoError(t, os.Chmod(dir, 0o777)) })
		require.Contains(t, m, "not effective")
	})
	t.Run("nobody to separate from", func(t *testing.T) {
		_, reasons := mode(t, "", nil)
		require.Equal(t, []string{"the config names no agent yet"}, reasons)
	})
}

// TestChanges: who waits for changes hears of those it may have, and only then.
func TestChanges(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	agent := b.Agent(agentUID)
	first, err := b.Changes(t.Context(), agent, "")
	require.NoError(t, err)
	require.Empty(t, first.Changes)

	got := make(chan broker.Changes, 1)
	go func() {
		c, _ := b.Changes(context.Background(), agent, first.Cursor)
		got <- c
	}()
	mint(t, b, "github/token", "x") // not the agent's
	mint(t, b, "openai/billing-key", "x")
	mint(t, b, "openai/key", "x")
	select {
	case c := <-got:
		require.Equal(t, []broker.Change{{Name: "openai/key", Version: 1}}, c.Changes)
		first = c
	case <-time.After(patience):
		require.FailNow(t, "nobody was told")
	}
	mint(t, b, "openai/key", "y")
	mint(t, b, "openai/key", "z")
	c, err := b.Changes(t.Context(), agent, first.Cursor)
	require.NoError(t, err)
	require.Equal(t, []broker.Change{{Name: "openai/key", Version: 3}}, c.Changes, "the latest alone")
	for _, bad := range []string{"x", "-1", "01", " 1"} {
		_, err := b.Changes(t.Context(), agent, bad)
		require.ErrorIs(t, err, broker.ErrBadRequest, bad)
	}
	ahead, err := b.Changes(t.Context(), agent, "999999")
	require.NoError(t, err, "a cursor of another home")
	require.NotEmpty(t, ahead.Changes)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	none, err := b.Changes(ctx, agent, c.Cursor)
	require.NoError(t, err)
	require.Empty(t, none.Changes)
}

// TestAnchor: each signed checkpoint is given to the owner's command, which gets
// nothing else of us.
func TestAnchor(t *testing.T) {
	needRoot(t)
	dir, err := os.MkdirTemp("/root", "anchor") // every parent is root's
	require.NoError(t, err)
	t.Cleanup(func() {
		canary.NoneIn(t, dir)
		require.NoError(t, os.RemoveAll(dir))
	})
	script, out := filepath.Join(dir, "ship"), filepath.Join(dir, "shipped")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\n{ /bin/cat; /usr/bin/env; pwd; } >"+out+".new && /bin/mv "+out+".new "+out+"\n"), 0o755))
	h := newHome(t, grants+"[audit]\nanchor = [\""+script+"\"]\n")
	b := h.broker()
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- b.Run(ctx) }()
	defer func() { cancel(); require.NoError(t, <-ran) }()

	_, err = b.Kill(broker.Owner())
	require.NoError(t, err)
	var shipped []byte
	require.Eventually(t, func() bool {
		shipped, err = os.ReadFile(out)
		return err == nil
	}, patience, 5*time.Millisecond)
	require.Contains(t, string(shipped), "\n— secretctl/")
	require.NotContains(t, string(shipped), "HOME=")
	require.True(t, strings.HasSuffix(string(shipped), "/\n"), "it runs in /")

	require.NoError(t, os.Chmod(script, 0o777))
	require.ErrorContains(t, b.Reload(), "chmod go-w", "what others can write is not run")
}
