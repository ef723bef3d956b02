package audit

import (
	"time"

	"secretctl/broker/secret"
)

// Event is what a record is about. The set is closed: a record with another
// event is neither written nor read.
type Event string

// The events.
const (
	EventInit        Event = "init"        // the home was made
	EventStart       Event = "start"       // the broker started; carries BootID
	EventStop        Event = "stop"        // the broker stopped cleanly
	EventConnect     Event = "connect"     // a peer was turned away before it asked for anything
	EventLease       Event = "lease"       // a lease was asked for
	EventRenew       Event = "renew"       // a renewal was asked for
	EventRelease     Event = "release"     // the holder gave a lease back
	EventExpire      Event = "expire"      // a sweep forgot leases that ran out; Count of them
	EventUndelivered Event = "undelivered" // the answer did not reach the peer; the lease is over
	EventRevoke      Event = "revoke"      // a lease, or every one before Epoch, was ended by the owner
	EventKill        Event = "kill"        // the kill switch went on
	EventResume      Event = "resume"      // the kill switch went off
	EventSet         Event = "set"         // a version was added
	EventRemove      Event = "rm"          // a secret was removed
	EventMove        Event = "mv"          // a secret was moved to another store
	EventRollback    Event = "rollback"    // the previous version became current
	EventAdopt       Event = "adopt"       // a version file changed outside was accepted
	EventRotate      Event = "rotate"      // a rotation came to the state in Reason
	EventIdentity    Event = "identity"    // the vault was sealed to another identity; Count versions
	EventRecover     Event = "recover"     // the ledger was rebuilt and every lease ended
	EventReload      Event = "reload"      // the config was read again
	EventRead        Event = "read"        // the owner read the log
	EventFingerprint Event = "fingerprint" // the owner got the fingerprints of Count secrets
	EventClockStep   Event = "clock-step"  // by the log: the wall clock went back by more than 2 s
	EventRepair      Event = "repair"      // by the log: a torn tail was cut; Count bytes
	EventPrune       Event = "prune"       // by the log: records 1 to Count may be gone
	EventDropped     Event = "dropped"     // by the log: Count deferred records found no room
)

// known reports whether e is one of the events above.
func (e Event) known() bool {
	switch e {
	case EventInit, EventStart, EventStop, EventConnect,
		EventLease, EventRenew, EventRelease, EventExpire, EventUndelivered, EventRevoke,
		EventKill, EventResume,
		EventSet, EventRemove, EventMove, EventRollback, EventAdopt, EventRotate, EventIdentity, EventRecover, EventReload, EventRead, EventFingerprint,
		EventClockStep, EventRepair, EventPrune, EventDropped:
		return true
	}
	return false
}

// seals reports whether a checkpoint follows at once, in the same write.
func (e Event) seals() bool {
	return e == EventStart || e == EventStop || e == EventKill
}

// Decision is how a request ended. The empty Decision belongs to events that
// nobody asked permission for.
type Decision string

// The decisions.
const (
	Allow Decision = "allow"
	Deny  Decision = "deny"
)

// Record is one line of the log: an allow list of what may be known about an
// event, and nothing else. No field holds a value, a part or a length of one,
// an argument, an environment or a provider's words.
//
// The zero value of every field but Event means "does not apply" and is not
// written. Times are kept in whole microseconds; [Log.Append] cuts what it is
// given down to the resolution of the disk, so that a record looks the same to
// Options.Apply when it is written as when it is read back.
type Record struct {
	Seq  uint64    // 1 for the first record; set by the log
	Time time.Time // wall clock, UTC; set by the log

	Event    Event
	Decision Decision
	Reason   string // a code, [a-z_]+, at most 64 bytes
	Stated   string // the caller's own words, sanitised, at most 200 bytes

	Agent    string // name in the config, "owner" for the owner
	Peer     bool   // there was a peer: UID, GID and PID mean something
	UID, GID uint32
	PID      int32
	Strength string // how firmly the kernel named the process
	Exe      string // path of its executable, sanitised, at most 512 bytes

	Secret  secret.Name
	Version uint64
	Lease   string // 32 lower-case hex digits
	Door    string
	Pinned  bool
	Group   string // of the batch it is part of, at most 32 lower-case hex digits

	TTL          time.Duration // whole seconds
	Issued       time.Time
	First        time.Time
	Expires      time.Time
	BootDeadline time.Duration // since boot, whole milliseconds
	Epoch        uint64
	Grant        string // id of the rule
	Config       string // hash of the policy in force, 16 lower-case hex digits
	Mode         string // separate, same-user, …
	BootID       string // of the kernel; start records only, filled in by the log when empty
	Count        uint64 // how many things were touched; see the event
}
