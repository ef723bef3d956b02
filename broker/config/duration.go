package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// day is the unit Go's durations lack: 24 hours, whatever the calendar says.
const day = 24 * time.Hour

var errNotADuration = errors.New(`not a duration like "90s", "12h", "30d" or "1d12h"`)

// ParseDuration reads a duration as flags and the config write it: Go's, which
// whole days may precede, "30d" or "1d12h". It must be positive and without a
// sign. Errors quote s.
func ParseDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf("%q is %w", s, errNotADuration)
	var days int64
	rest := s
	if number, after, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(number, 10, 63)
		if err != nil {
			return 0, bad
		}
		if n > uint64(math.MaxInt64/int64(day)) {
			return 0, fmt.Errorf("duration %q is too long", s)
		}
		days, rest = int64(n), after
		if rest == "" {
			rest = "0s"
		}
	}
	if strings.ContainsAny(rest, "+-") {
		return 0, bad
	}
	d, err := time.ParseDuration(rest)
	switch {
	case err != nil:
		return 0, bad
	case int64(d) > math.MaxInt64-days*int64(day):
		return 0, fmt.Errorf("duration %q is too long", s)
	}
	d += time.Duration(days) * day
	if d == 0 {
		return 0, fmt.Errorf("duration %q is not more than zero", s)
	}
	return d, nil
}

// FormatDuration writes a duration the way a person would: "1d12h", "15m",
// "0s". [ParseDuration] reads every positive one back as it was.
func FormatDuration(d time.Duration) string {
	if d < 0 {
		// The smallest duration has no positive counterpart; Go's own form is kept.
		return d.String()
	}
	days, rest := d/day, d%day
	text := rest.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	switch {
	case days == 0:
		return text
	case rest == 0:
		return fmt.Sprintf("%dd", days)
	}
	return fmt.Sprintf("%dd%s", days, text)
}
