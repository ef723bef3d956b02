package redis_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/redis"
	"secretctl/providers/redis/redistest"
	"secretctl/providers/rotatortest"
	"secretctl/providers/servertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// app is a user with a password, and who manages it.
type app struct {
	*rotatortest.Login
	server   *redistest.Server
	user     string
	form     string // of the value, with the password as %s
	set      map[string]any
	password string
	admin    string // the value of own/redis-admin
}

func open(t testing.TB, set map[string]any) (providers.Rotator, error) {
	t.Helper()
	kind := redis.Kind()
	o, err := kind.NewOptions(set)
	require.NoError(t, err)
	return kind.Open(o)
}

// open opens the provider with the app's options and these.
func (x *app) open(more map[string]any) providers.Rotator {
	x.Helper()
	set := make(map[string]any)
	for _, m := range []map[string]any{x.set, more} {
		for name, v := range m {
			set[name] = v
		}
	}
	r, err := open(x, set)
	require.NoError(x, err)
	return r
}

// value is the app's value with a password.
func (x *app) value(password string) secret.Value {
	return rotatortest.Value(x, fmt.Sprintf(x.form, password))
}

func (x *app) call() *providers.Call {
	return x.replacing(&providers.Credential{Value: x.value(x.password)})
}

func (x *app) replacing(old *providers.Credential) *providers.Call {
	return &providers.Call{Secret: "app/cache", Tag: "secretctl/app/cache/1", Old: old,
		Own: func(_ context.Context, name secret.Name) (secret.Value, error) {
			require.EqualValues(x, "own/redis-admin", name)
			return rotatortest.Value(x, x.admin), nil
		}}
}

// is holds an error to what it says of the outcome, and to hold no value.
func is(t testing.TB, err error, o providers.Outcome, code providers.Code) *providers.CallError {
	t.Helper()
	return rotatortest.Is(t, err, o, code, leaks)
}

func leaks(t testing.TB, text string) {
	t.Helper()
	for _, name := range []string{"app", "admin"} {
		require.NotContains(t, text, canary.New(t, name))
		require.NotContains(t, text, redistest.Hash(canary.New(t, name)))
	}
}

// manager is a user with the rights that the kind asks for, and no others.
func manager(t testing.TB, s *redistest.Server, name string) string {
	password := canary.New(t, "admin")
	args := []any{"SETUSER", name, "reset", "on", "#" + redistest.Hash(password)}
	for _, right := range strings.Fields(redis.Kind().Permission) {
		args = append(args, right)
	}
	s.Do(t, "ACL", args...)
	return password
}

// madeApp has the server reached by a proxy, as a user with a password.
func madeApp(t *testing.T, s *redistest.Server, user, password string) *app {
	x := &app{server: s, user: user, password: password}
	x.Login = &rotatortest.Login{
		T: t, Process: s, Proxy: servertest.NewProxy(t, "tcp", s.Addr()), Call: x.call, Leaks: leaks,
		Account: func() string { return x.Proxy.Addr() + "/" + user },
		Reset:   func() { s.Do(t, "ACL", "SETUSER", user, "resetpass", "#"+redistest.Hash(password)) },
		Password: func(v secret.Value) string {
			before, after, _ := strings.Cut(x.form, "%s")
			return strings.TrimSuffix(strings.TrimPrefix(rotatortest.Text(t, v), before), after)
		},
	}
	return x
}

// newApp makes a user, a manager, and a proxy.
func newApp(t *testing.T, s *redistest.Server, user string) *app {
	x := madeApp(t, s, user, canary.New(t, "app"))
	p := x.Proxy
	s.Do(t, "ACL", "SETUSER", user, "on", "#"+redistest.Hash(x.password), "~app:*", "+get", "+set", "+ping")
	x.admin = fmt.Sprintf("redis://manager-of-%s:%s@%s/0", user, manager(t, s, "manager-of-"+user), p.Addr())
	x.form = "redis://" + user + ":%s@" + p.Addr() + "/3?timeout=5"
	x.set = map[string]any{"admin": secret.Name("own/redis-admin")}
	return x
}

