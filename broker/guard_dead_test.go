package broker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/durable"
	"secretctl/broker/ledger"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
)

// markEnded has the vault know that a version of weather was ended.
func markEnded(t *testing.T, b *broker.Broker, version uint64) {
	t.Helper()
	require.NoError(t, b.Vault().Mark("weather", providers.Version{Number: version, ID: "key-7", Facts: map[string]string{"user": "blue"}, Ended: true}))
}

// refused asks for weather in every way.
func refused(t *testing.T, b *broker.Broker, version uint64) {
	t.Helper()
	for name, ask := range map[string]func() error{
		"agent": func() error {
			_, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
			require.ErrorContains(t, err, `"weather" was ended at its service`)
			return err
		},
		"reuse": func() error {
			_, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather", Pinned: true, Reuse: true})
			return err
		},
		"owner": func() error {
			_, err := b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
			return err
		},
		"owner, by version": func() error {
			_, err := b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather", Version: version})
			return err
		},
	} {
		err := ask()
		require.ErrorIs(t, err, broker.ErrStoreUnavailable, name)
		var told *broker.Error
		require.ErrorAs(t, err, &told)
		require.Contains(t, told.Hint, "secretctl rotate weather", name)
	}
	require.Empty(t, b.Leases(broker.Owner()), "no place is taken")
}

// TestEndedIsNotServed: what was ended at its service is given to nobody, also
// after a restart, until there is another version.
func TestEndedIsNotServed(t *testing.T) {
	h := newHome(t, grants)
	b, err := h.open()
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	mint(t, b, "weather", "one")
	follows := leaseWeather(t, b)
	pinned, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather", Pinned: true, Reuse: true})
	require.NoError(t, err)
	markEnded(t, b, 1)
	for _, l := range []*broker.Issued{follows, pinned} {
		_, err = b.Renew(t.Context(), b.Agent(agentUID), l.ID.String())
		require.ErrorIs(t, err, broker.ErrNoSuchLease)
	}
	refused(t, b, 1)
	require.NoError(t, b.Close())
	b, err = h.open()
	require.NoError(t, err)
	refused(t, b, 1)

	got, err := b.Vault().Current("weather")
	require.NoError(t, err)
	require.True(t, got.Ended)
	require.Equal(t, "key-7", got.ID)
	require.Equal(t, map[string]string{"user": "blue"}, got.Facts)
	status, err := b.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"weather"}, status.Overdue)
	list, err := b.List("weather")
	require.NoError(t, err)
	require.True(t, list[0].Ended)
	versions, err := b.Versions("weather")
	require.NoError(t, err)
	require.True(t, versions[0].Ended)

	mint(t, b, "weather", "two")
	text, version := get(t, b, "weather")
	require.Equal(t, canary.New(t, "two"), text)
	require.Equal(t, uint64(2), version)
	_, err = b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.NoError(t, err)
	status, err = b.Status(t.Context())
	require.NoError(t, err)
	require.Empty(t, status.Overdue)
	_, err = b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather", Version: 1})
	require.ErrorIs(t, err, broker.ErrStoreUnavailable)
	_, err = b.Rollback(t.Context(), broker.Owner(), "weather")
	require.ErrorIs(t, err, broker.ErrConflict)
	require.ErrorContains(t, err, "version 1 was ended at its service")
	require.Equal(t, map[uint64]string{1: "previous", 2: "current"}, states(t, b))
}

