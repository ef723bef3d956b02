package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/postgres"
	"secretctl/providers/postgres/postgrestest"
	"secretctl/providers/rotatortest"
	"secretctl/providers/servertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// app is a pair of roles that take turns, and an admin for them.
type app struct {
	*rotatortest.Login
	server   *postgrestest.Server
	a, b     string
	admin    string // its URL
	password string // of a, at first
}

// newApp makes both roles with the names, and has them reached by a proxy.
func newApp(t *testing.T, s *postgrestest.Server, a, b string) *app {
	p := servertest.NewProxy(t, "tcp", fmt.Sprintf("127.0.0.1:%d", s.Port))
	x := &app{server: s, a: a, b: b, password: canary.New(t, "a")}
	x.Login = &rotatortest.Login{
		T: t, Process: s, Proxy: p, Call: x.call, Leaks: leaks,
		Account:  func() string { return fmt.Sprintf("127.0.0.1:%d/app", p.Port()) },
		Reset:    func() { s.Role(t, a, x.password, "LOGIN") },
		Password: func(v secret.Value) string { return passwordOf(t, v) },
	}
	s.Role(t, a, x.password, "LOGIN")
	s.Role(t, b, canary.New(t, "b"), "NOLOGIN")
	admin := canary.New(t, "admin")
	s.Role(t, "admin of "+a, admin, "LOGIN CREATEROLE")
	x.admin = postgrestest.URL(p.Port(), "admin of "+a, admin)
	return x
}

func (x *app) open(set map[string]any) providers.Rotator {
	x.Helper()
	r, err := open(x, x.options(set))
	require.NoError(x, err)
	return r
}

func (x *app) options(set map[string]any) map[string]any {
	all := map[string]any{"users": []string{x.a, x.b}, "admin": secret.Name("own/pg-admin")}
	for name, v := range set {
		all[name] = v
	}
	return all
}

func open(t testing.TB, set map[string]any) (providers.Rotator, error) {
	t.Helper()
	kind := postgres.Kind()
	o, err := kind.NewOptions(set)
	require.NoError(t, err)
	return kind.Open(o)
}

// call is a call with a in Old.
func (x *app) call() *providers.Call {
	return x.replacing(&providers.Credential{Value: rotatortest.Value(x, postgrestest.URL(x.Proxy.Port(), x.a, x.password))})
}

func (x *app) replacing(old *providers.Credential) *providers.Call {
	return &providers.Call{Secret: "app/database", Tag: "secretctl/app/database/1", Old: old,
		Own: func(_ context.Context, name secret.Name) (secret.Value, error) {
			require.EqualValues(x, "own/pg-admin", name)
			return rotatortest.Value(x, x.admin), nil
		}}
}

// passwordOf takes the password out of a URL of ours.
func passwordOf(t testing.TB, v secret.Value) string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(rotatortest.Text(t, v), "postgres://"), ":")
	password, _, _ := strings.Cut(rest, "@")
	return password
}

// is holds an error to what it says of the outcome, and to hold no value.
func is(t testing.TB, err error, o providers.Outcome, code providers.Code) *providers.CallError {
	t.Helper()
	return rotatortest.Is(t, err, o, code, leaks)
}

func leaks(t testing.TB, text string) {
	t.Helper()
	for _, name := range []string{"a", "b", "admin"} {
		require.NotContains(t, text, canary.New(t, name))
	}
}

