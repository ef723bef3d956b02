package schedule_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/rotation/schedule"
)

func TestFrozen(t *testing.T) {
	for _, test := range []struct {
		windows    []string
		zone, when string
		until      string // "": not frozen
	}{
		{nil, "UTC", "2026-11-27 16:00", ""},
		{[]string{"Fri 16:00-Mon 08:00"}, "UTC", "2026-11-27 15:59:59", ""},
		{[]string{"Fri 16:00-Mon 08:00"}, "UTC", "2026-11-27 16:00", "2026-11-30 08:00"},
		{[]string{"Fri 16:00-Mon 08:00"}, "UTC", "2026-11-29 12:00", "2026-11-30 08:00"},
		{[]string{"Fri 16:00-Mon 08:00"}, "UTC", "2026-11-30 07:59:59", "2026-11-30 08:00"},
		{[]string{"Fri 16:00-Mon 08:00"}, "UTC", "2026-11-30 08:00", ""},
		{[]string{"22:00-06:00"}, "UTC", "2026-11-27 22:00", "2026-11-28 06:00"},
		{[]string{"22:00-06:00"}, "UTC", "2026-11-28 23:00", "2026-11-29 06:00"}, // past the end of the week
		{[]string{"22:00-06:00"}, "UTC", "2026-11-27 06:00", ""},
		{[]string{"09:00-17:00"}, "UTC", "2026-11-27 09:00", "2026-11-27 17:00"},
		{[]string{"18:00-00:00"}, "UTC", "2026-11-28 18:00", "2026-11-29 00:00"},
		{[]string{"Sat-Sun"}, "UTC", "2026-11-28 00:00", "2026-11-30 00:00"},
		{[]string{"Sat-Sun"}, "UTC", "2026-11-29 23:59", "2026-11-30 00:00"},
		{[]string{"Sat-Sun"}, "UTC", "2026-11-30 00:00", ""},
		{[]string{"Mon-Wed"}, "UTC", "2026-11-25 23:59", "2026-11-26 00:00"},
		{[]string{"2026-12-24-2026-12-27"}, "UTC", "2026-12-23 23:59", ""},
		{[]string{"2026-12-24-2026-12-27"}, "UTC", "2026-12-24 00:00", "2026-12-28 00:00"},
		{[]string{"2026-12-24-2026-12-27", "Mon 00:00-Mon 09:00"}, "UTC", "2026-12-25 00:00", "2026-12-28 09:00"},
		{[]string{"Sat-Sun", "22:00-06:00"}, "UTC", "2026-11-27 22:00", "2026-11-30 06:00"},
		{[]string{"Fri 16:00-Mon 08:00"}, "America/Los_Angeles", "2026-11-27 20:00", ""},
		{[]string{"Fri 16:00-Mon 08:00"}, "America/Los_Angeles", "2026-11-28 00:00", "2026-11-30 16:00"},

		// Summer time begins in it, and its end is skipped.
		{[]string{"22:00-02:30"}, "Europe/Berlin", "2026-03-28 23:00 +0100", "2026-03-29 03:00 +0200"},
		{[]string{"02:10-02:50"}, "Europe/Berlin", "2026-03-29 03:00 +0200", ""},
		// Summer time ends in it: the repeated hour is in it both times.
		{[]string{"22:00-02:30"}, "Europe/Berlin", "2026-10-25 02:15 +0200", "2026-10-25 02:30 +0200"},
		{[]string{"22:00-02:30"}, "Europe/Berlin", "2026-10-25 02:45 +0200", ""},
		{[]string{"22:00-02:30"}, "Europe/Berlin", "2026-10-25 02:15 +0100", "2026-10-25 02:30 +0100"},
	} {
		f, err := schedule.ParseFreeze(test.windows...)
		require.NoError(t, err, test.windows)
		when := at(t, test.when)
		until, frozen := f.Frozen(when, zone(t, test.zone))
		require.Equal(t, test.until != "", frozen, "%s at %s", test.windows, test.when)
		want := when
		if frozen {
			want = at(t, test.until)
		}
		require.Equal(t, want.String(), until.String(), "%s at %s", test.windows, test.when)
	}
}

func TestParseFreezeRefuses(t *testing.T) {
	for _, test := range []struct {
		window, problem string
	}{
		{"", "cannot be read"},
		{"Fri", "cannot be read"},
		{"Fri 16:00", "cannot be read"},
		{"fri 16:00-Mon 08:00", "cannot be read"},
		{"Fri 16:00-08:00", "cannot be read"},
		{"Sat-Sat", "cannot be read"},
		{"Sat-Foo", "cannot be read"},
		{"4:00-6:00", "cannot be read"},
		{"22:00-24:01", "cannot be read"},
		{"2026-02-30-2026-03-01", "cannot be read"},
		{"2026-12-24", "cannot be read"},
		{"22:00-22:00", "begins and ends at the same minute"},
		{"Fri 16:00-Fri 16:00", "begins and ends at the same minute"},
		{"2026-12-27-2026-12-24", "ends before it begins"},
	} {
		_, err := schedule.ParseFreeze(test.window)
		var m *schedule.Malformed
		require.ErrorAs(t, err, &m, test.window)
		require.Contains(t, m.Problem, test.problem, test.window)
		require.Contains(t, m.Remedy, "Fri 16:00-Mon 08:00", test.window)
	}
	for _, windows := range [][]string{{"06:00-22:00", "22:00-06:00"}, {"Sat-Sun", "Mon-Fri"}, {"Sat-Fri"}, {"Sun 00:00-Fri 00:00", "Thu 12:00-Sun 12:00"}} {
		_, err := schedule.ParseFreeze(windows...)
		require.ErrorContains(t, err, "whole week", windows)
	}
}
