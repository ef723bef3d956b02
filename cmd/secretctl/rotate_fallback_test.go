package main

import (
	"crypto/rand"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret/canary"
	"secretctl/providers/ssh/sshtest"
)

// ambient is what a broker's user has lying about that would do in place of what
// the config names.
type ambient struct {
	dir     string
	env     []string
	touched atomic.Int64 // connections to its agent and its proxy
}

// newAmbient makes it, with a password for a user of a PostgreSQL server.
func newAmbient(t testing.TB, user, password string) *ambient {
	a := &ambient{dir: canary.Dir(t)}
	write := func(name, text string) string {
		path := filepath.Join(a.dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	pass := write(".pgpass", "*:*:*:*:"+password+"\n")
	write(".pg_service.conf", "[any]\nuser="+user+"\npassword="+password+"\n")
	write(".ssh/config", "Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n")
	write(".netrc", "default login "+user+" password "+password+"\n")
	agent, proxy := a.listen(t, "unix", filepath.Join(a.dir, "agent.sock")), a.listen(t, "tcp", "127.0.0.1:0")
	a.env = []string{
		"HOME=" + a.dir, "PGPASSFILE=" + pass, "PGUSER=" + user, "PGPASSWORD=" + password, "PGSSLMODE=disable", "PGSERVICEFILE=" + filepath.Join(a.dir, ".pg_service.conf"),
		"REDISCLI_AUTH=" + password, "SSH_AUTH_SOCK=" + agent, "NETRC=" + filepath.Join(a.dir, ".netrc"), "GITEA_TOKEN=" + password,
	}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		a.env = append(a.env, name+"=http://"+proxy)
	}
	return a
}

// listen counts connections.
func (a *ambient) listen(t testing.TB, network, address string) string {
	l, err := net.Listen(network, address)
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			a.touched.Add(1)
			if err == nil {
				_ = c.Close()
			}
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-ended })
	return l.Addr().String()
}

// refuses rotates a target, which must be in trouble with these words, and leave
// all as it was. What is not reached is tried again for a while.
func (h *rotateHome) refuses(x *target, words string, again bool) {
	h.t.Helper()
	before := x.valid(h.t)
	cmd := h.command("rotate", "--wait", x.name)
	if again {
		require.NoError(h.t, cmd.Start())
		require.True(h.t, poll(func() bool { return strings.Contains(h.run("", "status", "--json"), words) }), "it is not said: %s", words)
		require.NoError(h.t, cmd.Process.Kill())
		_ = cmd.Wait()
	} else {
		out, err := cmd.CombinedOutput()
		require.Error(h.t, err, "%s", out)
		require.Contains(h.t, string(out), words)
		require.Contains(h.t, h.run("", "versions", "--json", "--history", x.name), `"state": "failed"`)
	}
	require.Equal(h.t, before, x.valid(h.t))
	require.True(h.t, strings.TrimSuffix(x.first, "\n") == h.agentGets(x.name), "the value is another")
}

// TestRotateNoFallback: where what manages a credential is missing, refused or
// away, that is an error, and nothing else that lies about is used in its place.
func TestRotateNoFallback(t *testing.T) {
	needRoot(t)
	t.Parallel()
	// No canary: that it is in the environment is what is tried.
	password := "ambient-" + rand.Text()
	server := newPostgres(t)
	server.Role(t, "ambient", password, "LOGIN SUPERUSER")
	at := func(user, password string) string { return server.URL(user, password) }
	bare := func(url string) string { // without the password
		user, rest, _ := strings.Cut(url, "@")
		return user[:strings.LastIndexByte(user, ':')] + "@" + rest
	}
	other, _ := sshtest.Key(t, "some other key")
	var stranger string
	require.NoError(t, other.Use(func(b []byte) error { stranger = string(b); return nil }))

	for name, c := range map[string]struct {
		target func(*testing.T) *target
		own    func(*target) // what becomes of what manages it
		says   string
	}{
		"postgres, missing":  {postgresFor(server, "missing"), func(x *target) { clear(x.own) }, `there is no secret "own/pg-admin", which it takes`},
		"postgres, denied":   {postgresFor(server, "denied"), manage("own/pg-admin", at("manager", "wrong")), "refuses"},
		"postgres, no word":  {postgresFor(server, "bare"), manage("own/pg-admin", bare(at("ambient", "x"))), "password"},
		"postgres, away":     {postgresFor(server, "away"), manage("own/pg-admin", "postgres://ambient:x@127.0.0.1:1/app?sslmode=disable"), "nothing listens at 127.0.0.1:1"},
		"postgres, no old":   {func(t *testing.T) *target { x := server.target(t, "db/old"); x.first = bare(x.first); return x }, func(*target) {}, "password"},
		"redis, missing":     {func(t *testing.T) *target { return targets["redis"](t) }, func(x *target) { clear(x.own) }, `there is no secret "own/redis-admin", which it takes`},
		"redis, denied":      {func(t *testing.T) *target { return targets["redis"](t) }, manage("own/redis-admin", "wrong"), "refuses"},
		"gitea, missing":     {func(t *testing.T) *target { return targets["gitea"](t) }, func(x *target) { clear(x.own) }, `there is no secret "own/gitea", which it takes`},
		"gitea, denied":      {func(t *testing.T) *target { return targets["gitea"](t) }, manage("own/gitea", "wrong"), "refuse"},
		"gitea, away":        {elsewhere, func(*target) {}, "secretctl-test.invalid cannot be "},
		"ssh, missing":       {sshFor, func(*target) {}, `there is no secret "own/ssh-admin", which it takes`},
		"ssh, another's key": {sshFor, manage("own/ssh-admin", stranger), "refuse"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := c.target(t)
			x.lines = `grace = "0s"`
			c.own(x)
			a := newAmbient(t, "ambient", password)
			h := newRotateHomeIn(t, a.env, "10m", "", x)
			h.refuses(x, c.says, strings.HasSuffix(name, "away"))
			require.Zero(t, a.touched.Load(), "the agent or the proxy was used")
		})
	}
	t.Cleanup(func() { // after all of them
		require.NotContains(t, server.Log(), "connection authenticated: identity=\"ambient\"")
		require.NotContains(t, server.Log(), "connection authorized: user=ambient")
		require.Contains(t, server.Log(), "connection authorized: user=owner", "it does not log who logs in")
	})
}

func postgresFor(s *postgresServer, name string) func(*testing.T) *target {
	return func(t *testing.T) *target { return s.target(t, "db/"+name) }
}

// manage sets what manages a target to something else.
func manage(name, value string) func(*target) {
	return func(x *target) { x.own = map[string]string{name: value} }
}

// elsewhere is a Gitea on a machine that is not there, but for whoever asks a
// proxy.
func elsewhere(t *testing.T) *target {
	return &target{
		name: "git/token", rotate: `provider = "gitea", schedule = "", url = "https://secretctl-test.invalid", user = "bot", admin = "own/gitea", scopes = ["read:user"]`,
		own: map[string]string{"own/gitea": canary.New(t, "password")}, first: canary.New(t, "token"),
		valid: func(testing.TB) int { return 1 },
	}
}

// sshFor is a key that another one is to manage.
func sshFor(t *testing.T) *target {
	x := sshTarget(t, sshtest.Start(t))
	x.rotate = strings.Replace(x.rotate, "self = true", `admin = "own/ssh-admin"`, 1)
	return x
}
