package broker_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/audit"
	"secretctl/broker/halt"
	"secretctl/providers"
)

// stored is the stores of a broker that has one.
func stored(s providers.Store) map[string]providers.Store {
	return map[string]providers.Store{"age": s}
}

// Nobody else can read a home, and nobody else can write to it.
func TestModesOfAHome(t *testing.T) {
	h := newHome(t, grants)
	for name, want := range map[string]fs.FileMode{
		"run": 0o711, "vault": 0o700, "audit": 0o700, "secretctl.toml": 0o600, "identity.txt": 0o600, "halt": 0o600, "ledger.db": 0o600,
	} {
		info, err := os.Stat(filepath.Join(h.dir, name))
		require.NoError(t, err)
		require.Equal(t, want, info.Mode().Perm(), name)
	}
}

// Whatever ends every lease moves the epoch on: a lease issued later is of a
// later one, so that nothing of before can come back by another copy of the log.
func TestEpochMovesOn(t *testing.T) {
	recover := func(t *testing.T, h *home) {
		_, err := broker.Recover(t.Context(), h.disk, h.clock, h.stores(), nil)
		require.NoError(t, err)
	}
	for name, c := range map[string]struct {
		do    func(t *testing.T, h *home)
		event audit.Event // whose record has the epoch
		least uint64
	}{
		"recover": {recover, audit.EventRecover, 1},
		"recover without the halt file": {func(t *testing.T, h *home) {
			require.NoError(t, os.Remove(filepath.Join(h.dir, halt.Name)))
			recover(t, h)
		}, audit.EventRecover, 1 << 32},
		"recover from damage to it": {func(t *testing.T, h *home) {
			path := filepath.Join(h.dir, halt.Name)
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, make([]byte, info.Size()), 0o600))
			_, err = h.open()
			require.ErrorIs(t, err, broker.ErrConflict)
			recover(t, h)
		}, audit.EventRecover, 1 << 32},
		"kill while no broker runs": {func(t *testing.T, h *home) {
			_, err := broker.KillOffline(h.disk, h.clock)
			require.NoError(t, err)
		}, audit.EventKill, 1},
		"revoke all": {func(t *testing.T, h *home) {
			b, err := h.open()
			require.NoError(t, err)
			_, err = b.Revoke(broker.Owner(), broker.Selection{All: true})
			require.NoError(t, err)
			require.NoError(t, b.Close())
		}, audit.EventRevoke, 1},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t, grants)
			b, err := h.open()
			require.NoError(t, err)
			mint(t, b, "weather", "sunny")
			before := leaseWeather(t, b)
			require.NoError(t, b.Close())
			c.do(t, h)
			b = h.broker()
			require.NoError(t, b.Resume(broker.Owner()))
			_, err = b.Renew(t.Context(), b.Agent(agentUID), before.ID.String())
			require.ErrorIs(t, err, broker.ErrNoSuchLease)
			after := leaseWeather(t, b)
			require.Greater(t, after.Epoch, before.Epoch)
			require.GreaterOrEqual(t, after.Epoch, c.least)
			require.Equal(t, after.Epoch, h.recorded(c.event)[0].Epoch)
			_, err = b.Renew(t.Context(), b.Agent(agentUID), after.ID.String())
			require.NoError(t, err, "and it lives")
		})
	}
}

// Recovering does not turn the kill switch off.
func TestRecoverStaysKilled(t *testing.T) {
	h := newHome(t, grants)
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "sunny")
	_, err = b.Kill(broker.Owner())
	require.NoError(t, err)
	require.NoError(t, b.Close())
	_, err = broker.Recover(t.Context(), h.disk, h.clock, h.stores(), nil)
	require.NoError(t, err)
	b, err = h.open()
	require.NoError(t, err)
	list, err := b.List("")
	require.NoError(t, err)
	require.True(t, list[0].Overdue, "and what was in the backup is to be replaced")
	h.killedAfterRestart(b)
}

// What was revoked stays so at a start that finds no room in the log.
func TestRevokedAtAStartWithoutRoom(t *testing.T) {
	h := newHome(t, grants)
	disk := &full{Disk: h.disk}
	h.disk = disk
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "sunny")
	revoked, kept := leaseWeather(t, b), leaseWeather(t, b)
	disk.on.Store(true)
	_, err = b.Revoke(broker.Owner(), broker.Selection{IDs: []string{revoked.ID.String()}})
	require.NoError(t, err)
	_ = b.Close()
	b, err = h.open()
	require.NoError(t, err)
	for _, l := range b.Leases(broker.Owner()) {
		require.NotEqual(t, revoked.ID, l.ID)
	}
	disk.on.Store(false)
	_, err = b.Renew(t.Context(), b.Agent(agentUID), kept.ID.String())
	require.NoError(t, err)
	require.NoError(t, b.Close())
}