// TestEndedBefore: the version before is ended, and the current one is served; who
// copied the one before renews it no more.
func TestEndedBefore(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	mint(t, b, "weather", "one")
	pinned, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather", Pinned: true})
	require.NoError(t, err)
	mint(t, b, "weather", "two")
	later, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather", Pinned: true})
	require.NoError(t, err)
	markEnded(t, b, 1)
	_, err = b.Renew(t.Context(), b.Agent(agentUID), pinned.ID.String())
	require.ErrorIs(t, err, broker.ErrNoSuchLease)
	_, err = b.Renew(t.Context(), b.Agent(agentUID), later.ID.String())
	require.NoError(t, err)
	status, err := b.Status(t.Context())
	require.NoError(t, err)
	require.Empty(t, status.Overdue)
	text, _ := get(t, b, "weather")
	require.Equal(t, canary.New(t, "two"), text)

	// It was alive after all.
	require.NoError(t, b.Vault().Mark("weather", providers.Version{Number: 1}))
	require.NoError(t, b.Vault().Mark("weather", providers.Version{Number: 7, Ended: true}), "there is no such version any more")
	_, err = b.Rollback(t.Context(), broker.Owner(), "weather")
	require.NoError(t, err)
	text, _ = get(t, b, "weather")
	require.Equal(t, canary.New(t, "one"), text)
}

// TestEndedAndACrash: when it was kept that a version is dead, and not that the
// leases on it are over, they are of no use.
func TestEndedAndACrash(t *testing.T) {
	h := newHome(t, grants)
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "one")
	var held []*broker.Issued
	for _, pinned := range []bool{true, false} {
		l, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather", Pinned: pinned})
		require.NoError(t, err)
		held = append(held, l)
	}
	mint(t, b, "weather", "two")
	for _, c := range []struct {
		dead uint64
		fine []bool
	}{{1, []bool{false, true}}, {2, []bool{false, false}}} {
		require.NoError(t, b.Close())
		l, err := ledger.Open(h.disk)
		require.NoError(t, err)
		e, err := l.Get("weather")
		require.NoError(t, err)
		v := e.Versions[c.dead]
		v.Ended = true
		e.Versions[c.dead] = v
		require.NoError(t, errors.Join(l.Put(&e), l.Close()))
		b, err = h.open()
		require.NoError(t, err)
		for i, l := range held {
			_, err := b.Renew(t.Context(), b.Agent(agentUID), l.ID.String())
			if c.fine[i] {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, broker.ErrStoreUnavailable)
			}
		}
	}
	require.NoError(t, b.Close())
}

// TestMarkEndsLeases: a lease whose choice was made before the version was ended
// does not outlive that.
func TestMarkEndsLeases(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	mint(t, b, "weather", "one")
	mint(t, b, "weather", "two")
	_, err := b.Rollback(t.Context(), broker.Owner(), "weather")
	require.NoError(t, err)
	_, err = b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather", Pinned: true})
	require.NoError(t, err)
	_, err = b.Rollback(t.Context(), broker.Owner(), "weather")
	require.NoError(t, err)
	chosen := b.Choosing()
	marked := make(chan error, 1)
	go func() {
		marked <- b.Vault().Mark("weather", providers.Version{Number: 1, Ended: true})
	}()
	require.Eventually(t, b.Awaits, patience, time.Millisecond)
	_, _, held := b.Vault().Holders("weather", 1)
	require.Equal(t, 1, held, "the lease is not ended yet")
	chosen()
	require.NoError(t, <-marked)
	_, _, held = b.Vault().Holders("weather", 1)
	require.Zero(t, held)
}

// TestMarkWithoutALog: that a version is dead is kept when the log can take
// nothing: it takes power away.
func TestMarkWithoutALog(t *testing.T) {
	h := newHome(t, grants)
	var full error
	disk := &durable.Hook{Disk: h.disk, Before: func(op durable.Op) durable.Verdict {
		if full != nil && op.Kind == durable.OpSync && len(op.Name) > len(broker.AuditDir) && op.Name[:len(broker.AuditDir)] == broker.AuditDir {
			return durable.Verdict{Err: full}
		}
		return durable.Verdict{}
	}}
	b, err := broker.Open(context.Background(), broker.Options{Home: h.dir, Disk: disk, Clock: h.clock, Version: "test", Stores: h.stores(), Load: h.load, Warn: h.warn})
	require.NoError(t, err)
	defer b.Close()
	mint(t, b, "weather", "one")
	full = errors.New("the disk is full")
	markEnded(t, b, 1)
	got, err := b.Vault().Current("weather")
	require.NoError(t, err)
	require.True(t, got.Ended)
}
