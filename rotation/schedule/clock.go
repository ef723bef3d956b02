package schedule

import "time"

// Clock is what is remembered of the wall clock, kept on the disk: it is wrong
// most often just after the machine started. The zero value has seen nothing.
type Clock struct {
	Seen time.Time `json:"seen,omitzero"` // the latest it ever showed
	Back time.Time `json:"back,omitzero"` // what it showed when it was found set back; zero: it is not
}

// Pace is whether the scheduler goes on.
type Pace int

// The paces.
const (
	Going Pace = iota
	// Paused: the clock shows more than an hour less than it has shown. Either was
	// wrong. Nothing is decided until it is clear, and the owner is told.
	Paused
	// Accepted: the clock was set back a day ago and still shows that, so the time
	// before was the wrong one. Call [Plan.Accept] for every secret, and go on.
	Accepted
)

const (
	// setBack is how far the clock may go back without a word: small corrections
	// cannot bring a slot back.
	setBack = time.Hour
	// doubt is how long a clock that was set back is not trusted.
	doubt = 24 * time.Hour
)

// Tick looks at the clock. The result replaces c; it has to be on the disk when
// [Going] turns to another pace or back, and every few minutes.
func (c Clock) Tick(now time.Time) (Clock, Pace) {
	now = now.UTC().Round(0)
	switch {
	case !now.Before(c.Seen.Add(-setBack)):
		if now.Before(c.Seen) {
			now = c.Seen
		}
		return Clock{Seen: now}, Going
	case c.Back.IsZero() || now.Before(c.Back):
		c.Back = now
		return c, Paused
	case now.Sub(c.Back) < doubt:
		return c, Paused
	}
	return Clock{Seen: now}, Accepted
}
