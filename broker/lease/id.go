package lease

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
)

// ID names one lease: 128 random bits, 32 lower-case hex digits in text. It
// is a handle and never an authority: every use checks who holds it.
type ID [16]byte

// errID is deliberately the same for every malformed id.
var errID = errors.New("a lease id is 32 hex digits")

// NewID returns a fresh random id.
func NewID() ID {
	var id ID
	rand.Read(id[:]) // never fails: crypto/rand crashes the program instead
	return id
}

// ParseID reads the text form of an id. Only the canonical form is accepted,
// so two spellings can never mean one lease.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != hex.EncodedLen(len(id)) {
		return ID{}, errID
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return ID{}, errID
		}
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ID{}, errID
	}
	return id, nil
}

// String returns the text form of the id.
func (id ID) String() string { return hex.EncodeToString(id[:]) }
