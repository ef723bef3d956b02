package broker_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/audit"
	"secretctl/broker/durable"
	"secretctl/broker/halt"
	"secretctl/broker/lease"
	"secretctl/broker/secret/canary"
)

// lease hands the agent a lease on weather.
func leaseWeather(t testing.TB, b *broker.Broker) *broker.Issued {
	issued, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.NoError(t, err)
	return issued
}

// TestLockdownSpeed: with 10,000 leases and 100 answers on their way, kill
// answers within a second, and after that no byte of a value leaves, nor does a
// restart bring anything back.
func TestLockdownSpeed(t *testing.T) {
	const leases, streams = 10_000, 100
	h := newHome(t, strings.Replace(grants, "61001", fmt.Sprint(syscall.Getuid()), 1)+"[broker]\nmax_connections = 200\n")
	b, err := h.open()
	require.NoError(t, err)
	h.serve(b)
	mint(t, b, "weather", strings.Repeat(canary.New(t, "sunny"), 600_000/canary.Len+1))
	c := b.Agent(uint32(syscall.Getuid()))
	together(50, func(int) {
		for range leases / 50 {
			_, err := b.Lease(t.Context(), c, broker.LeaseRequest{Secret: "weather"})
			assert.NoError(t, err)
		}
	})
	// Answers that are stuck half way: nobody reads them.
	var conns []net.Conn
	for range streams {
		conn, err := net.Dial("unix", h.path(broker.AgentSocket))
		require.NoError(t, err)
		defer conn.Close()
		_, err = fmt.Fprintf(conn, "POST /v1/leases HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 20\r\n\r\n{\"secret\":\"weather\"}")
		require.NoError(t, err)
		conns = append(conns, conn)
	}
	_, err = conns[0].Read(make([]byte, 1))
	require.NoError(t, err, "answers are on their way")

	began := time.Now()
	ended, err := b.Kill(broker.Owner())
	took := time.Since(began)
	require.NoError(t, err)
	require.GreaterOrEqual(t, ended, leases)
	require.LessOrEqual(t, took, time.Second, "kill took %v", took)
	t.Logf("kill of %d leases and %d streams: %v", ended, streams, took)

	// What the kernel had already taken can be read; not a whole value.
	for _, conn := range conns {
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
		var got bytes.Buffer
		_, _ = got.ReadFrom(conn)
		require.Less(t, got.Len(), 600_000, "an answer went on after the kill")
	}
	killed := func(b *broker.Broker) {
		t.Helper()
		require.Empty(t, b.Leases(broker.Owner()))
		_, err := b.Lease(t.Context(), b.Agent(uint32(syscall.Getuid())), broker.LeaseRequest{Secret: "weather"})
		require.ErrorIs(t, err, broker.ErrKilled)
		_, err = b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
		require.ErrorIs(t, err, broker.ErrKilled, "owners too")
	}
	killed(b)
	require.NoError(t, b.Close())
	b = h.broker()
	killed(b)
	require.NoError(t, b.Resume(broker.Owner()))
	require.Empty(t, b.Leases(broker.Owner()), "resuming brings nothing back")
	_, err = b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
	require.NoError(t, err)
}

// together runs f n times at once and waits.
func together(n int, f func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { f(i) })
	}
	all.Wait()
}

// TestRevoke: by id, agent, secret and all; each is over at its next use and
// stays over across a restart.
func TestRevoke(t *testing.T) {
	for _, c := range []struct {
		name   string
		choose func(mine, others *broker.Issued) broker.Selection
		spares bool // the other agent's lease lives on
	}{
		{"id", func(mine, _ *broker.Issued) broker.Selection {
			return broker.Selection{IDs: []string{mine.ID.String()}}
		}, true},
		{"agent", func(_, _ *broker.Issued) broker.Selection { return broker.Selection{Agent: "claw"} }, true},
		{"secret", func(_, _ *broker.Issued) broker.Selection { return broker.Selection{Secret: "weather"} }, false},
		{"all", func(_, _ *broker.Issued) broker.Selection { return broker.Selection{All: true} }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHome(t, grants)
			b, err := h.open()
			require.NoError(t, err)
			mint(t, b, "weather", "sunny")
			mine := leaseWeather(t, b)
			others, err := b.Lease(t.Context(), b.Agent(otherUID), broker.LeaseRequest{Secret: "weather"})
			require.NoError(t, err)
			n, err := b.Revoke(broker.Owner(), c.choose(mine, others))
			require.NoError(t, err)
			require.NotZero(t, n)
			over := func(b *broker.Broker) {
				t.Helper()
				_, err := b.Renew(t.Context(), b.Agent(agentUID), mine.ID.String())
				require.ErrorIs(t, err, broker.ErrNoSuchLease)
				_, err = b.Renew(t.Context(), b.Agent(otherUID), others.ID.String())
				if c.spares {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, broker.ErrNoSuchLease)
				}
			}
			over(b)
			require.NoError(t, b.Close())
			over(h.broker())
		})
	}
}

