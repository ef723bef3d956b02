package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/providers"
	"secretctl/providers/services/servicetest"
)

// stuckRotation is a home with a rotation that does not come past its new token,
// of which the server does not say whether it works.
func stuckRotation(t *testing.T) (*rotateHome, *target) {
	needRoot(t)
	g := servicetest.NewGitea(t)
	x := giteaTarget(g, t)
	to, err := url.Parse(g.URL)
	require.NoError(t, err)
	through := httputil.NewSingleHostReverseProxy(to)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if by := r.Header.Get("Authorization"); !strings.HasPrefix(by, "Basic ") && !strings.HasSuffix(by, x.first) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		through.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	x.rotate = strings.Replace(x.rotate, g.URL, server.URL, 1)
	h := newRotateHome(t, "10m", "", x)
	rotate := h.command("rotate", x.name)
	require.NoError(t, rotate.Start())
	require.True(t, poll(func() bool { return x.valid(t) == 2 && h.rotations(x)[0].Step == "staged" }))
	require.NoError(t, rotate.Process.Kill())
	_ = rotate.Wait()
	return h, x
}

// rotations are those that a secret went through, newest first.
func (h *rotateHome) rotations(x *target) (all []providers.Progress) {
	require.NoError(h.t, json.Unmarshal([]byte(h.run("", "versions", "--json", "--history", x.name)), &all))
	return all
}

// TestGiveUpNames: what giving up leaves at the service is named, and how it ended
// is the answer.
func TestGiveUpNames(t *testing.T) {
	t.Parallel()
	h, x := stuckRotation(t)
	out, said, code := h.owner("", "rotate", "--give-up", x.name)
	require.Zero(t, code)
	require.Contains(t, out, "failed")
	last := h.rotations(x)[0]
	require.Equal(t, "failed", last.State)
	id, named := strings.CutPrefix(*last.Error, "given up by the owner: the service may still have ")
	require.True(t, named, "%s", *last.Error)
	require.NotEmpty(t, id)
	require.Equal(t, "remove "+id+" at the service", last.Hint)
	require.Contains(t, said, *last.Error)
	require.Contains(t, said, "hint: "+last.Hint)
	require.Contains(t, h.run("", "versions", x.name), *last.Error)
	require.Equal(t, 2, x.valid(t), "which is there")
}

// TestGiveUpRefused: what to do instead is said.
func TestGiveUpRefused(t *testing.T) {
	err := new(rotator).told("giving up", "db/one", &providers.CallError{Problem: "it is kept nowhere else", Remedy: "secretctl rotate db/one"})
	require.Equal(t, &broker.Error{Code: broker.CodeConflict, Message: `giving up "db/one": it is kept nowhere else`, Hint: "secretctl rotate db/one"}, err)
}

// TestKillUpstreamStuck: a rotation that is stuck keeps nothing of what agents held
// alive, and what giving it up left is named.
func TestKillUpstreamStuck(t *testing.T) {
	t.Parallel()
	h, x := stuckRotation(t)
	had := h.agentGets(x.name)
	got, code := h.upstream()
	require.Zero(t, code)
	require.Len(t, got, 1)
	require.Equal(t, "revoked", got[0].State)
	require.True(t, got[0].Proven)
	last := h.rotations(x)[0]
	require.Equal(t, "failed", last.State)
	require.Equal(t, "the rotation that was in the way is "+*last.Error+": "+last.Hint, got[0].Hint)
	require.ErrorIs(t, x.login(had), errRefused)
	require.Equal(t, 1, x.valid(t), "the one that is named")
}

// TestGoes: the next rotation says which version it removes that nobody ended.
func TestGoes(t *testing.T) {
	needRoot(t)
	t.Parallel()
	x := newRedis(t).target(t, "cache/one")
	x.lines = `grace = "1h"`
	h := newRotateHome(t, "10m", "", x)
	had := h.agentGets(x.name)
	h.run("", "rotate", x.name)
	h.run("", "rotate", "--give-up", x.name)
	for _, want := range []string{"warning: cache/one: version 1 was never ended at its service and goes from here: end ", ""} {
		_, said, code := h.owner("", "rotate", "--emergency", "--wait", x.name)
		require.Zero(t, code)
		require.Equal(t, want != "", strings.Contains(said, "never ended"), "%s", said)
		require.Contains(t, said, want)
		require.Equal(t, want != "", h.rotations(x)[0].Warning != "")
	}
	require.NoError(t, x.login(had), "which is valid")
}
