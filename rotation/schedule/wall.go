package schedule

import "time"

// A schedule and a freeze are about what the clock on the wall shows. Here that
// is a time in UTC with the wall's numbers, which has no summer time: every
// number on it comes once.

// onWall returns what the wall in loc shows at t.
func onWall(t time.Time, loc *time.Location) time.Time {
	_, offset := t.In(loc).Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// fromWall returns when the wall in loc shows w: the first time where it shows it
// twice, and the end of the gap where it never does. So it never falls as w
// rises.
func fromWall(w time.Time, loc *time.Location) time.Time {
	// Which of two zones Date takes, near a change, it does not promise.
	t := time.Date(w.Year(), w.Month(), w.Day(), w.Hour(), w.Minute(), w.Second(), w.Nanosecond(), loc)
	start, end := t.ZoneBounds()
	switch shown := onWall(t, loc); {
	case shown.After(w): // in a gap, and taken to be after it
		return start.UTC()
	case shown.Before(w):
		return end.UTC()
	}
	if !start.IsZero() {
		_, offset := start.Add(-1).Zone()
		if first := w.Add(-time.Duration(offset) * time.Second); first.Before(start) {
			return first
		}
	}
	return t.UTC()
}
