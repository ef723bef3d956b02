package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/connurl"
)

// session is a login. It is of one goroutine, and ends with the context it was
// made with.
type session struct {
	conn *pgconn.PgConn
	at   place
}

// login logs in with a connection URL. proven says that the password was right,
// even if something else was in the way.
func login(ctx context.Context, v secret.Value) (s *session, proven bool, err error) {
	at, err := parse(v)
	if err != nil {
		return nil, false, err
	}
	config, err := at.config(ctx)
	if err != nil {
		return nil, false, err
	}
	plain, err := at.password(v)
	if err != nil {
		return nil, false, err
	}
	// The library takes the password as text, which cannot be cleared. It is let go
	// of as soon as the login is over.
	err = plain.Use(func(b []byte) error { config.Password = string(b); return nil })
	plain.Clear()
	if err != nil {
		return nil, false, err
	}
	conn, err := pgconn.ConnectConfig(ctx, config)
	config.Password = ""
	if err != nil {
		proven, refused := at.refused(err)
		return nil, proven, refused
	}
	return &session{conn, at}, true, nil
}

// login logs in as the admin. An error means that nothing was done.
func (r *rotator) login(ctx context.Context, c *providers.Call) (*session, error) {
	v, err := c.Open(ctx, r.admin)
	if err != nil {
		return nil, err
	}
	defer v.Clear()
	s, _, err := login(ctx, v)
	var call *providers.CallError
	if errors.As(err, &call) {
		call.Outcome = providers.DefinitelyNot
		call.Problem = fmt.Sprintf("the admin, %s: %s", r.admin, call.Problem)
		if call.Code == providers.CodeInvalid {
			call.Code = providers.CodeDenied
			call.Remedy = "secretctl set " + string(r.admin)
		}
	}
	return s, err
}

// untouched is the error of a login before something that was then not done.
func untouched(err error) error {
	if call := (*providers.CallError)(nil); errors.As(err, &call) {
		call.Outcome = providers.DefinitelyNot
	}
	return err
}

// config is how to connect: as the URL says and nothing around us. Each of the
// library's settings is given, so that none comes from PG* variables, from
// ~/.pgpass, from ~/.postgresql or from a service file.
//
// The URL's sslmode is taken at its word but for "prefer" and "allow" (and
// none, which means prefer): whoever sits between could talk a client out of
// TLS, so outside this machine they mean "require".
func (at place) config(ctx context.Context) (*pgconn.Config, error) {
	if os.Getenv("PGSERVICE") != "" {
		// The one that cannot be given: the library would read a service file.
		return nil, withRemedy(providers.Not(providers.CodeUnavailable, "PGSERVICE is in the broker's environment, and says where databases are"), "start the broker without PGSERVICE")
	}
	if err := at.trusted(); err != nil {
		return nil, err
	}
	mode := at.query.Get("sslmode")
	switch mode {
	case "", "prefer", "allow":
		mode = "prefer"
		if !connurl.Local(at.host) {
			mode = "require"
		}
	}
	settings := map[string]string{
		"host": at.host, "port": at.port, "user": at.User, "database": at.database, "password": "-", "passfile": "", "connect_timeout": "0",
		"sslmode": mode, "sslsni": "1", "sslcertmode": "allow", "target_session_attrs": "any",
		"require_auth": at.methods(mode), "min_protocol_version": "", "max_protocol_version": "",
		"channel_binding": "", "sslrootcert": "", "sslcert": "", "sslkey": "", "sslpassword": "", "sslnegotiation": "",
	}
	for _, name := range []string{"channel_binding", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslnegotiation"} {
		settings[name] = at.query.Get(name)
	}
	var text strings.Builder
	for name, value := range settings {
		fmt.Fprintf(&text, "%s='%s' ", name, strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value))
	}
	config, err := pgconn.ParseConfig(text.String())
	if err != nil { // it may quote anything
		return nil, broken("has settings that cannot be used", "look at its port and at what its query says of ssl; the files must be there")
	}
	config.ConnectTimeout, config.DialFunc = 0, dialer(ctx)
	config.RuntimeParams = map[string]string{"application_name": "secretctl", "client_encoding": "UTF8"}
	if o := at.query.Get("options"); o != "" { // some services tell databases apart by it
		config.RuntimeParams["options"] = o
	}
	return config, nil
}