func TestRevokeNothing(t *testing.T) {
	b := newHome(t, grants).broker()
	_, err := b.Revoke(broker.Owner(), broker.Selection{})
	require.ErrorIs(t, err, broker.ErrBadRequest)
	_, err = b.Revoke(broker.Owner(), broker.Selection{IDs: []string{strings.Repeat("0", 32)}})
	require.ErrorIs(t, err, broker.ErrNotFound)
}

// full is a disk that takes nothing more, except in place: every write that
// needs room fails.
type full struct {
	durable.Disk
	only string // where there is no room; "": everywhere but in halt
	on   atomic.Bool
}

func (d *full) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := d.Disk.OpenFile(name, flag, perm)
	if err != nil || name == halt.Name || !strings.HasPrefix(name, d.only) {
		return f, err
	}
	return fullFile{f, d}, nil
}

type fullFile struct {
	durable.File
	d *full
}

func (f fullFile) Write(b []byte) (int, error) {
	if f.d.on.Load() {
		return 0, syscall.ENOSPC
	}
	return f.File.Write(b)
}

func (f fullFile) WriteAt(b []byte, at int64) (int, error) {
	if f.d.on.Load() {
		return 0, syscall.ENOSPC
	}
	return f.File.WriteAt(b, at)
}

// TestStopOnFullDisk: with no room for a record nothing is handed out, and
// revoke and kill hold all the same, across a restart. It goes on by itself when
// there is room.
func TestStopOnFullDisk(t *testing.T) {
	h := newHome(t, grants)
	disk := &full{Disk: h.disk}
	h.disk = disk
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "sunny")
	one, two, three := leaseWeather(t, b), leaseWeather(t, b), leaseWeather(t, b)

	disk.on.Store(true)
	_, err = b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(t, err, broker.ErrStoreUnavailable)
	_, err = b.Renew(t.Context(), b.Agent(agentUID), one.ID.String())
	require.ErrorIs(t, err, broker.ErrStoreUnavailable)
	require.Error(t, b.Degraded())
	n, err := b.Revoke(broker.Owner(), broker.Selection{IDs: []string{one.ID.String()}})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.NoError(t, b.Release(b.Agent(agentUID), two.ID.String()))
	require.Len(t, b.Leases(broker.Owner()), 1)

	disk.on.Store(false)
	renewed, err := b.Renew(t.Context(), b.Agent(agentUID), three.ID.String())
	require.NoError(t, err, "room again")
	require.Equal(t, canary.New(t, "sunny"), reveal(t, renewed.Value))
	require.NoError(t, b.Degraded())
	require.Contains(t, h.log(), "revoke "+one.ID.String(), "what was revoked meanwhile is recorded late")

	disk.on.Store(true)
	_, err = b.Kill(broker.Owner())
	require.NoError(t, err)
	require.ErrorIs(t, b.Resume(broker.Owner()), broker.ErrStoreUnavailable, "resuming gives power: no record, no resume")
	_ = b.Close() // the last checkpoint finds no room
	disk.on.Store(false)
	b = h.broker()
	_, err = b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(t, err, broker.ErrKilled)
	require.Empty(t, b.Leases(broker.Owner()))
	require.NoError(t, b.Resume(broker.Owner()))
	_, err = b.Renew(t.Context(), b.Agent(agentUID), three.ID.String())
	require.ErrorIs(t, err, broker.ErrNoSuchLease)
}

// log returns the log as "event lease" for each record.
func (h *home) log() (out []string) {
	require.NoError(h.t, audit.Scan(h.disk, broker.AuditDir, 0, time.Time{}, func(r *audit.Record, _ []byte) error {
		out = append(out, strings.TrimSpace(string(r.Event)+" "+r.Lease))
		return nil
	}))
	return out
}

