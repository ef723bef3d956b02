package age

import (
	"testing"
	"time"

	"secretctl/broker/secret"
)

// WorkFactor has passphrases take little work until the test ends.
func WorkFactor(t *testing.T, n int) {
	testOnlyWorkFactor = n
	t.Cleanup(func() { testOnlyWorkFactor = 0 })
}

// KeyringTime bounds what a keyring is asked until the test ends.
func KeyringTime(t *testing.T, d time.Duration) {
	was := keyringTime
	keyringTime = d
	t.Cleanup(func() { keyringTime = was })
}

// File returns where a version is.
func (s *Store) File(name secret.Name, version uint64) string { return s.file(name, version) }
