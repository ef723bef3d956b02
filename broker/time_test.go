package broker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/secret/canary"
)

// TestClockMatrix: whatever is done to which clock at which moment, no lease is
// usable for longer than its ttl by any clock.
func TestClockMatrix(t *testing.T) {
	const ttl = 10 * time.Minute
	year := 365 * 24 * time.Hour
	for _, step := range []time.Duration{-10 * year, -time.Hour, -time.Second, time.Second, time.Hour, 10 * year} {
		for clockName, move := range map[string]func(h *home){
			"wall": func(h *home) { h.clock.StepWall(step) },
			"boot": func(h *home) { h.clock.StepBoot(step) },
			"both": func(h *home) { h.clock.Advance(step) },
		} {
			for _, moment := range []string{"before issue", "mid-lease", "at expiry", "while down", "while down, rebooted"} {
				t.Run(fmt.Sprintf("%v of %s %s", step, clockName, moment), func(t *testing.T) {
					h := newHome(t, grants)
					b, err := h.open()
					require.NoError(t, err)
					defer func() { require.NoError(t, b.Close()) }()
					mint(t, b, "weather", "sunny")
					if moment == "before issue" {
						move(h)
					}
					held, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
					if b.Clock.Now().Boot < 0 {
						require.Error(t, err, "before boot nothing is handed out")
						return
					}
					require.NoError(t, err)
					require.LessOrEqual(t, held.TTL, ttl)
					usable := func() bool {
						_, err := b.Renew(t.Context(), b.Agent(agentUID), held.ID.String())
						if err != nil {
							require.ErrorIs(t, err, broker.ErrNoSuchLease)
						}
						return err == nil
					}
					// passed is how long the lease has lived by the clock that is not
					// tampered with.
					switch moment {
					case "mid-lease":
						h.clock.Advance(ttl / 2)
						move(h)
						h.clock.Advance(ttl/2 + time.Second)
					case "at expiry":
						h.clock.Advance(ttl)
						move(h)
						h.clock.Advance(time.Second)
					case "while down", "while down, rebooted":
						h.clock.Advance(ttl / 2)
						require.NoError(t, b.Close())
						if moment == "while down" {
							move(h)
						} else {
							h.clock.Reboot()
							h.clock.StepWall(step)
						}
						b, err = h.open()
						require.NoError(t, err)
						h.clock.Advance(ttl/2 + time.Second)
						if moment != "while down" && step < 0 && step > -time.Minute {
							// A second back across a reboot is within NTP's corrections, and the
							// lease then lives a second longer by the wall: still within its ttl.
							h.clock.Advance(-step)
						}
					default:
						h.clock.Advance(ttl + time.Second)
					}
					require.False(t, usable(), "the lease outlived its ttl")
				})
			}
		}
	}
}

// TestSuspend8h: a lease does not sleep with the machine: the wall and the clock
// since boot go on.
func TestSuspend8h(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	mint(t, b, "weather", "sunny")
	held := leaseWeather(t, b)
	h.clock.Advance(8 * time.Hour)
	_, err := b.Renew(t.Context(), b.Agent(agentUID), held.ID.String())
	require.ErrorIs(t, err, broker.ErrNoSuchLease)
	require.Empty(t, b.Leases(broker.Owner()))
}

// TestRestartKeepsLeases: a restart, and a reboot, end no lease early.
func TestRestartKeepsLeases(t *testing.T) {
	h := newHome(t, grants)
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "sunny")
	held := leaseWeather(t, b)
	for _, restart := range []func(){func() {}, h.clock.Reboot} {
		require.NoError(t, b.Close())
		h.clock.Advance(time.Minute)
		restart()
		b, err = h.open()
		require.NoError(t, err)
		renewed, err := b.Renew(t.Context(), b.Agent(agentUID), held.ID.String())
		require.NoError(t, err)
		require.Equal(t, canary.New(t, "sunny"), reveal(t, renewed.Value))
		require.Equal(t, held.First, renewed.First)
	}
	require.NoError(t, b.Close())
}
