package clock_test

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/clock"
)

var start = time.Date(2026, time.March, 1, 12, 0, 0, 123456789, time.FixedZone("", 3600))

// TestSystem: the boot clock moves, the wall clock is now, and neither has what
// would make comparing two readings anything but comparing what was shown.
func TestSystem(t *testing.T) {
	c := clock.System()
	before := time.Now()
	first := c.Now()
	require.WithinRange(t, first.Wall, before.Round(0), time.Now())
	require.Equal(t, time.UTC, first.Wall.Location())
	require.NotContains(t, first.Wall.String(), "m=", "a monotonic part")
	require.Positive(t, first.Boot)

	deadline := time.Now().Add(5 * time.Second)
	second := c.Now()
	for second.Boot == first.Boot && time.Now().Before(deadline) {
		second = c.Now()
	}
	require.Greater(t, second.Boot, first.Boot)
	require.Less(t, second.Boot-first.Boot, 10*time.Second, "nanoseconds")
}

// TestSystemBootID: one boot has one name, where the system has one.
func TestSystemBootID(t *testing.T) {
	id := clock.System().BootID()
	if runtime.GOOS == "linux" || runtime.GOOS == "darwin" {
		require.NotEmpty(t, id)
	}
	require.NotContains(t, id, "\n")
	require.Equal(t, id, clock.System().BootID())
}

// TestFake: each of the two clocks moves alone or with the other.
func TestFake(t *testing.T) {
	wall := start.UTC()
	require.Equal(t, clock.Reading{Wall: wall, Boot: time.Hour}, clock.NewFake(start).Now())
	for what, tt := range map[string]struct {
		move func(*clock.Fake)
		want clock.Reading
		boot string
	}{
		"time passes":    {func(f *clock.Fake) { f.Advance(time.Minute) }, clock.Reading{Wall: wall.Add(time.Minute), Boot: time.Hour + time.Minute}, "boot-1"},
		"set forward":    {func(f *clock.Fake) { f.StepWall(time.Hour) }, clock.Reading{Wall: wall.Add(time.Hour), Boot: time.Hour}, "boot-1"},
		"set back":       {func(f *clock.Fake) { f.StepWall(-24 * time.Hour) }, clock.Reading{Wall: wall.Add(-24 * time.Hour), Boot: time.Hour}, "boot-1"},
		"boot clock off": {func(f *clock.Fake) { f.StepBoot(time.Second) }, clock.Reading{Wall: wall, Boot: time.Hour + time.Second}, "boot-1"},
		"rebooted":       {func(f *clock.Fake) { f.Reboot() }, clock.Reading{Wall: wall, Boot: time.Second}, "boot-1'"},
		"rebooted twice": {func(f *clock.Fake) { f.Reboot(); f.Advance(time.Hour); f.Reboot() }, clock.Reading{Wall: wall.Add(time.Hour), Boot: time.Second}, "boot-1''"},
	} {
		f := clock.NewFake(start)
		tt.move(f)
		require.Equal(t, tt.want, f.Now(), what)
		require.Equal(t, tt.boot, f.BootID(), what)
	}
}

// TestFakeConcurrently: no movement is lost.
func TestFakeConcurrently(t *testing.T) {
	f := clock.NewFake(start)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 100 {
				f.Advance(time.Second)
				f.Now()
				f.BootID()
			}
		})
	}
	all.Wait()
	require.Equal(t, start.UTC().Add(400*time.Second), f.Now().Wall)
}
