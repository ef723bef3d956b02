package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"secretctl/providers/keychain/keychaintest"
)

// keyringKey is where a script keeps its keyring.
type keyringKey struct{}

type keyring struct {
	t       testing.TB
	session *keychaintest.Session
}

// cmdKeyring has a keyring that the broker, when it is started later, finds:
// keyring start|lock|unlock|pause|resume|restart|kill.
func cmdKeyring(ts *testscript.TestScript, neg bool, args []string) {
	k := ts.Value(keyringKey{}).(*keyring)
	if neg || len(args) != 1 || (k.session == nil) != (args[0] == "start") {
		ts.Fatalf("usage: keyring start, then keyring lock|unlock|pause|resume|restart|kill")
	}
	switch args[0] {
	case "start":
		k.session = keychaintest.Gnome(k.t)
		ts.Setenv("DBUS_SESSION_BUS_ADDRESS", k.session.Address)
	case "lock":
		k.session.Lock(keychaintest.GnomeCollection)
	case "unlock":
		k.session.Unlock()
	case "pause":
		k.session.Keyring.Pause()
	case "resume":
		k.session.Keyring.Resume()
	case "restart":
		k.session.Restart()
	case "kill":
		k.session.Keyring.Kill()
	default:
		ts.Fatalf("there is no keyring %s", args[0])
	}
}