// bare has passwords alone for values.
func (x *app) bare() *app {
	x.form, x.admin = "%s", canary.New(x, "admin")
	x.set["address"], x.set["user"], x.set["admin_user"] = x.Proxy.Addr(), x.user, "manager-of-"+x.user
	return x
}

// itself has a user that manages itself.
func (x *app) itself() *app {
	args := []any{"SETUSER", x.user}
	for _, right := range strings.Fields(redis.Kind().Permission) {
		args = append(args, right)
	}
	x.server.Do(x, "ACL", args...)
	x.set = map[string]any{"self": true}
	return x
}

func TestRedis(t *testing.T) {
	for name, setup := range map[string]redistest.Setup{"acl file": redistest.ACLFile, "config file": redistest.ConfigFile} {
		t.Run(name, func(t *testing.T) {
			s := redistest.Start(t, setup, canary.New(t, "owner"))
			var issued []string
			n := 0
			part := func(name string, test func(*app)) {
				t.Run(name, func(t *testing.T) {
					n++
					x := newApp(t, s, fmt.Sprintf("app%d", n))
					test(x)
					issued = append(issued, x.Issued...)
				})
			}
			watched := watch(t, s)
			for form, of := range map[string]func(*app) *app{
				"url": func(x *app) *app { return x }, "password": (*app).bare, "itself": (*app).itself,
				"password of itself": func(x *app) *app {
					x.bare().itself()
					x.set["address"], x.set["user"] = x.Proxy.Addr(), x.user
					return x
				},
			} {
				t.Run("contract/"+form, func(t *testing.T) { contract(t, s, of, &n) })
				part("rotate/"+form, func(x *app) { rotate(of(x)) })
			}
			part("sessions", sessions)
			part("check", check)
			part("rights", lackingRights)
			part("cut", cut)
			part("hang", func(x *app) { x.Hang(x.open(nil)) })
			part("unsaved", unsaved)
			part("environment", environment)
			seen := watched()
			part("paused", func(x *app) { x.Paused(x.open(nil)) })
			part("killed", func(x *app) { x.Killed(x.open(nil)) })
			part("killed/itself", func(x *app) { x.Killed(x.itself().open(nil)) })

			t.Run("log", func(t *testing.T) {
				written := s.Written()
				for _, password := range issued {
					require.NotContains(t, written, password)
					require.NotContains(t, seen, password)
				}
			})
		})
	}
}

// watch records what MONITOR shows, and the slow log, until it is asked for it.
func watch(t *testing.T, s *redistest.Server) (seen func() string) {
	c := s.Login(t, "owner", canary.New(t, "owner"))
	_, err := c.Do("MONITOR")
	require.NoError(t, err)
	all := make(chan string)
	go func() {
		var text strings.Builder
		for {
			line, err := redigo.String(c.Receive())
			if err != nil || strings.Contains(line, `"the end"`) {
				all <- text.String()
				return
			}
			text.WriteString(line + "\n")
		}
	}()
	return func() string {
		slow := fmt.Sprintf("%q", s.Do(t, "SLOWLOG", "GET", 1000))
		s.Do(t, "ECHO", "the end")
		return <-all + slow
	}
}

func contract(t *testing.T, s *redistest.Server, of func(*app) *app, n *int) {
	rotatortest.Run(t, func(t *testing.T) *rotatortest.Service {
		*n++
		x := of(newApp(t, s, fmt.Sprintf("app%d", *n)))
		return &rotatortest.Service{
			Kind: redis.Kind(), Rotator: x.open(nil), Leaks: func(t *testing.T, text string) { leaks(t, text) },
			Call: func(*testing.T) *providers.Call { return x.Call() },
			Down: func(*testing.T) { x.Proxy.Refuse() },
		}
	})
}

