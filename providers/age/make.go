package age

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"filippo.io/age"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
)

// Wanted says what identity is to be made.
type Wanted struct {
	Kind string // [X25519] or [PostQuantum]; "": X25519
	// Passphrase is what its file is sealed with; zero: with nothing.
	Passphrase secret.Value
	// Current is that of the identity whose place it takes; zero: none. Init has no
	// use for it.
	Current secret.Value
	// From is a file with an identity that is there, of any kind, which is taken as it
	// is; "": one is made. Init has no use for it either.
	From string
}

// Init makes the home's identity and returns what may be known of it. A home that
// has one keeps it: a new one could not open the vault.
func Init(d durable.Disk, at time.Time, want Wanted) (Public, error) {
	p := inHome(d, IdentityFile)
	switch there, err := p.there(); {
	case err != nil:
		return Public{}, fmt.Errorf("opening vault: %w", err)
	case there:
		o := Options{Disk: d}
		id, err := o.read(context.Background(), p, func(string, int) (secret.Value, error) { return secret.Value{}, errNoPassphrase })
		if errors.Is(err, errNoPassphrase) {
			return Public{Passphrase: true}, nil
		} else if err != nil {
			return Public{}, err
		}
		return id.Public, nil
	}
	id, plain, err := want.make(at)
	if err != nil {
		return Public{}, fmt.Errorf("making the identity: %w", err)
	}
	defer clear(plain)
	text, err := sealedWith(plain, want.Passphrase)
	if err != nil {
		return Public{}, fmt.Errorf("making the identity: %w", err)
	}
	defer clear(text)
	if err := durable.WriteFile(d, IdentityFile, text, 0o600); err != nil {
		return Public{}, fmt.Errorf("writing %s: %w", IdentityFile, err)
	}
	return id.Public, nil
}

var errNoPassphrase = errors.New("it has a passphrase")

// make makes an identity and its text, which the caller clears.
func (w *Wanted) make(at time.Time) (id *one, text []byte, err error) {
	// The form age-keygen writes, so that people and tools know it.
	const form = "# created: %s\n# public key: %s\n%s\n"
	switch w.Kind {
	case "", X25519:
		x, err := age.GenerateX25519Identity()
		if err != nil {
			return nil, nil, err
		}
		id, text = classic(x), fmt.Appendf(nil, form, at.Format(time.RFC3339), x.Recipient(), x)
	case PostQuantum:
		h, err := age.GenerateHybridIdentity()
		if err != nil {
			return nil, nil, err
		}
		id, text = hybrid(h), fmt.Appendf(nil, form, at.Format(time.RFC3339), h.Recipient(), h)
	default:
		return nil, nil, fmt.Errorf("an identity of kind %q cannot be made here", w.Kind)
	}
	id.Passphrase = !w.Passphrase.IsZero()
	return id, text, nil
}

// sealedWith is a text as the file that has it: sealed with a passphrase, if there
// is one.
func sealedWith(plain []byte, passphrase secret.Value) ([]byte, error) {
	if passphrase.IsZero() {
		return bytes.Clone(plain), nil
	}
	return encrypt(plain, passphrase)
}
