package grant_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/grant"
)

// Each limit on its own makes a rule meaningless when it is negative.
func TestNoNegativeLimit(t *testing.T) {
	for what, change := range map[string]func(*grant.Rule){
		"ttl":             func(r *grant.Rule) { r.TTL = -1 },
		"max_leases":      func(r *grant.Rule) { r.MaxLeases = -1 },
		"leases_per_hour": func(r *grant.Rule) { r.LeasesPerHour = -1 },
	} {
		_, err := grant.NewPolicy([]grant.Rule{with(allow("a", "s"), change)}, time.Hour, time.Minute)
		require.ErrorContains(t, err, "a limit is negative", what)
	}
}

// What the doors of a rule were made of can be changed without opening one.
func TestDoorsAreACopy(t *testing.T) {
	doors := []grant.Door{grant.DoorSign}
	p := policy(t, with(allow("a", "x"), func(r *grant.Rule) { r.Doors = doors }))
	doors[0] = grant.DoorValue
	require.Equal(t, grant.CodeDoor, p.Decide(ask("a", "x"), used{}).Code)
}

// A time is digits, also where what is not one would still make a small number.
func TestHoursAreDigits(t *testing.T) {
	for _, s := range []string{"07:0:-23:00", "00:00-0;:00", "00:00-00:0?", "07:00-1::00"} {
		_, err := grant.ParseWindow(s)
		require.ErrorContains(t, err, "cannot be read", "%q", s)
	}
}
