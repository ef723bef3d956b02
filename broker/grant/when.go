package grant

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Window is a part of the day by the clock on the wall: from the minute it
// begins up to, but not including, the minute it ends. One that ends before it
// begins crosses midnight. The zero value is the whole day.
//
// Only what the clock shows counts. An hour that summer time repeats is in the
// window both times, and a window inside the hour it skips is never open that
// day.
type Window struct {
	from, to int // minutes since midnight, 0 to 1440; equal only in the zero value
}

// minutesInDay is also the end of a window written "24:00".
const minutesInDay = 24 * 60

// ParseWindow reads "07:00-23:00". The error is a [*Malformed].
func ParseWindow(s string) (Window, error) {
	const form = `hours are two times of the day: "07:00-23:00", or "22:00-06:00" across midnight`
	a, b, _ := strings.Cut(s, "-")
	from, okFrom := parseMinute(a)
	to, okTo := parseMinute(b)
	switch {
	case !okFrom || !okTo || from == minutesInDay:
		return Window{}, malformed(form, "hours %q cannot be read", s)
	case from == to:
		return Window{}, malformed("for the whole day leave hours out", "hours %q begin and end at the same minute", s)
	}
	return Window{from, to}, nil
}

// parseMinute reads "HH:MM" up to "24:00" as minutes since midnight.
func parseMinute(s string) (minute int, ok bool) {
	if len(s) != len("00:00") || s[2] != ':' {
		return 0, false
	}
	for _, i := range []int{0, 1, 3, 4} {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	h, m := int(s[0]-'0')*10+int(s[1]-'0'), int(s[3]-'0')*10+int(s[4]-'0')
	minute = h*60 + m
	return minute, m < 60 && minute <= minutesInDay
}

// IsZero reports whether the window is the whole day.
func (w Window) IsZero() bool { return w == Window{} }

// CrossesMidnight reports whether the window ends on the day after it begins.
func (w Window) CrossesMidnight() bool { return w.to < w.from && w.to > 0 }

// Contains reports whether the clock of t's own location is in the window.
func (w Window) Contains(t time.Time) bool {
	if w.IsZero() {
		return true
	}
	minute := t.Hour()*60 + t.Minute()
	if w.from < w.to {
		return w.from <= minute && minute < w.to
	}
	return w.from <= minute || minute < w.to
}

// String returns what [ParseWindow] reads, or "" for the whole day.
func (w Window) String() string {
	if w.IsZero() {
		return ""
	}
	return fmt.Sprintf("%02d:%02d-%02d:%02d", w.from/60, w.from%60, w.to/60, w.to%60)
}

// Days is a set of weekdays, one bit each, Sunday first. The zero value is
// every day.
type Days uint8

var dayNames = []string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}

// ParseDays reads days and ranges of days, separated by commas: "Mon-Fri",
// "Mon,Wed,Sat-Sun". A range may pass the end of the week. The error is a
// [*Malformed].
func ParseDays(s string) (Days, error) {
	const form = `weekdays are days and ranges of them: "Mon-Fri" or "Mon,Wed,Sat-Sun"`
	var set Days
	for part := range strings.SplitSeq(s, ",") {
		a, b, ranged := strings.Cut(part, "-")
		if !ranged {
			b = a
		}
		first, last := slices.Index(dayNames, a), slices.Index(dayNames, b)
		if first < 0 || last < 0 {
			return 0, malformed(form, "weekdays %q cannot be read", s)
		}
		if ranged && first == last {
			return 0, malformed(form, "weekdays %q has a range that begins and ends on the same day", s)
		}
		for day := first; ; day = (day + 1) % len(dayNames) {
			set |= 1 << day
			if day == last {
				break
			}
		}
	}
	return set, nil
}

// Contains reports whether the day of t, in t's own location, is in the set.
func (d Days) Contains(t time.Time) bool {
	return d == 0 || d&(1<<t.Weekday()) != 0
}

// String lists the days from Monday on, or returns "" for every day. What it
// returns [ParseDays] reads.
func (d Days) String() string {
	var names []string
	for i := range dayNames {
		day := (i + 1) % len(dayNames)
		if d&(1<<day) != 0 {
			names = append(names, dayNames[day])
		}
	}
	return strings.Join(names, ",")
}