func rotate(x *app) {
	r := x.open(nil)
	c := x.Rotate(r, func(i int, next *providers.Credential) {
		require.Len(x, x.Issued[i], 40)
		require.Equal(x, fmt.Sprintf(x.form, x.Issued[i]), rotatortest.Text(x, next.Value))
	})

	// A roll back ends the new one.
	next := x.Issue(r, c)
	require.NoError(x, r.Revoke(x.Context(), c, next))
	require.NoError(x, r.Revoke(x.Context(), c, next))
	x.Refused(r, c, next)
	x.Accepted(r, c, c.Old)

	// A password that is all there is can be ended too.
	c.New = nil
	require.NoError(x, r.Revoke(x.Context(), c, c.Old))
	require.NoError(x, r.Revoke(x.Context(), c, c.Old))
	x.Refused(r, c, c.Old)
	if x.set["self"] == true {
		_, err := r.Check(x.Context(), c)
		is(x, err, providers.DefinitelyNot, providers.CodeDenied)
	}
}

func alive(c redigo.Conn) bool {
	_, err := c.Do("PING")
	return err == nil
}

func sessions(x *app) {
	r, c := x.open(nil), x.Call()
	s := x.server.Login(x, x.user, x.password)
	next := x.Issue(r, c)
	require.NoError(x, r.Revoke(x.Context(), c, c.Old))
	require.True(x, alive(s))

	c = x.replacing(next)
	other := x.server.Login(x, "owner", canary.Of(strings.Join(strings.Split(x.Name(), "/")[:2], "/")+" owner"))
	r = x.open(map[string]any{"end_sessions": true})
	x.Issue(r, c)
	require.True(x, alive(s))
	require.NoError(x, r.Revoke(x.Context(), c, c.Old))
	require.False(x, alive(s))
	require.True(x, alive(other))
	x.Accepted(r, c, c.New)

	x.itself()
	r = x.open(map[string]any{"end_sessions": true})
	c = x.replacing(c.New)
	s = x.server.Login(x, x.user, x.Issued[1])
	x.Issue(r, c)
	require.NoError(x, r.Revoke(x.Context(), c, c.Old), "its own session is spared")
	require.False(x, alive(s))
}

func check(x *app) {
	r, c := x.open(nil), x.Call()
	fails := func(code providers.Code, names string) {
		x.Helper()
		_, err := r.Check(x.Context(), c)
		call := is(x, err, providers.DefinitelyNot, code)
		require.Contains(x, call.Problem, names)
		require.NotEmpty(x, call.Remedy)
	}
	id, err := r.Check(x.Context(), c)
	require.NoError(x, err)
	require.Equal(x, x.Proxy.Addr()+"/"+x.user, id.Account)

	hash := redistest.Hash(x.password)
	x.server.Do(x, "ACL", "SETUSER", x.user, "off")
	fails(providers.CodeOptions, "is off")
	x.server.Do(x, "ACL", "SETUSER", x.user, "on", "nopass")
	fails(providers.CodeOptions, "any password")
	next, err := r.(providers.Chooser).Choose(x.Context(), c)
	require.NoError(x, err)
	_, err = r.Issue(x.Context(), c, next)
	is(x, err, providers.DefinitelyNot, providers.CodeOptions)
	x.server.Do(x, "ACL", "DELUSER", x.user)
	fails(providers.CodeNotFound, x.user)
	_, err = r.Issue(x.Context(), c, next)
	is(x, err, providers.DefinitelyNot, providers.CodeNotFound)
	require.Nil(x, x.server.Do(x, "ACL", "GETUSER", x.user), "it was not made")
	require.NoError(x, r.Revoke(x.Context(), c, c.Old))
	x.server.Do(x, "ACL", "SETUSER", x.user, "on", "#"+redistest.Hash("another"))
	_, err = r.Check(x.Context(), c) // a dead old one can be replaced
	require.NoError(x, err)
	x.server.Do(x, "ACL", "SETUSER", x.user, "#"+hash)

	admin := x.admin
	x.admin = strings.Replace(admin, canary.New(x, "admin"), "wrong", 1)
	fails(providers.CodeDenied, "own/redis-admin")
	x.admin = fmt.Sprintf(x.form, x.password)
	fails(providers.CodeOptions, "whose password is to be changed")

	for name, lines := range map[string][]string{"another": nil, "cluster": {"cluster-enabled yes"}, "is a replica": {"replicaof 127.0.0.1 1"}} {
		other := redistest.Start(x.T, redistest.ACLFile, canary.New(x, "other"), lines...)
		manager(x, other, "manager")
		other.Do(x, "ACL", "SETUSER", x.user, "on", "#"+redistest.Hash("x"))
		x.admin = fmt.Sprintf("redis://manager:%s@%s", canary.New(x, "admin"), other.Addr())
		if name != "another" {
			other.Do(x, "ACL", "SETUSER", x.user, "#"+hash)
		}
		fails(providers.CodeOptions, name)
	}

	x.server.Do(x, "ACL", "SETUSER", "replicator", "on", ">replicates", "+psync", "+replconf", "+ping")
	replica := redistest.Start(x.T, redistest.ACLFile, canary.New(x, "other"), "replicaof 127.0.0.1 "+fmt.Sprint(x.server.Port), "masteruser replicator", "masterauth replicates")
	x.admin = admin
	require.Eventually(x, func() bool {
		_, err := r.Check(x.Context(), c)
		return err != nil
	}, 20*time.Second, 5*time.Millisecond)
	fails(providers.CodeOptions, "has replicas")
	replica.Kill()
	require.Eventually(x, func() bool {
		_, err := r.Check(x.Context(), c)
		return err == nil
	}, 20*time.Second, 5*time.Millisecond)

	for _, v := range []string{"redis://", "redis://h", "redis://u@h", "redis://:@h", "redis://u:p@h,i", "redis://u:p@h:port", "redis://u%20x:p@h", "password"} {
		c = x.replacing(&providers.Credential{Value: rotatortest.Value(x, v)})
		fails(providers.CodeOptions, "")
	}
	c = x.replacing(nil)
	fails(providers.CodeOptions, "no password yet")
	r = x.open(map[string]any{"user": "somebody"})
	c = x.Call()
	fails(providers.CodeOptions, "somebody")
}

