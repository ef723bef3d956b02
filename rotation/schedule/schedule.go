package schedule

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Hour is the least time between two starts for one secret: a service that
// makes credentials which then do not work is not asked for many of them.
const Hour = time.Hour

// Schedule is when something is due by the calendar: its slots.
type Schedule struct {
	text  string
	spec  *cron.SpecSchedule // nil with every
	every time.Duration
}

// String returns what was parsed.
func (s *Schedule) String() string { return s.text }

const (
	form   = `five fields, minute hour day month weekday, like "0 4 1 * *" for 04:00 on the 1st of each month; or @daily, @weekly, @monthly, @yearly, "@every 720h"`
	hourly = `name one minute, like "0 4 * * *": a secret gets at most one new credential an hour`
)

// Parse reads a cron expression of five fields or one of cron's words. The error
// is a [*Malformed].
func Parse(expr string) (s *Schedule, err error) {
	// The parser panics on some texts; those that are known are refused before.
	defer func() {
		if recover() != nil {
			s, err = nil, malformed(form, "schedule %q cannot be read", expr)
		}
	}()
	fields := strings.Fields(expr)
	text := strings.Join(fields, " ")
	if len(fields) > 0 && strings.Contains(strings.ToUpper(fields[0]), "TZ=") {
		return nil, malformed(`leave it out, and set timezone = "…" in [rotation]`, "schedule %q has a time zone of its own", expr)
	}
	if strings.HasPrefix(text, "@") {
		return parseWord(expr, text)
	}
	if len(fields) != len(columns) {
		return nil, malformed(form, "schedule %q has %d of five fields", expr, len(fields))
	}
	for i, field := range fields {
		if err := columns[i].check(expr, field, i); err != nil {
			return nil, err
		}
	}
	parsed, err := cron.ParseStandard(text)
	if err != nil {
		return nil, malformed(form, "schedule %q cannot be read", expr)
	}
	return newSchedule(expr, text, parsed)
}

// parseWord reads "@daily" and its like.
func parseWord(expr, text string) (*Schedule, error) {
	parsed, err := cron.ParseStandard(text)
	if err == nil {
		return newSchedule(expr, text, parsed)
	}
	if given, ok := strings.CutPrefix(text, "@every "); ok {
		return nil, malformed(`hours are the longest unit: "@every 720h" is 30 days`, "schedule %q has a time, %q, that cannot be read", expr, given)
	}
	return nil, malformed(form, "schedule %q is none of cron's words", expr)
}

func newSchedule(expr, text string, parsed cron.Schedule) (*Schedule, error) {
	switch p := parsed.(type) {
	case cron.ConstantDelaySchedule:
		if p.Delay < Hour {
			return nil, malformed(`"@every 1h" is the most often: a secret gets at most one new credential an hour`, "schedule %q is more often than hourly", expr)
		}
		return &Schedule{text: text, every: p.Delay}, nil
	case *cron.SpecSchedule:
		// Two minutes of one hour are less than an hour apart, one minute never is.
		if bits.OnesCount64(p.Minute&^starBit) != 1 {
			return nil, malformed(hourly, "schedule %q is more often than hourly", expr)
		}
		if p.Next(leapDay).IsZero() {
			return nil, malformed("name a day that the month has", "schedule %q never comes: there is no such date", expr)
		}
		return &Schedule{text: text, spec: p}, nil
	}
	return nil, malformed(form, "schedule %q cannot be read", expr)
}

// starBit is how the parser marks a "*" in the set of a field's numbers.
const starBit = 1 << 63

// leapDay is before a 29 February: what does not come in the five years after
// it, which is how far the parser looks, does not come at all.
var leapDay = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// column is one of the five fields.
type column struct {
	name     string
	from, to int
	words    string
}

var columns = []column{
	{"a minute", 0, 59, ""},
	{"an hour", 0, 23, ""},
	{"a day", 1, 31, ""},
	{"a month", 1, 12, " or JAN to DEC"},
	{"a weekday", 0, 6, " or SUN to SAT"},
}

// check says which field is wrong, and why, where the parser has only a word for
// programmers.
func (c column) check(expr, field string, i int) error {
	alone := []string{"0", "0", "*", "*", "*"}
	alone[i] = field
	if strings.Trim(field, ",") != "" {
		if _, err := cron.ParseStandard(strings.Join(alone, " ")); err == nil {
			return nil
		}
	}
	remedy := fmt.Sprintf(`%s is %d to %d%s, "*" for each, "*/2" for every second, and ranges and lists of them, "%d-%d,%d"`,
		c.name, c.from, c.to, c.words, c.from, c.from+2, c.from+4)
	switch {
	case i == len(columns)-1 && strings.Contains(field, "7"):
		remedy = `Sunday is 0 or SUN: "5-7" is "5,6,0"`
	case c.wraps(field):
		remedy = fmt.Sprintf(`a range cannot pass the end: write two, "%d-%d,%d-%d"`, c.to-1, c.to, c.from, c.from+1)
	case strings.ContainsAny(field, "LWH#"):
		remedy = "L, W, H and # are not understood: " + remedy
	}
	return malformed(remedy, "schedule %q has %s, %q, that cannot be read", expr, c.name, field)
}

// wraps reports whether a part of the field is a range that ends before it
// begins.
func (c column) wraps(field string) bool {
	for part := range strings.SplitSeq(field, ",") {
		part, _, _ = strings.Cut(part, "/")
		a, b, _ := strings.Cut(part, "-")
		low, errLow := strconv.Atoi(a)
		high, errHigh := strconv.Atoi(b)
		if errLow == nil && errHigh == nil && high < low && c.from <= high && low <= c.to {
			return true
		}
	}
	return false
}

// Next returns the first slot after a time, in UTC. The expression is about what
// the wall in loc shows. A slot that summer time skips comes when it has begun,
// and one in the hour that it repeats comes the first time only. Slots of
// "@every" are counted from a fixed moment, so that neither a restart nor a late
// start moves them.
func (s *Schedule) Next(after time.Time, loc *time.Location) time.Time {
	if s.every > 0 {
		return after.UTC().Truncate(s.every).Add(s.every)
	}
	for w := onWall(after, loc); ; {
		w = s.nextOnWall(w)
		if t := fromWall(w, loc); t.After(after) {
			return t
		}
	}
}

// nextOnWall looks on where the parser gives up, after five years: between 2096
// and 2104 there are eight without a 29 February.
func (s *Schedule) nextOnWall(w time.Time) time.Time {
	for from := w; ; from = from.AddDate(4, 0, 0) {
		if next := s.spec.Next(from); !next.IsZero() {
			return next
		}
	}
}
