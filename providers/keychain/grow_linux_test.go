package keychain_test

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/keybase/dbus"
	"github.com/keybase/go-keychain/secretservice"
	"github.com/stretchr/testify/require"

	"secretctl/providers"
	"secretctl/providers/keychain"
	"secretctl/providers/keychain/keychaintest"
	"secretctl/providers/servertest"
	"secretctl/providers/storetest"
)

func filler(i int) string { return fmt.Sprintf("filler %d", i) }

// fillers are items as the store makes them.
func fillers(n int) (all []keychaintest.Item) {
	for i := range n {
		salt := make([]byte, 16)
		salt[0], salt[1] = byte(i), byte(i>>8)
		all = append(all, keychaintest.Item{Value: filler(i), Attributes: map[string]string{
			"application": "secretctl", "label": "keychain", "name": string(storetest.Filler(i)), "version": "1", "salt": hex.EncodeToString(salt),
		}})
	}
	return all
}

// grown opens a store in a session that was filled. Beside it there is the least that
// a client of the Secret Service can do, and, to put, secret-tool, which starts anew
// each time: by that a person would do it.
func grown(t testing.TB, s *keychaintest.Session, collection string, n int) storetest.Grown {
	kind := keychain.Kind()
	o, err := kind.NewOptions(nil)
	require.NoError(t, err)
	store, err := kind.Open(providers.StoreSetup{Name: "keychain", Options: o})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.(io.Closer).Close()) })

	conn, err := s.Connect()
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	object := func(path dbus.ObjectPath) dbus.BusObject { return conn.Object("org.freedesktop.secrets", path) }
	var none dbus.Variant
	var alias, session dbus.ObjectPath
	require.NoError(t, object("/org/freedesktop/secrets").Call("org.freedesktop.Secret.Service.ReadAlias", 0, "default").Store(&alias)) // see Session
	require.NoError(t, object("/org/freedesktop/secrets").Call("org.freedesktop.Secret.Service.OpenSession", 0, "plain", dbus.MakeVariant("")).Store(&none, &session))
	folder := object(keychaintest.Collection(collection))
	return storetest.Grown{
		Store: store, N: n, Value: filler,
		Get: func(i int) error {
			var found []dbus.ObjectPath
			what := map[string]string{"application": "secretctl", "label": "keychain", "name": string(storetest.Filler(i)), "version": "1"}
			if err := folder.Call("org.freedesktop.Secret.Collection.SearchItems", 0, what).Store(&found); err != nil {
				return err
			}
			var opened secretservice.Secret
			return object(found[0]).Call("org.freedesktop.Secret.Item.GetSecret", 0, session).Store(&opened)
		},
		Put: func(i int) error {
			cmd := exec.Command(servertest.Program(t, "secret-tool"), "store", "--label=x", "x", fmt.Sprint(i))
			cmd.Env, cmd.Stdin = s.Environ(), strings.NewReader("one more")
			return cmd.Run()
		},
	}
}

// What a keyring with many items costs, beside what it costs by itself.
func BenchmarkGrowth(b *testing.B) {
	b.Run("gnome-keyring", func(b *testing.B) {
		storetest.Grow(b, func(b *testing.B, n int) storetest.Grown {
			sealed := n < 10_000 // as plain text, it takes most of a minute to put one beside so many
			s := keychaintest.GnomeWith(b, fillers(n), sealed)
			b.Setenv("DBUS_SESSION_BUS_ADDRESS", s.Address)
			g := grown(b, s, "many", n)
			g.Fixed = !sealed
			return g
		})
	})
	b.Run("KeePassXC", func(b *testing.B) {
		storetest.Grow(b, func(b *testing.B, n int) storetest.Grown {
			s := keychaintest.KeePassXCWith(b, fillers(n), keychaintest.WriteLater)
			b.Setenv("DBUS_SESSION_BUS_ADDRESS", s.Address)
			g := grown(b, s, keychaintest.KeePassCollection, n)
			g.Put = nil // secret-tool waits for the end of a prompt that it is not told of
			return g
		})
	})
}

// However many items there are, each is served as what it is.
func TestGrown(t *testing.T) {
	n := 300
	if os.Getenv("SECRETCTL_LONG") != "" {
		n = 10_000
	}
	t.Run("gnome-keyring", func(t *testing.T) {
		s := keychaintest.GnomeWith(t, fillers(n), n < 10_000)
		s.Enter(t)
		g := grown(t, s, "many", n)
		g.Fixed = n == 10_000
		storetest.Served(t, g)
	})
	t.Run("KeePassXC", func(t *testing.T) {
		keychain.SetSettle(t, 0)
		s := keychaintest.KeePassXCWith(t, fillers(n), keychaintest.WriteLater)
		s.Enter(t)
		storetest.Served(t, grown(t, s, keychaintest.KeePassCollection, n))
	})
}
