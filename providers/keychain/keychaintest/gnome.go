package keychaintest

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keybase/dbus"
	"github.com/stretchr/testify/require"

	"secretctl/providers/servertest"
)

// GnomeCollection is the one that gnome-keyring has by default.
const GnomeCollection = "login"

// Gnome starts a session with gnome-keyring, unlocked. It skips the test where
// there is none.
func Gnome(t testing.TB) *Session {
	t.Helper()
	return GnomeOf(t, servertest.Ourselves())
}

// Item is one that is in a keyring before it starts. It must hold no canary: it is
// plain text on the disk.
type Item struct {
	Attributes map[string]string
	Value      string
}

// GnomeWith is Gnome with these items in its default collection, many. That is
// written as plain text, by which it is filled at once, and sealed by the keyring
// afterwards, unless that is not wanted: it takes minutes for 10,000.
func GnomeWith(t testing.TB, items []Item, sealed bool) *Session {
	t.Helper()
	s := Gnome(t)
	s.Keyring.Kill()
	var b strings.Builder
	b.WriteString("[keyring]\ndisplay-name=many\nctime=0\nmtime=0\nlock-on-idle=false\nlock-after=false\n\n")
	for i, item := range items {
		fmt.Fprintf(&b, "[%d]\nitem-type=0\ndisplay-name=filler\nsecret=%s\nmtime=0\nctime=0\n\n", i+1, item.Value)
		for j, name := range slices.Sorted(maps.Keys(item.Attributes)) {
			fmt.Fprintf(&b, "[%d:attribute%d]\nname=%s\ntype=string\nvalue=%s\n\n", i+1, j, name, item.Attributes[name])
		}
	}
	dir := filepath.Join(s.Dir, "home", "keyrings")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "many.keyring"), []byte(b.String()), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "default"), []byte("many"), 0o600))
	s.wait = 3 * time.Minute
	s.start()
	collection := Collection("many")
	if sealed {
		require.NoError(t, s.withPasswords("ChangeWithMasterPassword", collection, []string{"", Password}))
		require.NoError(t, s.withPasswords("UnlockWithMasterPassword", collection, []string{Password}))
	} else {
		require.NoError(t, s.withPasswords("UnlockWithMasterPassword", collection, []string{""}))
	}
	require.True(t, s.ready("many"))
	return s
}

// GnomeOf is Gnome for the session of somebody else, whom we must be able to become.
func GnomeOf(t testing.TB, account servertest.Account) *Session {
	t.Helper()
	program := servertest.Program(t, "gnome-keyring-daemon")
	s := newSession(t, account)
	s.start = func() {
		s.Keyring = s.launch(Password, program, "--foreground", "--unlock", "--components=secrets",
			"--control-directory="+filepath.Join(s.Dir, "run", "keyring"))
		require.True(t, s.Keyring.Ready(func() bool { return s.ready(GnomeCollection) }), "gnome-keyring does not start")
	}
	s.start()
	return s
}

// secret is a value on its way over a session.
type secret struct {
	Session           dbus.ObjectPath
	Parameters, Value []byte
	Type              string
}

// Unlock unlocks the default collection of gnome-keyring.
func (s *Session) Unlock() {
	require.NoError(s.t, s.withPasswords("UnlockWithMasterPassword", Collection(GnomeCollection), []string{Password}))
}

// Create makes another collection of gnome-keyring's, and returns its name.
func (s *Session) Create(label string) string {
	var path dbus.ObjectPath
	properties := map[string]dbus.Variant{"org.freedesktop.Secret.Collection.Label": dbus.MakeVariant(label)}
	require.NoError(s.t, s.withPasswords("CreateWithMasterPassword", properties, []string{Password}, &path))
	return filepath.Base(string(path))
}

// withPasswords calls a method that takes passwords instead of asking for them. A
// session ends with its connection.
func (s *Session) withPasswords(method string, arg any, passwords []string, out ...any) error {
	conn, err := s.Connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	var none dbus.Variant
	var session, alias dbus.ObjectPath
	// It aborts when a client that it took no notice of asks for a session first.
	if err := s.call(conn, "", "org.freedesktop.Secret.Service.ReadAlias", []any{"default"}, &alias); err != nil || alias == "/" {
		return errors.Join(err, errors.New("it does not know us"))
	}
	if err := s.call(conn, "", "org.freedesktop.Secret.Service.OpenSession", []any{"plain", dbus.MakeVariant("")}, &none, &session); err != nil {
		return err
	}
	args := []any{arg}
	for _, p := range passwords {
		args = append(args, secret{session, nil, []byte(p), "text/plain"})
	}
	return s.call(conn, "", "org.gnome.keyring.InternalUnsupportedGuiltRiddenInterface."+method, args, out...)
}

// Replace runs a command as a person does to unlock gnome-keyring, with the
// password on its stdin, and waits until it is unlocked.
func (s *Session) Replace(command string) {
	words := strings.Fields(command)
	s.Keyring = s.launch(Password, servertest.Program(s.t, words[0]), append(words[1:], "--foreground")...)
	require.True(s.t, s.Keyring.Ready(func() bool { return s.ready(GnomeCollection) }))
}
