package lease

import (
	"time"

	"secretctl/broker/grant"
)

// minutes is the resolution of the sliding hour: a lease stops counting
// between 60 and 61 minutes after it was issued.
const minutes = 61

// usage is what one grant has given: the leases held now and those issued in
// each of the last 61 minutes.
type usage struct {
	live     int   // leases held, reservations included
	reserved int   // of those, the ones whose record is not durable yet
	minute   int64 // the minute, since 1970, that issued[minute%minutes] counts
	issued   [minutes]uint32
}

// turn makes m the current minute, forgetting those that fell out of the hour.
// A clock that went back keeps counting in the minute it had reached.
func (u *usage) turn(m int64) {
	if m <= u.minute {
		return
	}
	for i := max(u.minute+1, m-minutes+1); i <= m; i++ {
		u.issued[i%minutes] = 0
	}
	u.minute = m
}

func (u *usage) count(at time.Time) {
	u.turn(at.Unix() / 60)
	u.issued[u.minute%minutes]++
}

func (u *usage) lastHour(now time.Time) int {
	u.turn(now.Unix() / 60)
	n := 0
	for _, c := range u.issued {
		n += int(c)
	}
	return n
}

// byMinute is what was issued in each minute that still counts.
func (u *usage) byMinute() map[int64]int {
	m := make(map[int64]int)
	for i := u.minute - minutes + 1; i <= u.minute; i++ {
		if i >= 0 && u.issued[i%minutes] > 0 {
			m[i] = int(u.issued[i%minutes])
		}
	}
	return m
}

func (u *usage) restore(m map[int64]int) {
	var latest int64
	for at := range m {
		latest = max(latest, at)
	}
	u.turn(latest)
	for at, n := range m {
		if at >= 0 && at > latest-minutes {
			u.issued[at%minutes] = uint32(n)
		}
	}
}

func (t *Table) usageLocked(rule string) *usage {
	u, ok := t.rules[rule]
	if !ok {
		u = new(usage)
		t.rules[rule] = u
	}
	return u
}

// counts is the table's answer to a decision made under its lock.
type counts struct {
	t   *Table
	now time.Time
}

func (c counts) Live(rule string) int { return c.t.usageLocked(rule).live }

func (c counts) LastHour(rule string) int {
	u := c.t.usageLocked(rule)
	return u.lastHour(c.now) + u.reserved
}

// lockedCounts is the same from outside the lock.
type lockedCounts struct {
	t   *Table
	now time.Time
}

func (c lockedCounts) Live(rule string) int {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	return counts(c).Live(rule)
}

func (c lockedCounts) LastHour(rule string) int {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	return counts(c).LastHour(rule)
}

var (
	_ grant.Counts = counts{}
	_ grant.Counts = lockedCounts{}
)