// lackingRights takes each right from the manager that the kind asks for.
func lackingRights(x *app) {
	r, c := x.open(map[string]any{"end_sessions": true}), x.Call()
	saving := "+acl|save"
	if hasACLFile(x) {
		saving = "+config|rewrite"
	}
	for _, right := range strings.Fields(redis.Kind().Permission) {
		if right == saving {
			continue // of the other setup
		}
		x.server.Do(x, "ACL", "SETUSER", "manager-of-"+x.user, "-"+right[1:])
		_, err := r.Check(x.Context(), c)
		require.Contains(x, is(x, err, providers.DefinitelyNot, providers.CodeDenied).Remedy, right, right)
		x.server.Do(x, "ACL", "SETUSER", "manager-of-"+x.user, right)
		_, err = r.Check(x.Context(), c)
		require.NoError(x, err, right)
	}
	// A right that is taken after Check.
	next, err := r.(providers.Chooser).Choose(x.Context(), c)
	require.NoError(x, err)
	for right, code := range map[string]providers.Code{
		"acl|setuser": providers.CodeDenied, "multi": providers.CodeDenied,
		"exec": providers.CodeUnavailable, // the server does not say why
	} {
		x.server.Do(x, "ACL", "SETUSER", "manager-of-"+x.user, "-"+right)
		_, err = r.Issue(x.Context(), c, next)
		is(x, err, providers.DefinitelyNot, code)
		x.Refused(r, c, next)
		x.server.Do(x, "ACL", "SETUSER", "manager-of-"+x.user, "+"+right)
	}
	_, err = r.Issue(x.Context(), c, next)
	require.NoError(x, err)
}

func hasACLFile(x *app) bool {
	pair, err := redigo.Strings(x.server.Do(x, "CONFIG", "GET", "aclfile"), nil)
	require.NoError(x, err)
	return pair[1] != ""
}

