package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/gomodule/redigo/redis"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"secretctl/broker/secret/canary"
	"secretctl/providers/postgres/postgrestest"
	"secretctl/providers/redis/redistest"
	"secretctl/providers/services/servicetest"
	"secretctl/providers/ssh/sshtest"
)

// target is a secret whose credential a service knows.
type target struct {
	name   string            // of the secret
	rotate string            // how it is replaced, as the config has it
	lines  string            // more of its table in the config
	own    map[string]string // what of the broker's own that takes, by name
	first  string            // its value at first
	login  func(value string) error
	valid  func(testing.TB) int // how many credentials the service would let in
}

// errRefused means that the service knows no such credential, rather than that it
// did not answer.
var errRefused = errors.New("the service refuses it")

// targets are the services that are tried, each started by its test.
var targets = map[string]func(testing.TB) *target{
	"postgres": func(t testing.TB) *target { return newPostgres(t).target(t, "db/one") },
	"redis":    func(t testing.TB) *target { return newRedis(t).target(t, "cache/one") },
	"gitea":    func(t testing.TB) *target { return giteaTarget(servicetest.NewGitea(t), t) },
	"ssh":      func(t testing.TB) *target { return sshTarget(t, sshtest.Start(t)) },
}

// realTargets are targets, and those for which the environment names a program.
func realTargets() map[string]func(testing.TB) *target {
	all := make(map[string]func(testing.TB) *target)
	for name, start := range targets {
		all[name] = start
	}
	if os.Getenv(servicetest.GiteaProgram) != "" {
		all["real gitea"] = func(t testing.TB) *target { return giteaTarget(servicetest.RealGitea(t.(*testing.T)), t) }
	}
	return all
}

// postgresServer is a server with a role that may alter others.
type postgresServer struct {
	*postgrestest.Server
	admin string
}

func newPostgres(t testing.TB) *postgresServer {
	s := postgrestest.Start(t)
	password := canary.New(t, "postgres admin")
	s.Role(t, "manager", password, "LOGIN CREATEROLE")
	return &postgresServer{s, s.URL("manager", password)}
}

// target makes two roles that take turns.
func (s *postgresServer) target(t testing.TB, name string) *target {
	a := strings.ReplaceAll(name, "/", "_")
	b, password := a+"_b", canary.New(t, name)
	s.Role(t, a, password, "LOGIN")
	s.Role(t, b, canary.New(t, name+" b"), "NOLOGIN")
	return &target{
		name: name, rotate: fmt.Sprintf(`provider = "postgres", schedule = "", users = ["%s", "%s"], admin = "own/pg-admin"`, a, b),
		own: map[string]string{"own/pg-admin": s.admin}, first: s.URL(a, password), login: login,
		valid: func(t testing.TB) (n int) {
			const live = "SELECT count(*) FROM pg_authid WHERE rolname IN ('%s', '%s') AND rolcanlogin AND rolpassword IS NOT NULL"
			_, err := fmt.Sscan(s.SQL(t, fmt.Sprintf(live, a, b))[0][0], &n)
			require.NoError(t, err)
			return n
		},
	}
}

// redisServer is a server with a user who may change others.
type redisServer struct {
	*redistest.Server
	owner string
}

func newRedis(t testing.TB) *redisServer {
	owner := canary.New(t, "redis owner")
	return &redisServer{redistest.Start(t, redistest.ACLFile, owner), owner}
}

// target makes a user.
func (s *redisServer) target(t testing.TB, name string) *target {
	user, password := strings.ReplaceAll(name, "/", "-"), canary.New(t, name)
	s.Do(t, "ACL", "SETUSER", user, "on", "#"+redistest.Hash(password), "~*", "+@all")
	s.Do(t, "ACL", "SAVE")
	return &target{
		name: name, rotate: `provider = "redis", schedule = "", address = "` + s.Addr() + `", admin = "own/redis-admin", admin_user = "owner"`,
		own: map[string]string{"own/redis-admin": s.owner}, first: fmt.Sprintf("redis://%s:%s@%s/0", user, password, s.Addr()), login: login,
		valid: func(t testing.TB) int {
			fields, err := redis.Values(s.Do(t, "ACL", "GETUSER", user), nil)
			require.NoError(t, err)
			for i := 0; i+1 < len(fields); i += 2 {
				if name, err := redis.String(fields[i], nil); err == nil && name == "passwords" {
					return len(fields[i+1].([]any))
				}
			}
			t.Fatal("the server does not tell the user's passwords")
			return 0
		},
	}
}

