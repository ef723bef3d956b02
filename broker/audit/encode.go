package audit

import (
	"encoding/base64"
	"strconv"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// b64 is how hashes are written, except in the body of a note, where the
// format of checkpoints (C2SP tlog-checkpoint) asks for the standard alphabet.
var b64 = base64.RawURLEncoding.Strict()

// b64Len is the length of a hash so written.
const b64Len = 43

// chainKey begins the last field of a header or record.
const chainKey = `,"chain":"`

// appendStart begins a record's line: what only the log knows.
func appendStart(b []byte, seq uint64, at time.Time) []byte {
	b = append(b, `{"seq":`...)
	b = strconv.AppendUint(b, seq, 10)
	b = append(b, `,"time":"`...)
	b = appendTime(b, at)
	return append(b, '"')
}

// appendBody continues it with what the record says. r has no flaw.
func appendBody(b []byte, r *Record) []byte {
	b = appendText(b, `,"event":"`, string(r.Event))
	b = appendText(b, `,"decision":"`, string(r.Decision))
	b = appendText(b, `,"reason":"`, r.Reason)
	b = appendText(b, `,"stated_reason":"`, r.Stated)
	b = appendText(b, `,"agent":"`, r.Agent)
	if r.Peer {
		b = append(b, `,"uid":`...)
		b = strconv.AppendUint(b, uint64(r.UID), 10)
		b = append(b, `,"gid":`...)
		b = strconv.AppendUint(b, uint64(r.GID), 10)
		b = append(b, `,"pid":`...)
		b = strconv.AppendUint(b, uint64(r.PID), 10)
	}
	b = appendText(b, `,"strength":"`, r.Strength)
	b = appendText(b, `,"exe":"`, r.Exe)
	b = appendText(b, `,"secret":"`, string(r.Secret))
	b = appendCount(b, `,"version":`, r.Version)
	b = appendText(b, `,"lease_id":"`, r.Lease)
	b = appendText(b, `,"door":"`, r.Door)
	if r.Pinned {
		b = append(b, `,"pinned":true`...)
	}
	b = appendText(b, `,"group":"`, r.Group)
	b = appendCount(b, `,"ttl":`, uint64(r.TTL/time.Second))
	b = appendMoment(b, `,"issued":"`, r.Issued)
	b = appendMoment(b, `,"first":"`, r.First)
	b = appendMoment(b, `,"expires":"`, r.Expires)
	b = appendCount(b, `,"boot_deadline_ms":`, uint64(r.BootDeadline/time.Millisecond))
	b = appendCount(b, `,"epoch":`, r.Epoch)
	b = appendText(b, `,"grant":"`, r.Grant)
	b = appendText(b, `,"config":"`, r.Config)
	b = appendText(b, `,"mode":"`, r.Mode)
	b = appendText(b, `,"boot_id":"`, r.BootID)
	return appendCount(b, `,"count":`, r.Count)
}

// appendChain ends a line that begins at b[start:] with its chain, newline
// included.
func appendChain(b []byte, chain tlog.Hash) []byte {
	b = append(b, chainKey...)
	b = b64.AppendEncode(b, chain[:])
	return append(b, "\"}\n"...)
}

func appendText(b []byte, key, s string) []byte {
	if s == "" {
		return b
	}
	b = append(b, key...)
	b = append(b, s...)
	return append(b, '"')
}

func appendCount(b []byte, key string, n uint64) []byte {
	if n == 0 {
		return b
	}
	b = append(b, key...)
	return strconv.AppendUint(b, n, 10)
}

func appendMoment(b []byte, key string, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	b = append(b, key...)
	b = appendTime(b, t)
	return append(b, '"')
}

// appendTime writes a UTC time in whole microseconds, RFC 3339 with six
// digits: 2006-01-02T15:04:05.000000Z.
func appendTime(b []byte, t time.Time) []byte {
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = appendDigits(b, year, 4)
	b = appendDigits(append(b, '-'), int(month), 2)
	b = appendDigits(append(b, '-'), day, 2)
	b = appendDigits(append(b, 'T'), hour, 2)
	b = appendDigits(append(b, ':'), minute, 2)
	b = appendDigits(append(b, ':'), second, 2)
	b = appendDigits(append(b, '.'), t.Nanosecond()/1000, 6)
	return append(b, 'Z')
}

func appendDigits(b []byte, n, width int) []byte {
	b = append(b, "000000"[:width]...)
	for i := len(b) - 1; n > 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
	return b
}