// cut also sees that whatever is in force has been saved, and what has been saved
// is in force.
func cut(x *app) {
	r := x.open(nil)
	x.Cut(r, 17, 1, func(c *providers.Call, next *providers.Credential) {
		_, invalid := r.Verify(x.Context(), c, next)
		require.Equal(x, invalid == nil, strings.Contains(x.server.Written(), redistest.Hash(x.Password(next.Value))))
	})
}

// unsaved has a server that cannot write its files.
func unsaved(x *app) {
	r, c := x.open(nil), x.Call()
	next, err := r.(providers.Chooser).Choose(x.Context(), c)
	require.NoError(x, err)
	unlock := x.server.Lock(x)
	_, err = r.Issue(x.Context(), c, next)
	require.Contains(x, is(x, err, providers.DefinitelyNot, providers.CodeUnavailable).Problem, "taken back")
	x.Refused(r, c, next)
	x.Accepted(r, c, c.Old)
	unlock()
	_, err = r.Issue(x.Context(), c, next)
	require.NoError(x, err)
	unlock = x.server.Lock(x)
	is(x, r.Revoke(x.Context(), c, c.Old), providers.Unknown, providers.CodeUnavailable)
	unlock()
	require.NoError(x, r.Revoke(x.Context(), c, c.Old))
	require.NotContains(x, x.server.Written(), redistest.Hash(x.password))
}

// environment is full of other places to log in to.
func environment(x *app) {
	for name, v := range map[string]string{"REDIS_URL": "redis://u:p@192.0.2.1", "REDISCLI_AUTH": "other", "REDIS_PASSWORD": "other", "HTTPS_PROXY": "http://192.0.2.1:1", "ALL_PROXY": "socks5://192.0.2.1:1", "HOME": x.TempDir()} {
		x.Setenv(name, v)
	}
	rotate(x)
}

// TestDefaultUser is of the one password that most servers have, in their
// config as requirepass.
func TestDefaultUser(t *testing.T) {
	for name, setup := range map[string]redistest.Setup{"acl file": redistest.ACLFile, "config file": redistest.ConfigFile} {
		t.Run(name, func(t *testing.T) {
			password := "in-the-config"
			line := map[redistest.Setup]string{redistest.ACLFile: "user default on #" + redistest.Hash(password) + " ~* &* +@all", redistest.ConfigFile: "requirepass " + password}[setup]
			s := redistest.Start(t, setup, canary.New(t, "owner"), line)
			for _, form := range []string{"%s", "redis://:%s@127.0.0.1:" + fmt.Sprint(s.Port)} {
				x := madeApp(t, s, "default", password)
				x.set = map[string]any{"self": true}
				x.form = strings.ReplaceAll(form, fmt.Sprintf("127.0.0.1:%d", s.Port), x.Proxy.Addr())
				if form == "%s" {
					x.set["address"] = x.Proxy.Addr()
				}
				r, c := x.open(nil), x.Call()
				for range 3 {
					_, err := r.Check(t.Context(), c)
					require.NoError(t, err)
					next := x.Issue(r, c)
					s.Kill()
					s.Restart()
					x.Accepted(r, c, next)
					require.NoError(t, r.Revoke(t.Context(), c, c.Old))
					s.Kill()
					s.Restart()
					x.Refused(r, c, c.Old)
					x.Accepted(r, c, next)
					c = x.replacing(next)
				}
				password = x.Issued[len(x.Issued)-1]
			}
		})
	}
}

// TestForgetful is of a server that has no file to keep its users in.
func TestForgetful(t *testing.T) {
	s := redistest.Start(t, redistest.Nowhere, canary.New(t, "owner"))
	x := newApp(t, s, "app")
	r, c := x.open(nil), x.Call()
	_, err := r.Check(t.Context(), c)
	require.Contains(t, is(t, err, providers.DefinitelyNot, providers.CodeOptions).Remedy, "save = false")
	next, err := r.(providers.Chooser).Choose(t.Context(), c)
	require.NoError(t, err)
	_, err = r.Issue(t.Context(), c, next)
	is(t, err, providers.DefinitelyNot, providers.CodeUnavailable)
	x.Refused(r, c, next)
	x.set["save"] = false
	rotate(x)
}