// TestRevokeMoreThanHaltHolds: when the log cannot take over what was revoked
// and there is no room for more, everything ends rather than anything living on.
func TestRevokeMoreThanHaltHolds(t *testing.T) {
	h := newHome(t, grants)
	disk := &full{Disk: h.disk}
	h.disk = disk
	b := h.broker()
	mint(t, b, "weather", "sunny")
	var ids []lease.ID
	for range halt.MaxRevoked + 2 {
		ids = append(ids, leaseWeather(t, b).ID)
	}
	disk.on.Store(true)
	defer func() { disk.on.Store(false) }()
	for i, id := range ids[:halt.MaxRevoked+1] {
		_, err := b.Revoke(broker.Owner(), broker.Selection{IDs: []string{id.String()}})
		require.NoError(t, err, i)
	}
	require.Empty(t, b.Leases(broker.Owner()), "the epoch moved on: the last lease died with the others")
}

// deaf is a disk whose halt file cannot be synced.
type deaf struct{ durable.Disk }

func (d deaf) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := d.Disk.OpenFile(name, flag, perm)
	if err != nil || name != halt.Name {
		return f, err
	}
	return deafFile{f}, nil
}

type deafFile struct{ durable.File }

func (deafFile) Sync() error { return syscall.EIO }

// TestKillNotDurable: a kill that cannot be made durable is in force all the
// same, and says that a restart would undo it.
func TestKillNotDurable(t *testing.T) {
	h := newHome(t, grants)
	h.disk = deaf{h.disk}
	b := h.broker()
	mint(t, b, "weather", "sunny")
	leaseWeather(t, b)
	_, err := b.Kill(broker.Owner())
	require.ErrorIs(t, err, broker.ErrNotDurable)
	require.ErrorContains(t, err, "do not restart")
	_, err = b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
	require.True(t, errors.Is(err, broker.ErrKilled))
}

// TestKillOffline: with no broker running the next one starts killed.
func TestKillOffline(t *testing.T) {
	h := newHome(t, grants)
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "sunny")
	held := leaseWeather(t, b)
	require.NoError(t, b.Close())
	recorded, err := broker.KillOffline(h.disk, h.clock)
	require.NoError(t, err)
	require.NoError(t, recorded)
	b = h.broker()
	_, err = b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(t, err, broker.ErrKilled)
	require.NoError(t, b.Resume(broker.Owner()))
	_, err = b.Renew(t.Context(), b.Agent(agentUID), held.ID.String())
	require.ErrorIs(t, err, broker.ErrNoSuchLease)
	require.Contains(t, h.log(), "kill")
}

// TestRefusalsAreRecorded: what is asked for while the switch is on is refused,
// and each refusal is in the log.
func TestRefusalsAreRecorded(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	mint(t, b, "weather", "sunny")
	held := leaseWeather(t, b)
	_, err := b.Kill(broker.Owner())
	require.NoError(t, err)
	_, err = b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(t, err, broker.ErrKilled)
	_, err = b.Renew(t.Context(), b.Agent(agentUID), held.ID.String())
	require.ErrorIs(t, err, broker.ErrKilled)
	require.NoError(t, b.Resume(broker.Owner())) // what was deferred is written before it
	var refused []audit.Event
	require.NoError(t, audit.Scan(h.disk, broker.AuditDir, 0, time.Time{}, func(r *audit.Record, _ []byte) error {
		if r.Decision == audit.Deny && r.Reason == "killed" {
			refused = append(refused, r.Event)
		}
		return nil
	}))
	require.Equal(t, []audit.Event{audit.EventLease, audit.EventRenew}, refused)
}

// A selection that names what there is not is no success.
func TestRevokeNobody(t *testing.T) {
	b := newHome(t, grants).broker()
	mint(t, b, "weather", "sunny")
	for _, s := range []broker.Selection{{Agent: "nobody"}, {Secret: "nowhere"}, {Secret: "No Name"}} {
		_, err := b.Revoke(broker.Owner(), s)
		require.ErrorIs(t, err, broker.ErrNotFound)
	}
	for _, s := range []broker.Selection{{Agent: "claw"}, {Agent: broker.OwnerName}, {Secret: "weather"}} {
		n, err := b.Revoke(broker.Owner(), s)
		require.NoError(t, err)
		require.Zero(t, n)
	}
}
