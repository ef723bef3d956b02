package sock

import (
	"errors"
	"fmt"
	"io/fs"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pin holds on to the process by its audit token: the version changes with
// every exec and with every new use of the pid. The token is read from the
// connection, which is kept by its descriptor.
type pin struct {
	fd      int // of the connection, not owned
	pid     int32
	version uint32
}

// token is an audit_token_t (bsm/audit.h): auid, euid, egid, ruid, rgid, pid,
// asid, pid version.
type token [8]uint32

// peerOf reads who connected.
func peerOf(fd int) (*Peer, error) {
	cred, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return nil, fmt.Errorf("asking the kernel who connected: %w", err)
	}
	t, err := peerToken(fd)
	if err != nil {
		return nil, fmt.Errorf("asking the kernel who connected: %w", err)
	}
	if t[1] != cred.Uid {
		return nil, errors.New("the kernel gave two uids for one peer")
	}
	pid := int32(t[5])
	return &Peer{UID: cred.Uid, GID: t[2], PID: pid, Strength: StrengthAuditToken, pin: pin{fd, pid, t[7]}}, nil
}

// peerToken reads LOCAL_PEERTOKEN. x/sys has the constant and no getter of that
// size; the 76 bytes of an Xucred have room for the token's 32.
func peerToken(fd int) (token, error) {
	x, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERTOKEN)
	if err != nil {
		return token{}, err
	}
	return *(*token)(unsafe.Pointer(x)), nil
}

func (p pin) alive() error {
	t, err := peerToken(p.fd)
	if err != nil || int32(t[5]) != p.pid || t[7] != p.version {
		return ErrGone
	}
	if err := unix.Kill(int(p.pid), 0); err == unix.ESRCH {
		return ErrGone
	}
	return nil
}

func (p pin) close() error { return nil }

// serverUID returns the uid of who listens at the other end.
func serverUID(fd int) (uint32, error) {
	cred, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return 0, err
	}
	return cred.Uid, nil
}

// prepare does nothing: macOS has no credentials per message, and a socket's
// mode cannot be set before it is bound.
func prepare(int, fs.FileMode) error { return nil }

// controlSize is the most control data a message has: one mbuf cluster. Where
// it does not fit, the kernel makes the descriptors ours and does not say which.
const controlSize = 2048

// checkSender can only refuse descriptors: who wrote is not told.
func checkSender(_ *Peer, control []byte, flags int) error {
	if len(control) > 0 || flags&unix.MSG_CTRUNC != 0 {
		return errDescriptors
	}
	return nil
}

// InUserNamespace reports false: macOS has none.
func InUserNamespace() bool { return false }
