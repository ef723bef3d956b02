package keychain

import (
	"crypto/aes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"math/big"
	"slices"
	"testing"

	"github.com/keybase/go-keychain/secretservice"
	"github.com/stretchr/testify/require"
)

func privateOf(text string) *big.Int {
	sum := sha256.Sum256([]byte(text))
	return new(big.Int).SetBytes(sum[:])
}

// The keys of sessions whose private keys are known, made by a program of another
// language. In the first the shared number begins with a zero byte, in the second
// a public one does.
func TestSessionKey(t *testing.T) {
	for theirs, want := range map[string]string{
		"theirs 1":   "14531c0ae666241fa1b5705a016768d5",
		"theirs 117": "eb0fccebc325a386b78a74dca3047789",
		"theirs 0":   "c30f898db27de3823af466dc4e972e13",
	} {
		for _, sides := range [][2]string{{"ours", theirs}, {theirs, "ours"}} {
			half := public(privateOf(sides[1]))
			require.Len(t, half, groupLen)
			key, err := sessionKey(half, privateOf(sides[0]))
			require.NoError(t, err)
			require.Equal(t, want, hex.EncodeToString(key), sides)
		}
	}
	require.Zero(t, public(privateOf("theirs 117"))[0])
}

// Halves of a key that would make it known to all are refused.
func TestSessionKeyRefuses(t *testing.T) {
	for _, n := range []*big.Int{big.NewInt(0), big.NewInt(1), group.top, group.p, new(big.Int).Lsh(group.p, 3)} {
		_, err := sessionKey(n.Bytes(), newPrivate())
		require.Error(t, err, n)
	}
}

// What is sealed opens to itself, at every length, and leaves the slice it came
// in alone, also behind its end.
func TestSeal(t *testing.T) {
	key := make([]byte, 16)
	_, _ = rand.Read(key)
	for n := range 70 {
		all := make([]byte, n+40)
		_, _ = rand.Read(all)
		before := slices.Clone(all)
		iv, sealed, err := seal(key, all[:n])
		require.NoError(t, err)
		require.Equal(t, before, all)
		got, err := unseal(key, iv, sealed)
		require.NoError(t, err)
		require.Equal(t, before[:n], got[:n:n])
	}
}

// What does not decrypt is an error, and nothing of it stays.
func TestUnsealRefuses(t *testing.T) {
	key, iv := make([]byte, 16), make([]byte, 16)
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	badly := []byte("ends with 3, 2\x03\x02")
	block.Encrypt(badly, badly)
	for _, c := range []struct{ iv, sealed []byte }{
		{iv, []byte{}}, {iv, make([]byte, 15)}, {iv, make([]byte, 17)}, {nil, make([]byte, 16)}, {iv[:15], make([]byte, 16)}, {iv, make([]byte, 32)}, {iv, badly},
	} {
		_, err := unseal(key, c.iv, c.sealed)
		require.ErrorIs(t, err, errGarbled, "%d and %d bytes", len(c.iv), len(c.sealed))
		require.Equal(t, make([]byte, len(c.sealed)), c.sealed)
	}
}

// The faults of the library that are gone round. When one of these fails, it has
// been mended: see testdata/upstream-reports.
func TestLibraryPads(t *testing.T) {
	s := secretservice.Session{Mode: secretservice.AuthenticationDHAES, AESKey: make([]byte, 16)}
	all := []byte("the value, and what is behind it in the same slice")
	_, err := s.NewSecret(all[:9])
	require.NoError(t, err)
	require.Equal(t, "the value\x07\x07\x07\x07\x07\x07\x07behind it in the same slice"[:16], string(all[:16]))
}

// The addresses of a bus that are understood.
func TestSocketOf(t *testing.T) {
	for address, want := range map[string]string{
		"unix:path=/run/user/1000/bus":      "/run/user/1000/bus",
		"unix:guid=1f,path=/tmp/a%20b%2cc":  "/tmp/a b,c",
		"unix:abstract=/tmp/dbus-x,guid=1f": "@/tmp/dbus-x",
		"unix:path=%":                       "",
		"unix:path=":                        "",
		"unix:runtime=yes":                  "",
		"unixexec:path=/bin/true":           "",
		"tcp:host=localhost,port=1":         "",
		"autolaunch:":                       "",
		"":                                  "",
		"unix:dir=/tmp/for/many":            "",
	} {
		socket, ok := socketOf(address)
		require.Equal(t, want != "", ok, address)
		if ok {
			require.Equal(t, want, socket.Name)
		}
	}
}
