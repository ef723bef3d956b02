package broker_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/mask"
	"secretctl/broker/secret/canary"
)

// masked is a text as the fingerprints of a broker mask it.
func masked(t *testing.T, c *broker.Client, text string) string {
	salt := mask.NewSalt()
	prints, err := c.Fingerprints(t.Context(), salt)
	require.NoError(t, err)
	var out bytes.Buffer
	w := mask.NewWriter(&out, mask.New(salt, prints), mask.Options{})
	_, err = w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.String()
}

// Every version of every secret is recognised by its fingerprints, and asking
// for them is one line in the log.
func TestFingerprints(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	h.serve(b)
	c := h.client(broker.OwnerSocket)
	require.Equal(t, "nothing yet", masked(t, c, "nothing yet"))
	mint(t, b, "weather", "rain")
	mint(t, b, "weather", "sunny")
	mint(t, b, "own/admin", "admin")
	set(t, b, "short", "x")
	for i := range 60 { // more than is written at once
		mint(t, b, "many/"+string(rune('a'+i%26))+string(rune('a'+i/26)), "one of many")
	}
	require.Equal(t, "a [secretctl:weather] b [secretctl:weather] c [secretctl:own/admin] x",
		masked(t, c, "a "+canary.New(t, "rain")+" b "+canary.New(t, "sunny")+" c "+canary.New(t, "admin")+" x"))
	require.Len(t, h.recorded("fingerprint"), 2)
	require.EqualValues(t, 63, h.recorded("fingerprint")[1].Count)
}

// What cannot be opened is named, and so is the kill switch.
func TestFingerprintsRefused(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	h.serve(b)
	c := h.client(broker.OwnerSocket)
	mint(t, b, "a", "rain")
	mint(t, b, "weather", "sunny")
	path := filepath.Join(h.dir, "vault/weather/@1.age")
	was, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, append(was, 'x'), 0o600))
	_, err = c.Fingerprints(t.Context(), mask.Salt{})
	require.ErrorContains(t, err, `"weather"`)
	require.ErrorIs(t, err, broker.ErrStoreUnavailable)
	_, err = b.Kill(broker.Owner())
	require.NoError(t, err)
	_, err = c.Fingerprints(t.Context(), mask.Salt{})
	require.ErrorIs(t, err, broker.ErrKilled)
}
