package ssh

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"io"
	"strings"

	"golang.org/x/crypto/ssh"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// How OpenSSH writes a private key: PROTOCOL.key of its source.
const (
	begin = "-----BEGIN OPENSSH PRIVATE KEY-----"
	end   = "-----END OPENSSH PRIVATE KEY-----"
	magic = "openssh-key-v1\x00"
	width = 70 // of a line, as ssh-keygen has it
	block = 8  // what the private part is padded to, in bytes, where nothing encrypts it
)

// newKey makes an ed25519 key pair. The value is the private half, as
// ssh-keygen writes it where there is no passphrase.
func newKey(comment string) (secret.Value, ssh.PublicKey, error) {
	raw, err := secret.GetBuffer()
	if err != nil {
		return secret.Value{}, nil, err
	}
	defer raw.Release()
	text, err := secret.GetBuffer()
	if err != nil {
		return secret.Value{}, nil, err
	}
	defer text.Release()

	b := raw.B[:ed25519.SeedSize]
	if _, err := rand.Read(b); err != nil {
		return secret.Value{}, nil, err
	}
	private := ed25519.NewKeyFromSeed(b) // crypto/ed25519 knows no other place than the heap
	defer clear(private)
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		return secret.Value{}, nil, err
	}
	var check [4]byte // twice, by which OpenSSH knows that it decrypted
	if _, err := rand.Read(check[:]); err != nil {
		return secret.Value{}, nil, err
	}

	b = append(raw.B, magic...)
	for _, s := range []string{"none", "none", ""} { // no cipher, no key derivation
		b = appendString(b, s)
	}
	b = binary.BigEndian.AppendUint32(b, 1) // key
	b = appendString(b, public.Marshal())
	inner := 2*len(check) + 4 + len(ssh.KeyAlgoED25519) + 4 + ed25519.PublicKeySize + 4 + ed25519.PrivateKeySize + 4 + len(comment)
	b = binary.BigEndian.AppendUint32(b, uint32((inner+block-1)/block*block))
	b = append(append(b, check[:]...), check[:]...)
	b = appendString(b, ssh.KeyAlgoED25519)
	b = appendString(b, private[ed25519.SeedSize:])
	b = appendString(b, private)
	b = appendString(b, comment)
	for i := 1; (inner+i-1)%block != 0; i++ {
		b = append(b, byte(i))
	}

	encoded := text.B[:base64.StdEncoding.EncodedLen(len(b))]
	base64.StdEncoding.Encode(encoded, b)
	lines := (len(encoded) + width - 1) / width
	v, err := secret.Fill(len(begin)+1+len(encoded)+lines+len(end)+1, func(b []byte) error {
		b = append(append(b[:0], begin...), '\n')
		for len(encoded) > 0 {
			n := min(width, len(encoded))
			b = append(append(b, encoded[:n]...), '\n')
			encoded = encoded[n:]
		}
		_ = append(append(b, end...), '\n')
		return nil
	})
	return v, public, err
}

func appendString[S string | []byte | ed25519.PrivateKey](b []byte, s S) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// key is a private key that can sign. It must be cleared.
type key struct {
	ssh.Signer
	private secret.Value // of a key of the kind that we make: as crypto/ed25519 has it
}

func (k *key) Clear() { k.private.Clear() }

// parseKey opens a private key that no passphrase protects.
func parseKey(v secret.Value) (*key, error) {
	if k, err := parseEd25519(v); err != nil {
		return nil, providers.Not(providers.CodeUnavailable, "there is no locked memory for a key")
	} else if k != nil {
		return k, nil
	}
	k := &key{}
	if err := v.Use(func(b []byte) (err error) {
		// Kinds that we do not make ourselves. The library's copies stay on the heap
		// until they are collected.
		k.Signer, err = ssh.ParsePrivateKey(b)
		return err
	}); err != nil {
		return nil, notAKey()
	}
	if rsa, ok := k.Signer.(ssh.AlgorithmSigner); ok && k.PublicKey().Type() == ssh.KeyAlgoRSA {
		var err error
		if k.Signer, err = ssh.NewSignerWithAlgorithms(rsa, []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}); err != nil {
			return nil, notAKey()
		}
	}
	return k, nil
}

// notAKey says no more than that: what a parser says may quote what it read.
func notAKey() error {
	return &providers.CallError{
		Outcome: providers.DefinitelyNot, Code: providers.CodeBadValue,
		Problem: "the value is no private SSH key that opens without a passphrase",
		Remedy:  `ssh-keygen -p -N "" -f FILE takes the passphrase off a copy; then: secretctl set NAME < FILE`,
	}
}

