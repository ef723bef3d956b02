package schedule

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Freeze is when nothing is started. The zero value is never.
//
// What the wall shows counts, to the minute. An hour that summer time repeats
// is in it both times.
type Freeze struct {
	weekly []span // sorted, apart from each other, in minutes since Sunday 00:00
	dates  []dates
}

// span is from a minute up to, not including, another.
type span struct{ from, to int }

const (
	dayMinutes  = 24 * 60
	weekMinutes = 7 * dayMinutes
)

// dates are whole days on the wall, up to and not including the last.
type dates struct{ from, to time.Time }

var dayNames = []string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}

// ParseFreeze reads windows: "Fri 16:00-Mon 08:00" each week, "22:00-06:00" each
// day, "Sat-Sun" for whole days of each week, and "2026-12-24-2026-12-27" for
// days with their date, of which the last is frozen too. The error is a
// [*Malformed].
func ParseFreeze(windows ...string) (Freeze, error) {
	const form = `a freeze is "Fri 16:00-Mon 08:00", "22:00-06:00", "Sat-Sun" or "2026-12-24-2026-12-27"`
	var f Freeze
	var week []span
	for _, w := range windows {
		from, to, ok := strings.Cut(w, "-")
		if len(w) == len("2026-12-24-2026-12-27") && w[len("2026-12-24")] == '-' {
			from, to = w[:len("2026-12-24")], w[len("2026-12-24-"):]
		}
		spans, days := parseWindow(from, to)
		switch {
		case !ok || spans == nil && days == nil:
			return Freeze{}, malformed(form, "freeze %q cannot be read", w)
		case days != nil && !days.from.Before(days.to):
			return Freeze{}, malformed(form, "freeze %q ends before it begins", w)
		case days != nil:
			f.dates = append(f.dates, *days)
		case spans[0].from == spans[0].to:
			return Freeze{}, malformed(form, "freeze %q begins and ends at the same minute", w)
		}
		week = append(week, spans...)
	}
	f.weekly = merge(week)
	if len(f.weekly) == 1 && f.weekly[0] == (span{0, weekMinutes}) {
		return Freeze{}, malformed("leave some hours free, or leave schedule out to rotate by hand only", "freeze covers the whole week: nothing would ever be rotated")
	}
	return f, nil
}

// parseWindow reads the two sides of a window: as spans of the week, of which
// one that passes its end has to < from, or as days; neither when it cannot.
func parseWindow(from, to string) ([]span, *dates) {
	first, errFirst := time.Parse(time.DateOnly, from)
	last, errLast := time.Parse(time.DateOnly, to)
	if errFirst == nil && errLast == nil {
		return nil, &dates{first, last.AddDate(0, 0, 1)}
	}
	if a, b := slices.Index(dayNames, from), slices.Index(dayNames, to); a >= 0 && b >= 0 {
		if a == b {
			return nil, nil
		}
		if (b+1)%7 == a {
			return []span{{0, weekMinutes}}, nil
		}
		return []span{{a * dayMinutes, (b + 1) % 7 * dayMinutes}}, nil
	}
	a, okA := parseMinute(from)
	b, okB := parseMinute(to)
	if okA && okB {
		spans := make([]span, 7)
		for day := range spans {
			spans[day] = span{day*dayMinutes + a, day*dayMinutes + b}
			if b < a {
				spans[day].to = (spans[day].to + dayMinutes) % weekMinutes
			}
		}
		return spans, nil
	}
	a, okA = parseDayMinute(from)
	b, okB = parseDayMinute(to)
	if okA && okB {
		return []span{{a, b}}, nil
	}
	return nil, nil
}

// parseDayMinute reads "Fri 16:00" as minutes since Sunday 00:00.
func parseDayMinute(s string) (int, bool) {
	name, rest, _ := strings.Cut(s, " ")
	day := slices.Index(dayNames, name)
	minute, ok := parseMinute(rest)
	return day*dayMinutes + minute, ok && day >= 0
}

// parseMinute reads "16:00" as minutes since midnight.
func parseMinute(s string) (int, bool) {
	t, err := time.Parse("15:04", s)
	return t.Hour()*60 + t.Minute(), err == nil && len(s) == len("15:04")
}

// merge cuts spans at the end of the week, sorts them and joins those that touch.
func merge(week []span) []span {
	var cut, out []span
	for _, s := range week {
		if s.to > s.from {
			cut = append(cut, s)
			continue
		}
		cut = append(cut, span{s.from, weekMinutes})
		if s.to > 0 {
			cut = append(cut, span{0, s.to})
		}
	}
	slices.SortFunc(cut, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for _, s := range cut {
		if n := len(out); n > 0 && s.from <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, s.to)
			continue
		}
		out = append(out, s)
	}
	return out
}

// Frozen reports whether nothing may be started at t, by the wall in loc, and
// until when: the first moment that is free.
func (f Freeze) Frozen(t time.Time, loc *time.Location) (until time.Time, frozen bool) {
	for until = t; ; frozen = true {
		w := onWall(until, loc)
		end, ok := f.end(w)
		if !ok {
			return until.UTC(), frozen
		}
		next := fromWall(end, loc)
		if !next.After(until) {
			// In the hour that is repeated, the second time: it ends when the wall shows
			// the end again.
			next = until.Add(end.Sub(w))
		}
		until = next
	}
}

// end returns when, on the wall, the window that w is in ends.
func (f Freeze) end(w time.Time) (time.Time, bool) {
	for _, d := range f.dates {
		if !w.Before(d.from) && w.Before(d.to) {
			return d.to, true
		}
	}
	day := w.Truncate(24 * time.Hour) // a wall is in UTC, whose days are whole
	minute := int(w.Weekday())*dayMinutes + w.Hour()*60 + w.Minute()
	for _, s := range f.weekly {
		if s.from <= minute && minute < s.to {
			return day.Add(time.Duration(s.to-int(w.Weekday())*dayMinutes) * time.Minute), true
		}
	}
	return time.Time{}, false
}
