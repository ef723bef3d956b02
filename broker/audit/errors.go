package audit

import (
	"errors"
	"fmt"
	"syscall"
)

// The errors of this package.
var (
	// ErrAbsent means that the directory has no log at all.
	ErrAbsent = errors.New("there is no audit log")
	// ErrExists is returned by [Create] where there is one.
	ErrExists = errors.New("there is an audit log already")
	// ErrDamaged is what every [*DamagedError] is.
	ErrDamaged = errors.New("the audit log is damaged")
	// ErrUnreadable means that the state folded from the log cannot be restored:
	// leases.snap is missing though the log needs it, is not intact, or says
	// something else than the log.
	ErrUnreadable = errors.New("the lease table cannot be restored")
	// ErrUnavailable means that the record is not durable, and that what it would
	// have allowed must not happen. It wraps the cause.
	ErrUnavailable = errors.New("the audit log cannot be written")
	// ErrClosed is an ErrUnavailable after [Log.Close].
	ErrClosed = fmt.Errorf("%w: it is closed", ErrUnavailable)
)

// DamagedError says where a log stops being what was written.
type DamagedError struct {
	Segment uint64 // file; 0 when it is the set of files
	Line    int    // in it, from 1; 0 when it is no line in particular
	Seq     uint64 // first record that cannot be trusted
	Reason  string
}

func (e *DamagedError) Error() string {
	switch {
	case e.Segment == 0:
		return fmt.Sprintf("%v: %s", ErrDamaged, e.Reason)
	case e.Line == 0:
		return fmt.Sprintf("%v: %s: %s", ErrDamaged, segmentName(e.Segment), e.Reason)
	}
	return fmt.Sprintf("%v: %s line %d (record %d): %s", ErrDamaged, segmentName(e.Segment), e.Line, e.Seq, e.Reason)
}

// Is makes every DamagedError an ErrDamaged.
func (e *DamagedError) Is(target error) bool { return target == ErrDamaged }

func unreadable(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnreadable, fmt.Errorf(format, args...))
}

// passes reports whether the cause of an error can go away by itself, so that
// a later record may try again: no room, or too many open files.
func passes(err error) bool {
	for _, errno := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.EINTR} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
