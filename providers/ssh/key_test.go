package ssh

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"secretctl/broker/secret"
)

// TestLocked: an ed25519 key is opened without the library, ours and
// ssh-keygen's, and signs.
func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	require.NoError(t, exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-N", "", "-t", "ed25519", "-f", path).Run())
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	theirs, err := secret.New(text)
	require.NoError(t, err)
	defer theirs.Clear()
	for n := range block { // each length of padding
		ours, public, err := newKey("comment"[:n])
		require.NoError(t, err)
		k, err := parseEd25519(ours)
		require.NoError(t, err)
		require.NotNil(t, k)
		require.True(t, same(public, k.PublicKey()))
		k.Clear()
		ours.Clear()
	}
	k, err := parseEd25519(theirs)
	require.NoError(t, err)
	require.NotNil(t, k)
	signature, err := k.Sign(rand.Reader, []byte("data"))
	require.NoError(t, err)
	require.NoError(t, k.PublicKey().Verify([]byte("data"), signature))
	k.Clear()
	_, err = k.Sign(rand.Reader, []byte("data"))
	require.ErrorIs(t, err, secret.ErrCleared)
}

// TestClaimed: a key that says it is another is not opened as that one.
func TestClaimed(t *testing.T) {
	v, public, err := newKey("x")
	require.NoError(t, err)
	defer v.Clear()
	var text []byte
	require.NoError(t, v.Use(func(b []byte) error { text = append(text, b...); return nil }))
	p, _ := pem.Decode(text)
	raw := public.Marshal()[len(public.Marshal())-ed25519.PublicKeySize:]
	seed := bytes.LastIndex(p.Bytes, raw) - ed25519.SeedSize
	for i := range p.Bytes {
		p.Bytes[i] ^= 1
		text = pem.EncodeToMemory(p)
		p.Bytes[i] ^= 1
		spoiled, err := secret.New(text)
		require.NoError(t, err)
		k, err := parseEd25519(spoiled)
		require.NoError(t, err)
		if k != nil {
			require.True(t, same(public, k.PublicKey()), "byte %d", i)
			require.False(t, i >= seed && i < seed+ed25519.SeedSize, "byte %d of the secret", i-seed)
			k.Clear()
		}
		spoiled.Clear()
	}
}

// TestNoSHA1: an RSA key does not sign as hosts of long ago want it.
func TestNoSHA1(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	p, err := ssh.MarshalPrivateKey(private, "")
	require.NoError(t, err)
	v, err := secret.New(pem.EncodeToMemory(p))
	require.NoError(t, err)
	defer v.Clear()
	k, err := parseKey(v)
	require.NoError(t, err)
	require.Equal(t, []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}, k.Signer.(ssh.MultiAlgorithmSigner).Algorithms())
}