func TestTLS(t *testing.T) {
	account := servertest.Unprivileged(t, "redis")
	dir := account.Dir(t)
	ca, cert, key := servertest.Certificate(t, "127.0.0.1")
	for name, b := range map[string][]byte{"ca.pem": ca, "cert.pem": cert, "key.pem": key} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
		account.Give(t, filepath.Join(dir, name))
	}
	port := servertest.Port(t)
	s := redistest.Start(t, redistest.ACLFile, canary.New(t, "owner"), fmt.Sprintf("tls-port %d", port), "tls-auth-clients no",
		"tls-cert-file "+filepath.Join(dir, "cert.pem"), "tls-key-file "+filepath.Join(dir, "key.pem"), "tls-ca-cert-file "+filepath.Join(dir, "ca.pem"))
	x := newApp(t, s, "app")
	x.Proxy = servertest.NewProxy(t, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	x.form = "rediss://app:%s@" + x.Proxy.Addr()
	x.admin = fmt.Sprintf("rediss://manager-of-app:%s@%s", canary.New(t, "admin"), x.Proxy.Addr())
	// The server's user could change its own copy.
	right := filepath.Join(t.TempDir(), "ca.pem")
	none := filepath.Join(filepath.Dir(right), "none.pem")
	require.NoError(t, os.WriteFile(right, ca, 0o600))
	require.NoError(t, os.WriteFile(none, nil, 0o600))
	x.set["tls_ca"] = right
	rotate(x)

	x = newApp(t, s, "app2")
	verifyIn := func(ctx context.Context, form, ca string) error {
		if x.set["tls_ca"] = ca; ca == "" {
			delete(x.set, "tls_ca")
		}
		_, err := x.open(nil).Verify(ctx, x.Call(), &providers.Credential{Value: rotatortest.Value(t, fmt.Sprintf(form, x.password))})
		return err
	}
	verify := func(form, ca string) error { return verifyIn(t.Context(), form, ca) }
	unanswered := func(form string) error { // each waits for the other when only one speaks TLS
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return verifyIn(ctx, form, right)
	}
	tls := fmt.Sprintf("rediss://app2:%%s@127.0.0.1:%d", port)
	require.NoError(t, verify(tls, right))
	is(t, verify(tls, ""), providers.Unknown, providers.CodeUnavailable)
	is(t, verify(strings.Replace(tls, "127.0.0.1", "localhost", 1), right), providers.Unknown, providers.CodeUnavailable)
	is(t, unanswered(strings.Replace(tls, fmt.Sprint(port), fmt.Sprint(s.Port), 1)), providers.Unknown, providers.CodeUnavailable)
	is(t, unanswered(strings.Replace(tls, "rediss", "redis", 1)), providers.Unknown, providers.CodeUnavailable)
	is(t, verify(tls, none), providers.DefinitelyNot, providers.CodeOptions)
	is(t, verify(tls, filepath.Join(dir, "nowhere.pem")), providers.DefinitelyNot, providers.CodeOptions)
	if os.Getuid() == 0 {
		require.Contains(t, is(t, verify(tls, filepath.Join(dir, "ca.pem")), providers.DefinitelyNot, providers.CodeOptions).Problem, "could be changed by others")
	}
	require.NoError(t, os.Chmod(right, 0o622))
	require.Contains(t, is(t, verify(tls, right), providers.DefinitelyNot, providers.CodeOptions).Problem, "could be changed by others")
}

