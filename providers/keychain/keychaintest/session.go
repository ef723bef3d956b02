// Package keychaintest runs real keyrings for tests, each on a session bus of its
// own in a directory of its own.
//
// It guards against tests that touch the keyring of whoever runs them: nothing
// here starts a service by its name, and no display is given.
package keychaintest

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keybase/dbus"
	"github.com/stretchr/testify/require"

	"secretctl/providers/servertest"
)

// Password opens the keyrings. It is no secret.
const Password = "the keyring's password"

// service is what a keyring is called on the bus, and where it is there.
const (
	service = "org.freedesktop.secrets"
	root    = dbus.ObjectPath("/org/freedesktop/secrets")
)

// Session is a session bus, and the keyring on it.
type Session struct {
	Dir     string // which everything is in
	Address string // of the bus
	Bus     *servertest.Process
	Keyring *servertest.Process

	t       testing.TB
	account servertest.Account
	start   func()        // the keyring
	wait    time.Duration // for one call of a test's own
}

// busConfig has no directory of services: what is asked for and does not run is
// not started. The test may use the bus of a user whom it has started it as; others
// do not get into its directory.
const busConfig = `<busconfig><type>session</type><listen>unix:path=SOCKET</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
`

// NewSession starts a bus that no keyring is on. It skips the test where there is
// no bus to start.
func NewSession(t testing.TB) *Session {
	t.Helper()
	return newSession(t, servertest.Ourselves())
}

// Foreign starts the bus of another user, whom we must be able to become.
func Foreign(t testing.TB) *Session {
	t.Helper()
	return newSession(t, servertest.Unprivileged(t))
}

func newSession(t testing.TB, account servertest.Account) *Session {
	t.Helper()
	program := servertest.Program(t, "dbus-daemon")
	s := &Session{t: t, account: account, Dir: account.Dir(t), wait: 10 * time.Second}
	s.Address = "unix:path=" + s.socket()
	for _, dir := range []string{"home", "run"} {
		require.NoError(t, os.Mkdir(filepath.Join(s.Dir, dir), 0o700))
		account.Give(t, filepath.Join(s.Dir, dir))
	}
	config := filepath.Join(s.Dir, "bus.conf")
	require.NoError(t, os.WriteFile(config, []byte(strings.ReplaceAll(busConfig, "SOCKET", s.socket())), 0o600))
	account.Give(t, config)
	s.start = func() {}
	s.startBus(program, config)
	return s
}

func (s *Session) socket() string { return filepath.Join(s.Dir, "run", "bus") }

func (s *Session) startBus(program, config string) {
	s.Bus = servertest.Start(s.t, s.account.Command(s.t, s.Dir, program, "--config-file="+config, "--nofork", "--nopidfile"))
	require.True(s.t, s.Bus.Ready(func() bool {
		conn, err := net.Dial("unix", s.socket()) // a moment after the socket is there
		return err == nil && conn.Close() == nil
	}), "the bus does not start")
}

// RestartBus ends the bus, and with it the keyring, and starts both anew.
func (s *Session) RestartBus() {
	s.Bus.Kill()
	if s.Keyring != nil {
		s.Keyring.Kill()
	}
	require.NoError(s.t, os.Remove(s.socket()))
	s.startBus(servertest.Program(s.t, "dbus-daemon"), filepath.Join(s.Dir, "bus.conf"))
	s.start()
}

// Restart ends the keyring as kill -9 does, and starts it anew, unlocked.
func (s *Session) Restart() {
	s.Keyring.Kill()
	s.start()
}

// Environ is what a program in the session has in its environment, besides the
// test's.
func (s *Session) Environ() []string {
	run, home := filepath.Join(s.Dir, "run"), filepath.Join(s.Dir, "home")
	return []string{
		"DBUS_SESSION_BUS_ADDRESS=" + s.Address, "HOME=" + home, "XDG_RUNTIME_DIR=" + run,
		"XDG_DATA_HOME=" + home, "XDG_CONFIG_HOME=" + home, "XDG_CACHE_HOME=" + home,
		"QT_QPA_PLATFORM=offscreen", "TMPDIR=" + run,
	}
}

// Enter puts the test into the session, and ends with it.
func (s *Session) Enter(t *testing.T) { t.Setenv("DBUS_SESSION_BUS_ADDRESS", s.Address) }

// launch starts a program of the session, which reads text.
func (s *Session) launch(text, program string, args ...string) *servertest.Process {
	cmd := s.account.Command(s.t, s.Dir, program, args...)
	cmd.Env = append(cmd.Env, s.Environ()...)
	cmd.Stdin = strings.NewReader(text)
	log, err := os.OpenFile(filepath.Join(s.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(s.t, err)
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	return servertest.Start(s.t, cmd)
}

// Log is what the programs of the session have said.
func (s *Session) Log() string {
	b, err := os.ReadFile(filepath.Join(s.Dir, "log"))
	require.NoError(s.t, err)
	return string(b)
}

// Connect connects to the bus, without any of what is tested.
func (s *Session) Connect() (*dbus.Conn, error) {
	conn, err := dbus.Dial(s.Address)
	if err != nil {
		return nil, err
	}
	if err = conn.Auth(nil); err == nil {
		err = conn.Hello()
	}
	if err != nil {
		_ = conn.Close() // nothing came of it
		return nil, err
	}
	return conn, nil
}

// Call calls a method of the keyring's, of the service itself where the object is
// "", on a connection that ends with the call.
func (s *Session) Call(object dbus.ObjectPath, method string, args []any, out ...any) error {
	conn, err := s.Connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	return s.call(conn, object, method, args, out...)
}

func (s *Session) call(conn *dbus.Conn, object dbus.ObjectPath, method string, args []any, out ...any) error {
	if object == "" {
		object = root
	}
	ctx, stop := context.WithTimeout(context.Background(), s.wait)
	defer stop()
	return conn.Object(service, object).CallWithContext(ctx, method, 0, args...).Store(out...)
}

// ready reports whether the collection is there, and unlocked.
func (s *Session) ready(collection string) bool {
	var locked dbus.Variant
	err := s.Call(Collection(collection), "org.freedesktop.DBus.Properties.Get", []any{"org.freedesktop.Secret.Collection", "Locked"}, &locked)
	return err == nil && locked.Value() == false
}

// Collection is the path of a collection.
func Collection(name string) dbus.ObjectPath { return root + "/collection/" + dbus.ObjectPath(name) }

// Lock locks a collection. Some keyrings prompt for that, and ask nobody.
func (s *Session) Lock(collection string) {
	conn, err := s.Connect()
	require.NoError(s.t, err)
	defer conn.Close()
	var locked []dbus.ObjectPath
	var prompt dbus.ObjectPath
	require.NoError(s.t, s.call(conn, "", "org.freedesktop.Secret.Service.Lock", []any{[]dbus.ObjectPath{Collection(collection)}}, &locked, &prompt))
	if prompt != "/" {
		require.NoError(s.t, s.call(conn, prompt, "org.freedesktop.Secret.Prompt.Prompt", []any{""}))
	}
	require.True(s.t, s.Keyring.Ready(func() bool { return !s.ready(collection) }))
}
