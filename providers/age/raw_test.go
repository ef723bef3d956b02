package age_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"slices"
	"sync"
	"testing"

	plain "filippo.io/age"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/chacha20poly1305"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/age"
)

// testIdentity opens the files under testdata. It is no secret.
const testIdentity = "AGE-SECRET-KEY-1NZRVS4EXEC7QNDPLZ9S279QC2GNYFRR3M96PWW6H05JT2Y3MYXVSW7WHZU" // secretctl:allow

// ours is the identity of the homes that newRaw makes.
var ours = must1(plain.ParseX25519Identity(testIdentity))

func must1[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

const (
	rawName    = secret.Name("a")
	rawVersion = 1
	rawFile    = "vault/a/@1.age"
)

// raw is a store on a disk whose files can be written past it.
type raw struct {
	*age.Store
	disk durable.Disk
}

// oneRaw is the store that tests share, each with a file of its own making.
var oneRaw = sync.OnceValue(func() raw {
	disk := durable.NewMem()
	must1(0, durable.WriteFile(disk, age.IdentityFile, []byte(testIdentity), 0o600))
	must1(0, durable.MkdirAll(disk, "vault/a", 0o700))
	return raw{age.New(disk, "vault"), disk}
})

// newRaw returns that store with the content in the one version's file.
func newRaw(t testing.TB, content []byte) *age.Store {
	t.Helper()
	r := oneRaw()
	require.NoError(t, durable.WriteFile(r.disk, rawFile, content, 0o600))
	return r.Store
}

// opened returns what the store makes of a file: nil where it gives no value.
func opened(t testing.TB, content []byte) ([]byte, error) {
	t.Helper()
	v, err := newRaw(t, content).Get(t.Context(), rawName, rawVersion, providers.Sum{})
	if err != nil {
		require.True(t, v.IsZero())
		return nil, err
	}
	defer v.Clear()
	b := []byte{}
	require.NoError(t, v.Use(func(v []byte) error { b = append(b, v...); return nil }))
	return b, nil
}

// agreed checks that the store and the age package make the same of a file.
func agreed(t testing.TB, content []byte) (b []byte, ok bool) {
	t.Helper()
	got, gotErr := opened(t, content)
	want, wantErr := decrypted(content)
	require.Equal(t, wantErr == nil, gotErr == nil, "age: %v, the store: %v", wantErr, gotErr)
	require.True(t, bytes.Equal(want, got), "age: %q, the store: %q", want, got)
	return got, gotErr == nil
}

// decrypted is what the age package itself makes of a file.
func decrypted(content []byte) ([]byte, error) {
	r, err := plain.Decrypt(bytes.NewReader(content), ours)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// sealedTo seals as the age package does.
func sealedTo(t testing.TB, b []byte, to ...plain.Recipient) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := plain.Encrypt(&out, to...)
	require.NoError(t, err)
	_, err = w.Write(b)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

// spy is a recipient that tells the file's key.
type spy struct {
	plain.Recipient
	key []byte
}

func (s *spy) Wrap(fileKey []byte) ([]*plain.Stanza, error) {
	s.key = slices.Clone(fileKey)
	return s.Recipient.Wrap(fileKey)
}

// stanzas is a recipient that nobody has the identity of.
type stanzas []*plain.Stanza

func (s stanzas) Wrap([]byte) ([]*plain.Stanza, error) { return s, nil }

// chunk is a piece of a payload.
type chunk struct {
	number uint64
	last   byte
	plain  []byte
}

// builtOf returns a file to us with a right header and the given chunks.
func builtOf(t testing.TB, chunks ...chunk) []byte {
	t.Helper()
	to := &spy{Recipient: ours.Recipient()}
	var out bytes.Buffer
	_, err := plain.Encrypt(&out, to)
	require.NoError(t, err)
	file := out.Bytes()
	key, err := hkdf.Key(sha256.New, to.key, file[len(file)-16:], "payload", 32)
	require.NoError(t, err)
	aead, err := chacha20poly1305.New(key)
	require.NoError(t, err)
	for _, c := range chunks {
		nonce := make([]byte, 12)
		binary.BigEndian.PutUint64(nonce[3:], c.number)
		nonce[11] = c.last
		file = aead.Seal(file, nonce, c.plain, nil)
	}
	return file
}
