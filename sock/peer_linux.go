package sock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// pin holds on to the process: by a pidfd, or by its start time.
type pin struct {
	pid   int32
	fd    int // pidfd; -1: none
	start string
}

// peerOf reads who connected.
func peerOf(fd int) (*Peer, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return nil, fmt.Errorf("asking the kernel who connected: %w", err)
	}
	if cred.Pid <= 0 {
		return nil, errors.New("the peer's pid is not visible from here")
	}
	p := &Peer{UID: cred.Uid, GID: cred.Gid, PID: cred.Pid, pin: pin{pid: cred.Pid, fd: -1}}
	pidfd, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	_, short := outOfFiles(err)
	switch {
	case err == nil:
		unix.CloseOnExec(pidfd)
		p.pin.fd, p.Strength = pidfd, StrengthPidfd
	case errors.Is(err, unix.ENOPROTOOPT):
		if p.pin.start, err = startTime(cred.Pid); err != nil {
			return nil, ErrGone
		}
		p.Strength = StrengthStartTime
	case short:
		return nil, fmt.Errorf("asking the kernel who connected: %w", err)
	default: // ESRCH, EINVAL: it has ended and was reaped
		return nil, ErrGone
	}
	return p, nil
}

func (p pin) alive() error {
	if p.fd < 0 {
		if start, err := startTime(p.pid); err != nil || start != p.start {
			return ErrGone
		}
		return nil
	}
	poll := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	for {
		switch n, err := unix.Poll(poll, 0); {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("%w: %w", ErrGone, err)
		case n != 0:
			return ErrGone
		default:
			return nil
		}
	}
}

func (p pin) close() error {
	if p.fd < 0 {
		return nil
	}
	return unix.Close(p.fd)
}

// startTime returns field 22 of /proc/PID/stat. The name in field 2 may hold
// anything, parentheses and spaces included, so the count starts after it. A
// process that has ended has none, even if nobody has waited for it yet.
func startTime(pid int32) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	_, rest, ok := strings.Cut(string(b[max(0, strings.LastIndexByte(string(b), ')')):]), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return "", errors.New("reading a start time: not a stat line")
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return "", ErrGone
	}
	return fields[19], nil
}

// serverUID returns the uid of who listens at the other end.
func serverUID(fd int) (uint32, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, err
	}
	return cred.Uid, nil
}

// prepare sets what connections accepted from the socket inherit, and the most
// that its file's mode can be. It is called before bind(2) and listen(2): set
// later, the first message could come without.
func prepare(fd int, mode fs.FileMode) error {
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1) // every message carries its sender
	// Nobody can send descriptors (Linux 6.16); before, checkSender sees to it.
	if e := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSRIGHTS, 0); !errors.Is(e, unix.ENOPROTOOPT) {
		err = errors.Join(err, e)
	}
	return errors.Join(err, unix.Fchmod(fd, uint32(mode.Perm())))
}

// controlSize is the space for what comes with a message: the credentials,
// which the kernel puts first, and nothing else. Descriptors have no room, so
// that the kernel lets go of them before they are ours: closing one can block
// for as long as its sender likes.
const controlSize = unix.SizeofCmsghdr + (unix.SizeofUcred+unix.SizeofPtr-1)/unix.SizeofPtr*unix.SizeofPtr

// checkSender refuses a message that the connecting process did not write, or
// that came with more than the credentials.
func checkSender(p *Peer, control []byte, flags int) error {
	if flags&unix.MSG_CTRUNC != 0 {
		return errDescriptors
	}
	if len(control) == 0 {
		return ErrOtherSender
	}
	h, data, _, err := unix.ParseOneSocketControlMessage(control)
	if err != nil {
		return fmt.Errorf("reading who wrote: %w", err)
	}
	cred, err := unix.ParseUnixCredentials(&unix.SocketControlMessage{Header: h, Data: data})
	if err != nil {
		return fmt.Errorf("reading who wrote: %w", err)
	}
	if cred.Pid != p.PID || cred.Uid != p.UID {
		return ErrOtherSender
	}
	return nil
}

// InUserNamespace reports whether this process is in a user namespace that is
// not the machine's own. Uids then mean something else than what people see.
func InUserNamespace() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(b)), " ") != "0 0 4294967295"
}
