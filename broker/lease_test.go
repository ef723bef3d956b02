package broker_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
)

// countingStore counts how often a store is asked for anything.
type countingStore struct {
	providers.Store
	asked atomic.Int64
}

func (s *countingStore) Get(ctx context.Context, name secret.Name, version uint64, want providers.Sum) (secret.Value, error) {
	s.asked.Add(1)
	return s.Store.Get(ctx, name, version, want)
}

// TestNoOracle: what an agent was not granted and what does not exist are the
// same answer, to the byte, and the decision comes before any store is touched.
func TestNoOracle(t *testing.T) {
	needRoot(t)
	h := newHome(t, grants)
	store := &countingStore{Store: h.stores()["age"]}
	b, err := h.openWith(map[string]providers.Store{"age": store})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	h.serve(b)
	for _, name := range []string{"openai/key", "openai/billing-key", "github/token", "own/admin"} {
		mint(t, b, name, "x")
	}
	asks := func(name string) question {
		return question{h.path(broker.AgentSocket), "POST /v1/leases", fmt.Sprintf(`{"secret":%q}`, name)}
	}
	replies := askAs(t, agentUID,
		asks("github/token"), // exists, not granted
		asks("github/absent"),
		asks("openai/billing-key"), // denied by rule
		asks("openai/billing-absent"),
		asks("openai/absent"), // granted, and not there
		asks("own/admin"),     // the broker's own
		asks("own/absent"),
	)
	for _, r := range replies {
		r.Header.Del("Date")
		require.Equal(t, replies[0].Header, r.Header)
		require.Equal(t, replies[0].Body, r.Body)
		require.Equal(t, http.StatusForbidden, r.Status)
	}
	require.Zero(t, store.asked.Load(), "a store was asked for what is not given")
	for _, name := range []string{"github", "billing", "own/"} {
		list := askAs(t, agentUID, question{h.path(broker.AgentSocket), "GET /v1/secrets", ""})[0]
		require.NotContains(t, list.Body, name)
		require.Contains(t, list.Body, "openai/key")
	}
}

// TestRenewSameIdentity: a lease in other hands is worthless, whoever shows it
// and whatever the config calls them.
func TestRenewSameIdentity(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	mint(t, b, "weather", "sunny")
	issued, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.NoError(t, err)
	id := issued.ID.String()

	worthless := func(c *broker.Caller) {
		t.Helper()
		_, err := b.Renew(t.Context(), c, id)
		require.ErrorIs(t, err, broker.ErrNoSuchLease)
		require.ErrorIs(t, b.Release(c, id), broker.ErrNoSuchLease)
		for _, l := range b.Leases(c) {
			require.NotEqual(t, issued.ID, l.ID)
		}
	}
	worthless(b.Agent(otherUID))
	// The name moves to another uid: the lease does not go with it.
	h.configure(strings.NewReplacer("61001", "61009").Replace(grants))
	require.NoError(t, b.Reload())
	worthless(b.Agent(61009))
	h.configure(grants)
	require.NoError(t, b.Reload())
	_, err = b.Renew(t.Context(), b.Agent(agentUID), id)
	require.NoError(t, err)

	for _, bad := range []string{"", "x", strings.ToUpper(id), id + "0", id[:31], strings.Repeat("0", 32)} {
		_, err := b.Renew(t.Context(), b.Agent(agentUID), bad)
		require.ErrorIs(t, err, broker.ErrNoSuchLease, bad)
	}
}

// TestOwnKeysNeverLeased: the broker's own credentials are nobody's lease, not
// even an owner's.
func TestOwnKeysNeverLeased(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	mint(t, b, "own/openai-admin", "admin")
	for _, c := range []*broker.Caller{b.Agent(agentUID), broker.Owner()} {
		_, err := b.Lease(t.Context(), c, broker.LeaseRequest{Secret: "own/openai-admin"})
		require.ErrorIs(t, err, broker.ErrDenied)
	}
	for _, secrets := range []string{`"own/openai-admin"`, `"own/*"`} {
		h.configure(fmt.Sprintf("[agent.claw]\nuid = 61001\n[[grant]]\nagent = \"claw\"\nsecrets = [%s]\n", secrets))
		require.ErrorContains(t, b.Reload(), "own/", secrets)
	}
}

