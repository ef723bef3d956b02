// Package sock is the unix socket's edge: who is at the other end.
//
// A peer is named by the kernel, never by what it says, and more than once:
//
//   - at accept, before a byte is read, by uid; unreadable credentials and the
//     overflow uid are refused, since "unknown" must never pass for somebody;
//   - at every read, on Linux, by the credentials of the message itself: the
//     sender must be the process that connected, so that a connection that was
//     passed on or inherited is worth nothing;
//   - at every request, by a handle on the process that cannot come to mean
//     another one when the pid is used again.
//
// The other direction is guarded too: [Dial] sends nothing before the server's
// uid and the way to its socket have been checked, so nobody can put up a
// socket and be told secrets, and [Listen] never has the socket there with the
// wrong mode, never takes a live one's place, and says so when a path is too
// long for the platform.
//
// What it cannot see: a process of the same uid that is made to act for
// another (LD_PRELOAD, ptrace). The uid is the boundary; the executable
// ([Peer.Runs]) only narrows it. On macOS there are no credentials per
// message: there the process is pinned by its audit token.
package sock

import (
	"errors"
	"fmt"
	"sync"
)

// Strength says how firmly a peer's pid is pinned to one process.
type Strength string

// The strengths.
const (
	StrengthPidfd      Strength = "pidfd"      // SO_PEERPIDFD, Linux 6.5 and later
	StrengthAuditToken Strength = "audittoken" // LOCAL_PEERTOKEN, macOS: pid and pid version
	StrengthStartTime  Strength = "starttime"  // older Linux: the start time in /proc, which can be raced
)

// Peer is the process at the other end of a connection, as the kernel named it
// when the connection was made.
type Peer struct {
	UID, GID uint32
	PID      int32
	Strength Strength

	mu     sync.RWMutex // keeps the pin's descriptor from being closed while it is asked
	pin    pin
	closed bool
}

// The errors of this package.
var (
	// ErrGone means that the process that connected has ended.
	ErrGone = errors.New("the process that connected has ended")
	// ErrOtherSender means that another process than the one that connected wrote
	// to the connection.
	ErrOtherSender = errors.New("another process than the one that connected is writing")
	// ErrForeignNamespace means that a peer sees other files or users than we do,
	// so that nothing its executable is called means anything.
	ErrForeignNamespace = errors.New("the process is in another mount or user namespace")
	// ErrOtherExecutable means that the peer runs none of the executables.
	ErrOtherExecutable = errors.New("the process runs another executable")
	// ErrInUse means that a live broker listens there.
	ErrInUse = errors.New("a broker is listening there already")
	// ErrNotRunning means that nobody listens there.
	ErrNotRunning = errors.New("the broker is not running")
	// ErrUntrusted means that somebody else than the server could have put the
	// socket there.
	ErrUntrusted = errors.New("not trusted")
)

// overflowUID is what the kernel calls a uid it cannot express, and nobody is
// it: it is refused, as is the uid that means "none".
const (
	overflowUID = 65534
	noUID       = ^uint32(0)
)

// admissible refuses uids that name nobody in particular.
func admissible(uid uint32) error {
	if uid == overflowUID || uid == noUID {
		return fmt.Errorf("uid %d names nobody in particular", uid)
	}
	return nil
}

// Alive returns nil while the process that connected lives and the connection
// is open, else an error that wraps [ErrGone].
func (p *Peer) Alive() error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return ErrGone
	}
	return p.pin.alive()
}

// Close lets go of the process.
func (p *Peer) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	return p.pin.close()
}
