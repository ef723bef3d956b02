// Package postgrestest starts a PostgreSQL server for tests.
package postgrestest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"secretctl/providers/servertest"
)

// Server is a server on this machine, with a database "app" and a superuser
// "owner", who gets in without a password by a socket that only we can reach.
// It writes every statement to its log.
type Server struct {
	*servertest.Process
	Port int

	t        testing.TB
	account  servertest.Account
	bin      string
	dir      string
	settings []string
}

// superuser is who owns the server.
const superuser = "owner"

// Start starts a server, with more settings when they are given, such as
// "ssl=on". It skips the test where there is none to start.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	initdb, err := filepath.EvalSymlinks(servertest.Program(t, "initdb", "/usr/lib/postgresql/*/bin/initdb"))
	require.NoError(t, err)
	bin := filepath.Dir(initdb)                       // the other programs are beside it
	account := servertest.Unprivileged(t, "postgres") // initdb refuses root
	s := &Server{t: t, account: account, bin: bin, dir: account.Dir(t), settings: settings, Port: servertest.Port(t)}
	out, err := account.Command(t, s.dir, initdb, "-D", filepath.Join(s.dir, "data"), "-U", superuser,
		"--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync", "--no-locale", "-E", "UTF8", "-N").CombinedOutput()
	require.NoError(t, err, "%s", out)
	s.Restart()
	s.SQL(t, "CREATE DATABASE app")
	return s
}

// Restart starts the server after it was killed.
func (s *Server) Restart() {
	args := []string{"-D", filepath.Join(s.dir, "data"), "-p", fmt.Sprint(s.Port), "-k", s.dir, "-c", "listen_addresses=127.0.0.1",
		"-c", "fsync=off", "-c", "log_statement=all", "-c", "log_connections=on", "-c", "log_min_messages=debug1"}
	for _, set := range s.settings {
		args = append(args, "-c", set)
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(s.t, err)
	defer log.Close()
	// What a killed server left of itself may need a moment to notice it, and
	// keeps the next one from starting.
	for range 1000 {
		cmd := s.account.Command(s.t, s.dir, filepath.Join(s.bin, "postgres"), args...)
		cmd.Stdout, cmd.Stderr = log, log
		s.Process = servertest.Start(s.t, cmd)
		if s.Ready(func() bool {
			c, err := s.connect(superuser, "postgres")
			return err == nil && c.Close(s.t.Context()) == nil
		}) {
			return
		}
	}
	s.t.Fatal("the server does not start: ", s.Log())
}

// connect opens a session by the socket.
func (s *Server) connect(user, database string) (*pgconn.PgConn, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	return pgconn.Connect(ctx, fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=disable passfile=/dev/null", s.dir, s.Port, user, database))
}

// SQL runs statements as the superuser, each on its own, and returns the rows
// of the last.
func (s *Server) SQL(t testing.TB, statements ...string) (rows [][]string) {
	t.Helper()
	return s.In(t, "postgres", statements...)
}

// In is SQL in another database.
func (s *Server) In(t testing.TB, database string, statements ...string) (rows [][]string) {
	t.Helper()
	c, err := s.connect(superuser, database)
	require.NoError(t, err)
	defer c.Close(t.Context())
	for _, statement := range statements {
		results, err := c.Exec(t.Context(), statement).ReadAll()
		require.NoError(t, err, statement)
		rows = nil
		for _, r := range results {
			for _, row := range r.Rows {
				var text []string
				for _, column := range row {
					text = append(text, string(column))
				}
				rows = append(rows, text)
			}
		}
	}
	return rows
}

// Role makes a role with a password and attributes such as LOGIN, or changes it.
// The password is not logged.
func (s *Server) Role(t testing.TB, name, password, attributes string) {
	t.Helper()
	verb := "CREATE"
	if s.SQL(t, fmt.Sprintf("SELECT count(*) FROM pg_roles WHERE rolname = %s", literal(name)))[0][0] != "0" {
		verb = "ALTER"
	}
	s.SQL(t, "SET log_statement = 'none'",
		fmt.Sprintf(`%s ROLE "%s" %s PASSWORD %s`, verb, strings.ReplaceAll(name, `"`, `""`), attributes, literal(password)))
}

func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// URL is the connection URL of a role to the database "app".
func (s *Server) URL(user, password string) string { return URL(s.Port, user, password) }

// URL is the connection URL by another port, such as a proxy's.
func URL(port int, user, password string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/app?sslmode=disable", url.UserPassword(user, password), port)
}

// Log is what the server has logged.
func (s *Server) Log() string {
	b, err := os.ReadFile(filepath.Join(s.dir, "log"))
	require.NoError(s.t, err)
	return string(b)
}

// Write writes a file for the server to read, and returns its path.
func (s *Server) Write(name string, b []byte) string {
	path := filepath.Join(s.dir, name)
	require.NoError(s.t, os.WriteFile(path, b, 0o600))
	s.account.Give(s.t, path)
	return path
}

// HBA replaces the rules of who may log in how.
func (s *Server) HBA(t testing.TB, rules string) {
	s.Write("data/pg_hba.conf", []byte("local all "+superuser+" trust\n"+rules))
	s.SQL(t, "SELECT pg_reload_conf()")
}
