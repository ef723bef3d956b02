package age

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"filippo.io/age"

	"secretctl/broker/durable"
)

// IdentityFile is the name, in the home, of the file with the private key.
const IdentityFile = "identity.txt"

// Init makes the home's identity and returns its public half. A home that has
// one keeps it: a new one could not open the vault.
func Init(d durable.Disk, at time.Time) (recipient string, err error) {
	if id, err := readIdentity(d); err == nil {
		return id.Recipient().String(), nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", fmt.Errorf("making the identity: %w", err)
	}
	// The form age-keygen writes, so that people and tools know it.
	text := fmt.Appendf(nil, "# created: %s\n# public key: %s\n%s\n", at.Format(time.RFC3339), id.Recipient(), id)
	defer clear(text)
	if err := durable.WriteFile(d, IdentityFile, text, 0o600); err != nil {
		return "", fmt.Errorf("writing %s: %w", IdentityFile, err)
	}
	return id.Recipient().String(), nil
}

// readIdentity reads the private key, unless others could have read it too.
func readIdentity(d durable.Disk) (*age.X25519Identity, error) {
	info, err := d.Stat(IdentityFile)
	if err != nil {
		return nil, fmt.Errorf("opening vault: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("opening vault: %s is not a file", IdentityFile)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("opening vault: %s has mode %04o, so others may have read it: chmod 600 it, and if they did, make a new vault", IdentityFile, info.Mode().Perm())
	}
	text, err := durable.ReadFile(d, IdentityFile)
	if err != nil {
		return nil, fmt.Errorf("opening vault: %w", err)
	}
	defer clear(text)
	ids, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("opening vault: %s is not a file with an age identity (AGE-SECRET-KEY-1…)", IdentityFile)
	}
	for _, id := range ids {
		if x, ok := id.(*age.X25519Identity); ok && len(ids) == 1 {
			return x, nil
		}
	}
	return nil, fmt.Errorf("opening vault: %s must hold one X25519 identity (AGE-SECRET-KEY-1…) and no other", IdentityFile)
}