// giteaTarget makes a token.
func giteaTarget(g *servicetest.Gitea, t testing.TB) *target {
	_, first := g.Add(t.(*testing.T), "by hand", "write:repository", "read:user")
	return &target{
		name:   "git/token",
		rotate: fmt.Sprintf(`provider = "gitea", schedule = "", url = "%s", user = "%s", admin = "own/gitea", scopes = ["write:repository", "read:user"]`, g.URL, g.User),
		own:    map[string]string{"own/gitea": g.Password}, first: first,
		login: func(value string) error {
			return askGitea(g, "/user", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+value) }, nil)
		},
		valid: func(t testing.TB) int {
			var tokens []struct{ ID int }
			require.NoError(t, askGitea(g, "/users/"+g.User+"/tokens", func(r *http.Request) { r.SetBasicAuth(g.User, g.Password) }, &tokens))
			return len(tokens)
		},
	}
}

func askGitea(g *servicetest.Gitea, path string, as func(*http.Request), into any) error {
	r, err := http.NewRequest(http.MethodGet, g.URL+"/api/v1"+path, nil)
	if err != nil {
		return err
	}
	as(r)
	r.Close = true // nothing is to be left when the test ends
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return err
	case answer.StatusCode == http.StatusUnauthorized:
		return errRefused
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("the service answers with %s", answer.Status)
	case into != nil:
		return json.Unmarshal(body, into)
	}
	return nil
}

// sshTarget makes a key that edits itself on its hosts.
func sshTarget(t testing.TB, hosts ...*sshtest.Host) *target {
	first, line := sshtest.Key(t, "first")
	var names, keys []string
	for _, h := range hosts {
		h.Authorize("# of the owner\n" + line + "\n")
		names = append(names, h.Target())
		keys = append(keys, knownhosts.Line([]string{h.Addr}, hostKey(t, h)))
	}
	x := &target{
		name: "ssh/key", rotate: fmt.Sprintf(`provider = "ssh", schedule = "", hosts = [%s], host_keys = [%s], self = true, authorized_keys = %q`,
			quoted(names), quoted(keys), hosts[0].AuthorizedKeys),
		login: func(value string) error {
			var all []error
			for _, h := range hosts {
				all = append(all, loginSSH(h, value))
			}
			return errors.Join(all...)
		},
		valid: func(t testing.TB) int {
			counts := make(map[int]bool)
			for _, h := range hosts {
				counts[strings.Count(h.Authorized(), "ssh-ed25519 ")] = true
			}
			require.Len(t, counts, 1, "the hosts differ")
			for n := range counts {
				return n
			}
			return 0
		},
	}
	if os.Getuid() == 0 { // each host has its own
		x.rotate = strings.Replace(x.rotate, fmt.Sprintf(", authorized_keys = %q", hosts[0].AuthorizedKeys), "", 1)
	}
	require.NoError(t, first.Use(func(b []byte) error { x.first = string(b); return nil }))
	return x
}

func hostKey(t testing.TB, h *sshtest.Host) ssh.PublicKey {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(h.HostKey))
	require.NoError(t, err)
	return key
}

func loginSSH(h *sshtest.Host, value string) error {
	key, err := ssh.ParsePrivateKey([]byte(value))
	if err != nil {
		return errors.New("the value is no key")
	}
	c, err := ssh.Dial("tcp", h.Addr, &ssh.ClientConfig{
		User: h.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, Timeout: patience,
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), // the test has just started it
	})
	if err != nil && strings.Contains(err.Error(), "unable to authenticate") {
		return errRefused
	} else if err != nil {
		return err
	}
	return c.Close()
}

// login logs in at the server that a connection URL names.
func login(value string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if strings.HasPrefix(value, "redis:") {
		return loginRedis(ctx, value)
	}
	c, err := pgconn.Connect(ctx, value)
	var told *pgconn.PgError
	switch {
	case errors.As(err, &told) && (told.Code == "28P01" || told.Code == "28000"):
		return errRefused
	case errors.As(err, &told):
		return errors.New("the server answers with " + told.Code)
	case err != nil:
		return errors.New("the server is not reached") // the driver's words may quote the URL
	}
	return c.Close(ctx)
}

func loginRedis(ctx context.Context, value string) error {
	c, err := redis.DialURLContext(ctx, value, redis.DialConnectTimeout(patience), redis.DialReadTimeout(patience))
	var told redis.Error
	switch {
	case errors.As(err, &told) && strings.HasPrefix(told.Error(), "WRONGPASS"):
		return errRefused
	case err != nil:
		return errors.New("the server is not reached")
	}
	_, err = c.Do("PING")
	return errors.Join(err, c.Close())
}

// several is how often something is done, in the usual run and in the long one.
func several(usual, long int) int {
	if os.Getenv("SECRETCTL_LONG") != "" {
		return long
	}
	return usual
}
