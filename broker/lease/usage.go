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

func minuteOf(at time.Time) int64 { return max(at.Unix()/60, 0) }

// count counts a lease issued at this time. Between two calls of back, times
// only grow; one that does not counts in the minute reached before.
func (u *usage) count(at time.Time) {
	m := minuteOf(at)
	for i := max(u.minute+1, m-minutes+1); i <= m; i++ {
		u.issued[i%minutes] = 0
	}
	u.minute = max(u.minute, m)
	u.issued[u.minute%minutes]++
}

// back makes the minute of at the current one after the clock has gone back to
// it. What was counted keeps its age: setting the clock back forgets nothing,
// and what it had run ahead of does not count for longer than an hour more.
func (u *usage) back(at time.Time) {
	m := minuteOf(at)
	if m >= u.minute {
		return
	}
	var moved [minutes]uint32
	for age := range int64(minutes) {
		moved[(m-age+minutes)%minutes] = u.issued[(u.minute-age+minutes)%minutes]
	}
	u.minute, u.issued = m, moved
}

// lastHour returns how many leases were issued in the hour before now. Of a
// clock that went back it knows nothing until back is called, and counts all.
func (u *usage) lastHour(now time.Time) int {
	n := 0
	for i := max(u.minute, minuteOf(now)) - minutes + 1; i <= u.minute; i++ {
		n += int(u.issued[(i+minutes)%minutes])
	}
	return n
}

// byMinute is what was issued in each minute that still counts.
func (u *usage) byMinute() map[int64]uint32 {
	m := make(map[int64]uint32)
	for i := max(u.minute-minutes+1, 0); i <= u.minute; i++ {
		if n := u.issued[i%minutes]; n > 0 {
			m[i] = n
		}
	}
	return m
}

// restore takes byMinute back. It reports whether m can be from there, with the
// clock at last.
func (u *usage) restore(m map[int64]uint32, last time.Time) bool {
	for at := range m {
		u.minute = max(u.minute, at)
	}
	for at, n := range m {
		if at < 0 || at <= u.minute-minutes || at > minuteOf(last) {
			return false
		}
		u.issued[at%minutes] = n
	}
	return true
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

func (c counts) Live(rule string) int {
	if u, ok := c.t.rules[rule]; ok {
		return u.live
	}
	return 0
}

func (c counts) LastHour(rule string) int {
	if u, ok := c.t.rules[rule]; ok {
		return u.lastHour(c.now) + u.reserved
	}
	return 0
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
