package broker_test

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/clock"
	"secretctl/broker/durable"
	"secretctl/broker/secret/canary"
)

// TestDiskFull fills a real file system under a running broker.
func TestDiskFull(t *testing.T) {
	needRoot(t)
	dir := canary.Dir(t)
	require.NoError(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() {
		canary.NoneIn(t, dir)
		require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH))
	})
	disk, err := durable.OpenHome(dir)
	require.NoError(t, err)
	h := &home{t: t, dir: dir, disk: disk, clock: clock.NewFake(start), config: grants}
	require.NoError(t, h.init())
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "sunny")
	kept := leaseWeather(t, b)

	fill, err := os.Create(dir + "/fill")
	require.NoError(t, err)
	for size := 64 << 10; size > 0; {
		if _, err := fill.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	require.NoError(t, fill.Close())
	given := 0
	require.Eventually(t, func() bool { // the last page of the log has room for some
		_, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
		given++
		return err != nil
	}, patience, time.Millisecond)
	_, err = b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(t, err, broker.ErrStoreUnavailable)
	n, err := b.Revoke(broker.Owner(), broker.Selection{IDs: []string{kept.ID.String()}})
	require.NoError(t, err, "revoking needs no room")
	require.Equal(t, 1, n)
	_, err = b.Kill(broker.Owner())
	require.NoError(t, err, "killing needs no room")

	require.NoError(t, os.Remove(dir+"/fill"))
	require.NoError(t, b.Resume(broker.Owner()), "room again")
	leaseWeather(t, b)
	require.NoError(t, b.Close())
	b = h.broker()
	_, err = b.Renew(t.Context(), b.Agent(agentUID), kept.ID.String())
	require.ErrorIs(t, err, broker.ErrNoSuchLease)
	require.Len(t, b.Leases(broker.Owner()), 1)
}
