package schedule_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/rotation/schedule"
)

var zones = []string{"UTC", "America/Los_Angeles", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca"}

// moment makes a time of what a fuzzer gives, from 1900 to 2200.
func moment(seconds int64) time.Time {
	const span = 300 * 365 * 86400
	return time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration((seconds%span+span)%span) * time.Second)
}

// wall is what the wall in loc shows, as a number that a summer time cannot
// change.
func wall(t time.Time, loc *time.Location) time.Time {
	l := t.In(loc)
	return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), l.Second(), 0, time.UTC)
}

// FuzzSchedule: no text breaks the parser, slots go forward, by the clock and by
// the wall, so that none comes twice, and from wherever one looks the next is
// the same.
func FuzzSchedule(f *testing.F) {
	for _, expr := range []string{"0 4 1 * *", "30 2 * * *", "0 * * * *", "0 0 29 2 *", "TZ=", "CRON_TZ=x", "@every 7h", "@monthly", "15 1-3/2 */9 JAN,nov MON-FRI", "0 0 30 2 *", ",", "0 4 , * *"} {
		for i := range zones {
			f.Add(expr, int64(4_000_000_000), uint8(i))
		}
	}
	f.Fuzz(func(t *testing.T, expr string, seconds int64, z uint8) {
		s, err := schedule.Parse(expr)
		if err != nil {
			var m *schedule.Malformed
			require.ErrorAs(t, err, &m)
			require.NotEmpty(t, m.Remedy)
			return
		}
		again, err := schedule.Parse(s.String())
		require.NoError(t, err)
		loc, when := zone(t, zones[int(z)%len(zones)]), moment(seconds)
		for range 5 {
			next := s.Next(when, loc)
			require.True(t, next.After(when), "%s is not after %s", next, when)
			require.Equal(t, time.UTC, next.Location())
			between := when.Add(next.Sub(when) / 2).Truncate(time.Second)
			require.True(t, next.Equal(again.Next(between, loc)), "from %s it is not %s", between, next)
			if following := s.Next(next, loc); !strings.HasPrefix(s.String(), "@every") {
				require.True(t, wall(following, loc).After(wall(next, loc)), "%s and %s are the same slot", next, following)
			}
			when = next
		}
	})
}

// FuzzFreeze: what is frozen is so until the moment that is told, and not any
// more then.
func FuzzFreeze(f *testing.F) {
	for _, windows := range []string{"Fri 16:00-Mon 08:00", "22:00-02:30", "Sat-Sun,22:00-06:00", "2026-12-24-2026-12-27", "Sun 00:00-Sat 23:59", "01:30-02:10,02:30-01:00"} {
		for i := range zones {
			f.Add(windows, int64(4_000_000_000), uint8(i))
		}
	}
	f.Fuzz(func(t *testing.T, windows string, seconds int64, z uint8) {
		freeze, err := schedule.ParseFreeze(strings.Split(windows, ",")...)
		if err != nil {
			var m *schedule.Malformed
			require.ErrorAs(t, err, &m)
			require.NotEmpty(t, m.Remedy)
			return
		}
		loc, when := zone(t, zones[int(z)%len(zones)]), moment(seconds)
		until, frozen := freeze.Frozen(when, loc)
		if !frozen {
			require.True(t, until.Equal(when))
			return
		}
		require.True(t, until.After(when))
		_, still := freeze.Frozen(until, loc)
		require.False(t, still, "still frozen at %s", until)
		for i := range 8 {
			within := when.Add(until.Sub(when) / 8 * time.Duration(i)).Truncate(time.Second)
			_, still := freeze.Frozen(within, loc)
			require.True(t, still || within.Before(when), "not frozen at %s, before %s", within, until)
		}
	})
}
