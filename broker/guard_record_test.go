package broker_test

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/audit"
)

// records returns the log.
func (h *home) records() (out []*audit.Record) {
	require.NoError(h.t, audit.Scan(h.disk, broker.AuditDir, 0, time.Time{}, func(r *audit.Record, _ []byte) error {
		c := *r
		out = append(out, &c)
		return nil
	}))
	return out
}

// recorded returns the records of one event.
func (h *home) recorded(event audit.Event) []*audit.Record {
	return slices.DeleteFunc(h.records(), func(r *audit.Record) bool { return r.Event != event })
}

// What the owner does is in the log with who did it, under which config, and in
// which epoch.
func TestOwnersAreRecorded(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	owner := broker.Owner()
	mint(t, b, "weather", "one")
	mint(t, b, "weather", "two")
	_, err := b.Rollback(t.Context(), owner, "weather")
	require.NoError(t, err)
	held := leaseWeather(t, b)
	require.NoError(t, b.Release(b.Agent(agentUID), held.ID.String()))
	require.NoError(t, b.Remove(t.Context(), owner, "weather"))
	_, err = b.Kill(owner)
	require.NoError(t, err)
	require.NoError(t, b.Resume(owner))
	_, err = b.Revoke(owner, broker.Selection{All: true})
	require.NoError(t, err)

	cfg, err := h.load()
	require.NoError(t, err)
	for event, want := range map[audit.Event]struct {
		agent  string
		secret string
		epoch  uint64
	}{
		audit.EventSet:      {"owner", "weather", 0},
		audit.EventRollback: {"owner", "weather", 0},
		audit.EventRemove:   {"owner", "weather", 0},
		audit.EventRelease:  {"claw", "weather", 0},
		audit.EventKill:     {"owner", "", 1},
		audit.EventResume:   {"owner", "", 1},
		audit.EventRevoke:   {"owner", "", 2},
	} {
		list := h.recorded(event)
		require.NotEmpty(t, list, event)
		r := list[0]
		require.Equal(t, want.agent, r.Agent, event)
		require.Equal(t, want.secret, string(r.Secret), event)
		require.Equal(t, want.epoch, r.Epoch, event)
		require.Equal(t, cfg.Hash, r.Config, event)
	}
}

// Each agent's own mode is in its records, not that of the weakest.
func TestRecordsHaveTheAgentsMode(t *testing.T) {
	needRoot(t)
	h := newHome(t, grants+fmt.Sprintf("[agent.self]\nuid = %d\n", os.Getuid()))
	b := h.broker()
	mint(t, b, "weather", "sunny")
	leaseWeather(t, b)
	require.Equal(t, "separate", h.recorded(audit.EventLease)[0].Mode)
	require.Equal(t, "same-user", h.recorded(audit.EventSet)[0].Mode)
}

// What is not given is in the log too: by which rule, if one forbids it, and
// whose lease was shown by whom.
func TestDenialsAreRecorded(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	mint(t, b, "weather", "sunny")
	held := leaseWeather(t, b)
	agent, other := b.Agent(agentUID), b.Agent(otherUID)
	for _, name := range []string{"github/token", "openai/billing-key", "openai/absent", "own/admin"} {
		_, err := b.Lease(t.Context(), agent, broker.LeaseRequest{Secret: name})
		require.ErrorIs(t, err, broker.ErrDenied)
	}
	_, err := b.Renew(t.Context(), other, held.ID.String())
	require.ErrorIs(t, err, broker.ErrNoSuchLease)
	require.NoError(t, b.Reload()) // what was deferred is written before what is waited for

	var denied []string
	for _, r := range h.records() {
		if r.Decision == audit.Deny {
			denied = append(denied, fmt.Sprintf("%s %s %s %s rule=%t", r.Event, r.Agent, r.Secret, r.Reason, r.Grant != ""))
		}
	}
	require.Equal(t, []string{
		"lease claw github/token no_grant rule=false",
		"lease claw openai/billing-key denied_by_rule rule=true",
		"lease claw openai/absent no_such_secret rule=false",
		"lease claw own/admin own_secret rule=false",
		"renew other  no_such_lease rule=false",
	}, denied)
}

// Beginnings, endings and what runs out are in the log, and the boot that the
// deadlines count in.
func TestLifeIsRecorded(t *testing.T) {
	h := newHome(t, grants)
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "sunny")
	leaseWeather(t, b)
	leaseWeather(t, b)
	h.clock.Advance(time.Hour)
	b.Expire()
	require.NoError(t, b.Close())
	require.Equal(t, h.clock.BootID(), h.recorded(audit.EventStart)[0].BootID)
	require.Len(t, h.recorded(audit.EventStop), 1)
	require.Equal(t, uint64(2), h.recorded(audit.EventExpire)[0].Count)
}

// Who reads the log is in it.
func TestReadingIsRecorded(t *testing.T) {
	h := newHome(t, grants)
	h.serve(h.broker())
	log, err := h.client(broker.OwnerSocket).Audit(t.Context(), 1, time.Time{}, false)
	require.NoError(t, err)
	require.NoError(t, log.Close())
	require.Equal(t, "owner", h.recorded(audit.EventRead)[0].Agent)
}

// A kill that the log had no room for is recorded once there is.
func TestKillIsRecordedLate(t *testing.T) {
	h := newHome(t, grants)
	disk := &full{Disk: h.disk}
	h.disk = disk
	b := h.broker()
	disk.on.Store(true)
	_, err := b.Kill(broker.Owner())
	require.NoError(t, err)
	disk.on.Store(false)
	require.NoError(t, b.Resume(broker.Owner()))
	require.Len(t, h.recorded(audit.EventKill), 1)
}
