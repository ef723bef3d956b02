package broker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/secret"
)

// After kill has answered, no value is in memory: not that of a lease either
// that was being recorded when it was called.
func TestKilledWhileRecording(t *testing.T) {
	h := newHome(t, grants)
	var b *broker.Broker
	done := make(chan error, 1)
	armed := h.recording(func() {
		go func() { _, err := b.Kill(broker.Owner()); done <- err }()
		require.Eventually(t, func() bool { s, err := b.Status(context.Background()); return err == nil && s.Killed }, patience, time.Millisecond)
	})
	b = h.broker()
	mint(t, b, "weather", "sunny")
	armed.Store(true)
	issued, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.NoError(t, <-done)
	require.Empty(t, b.Leases(broker.Owner()))
	if err == nil {
		require.ErrorIs(t, issued.Value.Use(func([]byte) error { return nil }), secret.ErrCleared, "the value is in memory with no lease on it")
	}
}

// A limit that is made narrower holds for what is renewed under it.
func TestRenewalsCountUnderTheNewGrant(t *testing.T) {
	h := newHome(t, strings.Replace(onlyOne, "max_leases = 1", "max_leases = 3", 1))
	b := h.broker()
	mint(t, b, "weather", "sunny")
	var ids []string
	for range 3 {
		ids = append(ids, leaseWeather(t, b).ID.String())
	}
	h.configure(onlyOne)
	require.NoError(t, b.Reload())
	_, err := b.Renew(t.Context(), b.Agent(agentUID), ids[0])
	require.NoError(t, err)
	_, err = b.Renew(t.Context(), b.Agent(agentUID), ids[1])
	require.ErrorIs(t, err, broker.ErrLimit, "one was renewed under a grant of one")
	_, err = b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(t, err, broker.ErrLimit)
}