// session opens a session that stays.
func (x *app) session(v secret.Value) *pgconn.PgConn {
	c, err := pgconn.Connect(x.Context(), rotatortest.Text(x, v))
	require.NoError(x, err)
	x.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func alive(ctx context.Context, c *pgconn.PgConn) bool {
	_, err := c.Exec(ctx, "SELECT 1").ReadAll()
	return err == nil
}

// TestPostgres is against a real server, which all its parts share.
func TestPostgres(t *testing.T) {
	s := postgrestest.Start(t)
	n := 0
	fresh := func(t *testing.T) *app {
		n++
		return newApp(t, s, fmt.Sprintf("app%d_a", n), fmt.Sprintf("app%d_b", n))
	}
	var issued []string
	part := func(name string, test func(*app)) {
		t.Run(name, func(t *testing.T) {
			x := fresh(t)
			test(x)
			issued = append(issued, x.Issued...)
		})
	}

	t.Run("contract", func(t *testing.T) {
		rotatortest.Run(t, func(t *testing.T) *rotatortest.Service {
			x := fresh(t)
			return &rotatortest.Service{
				Kind: postgres.Kind(), Rotator: x.open(nil), Leaks: func(t *testing.T, text string) { leaks(t, text) },
				Call: func(*testing.T) *providers.Call { return x.Call() },
				Down: func(*testing.T) { x.Proxy.Refuse() },
			}
		})
	})
	part("rotate", rotate)
	part("late", late)
	part("sessions stay", sessionsStay)
	part("sessions end", sessionsEnd)
	part("check", check)
	part("wider", wider)
	part("options", wrongValues)
	part("at once", atOnce)
	part("cut", func(x *app) { x.Cut(x.open(nil), 61, 3, nil) })
	part("hang", func(x *app) { x.Hang(x.open(nil)) })
	part("blocked", blocked)
	part("environment", environment)
	part("no password asked", noPasswordAsked)
	part("tls", overTLS)
	for name, pair := range map[string][2]string{
		"quotes": {`a"; DROP ROLE "b`, `a'; --`}, "unicode": {"ä@:/?#%", "Ä 😀"}, "longest": {strings.Repeat("a", 63), strings.Repeat("b", 63)},
		"words": {"none", "SELECT"},
	} {
		t.Run("names/"+name, func(t *testing.T) {
			s := s
			if name == "words" { // NONE cannot be a role
				pair[0] = "user"
			}
			x := newApp(t, s, pair[0], pair[1])
			rotate(x)
			issued = append(issued, x.Issued...)
		})
	}
	part("paused", func(x *app) { x.Paused(x.open(nil)) })
	part("killed", func(x *app) { x.Killed(x.open(nil)) })

	t.Run("log", func(t *testing.T) {
		log := s.Log()
		require.GreaterOrEqual(t, strings.Count(log, "SCRAM-SHA-256$4096:"), len(issued), "the statements are in the log")
		for _, password := range issued {
			require.NotContains(t, log, password)
		}
	})
}

// rotate has the two roles take turns.
func rotate(x *app) {
	x.Rotate(x.open(nil), func(i int, next *providers.Credential) {
		require.Equal(x, []string{x.b, x.a}[i%2], next.ID)
		require.Equal(x, postgrestest.URL(x.Proxy.Port(), next.ID, x.Issued[i]), rotatortest.Text(x, next.Value))
	})
}

// late retires a password when its role's next one is in use already.
func late(x *app) {
	r := x.open(map[string]any{"end_sessions": true})
	first := x.Call()
	second := x.Issue(r, first)
	third := x.Issue(r, x.replacing(second)) // a's turn again, though a was never retired
	open := x.session(third.Value)
	require.NoError(x, r.Disable(x.Context(), first, first.Old))
	require.NoError(x, r.Revoke(x.Context(), first, first.Old))
	x.Accepted(r, first, third)
	require.True(x, alive(x.Context(), open))
	require.NoError(x, r.Revoke(x.Context(), first, second))
	x.Accepted(r, first, third)
}

func sessionsStay(x *app) {
	r, c := x.open(nil), x.Call()
	open := x.session(c.Old.Value)
	x.Issue(r, c)
	require.NoError(x, r.Revoke(x.Context(), c, c.Old))
	require.True(x, alive(x.Context(), open))
}

// sessionsEnd needs a right that Check asks for.
func sessionsEnd(x *app) {
	r, c := x.open(map[string]any{"end_sessions": true}), x.Call()
	_, err := r.Check(x.Context(), c)
	require.Contains(x, is(x, err, providers.DefinitelyNot, providers.CodeDenied).Remedy, "pg_signal_backend")
	open, next := x.session(c.Old.Value), x.Issue(r, c)
	other := x.session(next.Value)
	err = r.Revoke(x.Context(), c, c.Old)
	is(x, err, providers.DefinitelyNot, providers.CodeDenied)
	x.Refused(r, c, c.Old)
	require.True(x, alive(x.Context(), open))

	x.server.SQL(x, `GRANT pg_signal_backend TO "admin of `+x.a+`"`)
	_, err = r.Check(x.Context(), c)
	require.NoError(x, err)
	require.NoError(x, r.Revoke(x.Context(), c, c.Old), "what was left undone is done when it is asked again")
	require.Eventually(x, func() bool { return !alive(x.Context(), open) }, time.Minute, time.Millisecond)
	require.True(x, alive(x.Context(), other), "of the new role")
}

// check sees what would make the second role less or more than the first.
func check(x *app) {
	r := x.open(nil)
	fails := func(code providers.Code, names string, do, undo string) {
		x.Helper()
		x.server.In(x, "app", do)
		_, err := r.Check(x.Context(), x.Call())
		call := is(x, err, providers.DefinitelyNot, code)
		require.Contains(x, call.Problem, names)
		require.NotEmpty(x, call.Remedy)
		x.server.In(x, "app", undo)
		_, err = r.Check(x.Context(), x.Call())
		require.NoError(x, err)
	}
	for _, right := range []string{"CREATEROLE", "CREATEDB", "BYPASSRLS"} {
		fails(providers.CodeOptions, right, "ALTER ROLE "+x.b+" "+right, "ALTER ROLE "+x.b+" NO"+right)
		fails(providers.CodeOptions, right, "ALTER ROLE "+x.a+" "+right, "ALTER ROLE "+x.a+" NO"+right)
	}
	fails(providers.CodeOptions, "INHERIT", "ALTER ROLE "+x.b+" NOINHERIT", "ALTER ROLE "+x.b+" INHERIT")
	fails(providers.CodeOptions, "memberships", "GRANT pg_monitor TO "+x.a, "REVOKE pg_monitor FROM "+x.a)
	fails(providers.CodeOptions, "settings", "ALTER ROLE "+x.a+" SET search_path = app", "ALTER ROLE "+x.a+" RESET search_path")
	fails(providers.CodeOptions, "VALID UNTIL", "ALTER ROLE "+x.b+" VALID UNTIL '2020-01-01'", "ALTER ROLE "+x.b+" VALID UNTIL 'infinity'")
	fails(providers.CodeOptions, "there are things", fmt.Sprintf("CREATE TABLE t_%[1]s (id serial); ALTER TABLE t_%[1]s OWNER TO %[1]s", x.a), "DROP TABLE t_"+x.a)
	fails(providers.CodeOptions, "there are things", fmt.Sprintf("CREATE TABLE t_%[1]s (id int); GRANT SELECT ON t_%[1]s TO %[1]s", x.a), "DROP TABLE t_"+x.a)
	fails(providers.CodeOptions, "may not connect", "REVOKE CONNECT ON DATABASE app FROM PUBLIC; GRANT CONNECT ON DATABASE app TO "+x.a, "GRANT CONNECT ON DATABASE app TO PUBLIC; REVOKE CONNECT ON DATABASE app FROM "+x.a)
	fails(providers.CodeDenied, x.a, "ALTER ROLE "+x.a+" SUPERUSER", "ALTER ROLE "+x.a+" NOSUPERUSER")
	fails(providers.CodeDenied, x.a, `ALTER ROLE "admin of `+x.a+`" NOCREATEROLE`, `ALTER ROLE "admin of `+x.a+`" CREATEROLE`)
	fails(providers.CodeNotFound, x.b, "ALTER ROLE "+x.b+" RENAME TO elsewhere", "ALTER ROLE elsewhere RENAME TO "+x.b)

	// A session's own temporary tables are nobody else's business.
	open := x.session(x.Call().Old.Value)
	_, err := open.Exec(x.Context(), "CREATE TEMP TABLE t (id serial)").ReadAll()
	require.NoError(x, err)
	id, err := r.Check(x.Context(), x.Call())
	require.NoError(x, err)
	require.Equal(x, fmt.Sprintf("127.0.0.1:%d/app", x.Proxy.Port()), id.Account)

	// A dead old one can still be replaced.
	x.server.SQL(x, "ALTER ROLE "+x.a+" PASSWORD NULL")
	_, err = r.Check(x.Context(), x.Call())
	require.NoError(x, err)

	admin := x.admin
	x.admin = postgrestest.URL(x.Proxy.Port(), "admin of "+x.a, "wrong")
	_, err = r.Check(x.Context(), x.Call())
	require.Contains(x, is(x, err, providers.DefinitelyNot, providers.CodeDenied).Problem, "own/pg-admin")
	x.server.Role(x, x.b, canary.New(x, "b"), "LOGIN")
	x.admin = postgrestest.URL(x.Proxy.Port(), x.b, canary.New(x, "b"))
	_, err = r.Check(x.Context(), x.Call())
	require.Contains(x, is(x, err, providers.DefinitelyNot, providers.CodeOptions).Problem, "takes turns itself")
	x.admin = admin

	second := postgrestest.Start(x.T)
	second.Role(x, "other", canary.New(x, "admin"), "LOGIN CREATEROLE")
	second.Role(x, x.a, "x", "")
	second.Role(x, x.b, "x", "")
	x.server.Role(x, x.a, x.password, "")
	x.admin = second.URL("other", canary.New(x, "admin"))
	_, err = r.Check(x.Context(), x.Call())
	require.Contains(x, is(x, err, providers.DefinitelyNot, providers.CodeOptions).Problem, "another")
}

// wider changes the rights between Check and Verify.
func wider(x *app) {
	r, c := x.open(nil), x.Call()
	next := x.Issue(r, c)
	for _, do := range [][2]string{
		{"ALTER ROLE " + x.b + " CREATEDB", "ALTER ROLE " + x.b + " NOCREATEDB"},
		{"GRANT pg_monitor TO " + x.b, "REVOKE pg_monitor FROM " + x.b},
		{"GRANT pg_monitor TO " + x.a + "; GRANT pg_monitor TO " + x.b + " WITH ADMIN OPTION", "REVOKE pg_monitor FROM " + x.a + ", " + x.b},
	} {
		x.server.SQL(x, do[0])
		_, err := r.Verify(x.Context(), c, next)
		is(x, err, providers.DefinitelyNot, providers.CodeWiderScope)
		x.Accepted(r, c, c.Old)
		x.server.SQL(x, do[1])
		x.Accepted(r, c, next)
	}
	x.server.SQL(x, "GRANT pg_monitor TO "+x.a+" WITH ADMIN OPTION; GRANT pg_monitor TO "+x.b)
	x.Accepted(r, c, next)
}

// wrongValues are URLs that cannot be rotated.
func wrongValues(x *app) {
	r := x.open(nil)
	for _, url := range []string{
		"", "postgres://", "mysql://a:b@h/d", "postgres://h/d", "postgres://%s@h/d", "postgres://%s:@h/d", "postgres://%s:pw@/d", "postgres://%s:pw@h",
		"postgres://%s:pw@h,i/d", "postgres://%s:pw@h/d?host=h,i", "postgres://%s:pw@h:port/d", "postgres://%s:pw@h/d?password=x", "postgres://%s:pw@h/d?service=x",
		"postgres://%s:pw@h/d?sslrootcert=ca.pem", "postgres://%s:p/w@h/d", "postgres://%s:pw@h/d#x", "postgres://other:pw@h/d", "postgres://%%zz:pw@h/d",
	} {
		if strings.Contains(url, "%") {
			url = fmt.Sprintf(url, x.a)
		}
		c := x.replacing(&providers.Credential{Value: rotatortest.Value(x, url)})
		_, err := r.Check(x.Context(), c)
		call := is(x, err, providers.DefinitelyNot, providers.CodeOptions)
		require.NotEmpty(x, call.Remedy, url)
		require.NotContains(x, call.Problem, "pw")
		_, err = r.(providers.Chooser).Choose(x.Context(), c)
		is(x, err, providers.DefinitelyNot, providers.CodeOptions)
	}
	_, err := r.(providers.Chooser).Choose(x.Context(), x.replacing(nil))
	require.Contains(x, is(x, err, providers.DefinitelyNot, providers.CodeOptions).Remedy, "set the first value by hand")
	for _, url := range []string{"postgres://%s:a%%2@h/d", "postgres://%s:pw@127.0.0.1:1/d?sslmode=no-verify", "postgres://%s:pw@127.0.0.1/d?sslrootcert=/nowhere&sslmode=verify-full"} {
		_, err := r.Verify(x.Context(), x.Call(), &providers.Credential{Value: rotatortest.Value(x, fmt.Sprintf(url, x.a))})
		is(x, err, providers.DefinitelyNot, providers.CodeOptions)
	}

	// The rest of a URL stays as it is.
	for _, url := range []string{
		"postgresql://%s:%s@[::1]:5432/d?sslmode=verify-full&x=%%20#", "postgres+asyncpg://%s:%s@H.Example/a%%2Fb?schema=public&pool=5", "postgres://%s:%s@/d?host=/run/pg&port=5433",
	} {
		url = strings.TrimSuffix(url, "#")
		next, err := r.(providers.Chooser).Choose(x.Context(), x.replacing(&providers.Credential{Value: rotatortest.Value(x, fmt.Sprintf(url, x.a, "p%40w:x@y"))}))
		require.NoError(x, err)
		got := rotatortest.Text(x, next.Value)
		_, rest, _ := strings.Cut(got, x.b+":")
		require.Equal(x, fmt.Sprintf(url, x.b, rest[:40]), got)
		require.NoError(x, r.(providers.Identifier).Identify(x.Context(), x.Call(), next))
		require.Equal(x, x.b, next.ID)
	}

	// A right login to the wrong place.
	c := x.Call()
	url := strings.Replace(rotatortest.Text(x, c.Old.Value), "/app?", "/nowhere?", 1)
	_, err = r.Verify(x.Context(), c, &providers.Credential{Value: rotatortest.Value(x, url)})
	is(x, err, providers.DefinitelyNot, providers.CodeNotFound)
}

// atOnce changes one role from many sides.
func atOnce(x *app) {
	r, c := x.open(nil), x.Call()
	next, err := r.(providers.Chooser).Choose(x.Context(), c)
	require.NoError(x, err)
	errs := make(chan error)
	const many = 8
	for range many {
		go func() {
			_, err := r.Issue(x.Context(), c, next)
			errs <- err
		}()
	}
	refused := 0
	for range many {
		if err := <-errs; err != nil {
			refused++
			require.Contains(x, is(x, err, providers.DefinitelyNot, providers.CodeUnavailable).Problem, "somebody else")
		}
	}
	x.Logf("%d of %d were refused", refused, many)
	_, err = r.Issue(x.Context(), c, next)
	require.NoError(x, err)
	x.Accepted(r, c, next)
}

// blocked has somebody else hold what ALTER ROLE needs, for longer than we wait.
// It is done afterwards all the same.
func blocked(x *app) {
	r, c := x.open(nil), x.Call()
	next, err := r.(providers.Chooser).Choose(x.Context(), c)
	require.NoError(x, err)
	x.server.Role(x, "holder of "+x.a, canary.New(x, "b"), "LOGIN SUPERUSER")
	holder := x.session(rotatortest.Value(x, x.server.URL("holder of "+x.a, canary.New(x, "b"))))
	_, err = holder.Exec(x.Context(), "BEGIN; LOCK TABLE pg_authid IN SHARE MODE").ReadAll()
	require.NoError(x, err)
	before := goleak.IgnoreCurrent()
	ctx, late := servertest.Ending(x)
	issued := make(chan error, 1)
	go func() { _, err := r.Issue(ctx, c, next); issued <- err }()
	require.Eventually(x, func() bool {
		return x.server.SQL(x, "SELECT count(*) FROM pg_locks WHERE NOT granted")[0][0] != "0"
	}, time.Minute, time.Millisecond)
	late()
	begin := time.Now()
	is(x, <-issued, providers.Unknown, providers.CodeUnavailable)
	require.Less(x, time.Since(begin), 5*time.Second)
	goleak.VerifyNone(x, before)
	x.Refused(r, c, next)
	require.NoError(x, holder.Close(x.Context()))
	require.Eventually(x, func() bool {
		_, err := r.Verify(x.Context(), c, next)
		return err == nil
	}, time.Minute, time.Millisecond)
}

// environment is full of other places to log in to.
func environment(x *app) {
	home := x.TempDir()
	x.Setenv("HOME", home)
	for name, file := range map[string]string{".pgpass": "*:*:*:*:" + canary.New(x, "b"), ".pg_service.conf": "[s]\nhost=192.0.2.1\n", ".postgresql/root.crt": "x", ".postgresql/postgresql.crt": "x", ".postgresql/postgresql.key": "x"} {
		path := filepath.Join(home, name)
		require.NoError(x, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(x, os.WriteFile(path, []byte(file), 0o600))
	}
	for name, v := range map[string]string{
		"PGHOST": "192.0.2.1", "PGHOSTADDR": "192.0.2.1", "PGPORT": "1", "PGDATABASE": "other", "PGUSER": "other", "PGPASSWORD": "other", "PGPASSFILE": filepath.Join(home, ".pgpass"),
		"PGAPPNAME": "other", "PGCONNECT_TIMEOUT": "x", "PGSSLMODE": "verify-full", "PGSSLKEY": "/nowhere", "PGSSLCERT": "/nowhere", "PGSSLCERTMODE": "require", "PGSSLSNI": "x",
		"PGSSLROOTCERT": "/nowhere", "PGSSLPASSWORD": "x", "PGSSLNEGOTIATION": "direct", "PGTARGETSESSIONATTRS": "standby", "PGSERVICEFILE": filepath.Join(home, ".pg_service.conf"),
		"PGTZ": "nowhere", "PGOPTIONS": "-c role=nobody", "PGMINPROTOCOLVERSION": "9", "PGMAXPROTOCOLVERSION": "9", "PGCHANNELBINDING": "require", "PGREQUIREAUTH": "none",
		"PGGSSENCMODE": "require", "PGKRBSRVNAME": "x", "HTTPS_PROXY": "http://192.0.2.1", "ALL_PROXY": "socks5://192.0.2.1",
	} {
		x.Setenv(name, v)
	}
	rotate(x)

	x.Setenv("PGSERVICE", "s")
	r, c := x.open(nil), x.Call()
	_, err := r.Verify(x.Context(), c, c.Old)
	require.Contains(x, is(x, err, providers.DefinitelyNot, providers.CodeUnavailable).Problem, "PGSERVICE")
}

// noPasswordAsked has a server that lets everybody in: a login proves nothing.
func noPasswordAsked(x *app) {
	r, c := x.open(nil), x.Call()
	x.server.HBA(x, "host all all 127.0.0.1/32 trust\n")
	for _, cred := range []string{x.password, "wrong"} {
		_, err := r.Verify(x.Context(), c, &providers.Credential{Value: rotatortest.Value(x, postgrestest.URL(x.Proxy.Port(), x.a, cred))})
		require.Contains(x, is(x, err, providers.DefinitelyNot, providers.CodeOptions).Problem, "asks for no password")
	}
	x.server.HBA(x, "host all all 127.0.0.1/32 reject\n")
	_, err := r.Verify(x.Context(), c, c.Old)
	is(x, err, providers.DefinitelyNot, providers.CodeOptions)
	x.server.HBA(x, "host all all 127.0.0.1/32 scram-sha-256\n")
	x.Accepted(r, c, c.Old)
}

func TestOptions(t *testing.T) {
	ok := map[string]any{"users": []string{"a", "b"}, "admin": secret.Name("own/x")}
	_, err := open(t, ok)
	require.NoError(t, err)
	for _, set := range []map[string]any{
		{}, {"users": []string{}}, {"users": []string{"a"}}, {"users": []string{"a", "b", "c"}}, {"users": []string{"a", "a"}}, {"users": []string{"a", ""}},
		{"users": []string{"a", strings.Repeat("b", 64)}}, {"users": []string{"a", "b\x00"}}, {"users": []string{"a", "b"}, "length": int64(19)}, {"users": []string{"a", "b"}, "length": int64(513)},
	} {
		set["admin"] = secret.Name("own/x")
		_, err := open(t, set)
		var wrong *providers.OptionError
		require.ErrorAs(t, err, &wrong, "%v", set)
		require.NotEmpty(t, wrong.Remedy)
		if len(set) == 1 {
			require.Contains(t, wrong.Problem, "the old one would die")
		}
	}
	kind := postgres.Kind()
	o, err := kind.NewOptions(ok)
	require.NoError(t, err)
	require.Equal(t, []string{`the role "a", which own/x alters`, `the role "b", which own/x alters`}, kind.Accounts(o))
	_, err = kind.NewOptions(map[string]any{"users": []string{"a", "b"}})
	require.True(t, errors.As(err, new(*providers.OptionError)), "no admin")
}

// overTLS has a server with a certificate, and then without TLS.
func overTLS(x *app) {
	ca, cert, key := servertest.Certificate(x, "127.0.0.1")
	other, _, _ := servertest.Certificate(x, "127.0.0.1")
	right, wrong := filepath.Join(x.TempDir(), "ca.pem"), filepath.Join(x.TempDir(), "other.pem")
	require.NoError(x, os.WriteFile(right, ca, 0o600))
	require.NoError(x, os.WriteFile(wrong, other, 0o600))
	x.server.SQL(x,
		"ALTER SYSTEM SET ssl_cert_file = '"+x.server.Write("server.pem", cert)+"'",
		"ALTER SYSTEM SET ssl_key_file = '"+x.server.Write("server.key", key)+"'",
		"ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()")
	r, c := x.open(nil), x.Call()
	with := func(host, query string) error {
		url := fmt.Sprintf("postgres://%s:%s@%s:%d/app?%s", x.a, x.password, host, x.Proxy.Port(), query)
		_, err := r.Verify(x.Context(), c, &providers.Credential{Value: rotatortest.Value(x, url)})
		return err
	}
	require.NoError(x, with("127.0.0.1", "sslmode=require"))
	require.NoError(x, with("127.0.0.1", ""))
	require.NoError(x, with("127.0.0.1", "sslmode=verify-full&sslrootcert="+right))
	require.NoError(x, with("localhost", "sslmode=verify-ca&sslrootcert="+right))
	for host, query := range map[string]string{"127.0.0.1": "sslmode=verify-full&sslrootcert=" + wrong, "localhost": "sslmode=verify-full&sslrootcert=" + right} {
		require.Contains(x, is(x, with(host, query), providers.Unknown, providers.CodeUnavailable).Problem, "TLS")
	}
	require.Contains(x, is(x, with("127.0.0.1", "sslmode=verify-full"), providers.Unknown, providers.CodeUnavailable).Problem, "TLS", "a certificate that nobody vouches for")

	// Whoever can write the file says which server is the right one.
	key2 := filepath.Join(filepath.Dir(right), "client.key")
	require.NoError(x, os.WriteFile(key2, nil, 0o622))
	require.NoError(x, os.Chmod(key2, 0o622))
	require.NoError(x, os.Chmod(right, 0o622))
	for _, query := range []string{"sslmode=verify-full&sslrootcert=" + right, "sslmode=require&sslcert=" + right + "&sslkey=" + key2, "sslmode=require&sslkey=" + key2} {
		sent := x.Proxy.Sent()
		require.Contains(x, is(x, with("127.0.0.1", query), providers.DefinitelyNot, providers.CodeOptions).Problem, "could be changed by others")
		require.Equal(x, sent, x.Proxy.Sent())
	}

	x.server.SQL(x, "ALTER SYSTEM SET ssl = off", "SELECT pg_reload_conf()")
	require.Contains(x, is(x, with("127.0.0.1", "sslmode=require"), providers.Unknown, providers.CodeUnavailable).Remedy, "sslmode=disable")
	require.NoError(x, with("127.0.0.1", ""))
}
