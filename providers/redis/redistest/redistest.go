// Package redistest starts a Redis server for tests.
package redistest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomodule/redigo/redis"
	"github.com/stretchr/testify/require"

	"secretctl/providers/servertest"
)

// Setup is where a server keeps its users.
type Setup int

// The setups.
const (
	ACLFile    Setup = iota // in a file of their own
	ConfigFile              // in its config
	Nowhere                 // it forgets what it is told
)

// Server is a server on this machine, of which the user "owner" may do
// everything.
type Server struct {
	*servertest.Process
	Port int

	t       testing.TB
	account servertest.Account
	program string
	dir     string
	args    []string
	owner   string
}

// Start starts a server with more lines of config, if any: "user app on …",
// "requirepass …". owner is the password of "owner". It skips the test where
// there is no server to start.
func Start(t testing.TB, setup Setup, owner string, lines ...string) *Server {
	t.Helper()
	account := servertest.Unprivileged(t, "redis")
	s := &Server{t: t, account: account, program: servertest.Program(t, "redis-server"), dir: account.Dir(t), owner: owner, Port: servertest.Port(t)}
	lines = append(lines, "user owner on #"+Hash(owner)+" ~* &* +@all")
	config := []string{fmt.Sprintf("port %d", s.Port), "bind 127.0.0.1", "save ''", "dir " + s.dir, "logfile " + s.path("log"), "loglevel verbose", "slowlog-log-slower-than 0"}
	var users []string
	for _, line := range lines {
		if strings.HasPrefix(line, "user ") && setup == ACLFile {
			users = append(users, line)
		} else {
			config = append(config, line)
		}
	}
	switch setup {
	case ACLFile:
		s.write("users.acl", users)
		config = append(config, "aclfile "+s.path("users.acl"))
		fallthrough
	case ConfigFile:
		s.write("redis.conf", config)
		s.args = []string{s.path("redis.conf")}
	case Nowhere:
		for _, line := range config {
			name, rest, _ := strings.Cut(line, " ")
			s.args = append(s.args, "--"+name)
			if name == "user" {
				s.args = append(s.args, strings.Fields(rest)...)
			} else {
				s.args = append(s.args, strings.Trim(rest, "'"))
			}
		}
	}
	s.Restart()
	return s
}

// Hash is how the server keeps a password.
func Hash(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }

func (s *Server) write(name string, lines []string) {
	require.NoError(s.t, os.WriteFile(s.path(name), []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	s.account.Give(s.t, s.path(name))
}

// Addr is where the server is.
func (s *Server) Addr() string { return fmt.Sprintf("127.0.0.1:%d", s.Port) }

// Restart starts the server after it was killed.
func (s *Server) Restart() {
	s.Process = servertest.Start(s.t, s.account.Command(s.t, s.dir, s.program, s.args...))
	require.True(s.t, s.Ready(func() bool {
		c, err := redis.Dial("tcp", s.Addr(), redis.DialUsername("owner"), redis.DialPassword(s.owner))
		return err == nil && c.Close() == nil
	}), "the server does not start: %s", s.Log())
}

// Login opens a session that ends with the test.
func (s *Server) Login(t testing.TB, user, password string) redis.Conn {
	t.Helper()
	c, err := redis.Dial("tcp", s.Addr(), redis.DialUsername(user), redis.DialPassword(password))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() }) // it may have ended
	return c
}

// Do has "owner" do something.
func (s *Server) Do(t testing.TB, command string, args ...any) any {
	t.Helper()
	answer, err := s.Login(t, "owner", s.owner).Do(command, args...)
	require.NoError(t, err)
	return answer
}

// Lock keeps the server from writing its folder, until the test ends or unlock
// is called.
func (s *Server) Lock(t testing.TB) (unlock func()) {
	unlock = func() { s.account.Give(t, s.dir); require.NoError(t, os.Chmod(s.dir, 0o700)) }
	require.NoError(t, os.Chmod(s.dir, 0o500))
	t.Cleanup(func() { _ = os.Chmod(s.dir, 0o700) })
	return unlock
}

// Written is all that the server has written: its log and its files.
func (s *Server) Written() string {
	var all strings.Builder
	for _, name := range []string{"log", "users.acl", "redis.conf"} {
		if b, err := os.ReadFile(s.path(name)); err == nil {
			all.Write(b)
		}
	}
	return all.String()
}

// Log is what the server has logged.
func (s *Server) Log() string {
	b, err := os.ReadFile(s.path("log"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}
