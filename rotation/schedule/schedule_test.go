package schedule_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/rotation/schedule"
)

// at reads a time as a test writes it: with a zone, or UTC.
func at(t testing.TB, s string) time.Time {
	t.Helper()
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02 15:04 -0700"} {
		if got, err := time.Parse(layout, s); err == nil {
			return got.UTC()
		}
	}
	require.FailNow(t, "not a time", s)
	return time.Time{}
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	require.NoError(t, err)
	return loc
}

func parse(t testing.TB, expr string) *schedule.Schedule {
	t.Helper()
	s, err := schedule.Parse(expr)
	require.NoError(t, err, expr)
	return s
}

func TestParse(t *testing.T) {
	for _, expr := range []string{
		"0 4 1 * *", "0 4 * * *", "59 * * * *", "7 */2 1-15 JAN-mar,12 MON", "0 0 29 2 *", "0 0 31 * 5", "0 4 ? * SUN", " 0\t4 1 * * ",
		"@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually", "@every 1h", "@every 720h", "0 0 30 2 1",
	} {
		s, err := schedule.Parse(expr)
		require.NoError(t, err, expr)
		require.NotEmpty(t, s.String())
	}
}

func TestParseRefuses(t *testing.T) {
	for _, test := range []struct{ expr, problem, remedy string }{
		{"", "0 of five fields", "five fields"},
		{"0 4 1 *", "4 of five fields", "five fields"},
		{"0 0 4 1 * *", "6 of five fields", "five fields"},
		{"TZ=", "a time zone of its own", "timezone"},
		{"TZ=0", "a time zone of its own", "timezone"},
		{"CRON_TZ=x", "a time zone of its own", "timezone"},
		{" TZ=Europe/Berlin 0 4 1 * *", "a time zone of its own", "timezone"},
		{"60 4 1 * *", `a minute, "60", that cannot be read`, "a minute is 0 to 59"},
		{"0 24 1 * *", `an hour, "24", that cannot be read`, "an hour is 0 to 23"},
		{"0 4 0 * *", `a day, "0", that cannot be read`, "a day is 1 to 31"},
		{"0 4 1 Foo *", `a month, "Foo", that cannot be read`, "JAN to DEC"},
		{"0 4 * * 7", `a weekday, "7", that cannot be read`, "Sunday is 0 or SUN"},
		{"0 4 * * 5-7", `a weekday, "5-7", that cannot be read`, `"5,6,0"`},
		{"0 22-6 * * *", `an hour, "22-6", that cannot be read`, `"22-23,0-1"`},
		{"0 4 L * *", `a day, "L", that cannot be read`, "L, W, H and # are not understood"},
		{"0 4 , * *", `a day, ",", that cannot be read`, "a day is 1 to 31"},
		{"0 4 */0 * *", `a day, "*/0", that cannot be read`, "a day is 1 to 31"},
		{"* * * * *", "more often than hourly", "name one minute"},
		{"*/30 4 * * *", "more often than hourly", "name one minute"},
		{"0,59 * * * *", "more often than hourly", "name one minute"},
		{"0 0 30 2 *", "never comes", "a day that the month has"},
		{"0 0 31 4,6,9,11 *", "never comes", "a day that the month has"},
		{"@every 59m", "more often than hourly", "@every 1h"},
		{"@every -2h", "more often than hourly", "@every 1h"},
		{"@every 30d", `a time, "30d", that cannot be read`, "720h"},
		{"@every", "none of cron's words", "@daily"},
		{"@reboot", "none of cron's words", "@daily"},
	} {
		s, err := schedule.Parse(test.expr)
		require.Nil(t, s, test.expr)
		var m *schedule.Malformed
		require.ErrorAs(t, err, &m, test.expr)
		require.Contains(t, m.Problem, test.problem, test.expr)
		require.Contains(t, m.Remedy, test.remedy, test.expr)
	}
}

// TestNext: what cron says, but for summer time.
func TestNext(t *testing.T) {
	for _, test := range []struct {
		expr, zone, after string
		want              []string
	}{
		{"0 4 1 * *", "UTC", "2026-01-01 04:00", []string{"2026-02-01 04:00", "2026-03-01 04:00"}},
		{"0 4 1 * *", "UTC", "2026-01-01 03:59:59", []string{"2026-01-01 04:00"}},
		{"0 0 29 2 *", "UTC", "2096-03-01 00:00", []string{"2104-02-29 00:00"}},
		{"0 0 13 * 5", "UTC", "2026-02-01 00:00", []string{"2026-02-06 00:00", "2026-02-13 00:00", "2026-02-20 00:00"}},
		{"@every 5h", "UTC", "2026-01-01 00:00", []string{"2026-01-01 01:00", "2026-01-01 06:00"}},

		// Summer time begins: 02:30 is not on the wall, and comes at 03:00.
		{"30 2 * * *", "America/Los_Angeles", "2026-03-07 12:00 -0800", []string{"2026-03-08 03:00 -0700", "2026-03-09 02:30 -0700"}},
		{"30 2 * * *", "Europe/Berlin", "2026-03-28 12:00 +0100", []string{"2026-03-29 03:00 +0200", "2026-03-30 02:30 +0200"}},
		{"0 * * * *", "Europe/Berlin", "2026-03-29 00:30 +0100", []string{"2026-03-29 01:00 +0100", "2026-03-29 03:00 +0200", "2026-03-29 04:00 +0200"}},
		{"15 2 * * *", "Australia/Lord_Howe", "2026-10-03 12:00 +1030", []string{"2026-10-04 02:30 +1100", "2026-10-05 02:15 +1100"}},
		{"0 0 * * *", "America/Santiago", "2026-09-05 12:00 -0400", []string{"2026-09-06 01:00 -0300", "2026-09-07 00:00 -0300"}},
		// A whole day that Samoa never had.
		{"0 4 * * *", "Pacific/Apia", "2011-12-29 12:00 -1000", []string{"2011-12-31 00:00 +1400", "2011-12-31 04:00 +1400"}},

		// Summer time ends: 01:30 is on the wall twice, and comes once.
		{"30 1 * * *", "America/Los_Angeles", "2026-10-31 12:00 -0700", []string{"2026-11-01 01:30 -0700", "2026-11-02 01:30 -0800"}},
		{"30 1 * * *", "America/Los_Angeles", "2026-11-01 01:15 -0800", []string{"2026-11-02 01:30 -0800"}},
		{"0 * * * *", "Europe/Berlin", "2026-10-25 01:30 +0200", []string{"2026-10-25 02:00 +0200", "2026-10-25 03:00 +0100"}},
		{"45 1 * * *", "Australia/Lord_Howe", "2026-04-04 12:00 +1100", []string{"2026-04-05 01:45 +1100", "2026-04-06 01:45 +1030"}},
		{"30 23 * * *", "America/Santiago", "2026-04-03 23:45 -0300", []string{"2026-04-04 23:30 -0300", "2026-04-05 23:30 -0400"}},
	} {
		s, loc, when := parse(t, test.expr), zone(t, test.zone), at(t, test.after)
		for _, want := range test.want {
			when = s.Next(when, loc)
			require.Equal(t, at(t, want).String(), when.String(), "%s in %s after %s", test.expr, test.zone, test.after)
		}
	}
}
