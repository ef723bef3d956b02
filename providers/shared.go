package providers

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"secretctl/broker/secret"
)

// SharedOption is the name of the option with which a store is one that other
// hosts keep the same secrets in. Its type is [Switch].
const SharedOption = "shared"

// Shared is a Store in which several hosts can keep the same secrets: beside its
// versions each secret has a record there, with no value in it, which is written
// by check-and-set alone.
type Shared interface {
	Store
	// Record returns a secret's record, ErrAbsent when it has none.
	Record(ctx context.Context, name secret.Name) (Record, error)
	// Change writes a secret's record if its revision is still that one, 0 for one
	// that is not there, and returns the new one. It is ErrChanged when somebody else
	// wrote it meanwhile. A record is written whole or not at all; after any other
	// error nobody knows which.
	Change(ctx context.Context, name secret.Name, revision uint64, text []byte) (uint64, error)
}

// Record is what hosts that share a secret tell each other of it.
type Record struct {
	Text     []byte // a JSON object
	Revision uint64
	Age      time.Duration // since it was written, by the store's own clock; 0 where that is not known
}

// MaxRecord is the longest record, in bytes. A sanity check: some kilobytes are
// usual.
const MaxRecord = 64 << 10

// Claim is the rotation of a shared secret, as one host tells the others of it.
// While it has not ended they leave the secret alone.
type Claim struct {
	ID      string          `json:"id"`   // of the rotation
	Tag     string          `json:"tag"`  // of what it makes at the service
	Host    string          `json:"host"` // whose it is
	Phase   string          `json:"phase"`
	Started time.Time       `json:"started"`
	Version uint64          `json:"version,omitempty"` // whose value is kept in the store and not in force; 0: there is none yet
	Mark    string          `json:"mark,omitempty"`    // tells two values for Version apart
	State   json.RawMessage `json:"state,omitempty"`   // what whoever goes on with it has to know; none: nothing was done
}

// ClaimEnded is the phase of a claim that is none any more.
const ClaimEnded = "ended"

// ClaimedError is why a host does not rotate a secret: another does.
type ClaimedError struct {
	Claim
	Left time.Duration // until it may be taken over, if nothing more is heard of that host
}

func (e *ClaimedError) Error() string {
	return fmt.Sprintf("host %q rotates it (%s)", e.Host, e.Phase)
}
