package broker_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/audit"
	"secretctl/broker/durable"
)

// onlyOne is a config in which the agent may hold one lease on the weather.
const onlyOne = `
[agent.claw]
uid = 61001
[[grant]]
agent = "claw"
secrets = ["weather"]
max_leases = 1
`

// A request that came to nothing takes no place: not one for what is not there,
// nor one that could not be recorded.
func TestNothingGivenTakesNoPlace(t *testing.T) {
	h := newHome(t, onlyOne)
	disk := &full{Disk: h.disk}
	h.disk = disk
	b := h.broker()
	agent := b.Agent(agentUID)
	for range 3 {
		_, err := b.Lease(t.Context(), agent, broker.LeaseRequest{Secret: "weather"})
		require.ErrorIs(t, err, broker.ErrDenied, "it is not there")
	}
	mint(t, b, "weather", "sunny")
	disk.on.Store(true)
	for range 3 {
		_, err := b.Lease(t.Context(), agent, broker.LeaseRequest{Secret: "weather"})
		require.ErrorIs(t, err, broker.ErrStoreUnavailable, "there is no room for a record")
	}
	disk.on.Store(false)
	leaseWeather(t, b)
	_, err := b.Lease(t.Context(), agent, broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(t, err, broker.ErrLimit)
}

// A lease whose value does not come is over, and the log says so.
func TestNoValueNoLease(t *testing.T) {
	h := newHome(t, onlyOne)
	b, store := h.hook(func() error { return errors.New("the vault is elsewhere") })
	mint(t, b, "weather", "sunny")
	for range 3 {
		_, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
		require.ErrorIs(t, err, broker.ErrStoreUnavailable, "and it held no place")
		require.NotContains(t, err.Error(), "elsewhere")
	}
	require.Empty(t, b.Leases(broker.Owner()))
	mint(t, b, "other", "x") // what was deferred is written before what is waited for
	leases, undelivered := h.recorded(audit.EventLease), h.recorded(audit.EventUndelivered)
	require.Len(t, leases, 3)
	require.Len(t, undelivered, 3)
	for i := range leases {
		require.Equal(t, leases[i].Lease, undelivered[i].Lease)
		require.Equal(t, "store_unavailable", undelivered[i].Reason)
	}
	store.before = nil
	leaseWeather(t, b) // the next asks the store again
}

// Killed while the store was asked: that is the answer, whatever the store says.
func TestKilledWhileOpening(t *testing.T) {
	h := newHome(t, grants)
	var b *broker.Broker
	b, _ = h.hook(func() error { _, err := b.Kill(broker.Owner()); return err })
	mint(t, b, "weather", "sunny")
	_, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(t, err, broker.ErrKilled)
}

// recording has something done once, while the log is on its way to the disk,
// after it was armed.
func (h *home) recording(during func()) (armed *atomic.Bool) {
	armed = new(atomic.Bool)
	h.disk = &durable.Hook{Disk: h.disk, Before: func(op durable.Op) durable.Verdict {
		if op.Kind == durable.OpSync && strings.HasPrefix(op.Name, broker.AuditDir) && armed.CompareAndSwap(true, false) {
			during()
		}
		return durable.Verdict{}
	}}
	return armed
}

// A lease that ends while its renewal is being recorded is not renewed.
func TestEndedWhileRenewing(t *testing.T) {
	h := newHome(t, grants)
	var b *broker.Broker
	revoked := make(chan error, 1)
	armed := h.recording(func() {
		go func() {
			_, err := b.Revoke(broker.Owner(), broker.Selection{Agent: "claw"})
			revoked <- err
		}()
		require.Eventually(t, func() bool { return len(b.Leases(broker.Owner())) == 0 }, patience, time.Millisecond)
	})
	b = h.broker()
	mint(t, b, "weather", "sunny")
	held := leaseWeather(t, b)
	armed.Store(true)
	_, err := b.Renew(t.Context(), b.Agent(agentUID), held.ID.String())
	require.ErrorIs(t, err, broker.ErrNoSuchLease)
	require.NoError(t, <-revoked)
}

// An owner's leases are bounded too, and keep their length when renewed.
func TestOwnersTTL(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	mint(t, b, "weather", "sunny")
	for asked, want := range map[int64]time.Duration{0: 10 * time.Minute, 60: time.Minute, 86400: time.Hour} {
		issued, err := b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather", TTLSeconds: asked})
		require.NoError(t, err)
		require.Equal(t, want, issued.TTL)
		require.Equal(t, h.clock.Now().Wall.Add(want), issued.Expires)
		renewed, err := b.Renew(t.Context(), broker.Owner(), issued.ID.String())
		require.NoError(t, err)
		require.Equal(t, want, renewed.TTL)
	}
}

// A renewal is left out of the counts of the grant it was issued under and of no
// other: when the config moves a secret to another grant, that one's limits hold.
func TestRenewUnderAnotherGrant(t *testing.T) {
	const two = `
[agent.claw]
uid = 61001
[[grant]]
agent = "claw"
secrets = ["moved"]
[[grant]]
agent = "claw"
secrets = ["stays"]
LIMIT
`
	for _, limit := range []string{"max_leases = 1", "leases_per_hour = 1"} {
		t.Run(limit, func(t *testing.T) {
			after := strings.NewReplacer("LIMIT", limit, `"moved"`, `"nothing"`, `"stays"`, `"moved", "stays"`)
			h := newHome(t, after.Replace(two))
			b := h.broker()
			agent := b.Agent(agentUID)
			mint(t, b, "moved", "x")
			mint(t, b, "stays", "x")
			_, err := b.Lease(t.Context(), agent, broker.LeaseRequest{Secret: "stays"})
			require.NoError(t, err, "it takes the one place")
			h.configure(strings.Replace(two, "LIMIT", limit, 1))
			require.NoError(t, b.Reload())
			moved, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "moved"})
			require.NoError(t, err)
			h.configure(after.Replace(two))
			require.NoError(t, b.Reload())
			_, err = b.Renew(t.Context(), b.Agent(agentUID), moved.ID.String())
			require.ErrorIs(t, err, broker.ErrLimit)
		})
	}
}

// A lease is the name's it was given to as well as the uid's: an owner's is not
// that of an agent with the same uid.
func TestOwnersLeaseIsNoAgents(t *testing.T) {
	h := newHome(t, strings.Replace(grants, "61001", "0", 1))
	b := h.broker()
	mint(t, b, "weather", "sunny")
	issued, err := b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
	require.NoError(t, err)
	agent := b.Agent(0)
	_, err = b.Renew(t.Context(), agent, issued.ID.String())
	require.ErrorIs(t, err, broker.ErrNoSuchLease)
	require.ErrorIs(t, b.Release(agent, issued.ID.String()), broker.ErrNoSuchLease)
	require.Empty(t, b.Leases(agent))
}
