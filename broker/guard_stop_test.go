package broker_test

import (
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/durable"
	"secretctl/broker/halt"
)

// atTimesDeaf is a disk whose halt file cannot be synced while it is on.
type atTimesDeaf struct {
	durable.Disk
	on atomic.Bool
}

func (d *atTimesDeaf) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := d.Disk.OpenFile(name, flag, perm)
	if err != nil || name != halt.Name {
		return f, err
	}
	return atTimesDeafFile{f, d}, nil
}

type atTimesDeafFile struct {
	durable.File
	d *atTimesDeaf
}

func (f atTimesDeafFile) Sync() error {
	if f.d.on.Load() {
		return syscall.EIO
	}
	return f.File.Sync()
}

// killedAfterRestart closes the broker and says that the next one is killed.
func (h *home) killedAfterRestart(b *broker.Broker) {
	h.t.Helper()
	require.NoError(h.t, b.Close())
	b, err := h.open()
	require.NoError(h.t, err)
	_, err = b.Lease(h.t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(h.t, err, broker.ErrKilled)
	require.NoError(h.t, b.Close())
}

// A resume that is not durable does not happen: not now, and not with the next
// state that is written.
func TestResumeNotDurable(t *testing.T) {
	h := newHome(t, grants)
	disk := &atTimesDeaf{Disk: h.disk}
	h.disk = disk
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "sunny")
	_, err = b.Kill(broker.Owner())
	require.NoError(t, err)
	disk.on.Store(true)
	require.ErrorIs(t, b.Resume(broker.Owner()), broker.ErrNotDurable)
	_, err = b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(t, err, broker.ErrKilled)
	disk.on.Store(false)
	h.clock.StepBoot(-time.Hour) // the epoch moves on by itself
	require.Empty(t, b.Leases(broker.Owner()))
	h.killedAfterRestart(b)
}

// Revoking everything leaves the kill switch as it was.
func TestRevokeAllWhileKilled(t *testing.T) {
	h := newHome(t, grants)
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "sunny")
	_, err = b.Revoke(broker.Owner(), broker.Selection{All: true})
	require.NoError(t, err)
	leaseWeather(t, b)
	_, err = b.Kill(broker.Owner())
	require.NoError(t, err)
	_, err = b.Revoke(broker.Owner(), broker.Selection{All: true})
	require.NoError(t, err)
	h.killedAfterRestart(b)
}

// A clock that goes back ends every lease and leaves the kill switch as it was,
// on or off.
func TestClockBackWhileKilled(t *testing.T) {
	h := newHome(t, grants)
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "sunny")
	h.clock.StepBoot(-time.Hour)
	require.Empty(t, b.Leases(broker.Owner()))
	after := leaseWeather(t, b)
	_, err = b.Renew(t.Context(), b.Agent(agentUID), after.ID.String())
	require.NoError(t, err, "what is given after that lives")
	_, err = b.Kill(broker.Owner())
	require.NoError(t, err)
	h.clock.StepBoot(-time.Hour)
	require.Empty(t, b.Leases(broker.Owner()))
	h.killedAfterRestart(b)
}

// What is selected ends and nothing else, by whatever it is selected.
func TestRevokeSpares(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	mint(t, b, "weather", "sunny")
	mint(t, b, "openai/key", "sk")
	leaseWeather(t, b)
	for name, s := range map[string]broker.Selection{
		"the secret":            {Secret: "openai/key"},
		"the agent's secret":    {Agent: "claw", Secret: "openai/key"},
		"another agent's":       {Agent: "other", Secret: "openai/key"},
		"an agent with nothing": {Agent: "other"},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "openai/key"})
			require.NoError(t, err)
			n, err := b.Revoke(broker.Owner(), s)
			require.NoError(t, err)
			left := b.Leases(broker.Owner())
			if s.Agent == "other" {
				require.Zero(t, n)
				require.Len(t, left, 2)
				require.NoError(t, b.Release(b.Agent(agentUID), key.ID.String()))
				return
			}
			require.Equal(t, 1, n)
			require.Len(t, left, 1)
			require.Equal(t, "weather", string(left[0].Secret))
		})
	}
}

// While the log takes over what was revoked, halt has room for any number, at
// once or one by one, and nobody else's lease ends for want of it.
func TestRevokeAnyNumber(t *testing.T) {
	for name, revoke := range map[string]func(b *broker.Broker, ids []string) (int, error){
		"at once": func(b *broker.Broker, _ []string) (int, error) {
			return b.Revoke(broker.Owner(), broker.Selection{Agent: "claw"})
		},
		"one by one": func(b *broker.Broker, ids []string) (n int, err error) {
			for _, id := range ids {
				one, err := b.Revoke(broker.Owner(), broker.Selection{IDs: []string{id}})
				if err != nil {
					return n, err
				}
				n += one
			}
			return n, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t, grants)
			b, err := h.open()
			require.NoError(t, err)
			mint(t, b, "weather", "sunny")
			spared, err := b.Lease(t.Context(), b.Agent(otherUID), broker.LeaseRequest{Secret: "weather"})
			require.NoError(t, err)
			var ids []string
			for range 2*halt.MaxRevoked + 1 {
				ids = append(ids, leaseWeather(t, b).ID.String())
			}
			n, err := revoke(b, ids)
			require.NoError(t, err)
			require.Equal(t, len(ids), n)
			alone := func() {
				t.Helper()
				left := b.Leases(broker.Owner())
				require.Len(t, left, 1)
				require.Equal(t, spared.ID, left[0].ID)
			}
			alone()
			require.NoError(t, b.Close())
			b = h.broker()
			alone()
		})
	}
}

// What was revoked while the log was full is recorded at the next start, and
// halt has all its room again.
func TestRevokedIsRecordedAtStart(t *testing.T) {
	h := newHome(t, grants)
	disk := &full{Disk: h.disk}
	h.disk = disk
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "sunny")
	var ids []string
	for range halt.MaxRevoked {
		ids = append(ids, leaseWeather(t, b).ID.String())
	}
	kept, last := leaseWeather(t, b), leaseWeather(t, b)
	disk.on.Store(true)
	for _, id := range ids {
		_, err := b.Revoke(broker.Owner(), broker.Selection{IDs: []string{id}})
		require.NoError(t, err)
	}
	_ = b.Close() // as when the machine goes off: what was deferred is lost
	disk.on.Store(false)
	b = h.broker()
	log := strings.Join(h.log(), "\n")
	for _, id := range ids {
		require.Contains(t, log, fmt.Sprintf("revoke %s", id))
	}
	_, err = b.Revoke(broker.Owner(), broker.Selection{IDs: []string{last.ID.String()}})
	require.NoError(t, err)
	left := b.Leases(broker.Owner())
	require.Len(t, left, 1, "there was room for one more")
	require.Equal(t, kept.ID, left[0].ID)
}

// A revoke that is not durable is in force, and says that a restart would undo
// it.
func TestRevokeNotDurable(t *testing.T) {
	h := newHome(t, grants)
	h.disk = deaf{h.disk}
	b := h.broker()
	mint(t, b, "weather", "sunny")
	held := leaseWeather(t, b)
	_, err := b.Revoke(broker.Owner(), broker.Selection{Agent: "claw"})
	require.ErrorIs(t, err, broker.ErrNotDurable)
	_, err = b.Renew(t.Context(), b.Agent(agentUID), held.ID.String())
	require.ErrorIs(t, err, broker.ErrNoSuchLease)
}