// edSigner signs with an ed25519 key in locked memory.
type edSigner struct {
	public  ssh.PublicKey
	private secret.Value
}

func (s *edSigner) PublicKey() ssh.PublicKey { return s.public }

func (s *edSigner) Sign(_ io.Reader, data []byte) (*ssh.Signature, error) {
	// crypto/ed25519 wants the key on the heap. What it works out from it stays there
	// until it is collected.
	private := make(ed25519.PrivateKey, ed25519.PrivateKeySize)
	defer clear(private)
	if err := s.private.Use(func(b []byte) error { copy(private, b); return nil }); err != nil {
		return nil, err
	}
	return &ssh.Signature{Format: ssh.KeyAlgoED25519, Blob: ed25519.Sign(private, data)}, nil
}

// parseEd25519 opens what newKey makes, and what ssh-keygen -t ed25519 does,
// without leaving locked memory. It returns nil for everything else, and an error
// where that memory is full.
func parseEd25519(v secret.Value) (*key, error) {
	raw, err := secret.GetBuffer()
	if err != nil {
		return nil, err
	}
	defer raw.Release()
	var b []byte
	if err := v.Use(func(text []byte) error {
		_, text, _ = bytes.Cut(text, []byte(begin))
		text, _, _ = bytes.Cut(text, []byte(end))
		if base64.StdEncoding.DecodedLen(len(text)) > secret.BufferSize {
			return nil // a key with other things in it: the library may look
		}
		n, err := base64.StdEncoding.Decode(raw.B[:secret.BufferSize], text)
		b = raw.B[:n]
		return err
	}); err != nil {
		return nil, nil
	}

	r := reader{b, len(b) > 0}
	r.literal(magic)
	for _, s := range []string{"none", "none", ""} {
		r.is(s)
	}
	r.literal("\x00\x00\x00\x01")
	r.next() // the public key, which is in the private part again
	p := reader{r.next(), r.ok}
	if a, b := p.take(4), p.take(4); !bytes.Equal(a, b) {
		return nil, nil
	}
	p.is(ssh.KeyAlgoED25519)
	public, private := p.next(), p.next()
	if !p.ok || len(private) != ed25519.PrivateKeySize || !bytes.Equal(public, private[ed25519.SeedSize:]) {
		return nil, nil
	}
	derived := ed25519.NewKeyFromSeed(private[:ed25519.SeedSize])
	defer clear(derived)
	if !bytes.Equal(derived, private) {
		return nil, nil // it would sign for another than it claims
	}
	known, err := ssh.NewPublicKey(ed25519.PublicKey(bytes.Clone(public)))
	if err != nil {
		return nil, nil
	}
	locked, err := secret.New(private)
	if err != nil {
		return nil, err
	}
	return &key{&edSigner{known, locked}, locked}, nil
}

// reader takes a key apart. ok is false once something was not as expected.
type reader struct {
	b  []byte
	ok bool
}

func (r *reader) take(n int) []byte {
	if !r.ok || n < 0 || n > len(r.b) {
		r.ok = false
		return nil
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) next() []byte {
	n := r.take(4)
	if !r.ok {
		return nil
	}
	return r.take(int(binary.BigEndian.Uint32(n)))
}

func (r *reader) literal(want string) { r.ok = string(r.take(len(want))) == want && r.ok }

func (r *reader) is(want string) { r.ok = string(r.next()) == want && r.ok }

// The Facts of a credential: its public key, the hosts it is installed on, a space
// between them, and of one that was ended the options that its line had on a host.
const (
	fact        = "public_key"
	factHosts   = "hosts"
	factOptions = "options " // and the host
)

// describe writes down what is not secret of a credential.
func (r *rotator) describe(cred *providers.Credential, public ssh.PublicKey) {
	cred.ID = ssh.FingerprintSHA256(public)
	cred.Facts = map[string]string{fact: authorized(public), factHosts: r.account().Account}
}

// authorized is a public key as authorized_keys has it, without a comment.
func authorized(public ssh.PublicKey) string {
	return strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(public)), "\n")
}

// publicOf returns the public half of a credential, from its value or, where
// that is not there, from what is known of it.
func publicOf(cred *providers.Credential) (ssh.PublicKey, error) {
	k, err := parseKey(cred.Value)
	if err == nil {
		defer k.Clear()
		return k.PublicKey(), nil
	}
	if known, _, _, _, parse := ssh.ParseAuthorizedKey([]byte(cred.Facts[fact])); parse == nil {
		return known, nil
	}
	return nil, err
}
