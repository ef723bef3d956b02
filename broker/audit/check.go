package audit

import (
	"time"

	"secretctl/broker/secret"
)

// The longest strings, in bytes. Together with the numbers they keep a line
// below maxLine.
const (
	maxReason = 64
	maxStated = 200
	maxExe    = 512
	maxGroup  = 32
	maxToken  = 128 // every other string
)

// maxLine is the longest line, in bytes, newline included. A sanity check: the
// longest record is about 2,200 bytes, the longest header about 3,300.
const maxLine = 4096

// normalise cuts r down to the resolution of the disk and makes the two
// free texts safe.
func (r *Record) normalise() {
	r.Stated = Sanitise(r.Stated, maxStated)
	r.Exe = Sanitise(r.Exe, maxExe)
	r.TTL -= r.TTL % time.Second
	r.BootDeadline -= r.BootDeadline % time.Millisecond
	r.Issued, r.First, r.Expires = micro(r.Issued), micro(r.First), micro(r.Expires)
}

func micro(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

// flaw names the first field of r that has no form on disk, "" when r is
// sound. Seq and Time are the log's own and not looked at.
func (r *Record) flaw() string {
	switch {
	case !r.Event.known():
		return "event"
	case r.Decision != "" && r.Decision != Allow && r.Decision != Deny:
		return "decision"
	case !isCode(r.Reason):
		return "reason"
	case r.PID < 0 || !r.Peer && (r.UID != 0 || r.GID != 0 || r.PID != 0):
		return "peer"
	case r.Lease != "" && !isHex(r.Lease, 32):
		return "lease"
	case r.Config != "" && !isHex(r.Config, 16):
		return "config"
	case r.BootID != "" && r.Event != EventStart:
		return "boot_id"
	}
	if r.Secret != "" {
		if _, err := secret.ParseName(string(r.Secret)); err != nil {
			return "secret"
		}
	}
	if f := r.textFlaw(); f != "" {
		return f
	}
	return r.timeFlaw()
}

func (r *Record) textFlaw() string {
	switch {
	case !isSafe(r.Stated, maxStated):
		return "stated_reason"
	case !isSafe(r.Agent, maxToken):
		return "agent"
	case !isSafe(r.Strength, maxToken):
		return "strength"
	case !isSafe(r.Exe, maxExe):
		return "exe"
	case !isSafe(r.Door, maxToken):
		return "door"
	case !isHex(r.Group, min(len(r.Group), maxGroup)):
		return "group"
	case !isSafe(r.Grant, maxToken):
		return "grant"
	case !isSafe(r.Mode, maxToken):
		return "mode"
	case !isSafe(r.BootID, maxToken):
		return "boot_id"
	}
	return ""
}

func (r *Record) timeFlaw() string {
	switch {
	case r.TTL < 0 || r.TTL%time.Second != 0:
		return "ttl"
	case r.BootDeadline < 0 || r.BootDeadline%time.Millisecond != 0:
		return "boot_deadline"
	case !isMicro(r.Issued):
		return "issued"
	case !isMicro(r.First):
		return "first"
	case !isMicro(r.Expires):
		return "expires"
	}
	return ""
}

// isMicro reports whether t has an exact form on disk.
func isMicro(t time.Time) bool {
	if t.IsZero() {
		return true
	}
	y := t.Year()
	return t.Location() == time.UTC && t.Nanosecond()%1000 == 0 && 1 <= y && y <= 9999
}

// isCode reports whether s is a code ([a-z_]*) that fits.
func isCode(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return len(s) <= maxReason
}

// isHex reports whether s is n lower-case hex digits.
func isHex(s string, n int) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s) == n
}
