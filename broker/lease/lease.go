// Package lease remembers who was handed what, and until when.
//
// The table is a pure fold over the audit log: [Table.Apply] is called with
// every durable record, in order, when the broker starts and while it runs,
// and nothing else adds a lease. So there is no second store that could
// disagree with the log, no lease without a durable record, and one code path
// for crash recovery and for daily life.
//
// It guards against
//
//   - a lease outliving its time: it ends at the earlier of two clocks, the
//     wall and the one that counts since boot, so that neither setting the
//     clock back nor sleeping extends it;
//   - a lease outliving its removal: revoked leases and those of an earlier
//     epoch are dead at their next use, before any record of it is written;
//   - a lease in other hands: an id is a handle, and whoever shows it must be
//     the uid it was issued to;
//   - limits that two callers slip through together: a request is decided and
//     counted under one lock ([Table.Reserve]).
package lease

import (
	"time"

	"secretctl/broker/clock"
	"secretctl/broker/secret"
)

// Lease is one handing-out of a version of a secret under a grant.
type Lease struct {
	ID      ID
	Agent   string // name in the config; "owner" for the owner's own
	UID     uint32 // the only identity that may use it
	PID     int32  // who asked, for the listing only
	Secret  secret.Name
	Version uint64
	Door    string
	Pinned  bool   // renewing keeps Version
	Rule    string // id of the grant that allowed it

	First   time.Time // when it was first issued
	Issued  time.Time // when it was issued or last renewed
	Expires time.Time // by the wall clock

	TTL          time.Duration // granted at the last issue or renewal
	BootDeadline time.Duration // by the clock that counts since boot
	Epoch        uint64        // dead once the broker's epoch is past it
}

// Over reports whether the lease has run out by either clock.
func (l *Lease) Over(now clock.Reading) bool {
	return !now.Wall.Before(l.Expires) || now.Boot >= l.BootDeadline
}
