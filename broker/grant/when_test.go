package grant_test

import (
	"testing"
	"time"
	_ "time/tzdata" // the same rules of summer time on every machine

	"github.com/stretchr/testify/require"

	"secretctl/broker/grant"
)

func TestWindow(t *testing.T) {
	for s, hours := range map[string][2][]string{ // :: window -> times in it, times outside
		"07:00-23:00": {{"07:00", "12:00", "22:59"}, {"06:59", "23:00", "00:00"}},
		"22:00-06:00": {{"22:00", "23:59", "00:00", "05:59"}, {"21:59", "06:00", "12:00"}},
		"00:00-24:00": {{"00:00", "12:00", "23:59"}, nil},
		"22:00-24:00": {{"22:00", "23:59"}, {"21:59", "00:00"}},
		"22:00-00:00": {{"22:00", "23:59"}, {"21:59", "00:00"}},
		"12:00-12:01": {{"12:00"}, {"11:59", "12:01"}},
		"12:01-12:00": {{"12:01", "11:59"}, {"12:00"}},
	} {
		w := window(t, s)
		require.Equal(t, s, w.String())
		require.False(t, w.IsZero())
		for i, list := range hours {
			for _, at := range list {
				clock, err := time.Parse("15:04", at)
				require.NoError(t, err)
				require.Equal(t, i == 0, w.Contains(clock), "%s at %s", s, at)
				require.Equal(t, i == 0, w.Contains(clock.Add(59*time.Second)), "%s at %s:59", s, at)
			}
		}
	}
	require.True(t, grant.Window{}.Contains(noon))
	require.Empty(t, grant.Window{}.String())
	require.True(t, window(t, "22:00-06:00").CrossesMidnight())
	require.False(t, window(t, "22:00-00:00").CrossesMidnight())
	require.False(t, window(t, "22:00-24:00").CrossesMidnight())
	require.False(t, grant.Window{}.CrossesMidnight())
}

func TestParseWindowRefuses(t *testing.T) {
	for _, s := range []string{"", "-", "07:00", "7:00-23:00", "07:00-24:01", "24:00-07:00", "07:60-09:00", "07:00-08:60", "07:00-07:00",
		"07:00 - 23:00", "07:00-23:00-24:00", "0a:00-23:00", "+7:00-23:00", "07-00-23:00", "07:00–23:00", "99:00-23:00"} {
		_, err := grant.ParseWindow(s)
		var m *grant.Malformed
		require.ErrorAs(t, err, &m, "%q", s)
		require.Contains(t, m.Problem, "hours", "%q", s)
	}
}

// Only what the clock on the wall shows counts: the hour that is repeated is in
// the window twice, the hour that is skipped never.
func TestWindowSummerTime(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	w := window(t, "02:00-03:00")
	open := func(day time.Time) (minutes int) {
		for at := day; at.Before(day.Add(24 * time.Hour)); at = at.Add(time.Minute) {
			if w.Contains(at.In(berlin)) {
				minutes++
			}
		}
		return minutes
	}
	require.Equal(t, 0, open(time.Date(2026, time.March, 28, 23, 0, 0, 0, time.UTC)), "the clock goes from 2 to 3")
	require.Equal(t, 120, open(time.Date(2026, time.October, 24, 22, 0, 0, 0, time.UTC)), "the clock goes from 3 to 2")
	require.Equal(t, 60, open(time.Date(2026, time.June, 1, 22, 0, 0, 0, time.UTC)))
}

// The request's own location is what counts, for hours and for days.
func TestWindowLocation(t *testing.T) {
	tokyo := time.FixedZone("Tokyo", 9*60*60)
	at := time.Date(2026, time.March, 6, 20, 0, 0, 0, time.UTC) // Friday; in Tokyo Saturday, 05:00
	require.True(t, window(t, "20:00-21:00").Contains(at))
	require.False(t, window(t, "20:00-21:00").Contains(at.In(tokyo)))
	require.True(t, window(t, "05:00-06:00").Contains(at.In(tokyo)))
	require.True(t, days(t, "Fri").Contains(at))
	require.False(t, days(t, "Fri").Contains(at.In(tokyo)))
	require.True(t, days(t, "Sat").Contains(at.In(tokyo)))
}

// Across midnight the hours go on and the weekday does not: a day is a day of
// the calendar.
func TestWindowAcrossMidnight(t *testing.T) {
	p := policy(t, with(allow("a", "s"), func(r *grant.Rule) {
		r.Hours, r.Weekdays = window(t, "22:00-06:00"), days(t, "Mon-Fri")
	}))
	for _, c := range []struct {
		at   string
		code grant.Code
	}{
		{"2026-03-06 23:00", grant.CodeGranted}, // Friday
		{"2026-03-07 01:00", grant.CodeWeekday}, // Saturday
		{"2026-03-08 23:00", grant.CodeWeekday}, // Sunday
		{"2026-03-09 01:00", grant.CodeGranted}, // Monday
		{"2026-03-09 12:00", grant.CodeHours},
	} {
		at, err := time.Parse("2006-01-02 15:04", c.at)
		require.NoError(t, err)
		req := ask("a", "s")
		req.At = at
		require.Equal(t, c.code, p.Decide(req, used{}).Code, c.at)
	}
}

func TestDays(t *testing.T) {
	for s, want := range map[string]string{
		"Mon-Fri":         "Mon,Tue,Wed,Thu,Fri",
		"Sat-Sun":         "Sat,Sun",
		"Fri-Mon":         "Mon,Fri,Sat,Sun",
		"Wed":             "Wed",
		"Sun,Mon,Wed-Thu": "Mon,Wed,Thu,Sun",
		"Mon-Sun":         "Mon,Tue,Wed,Thu,Fri,Sat,Sun",
	} {
		d := days(t, s)
		require.Equal(t, want, d.String(), "%q", s)
		require.Equal(t, d, days(t, want), "%q", s)
		in := 0
		for i := range 7 {
			if d.Contains(noon.AddDate(0, 0, i)) {
				in++
			}
		}
		require.Equal(t, (len(want)+1)/4, in, "%q", s)
	}
	require.True(t, grant.Days(0).Contains(noon))
	require.Empty(t, grant.Days(0).String())
	require.True(t, days(t, "Wed").Contains(noon))
	require.False(t, days(t, "Thu").Contains(noon))
}

func TestParseDaysRefuses(t *testing.T) {
	for _, s := range []string{"", "mon", "Monday", "Mon-", "-Mon", "Mon,", "Mon, Tue", "Mon-Mon", "Mon-Fri-Sat", "Mo-Fr"} {
		_, err := grant.ParseDays(s)
		var m *grant.Malformed
		require.ErrorAs(t, err, &m, "%q", s)
		require.Contains(t, m.Problem, "weekdays", "%q", s)
	}
}