func TestOptions(t *testing.T) {
	admin := secret.Name("own/redis-admin")
	for _, set := range []map[string]any{
		{}, {"self": true, "admin": admin}, {"self": true, "admin_user": "x"}, {"self": true, "user": "a b"}, {"self": true, "length": int64(19)},
		{"self": true, "tls_ca": "ca.pem"}, {"self": true, "length": int64(513)}, {"self": true, "address": "redis://cache.example"},
	} {
		kind := redis.Kind()
		o, err := kind.NewOptions(set)
		if err == nil {
			_, err = kind.Open(o)
		}
		var wrong *providers.OptionError
		require.ErrorAs(t, err, &wrong, "%v", set)
		require.NotEmpty(t, wrong.Remedy)
	}
	for address, ok := range map[string]bool{
		"localhost:6379": true, "127.0.0.1:1": true, "[::1]:1": true, "/run/redis.sock": true, "redis://127.0.0.1": true, "redis://cache.example": false, "redis://192.0.2.1:1": false, "rediss://cache.example:1/0": true,
		"": false, "localhost": false, "cache.example:6379": false, "192.0.2.1:6379": false, "http://h": false, "redis://u:p@h": false, "redis://u@h": false, "redis://": false, "redis://h?x": false, "redis://h/x": false, ":6379": false,
	} {
		_, err := open(t, map[string]any{"self": true, "address": address})
		require.Equal(t, ok, err == nil, address)
	}
	_, err := open(t, map[string]any{"self": true, "address": "redis://cache.example", "plaintext": true})
	require.NoError(t, err)
}

// TestClear: no password goes anywhere else in the clear, unless the config says
// so: neither that of the value nor the admin's.
func TestClear(t *testing.T) {
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	require.NoError(t, err)
	l := listener.(*net.TCPListener)
	defer l.Close()
	own, err := net.InterfaceAddrs()
	require.NoError(t, err)
	elsewhere := ""
	for _, a := range own {
		if ip := a.(*net.IPNet).IP; !ip.IsLoopback() && ip.To4() != nil {
			elsewhere = fmt.Sprintf("%s:%d", ip, l.Addr().(*net.TCPAddr).Port)
		}
	}
	if elsewhere == "" {
		servertest.Missing(t, "needs an address that is not loopback's")
	}
	dialled := func(within time.Duration) bool {
		if err := l.SetDeadline(time.Now().Add(within)); err != nil {
			return false
		}
		c, err := l.Accept()
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	admin := "redis://owner:secret@" + elsewhere
	c := &providers.Call{Secret: "app/cache", Old: &providers.Credential{Value: rotatortest.Value(t, "redis://app:secret@"+elsewhere)},
		Own: func(context.Context, secret.Name) (secret.Value, error) { return rotatortest.Value(t, admin), nil }}
	ctx, late := servertest.Ending(t)
	tries := func(set map[string]any) (errs []error) {
		r, err := open(t, set)
		require.NoError(t, err)
		_, err = r.Verify(ctx, c, c.Old)
		errs = append(errs, err)
		_, err = r.Check(ctx, c)
		return append(errs, err, r.Revoke(ctx, c, c.Old))
	}
	for _, set := range []map[string]any{{"self": true}, {"admin": secret.Name("own/redis-admin")}} {
		for _, err := range tries(set) {
			require.Contains(t, is(t, err, providers.DefinitelyNot, providers.CodeOptions).Problem, "in the clear")
		}
		require.False(t, dialled(50*time.Millisecond))
	}
	asked := make(chan bool, 1)
	go func() { asked <- dialled(time.Minute); late() }()
	for _, err := range tries(map[string]any{"self": true, "plaintext": true}) {
		require.Equal(t, providers.CodeUnavailable, providers.CodeOf(err))
	}
	require.True(t, <-asked)
}

// TestAccounts: what the options tell of whose password it is.
func TestAccounts(t *testing.T) {
	kind, admin := redis.Kind(), secret.Name("own/redis-admin")
	for _, c := range []struct {
		set  map[string]any
		want []string
	}{
		{map[string]any{"admin": admin}, nil},
		{map[string]any{"admin": admin, "address": "rediss://h"}, nil},
		{map[string]any{"self": true, "user": "app"}, nil},
		{map[string]any{"admin": admin, "user": "app"}, []string{`the user "app", which own/redis-admin changes`}},
		{map[string]any{"admin": admin, "user": "app", "address": "rediss://h"}, []string{`the user "app" at rediss://h`}},
	} {
		o, err := kind.NewOptions(c.set)
		require.NoError(t, err)
		require.Equal(t, c.want, kind.Accounts(o))
	}
}