// TestRenewDecidesAgain: a renewal is a decision, by the rules of that moment.
func TestRenewDecidesAgain(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	agent := b.Agent(agentUID)
	mint(t, b, "weather", "sunny")
	following, err := b.Lease(t.Context(), agent, broker.LeaseRequest{Secret: "weather", TTLSeconds: 60})
	require.NoError(t, err)
	pinned, err := b.Lease(t.Context(), agent, broker.LeaseRequest{Secret: "weather", Pinned: true})
	require.NoError(t, err)
	require.Equal(t, uint64(2), mint(t, b, "weather", "rainy"))

	h.clock.Advance(50 * time.Second)
	renewed, err := b.Renew(t.Context(), agent, following.ID.String())
	require.NoError(t, err)
	require.Equal(t, canary.New(t, "rainy"), reveal(t, renewed.Value))
	require.Equal(t, time.Minute, renewed.TTL)
	require.Equal(t, start.Add(110*time.Second), renewed.Expires)
	require.Equal(t, start, renewed.First)
	kept, err := b.Renew(t.Context(), agent, pinned.ID.String())
	require.NoError(t, err)
	require.Equal(t, canary.New(t, "sunny"), reveal(t, kept.Value))

	h.clock.Advance(time.Minute)
	_, err = b.Renew(t.Context(), agent, following.ID.String())
	require.ErrorIs(t, err, broker.ErrNoSuchLease, "it ran out")
	h.configure(strings.ReplaceAll(grants, `"weather"`, `"wind"`))
	require.NoError(t, b.Reload())
	_, err = b.Renew(t.Context(), agent, pinned.ID.String())
	require.ErrorIs(t, err, broker.ErrDenied, "its grant is gone")
}

// TestLimits: max_leases and leases_per_hour bound what is handed out, and a
// renewal is held back by neither.
func TestLimits(t *testing.T) {
	h := newHome(t, `
[agent.claw]
uid = 61001
[[grant]]
agent = "claw"
secrets = ["a"]
max_leases = 2
[[grant]]
agent = "claw"
secrets = ["b"]
leases_per_hour = 2
[[grant]]
agent = "claw"
secrets = ["c"]
reason = "required"
hours = "07:00-23:00"
`)
	b := h.broker()
	agent := b.Agent(agentUID)
	for _, name := range []string{"a", "b", "c"} {
		mint(t, b, name, "x")
	}
	lease := func(name string) (*broker.Issued, error) {
		return b.Lease(t.Context(), agent, broker.LeaseRequest{Secret: name})
	}
	for _, name := range []string{"a", "b"} {
		first, err := lease(name)
		require.NoError(t, err)
		_, err = lease(name)
		require.NoError(t, err)
		_, err = lease(name)
		require.ErrorIs(t, err, broker.ErrLimit)
		_, err = b.Renew(t.Context(), agent, first.ID.String())
		require.NoError(t, err)
		require.NoError(t, b.Release(agent, first.ID.String()))
		_, err = lease(name)
		if name == "a" {
			require.NoError(t, err, "a place was given back")
		} else {
			require.ErrorIs(t, err, broker.ErrLimit, "the hour was not")
		}
	}
	_, err := lease("c")
	require.ErrorIs(t, err, broker.ErrDenied)
	require.ErrorContains(t, err, "reason")
	_, err = b.Lease(t.Context(), agent, broker.LeaseRequest{Secret: "c", Reason: "the weekly report"})
	require.NoError(t, err)
}

// TestLeaseRequests: what is not understood is refused, not guessed.
func TestLeaseRequests(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	mint(t, b, "weather", "sunny")
	agent := b.Agent(agentUID)
	for _, bad := range []broker.LeaseRequest{
		{Secret: "Weather"}, {Secret: ""}, {Secret: "weather/"}, {Secret: "../weather"},
		{Secret: "weather", Door: "window"}, {Secret: "weather", Door: "mint"},
		{Secret: "weather", TTLSeconds: -1}, {Secret: "weather", TTLSeconds: 1 << 40},
		{Secret: "weather", Scope: []string{"read"}}, {Secret: "weather", Version: 1},
	} {
		_, err := b.Lease(t.Context(), agent, bad)
		require.ErrorIs(t, err, broker.ErrBadRequest, "%+v", bad)
	}
	clipped, err := b.Lease(t.Context(), agent, broker.LeaseRequest{Secret: "weather", TTLSeconds: 86400})
	require.NoError(t, err)
	require.Equal(t, 15*time.Minute, clipped.TTL)

	mint(t, b, "weather", "rainy")
	old, err := b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather", Version: 1})
	require.NoError(t, err)
	require.Equal(t, canary.New(t, "sunny"), reveal(t, old.Value))
	_, err = b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather", Version: 9})
	require.ErrorIs(t, err, broker.ErrNotFound)
	_, err = b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "absent"})
	require.ErrorIs(t, err, broker.ErrNotFound)
}