// methods are the ways to log in that a password proves something in. The
// password itself is sent only to a server that is known to be the right one, and
// the hash of it that md5 sends, from which a weak one is guessed, only over TLS.
func (at place) methods(mode string) string {
	known := mode == "verify-full" || mode == "verify-ca" || at.query.Get("sslrootcert") != ""
	switch {
	case connurl.Local(at.host), mode != "disable" && known:
		return "scram-sha-256,md5,password"
	case mode == "disable":
		return "scram-sha-256"
	}
	return "scram-sha-256,md5"
}

// trusted sees that nobody else can change the files that the URL has read.
func (at place) trusted() error {
	for _, name := range []string{"sslrootcert", "sslcert", "sslkey"} {
		if path := at.query.Get(name); path != "" && path != "system" {
			if err := providers.Trusted("the connection URL's "+name, path); err != nil {
				return err
			}
		}
	}
	return nil
}

// dialer dials for as long as ctx is alive. The library also dials in the
// background, to cancel what a lost session was doing.
func dialer(ctx context.Context) pgconn.DialFunc {
	return func(dialing context.Context, network, address string) (net.Conn, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return new(net.Dialer).DialContext(dialing, network, address)
	}
}

// close ends the session, and waits until nothing of it is left.
func (s *session) close() {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.conn.Close(ended) // already so when the session was lost
	_ = s.conn.Conn().Close()
	<-s.conn.CleanupDone()
}

// refused says what a login that failed means. The text of a server's error is
// in the server's language, and not ours to show; the name of its own function
// that made it, which it sends too, says more than the code.
func (at place) refused(err error) (proven bool, _ error) {
	var server *pgconn.PgError
	switch {
	case errors.As(err, &server):
		return at.refusedBy(server)
	case strings.Contains(err.Error(), "authentication method requirement"):
		return false, withRemedy(providers.Not(providers.CodeOptions, "%s asks for no password from here, or for one in the clear, so that a login proves nothing or gives it away", at.server()),
			"give the role scram-sha-256 in the server's pg_hba.conf, or TLS with sslmode=verify-full in the URL")
	case tlsFailed().MatchString(err.Error()):
		return false, withRemedy(providers.Maybe(providers.CodeUnavailable, "%s does not speak TLS with us", at.server()),
			"look at the URL's sslmode and sslrootcert; sslmode=disable for a server without TLS")
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return false, providers.Not(providers.CodeUnavailable, "nothing listens at %s", at.server())
	case isDNS(err):
		return false, providers.Not(providers.CodeUnavailable, "the host %q is not found", at.host)
	}
	return false, providers.Maybe(providers.CodeUnavailable, "%s does not answer", at.server())
}

// tlsFailed is in the text of the errors of TLS, most of which have no type.
var tlsFailed = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`: tls: |x509: |tls error`) })

