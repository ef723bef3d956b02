package schedule_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/rotation/schedule"
)

func TestClock(t *testing.T) {
	start := at(t, "2026-11-26 12:00")
	for name, ticks := range map[string][]struct {
		now  time.Duration // since start
		want schedule.Pace
	}{
		"forward":                {{0, schedule.Going}, {30 * time.Second, schedule.Going}, {9 * time.Hour, schedule.Going}, {1e6 * time.Hour, schedule.Going}},
		"a correction":           {{0, schedule.Going}, {-time.Hour, schedule.Going}, {-time.Hour - time.Second, schedule.Paused}},
		"corrections do not add": {{0, schedule.Going}, {-40 * time.Minute, schedule.Going}, {-80 * time.Minute, schedule.Paused}},
		"back and right again":   {{0, schedule.Going}, {-1e6 * time.Hour, schedule.Paused}, {-1e6*time.Hour + time.Minute, schedule.Paused}, {time.Minute, schedule.Going}},
		"back for a day": {{0, schedule.Going}, {-50 * time.Hour, schedule.Paused}, {-26*time.Hour - time.Second, schedule.Paused}, {-26 * time.Hour, schedule.Accepted},
			{-26*time.Hour + time.Minute, schedule.Going}},
		"back twice":             {{0, schedule.Going}, {-50 * time.Hour, schedule.Paused}, {-60 * time.Hour, schedule.Paused}, {-37 * time.Hour, schedule.Paused}, {-36 * time.Hour, schedule.Accepted}},
		"back, and almost right": {{0, schedule.Going}, {-5 * time.Hour, schedule.Paused}, {-time.Hour, schedule.Going}},
	} {
		var clock schedule.Clock
		for i, tick := range ticks {
			var pace schedule.Pace
			clock, pace = clock.Tick(start.Add(tick.now))
			require.Equal(t, tick.want, pace, "%s, tick %d", name, i)
		}
	}
}
