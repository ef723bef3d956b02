package audit

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"

	"secretctl/broker/secret"
)

// decoder reads the one form a line can have. The first deviation sets bad,
// and nothing after it counts.
type decoder struct {
	s   string
	i   int
	bad bool
}

func (d *decoder) err(what string) error {
	return fmt.Errorf("it is no %s: malformed at byte %d", what, d.i)
}

// at consumes x if it comes next.
func (d *decoder) at(x string) bool {
	if !strings.HasPrefix(d.s[d.i:], x) {
		return false
	}
	d.i += len(x)
	return true
}

// must consumes x.
func (d *decoder) must(x string) {
	if !d.at(x) {
		d.bad = true
	}
}

// text reads a string up to and including its closing quote.
func (d *decoder) text() string {
	start := d.i
	for d.i < len(d.s) {
		c := d.s[d.i]
		switch {
		case c == '"':
			d.i++
			return d.s[start : d.i-1]
		case plain[c]:
			d.i++
		case c < utf8.RuneSelf:
			d.bad = true
			return ""
		default:
			r, n := utf8.DecodeRuneInString(d.s[d.i:])
			if r == utf8.RuneError && n <= 1 || hidden(r) {
				d.bad = true
				return ""
			}
			d.i += n
		}
	}
	d.bad = true
	return ""
}

// opt reads an optional string field. The empty string is never written.
func (d *decoder) opt(key string) string {
	if !d.at(key) {
		return ""
	}
	s := d.text()
	if s == "" {
		d.bad = true
	}
	return s
}

// number reads a decimal without leading zeros, at most limit.
func (d *decoder) number(limit uint64) uint64 {
	start, n := d.i, uint64(0)
	for d.i < len(d.s) && d.s[d.i] >= '0' && d.s[d.i] <= '9' {
		c := uint64(d.s[d.i] - '0')
		if n > (math.MaxUint64-c)/10 {
			d.bad = true
			return 0
		}
		n = n*10 + c
		d.i++
	}
	if d.i == start || d.s[start] == '0' && d.i > start+1 || n > limit {
		d.bad = true
	}
	return n
}

// optNumber reads an optional number field. Zero is never written.
func (d *decoder) optNumber(key string, limit uint64) uint64 {
	if !d.at(key) {
		return 0
	}
	n := d.number(limit)
	if n == 0 {
		d.bad = true
	}
	return n
}

// digits reads a number of exactly width digits.
func (d *decoder) digits(width int) int {
	if len(d.s)-d.i < width {
		d.bad = true
		return 0
	}
	n := 0
	for range width {
		c := d.s[d.i]
		if c < '0' || c > '9' {
			d.bad = true
			return 0
		}
		n = n*10 + int(c-'0')
		d.i++
	}
	return n
}

// moment reads a time.
func (d *decoder) moment() time.Time {
	year := d.digits(4)
	d.must("-")
	month := d.digits(2)
	d.must("-")
	day := d.digits(2)
	d.must("T")
	hour := d.digits(2)
	d.must(":")
	minute := d.digits(2)
	d.must(":")
	second := d.digits(2)
	d.must(".")
	us := d.digits(6)
	d.must("Z")
	if d.bad || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 {
		d.bad = true
		return time.Time{}
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, us*1000, time.UTC)
	if t.Day() != day || year == 0 {
		d.bad = true // 31 February, or before year 1
	}
	return t
}

// optMoment reads an optional time field. The zero time is never written.
func (d *decoder) optMoment(key string) time.Time {
	if !d.at(key) {
		return time.Time{}
	}
	t := d.moment()
	d.must(`"`)
	if t.IsZero() {
		d.bad = true
	}
	return t
}

// hash reads a hash and its closing quote.
func (d *decoder) hash() (h tlog.Hash) {
	if len(d.s)-d.i < b64Len {
		d.bad = true
		return h
	}
	var buf [b64Len]byte
	copy(buf[:], d.s[d.i:])
	if n, err := b64.Decode(h[:], buf[:]); err != nil || n != len(h) {
		d.bad = true
		return h
	}
	d.i += b64Len
	d.must(`"`)
	return h
}

// chain reads the last field and the end of the line. body is the length of
// what the chain covers.
func (d *decoder) chain() (chain tlog.Hash, body int) {
	body = d.i
	d.must(chainKey)
	chain = d.hash()
	d.must("}")
	if d.i != len(d.s) {
		d.bad = true
	}
	return chain, body
}

// decodeRecord reads a record's line, given without its newline. Its strings
// share the line's memory.
func decodeRecord(line string, r *Record) (chain tlog.Hash, body int, err error) {
	d := decoder{s: line}
	*r = Record{}
	d.must(`{"seq":`)
	r.Seq = d.number(math.MaxUint64)
	d.must(`,"time":"`)
	r.Time = d.moment()
	d.must(`"`)
	d.must(`,"event":"`)
	r.Event = Event(d.text())
	d.who(r)
	d.what(r)
	chain, body = d.chain()
	if d.bad || len(line) >= maxLine || r.Seq == 0 || r.flaw() != "" {
		return tlog.Hash{}, 0, d.err("record")
	}
	return chain, body, nil
}

func (d *decoder) who(r *Record) {
	r.Decision = Decision(d.opt(`,"decision":"`))
	r.Reason = d.opt(`,"reason":"`)
	r.Stated = d.opt(`,"stated_reason":"`)
	r.Agent = d.opt(`,"agent":"`)
	if d.at(`,"uid":`) {
		r.Peer = true
		r.UID = uint32(d.number(math.MaxUint32))
		d.must(`,"gid":`)
		r.GID = uint32(d.number(math.MaxUint32))
		d.must(`,"pid":`)
		r.PID = int32(d.number(math.MaxInt32))
	}
	r.Strength = d.opt(`,"strength":"`)
	r.Exe = d.opt(`,"exe":"`)
}

func (d *decoder) what(r *Record) {
	r.Secret = secret.Name(d.opt(`,"secret":"`)) // checked by Record.flaw
	r.Version = d.optNumber(`,"version":`, math.MaxUint64)
	r.Lease = d.opt(`,"lease_id":"`)
	r.Door = d.opt(`,"door":"`)
	r.Pinned = d.at(`,"pinned":true`)
	r.Group = d.opt(`,"group":"`)
	r.TTL = time.Duration(d.optNumber(`,"ttl":`, math.MaxInt64/uint64(time.Second))) * time.Second
	r.Issued = d.optMoment(`,"issued":"`)
	r.First = d.optMoment(`,"first":"`)
	r.Expires = d.optMoment(`,"expires":"`)
	r.BootDeadline = time.Duration(d.optNumber(`,"boot_deadline_ms":`, math.MaxInt64/uint64(time.Millisecond))) * time.Millisecond
	r.Epoch = d.optNumber(`,"epoch":`, math.MaxUint64)
	r.Grant = d.opt(`,"grant":"`)
	r.Config = d.opt(`,"config":"`)
	r.Mode = d.opt(`,"mode":"`)
	r.BootID = d.opt(`,"boot_id":"`)
	r.Count = d.optNumber(`,"count":`, math.MaxUint64)
}