func isDNS(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

func (at place) refusedBy(server *pgconn.PgError) (proven bool, _ error) {
	locked := server.Routine == "InitializeSessionUserId" // after the password was found to be right
	switch {
	case server.Code == "28P01":
		return false, providers.Not(providers.CodeInvalid, "%s refuses the password of the role %q", at.server(), at.User)
	case server.Code == "28000" && locked:
		return true, providers.Not(providers.CodeInvalid, "the role %q may not log in at %s", at.User, at.server())
	case server.Code == "28000":
		return false, withRemedy(providers.Not(providers.CodeOptions, "%s lets the role %q in from here in no way that has a password", at.server(), at.User), "add a line for it to the server's pg_hba.conf")
	case server.Code == "3D000":
		return true, providers.Not(providers.CodeNotFound, "there is no database %q at %s", at.database, at.server())
	case server.Code == "42501":
		return true, withRemedy(providers.Not(providers.CodeOptions, "the role %q may not connect to the database %q", at.User, at.database),
			fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s", quoted(at.database), quoted(at.User)))
	case server.Code == "53300":
		return locked, providers.Maybe(providers.CodeUnavailable, "%s has no room for another session", at.server())
	}
	return false, providers.Maybe(providers.CodeUnavailable, "%s is not open for sessions%s", at.server(), sqlState(server))
}

// state is what a code looks like; what does not is not shown.
var state = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9A-Z]{5}$`) })

func sqlState(server *pgconn.PgError) string {
	if !state().MatchString(server.Code) {
		return ""
	}
	return " (SQLSTATE " + server.Code + ")"
}

// exec runs one statement that changes something.
func (s *session) exec(ctx context.Context, statement string) error {
	_, err := s.conn.Exec(ctx, statement).ReadAll()
	return s.failed(err)
}

// failed says what the error of a statement means. An ERROR undid it. A FATAL
// may have come just after it was done.
func (s *session) failed(err error) error {
	var server *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &server):
		// Not even pgconn.SafeToRetry says that nothing was done: it is true also of a
		// connection that was lost while the answer was awaited.
		return providers.Maybe(providers.CodeUnavailable, "%s did not answer", s.at.server())
	case server.SeverityUnlocalized != "ERROR" || strings.HasPrefix(server.Code, "57"):
		return providers.Maybe(providers.CodeUnavailable, "%s ended the session%s", s.at.server(), sqlState(server))
	case server.Code == "XX000" && server.Message == "tuple concurrently updated": // internal errors are not translated
		return providers.Not(providers.CodeUnavailable, "somebody else was changing the role at %s", s.at.server())
	case server.Code == "42501":
		return withRemedy(providers.Not(providers.CodeDenied, "the role %q may not do this at %s", s.at.User, s.at.server()),
			"ALTER ROLE "+quoted(s.at.User)+" CREATEROLE, and from PostgreSQL 16 GRANT both roles to it WITH ADMIN OPTION")
	case server.Code == "42704":
		return providers.Not(providers.CodeNotFound, "there is no such role at %s", s.at.server())
	case server.Code == "25006":
		return withRemedy(providers.Not(providers.CodeOptions, "%s is a standby, which changes nothing", s.at.server()), "name the primary in the admin's URL")
	case strings.HasPrefix(server.Code, "22"):
		return providers.Not(providers.CodeBadValue, "%s refuses the password", s.at.server())
	}
	return providers.Not(providers.CodeUnavailable, "%s refused the statement%s", s.at.server(), sqlState(server))
}

// query asks for one row of text, null as "". Nothing that others put in the
// database takes part in it.
func (s *session) query(ctx context.Context, sql string, args ...string) ([]string, error) {
	if s.conn.TxStatus() == 'I' {
		if err := s.exec(ctx, "BEGIN READ ONLY; SET LOCAL search_path = pg_catalog"); err != nil {
			return nil, err
		}
	}
	params := make([][]byte, len(args))
	for i, a := range args {
		params[i] = []byte(a)
	}
	answer := s.conn.ExecParams(ctx, sql, params, nil, nil, nil).Read()
	switch {
	case answer.Err != nil:
		return nil, s.failed(answer.Err)
	case len(answer.Rows) != 1:
		return nil, providers.Maybe(providers.CodeUnavailable, "%s gives no usable answer", s.at.server())
	}
	row := make([]string, len(answer.Rows[0]))
	for i, column := range answer.Rows[0] {
		row[i] = string(column)
	}
	return row, nil
}

// quoted is a name as an identifier in SQL.
func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
