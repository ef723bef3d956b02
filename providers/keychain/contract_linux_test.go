package keychain_test

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"secretctl/providers"
	"secretctl/providers/keychain"
	"secretctl/providers/keychain/keychaintest"
	"secretctl/providers/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open opens a store as the config does. It is closed with the test.
func open(t *testing.T, set map[string]any) providers.Store {
	t.Helper()
	kind := keychain.Kind()
	o, err := kind.NewOptions(set)
	require.NoError(t, err)
	store, err := kind.Open(providers.StoreSetup{Name: "keychain", Options: o})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.(io.Closer).Close()) })
	return store
}

func paused(s *keychaintest.Session) func() func() {
	return func() func() { s.Keyring.Pause(); return s.Keyring.Resume }
}

func TestGnomeKeyring(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		s := keychaintest.Gnome(t)
		s.Enter(t)
		return storetest.Subject{Store: open(t, nil), Break: paused(s)}
	})
}

func TestKeePassXC(t *testing.T) {
	keychain.SetSettle(t, 0)
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		s := keychaintest.KeePassXC(t, keychaintest.WriteLater)
		s.Enter(t)
		return storetest.Subject{Store: open(t, nil), Break: paused(s)}
	})
}
