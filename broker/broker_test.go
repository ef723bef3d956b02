package broker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/secret/canary"
)

func TestSetAndLease(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	require.Equal(t, uint64(1), mint(t, b, "openai/key", "one"))

	issued, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "openai/key"})
	require.NoError(t, err)
	require.Equal(t, canary.New(t, "one"), reveal(t, issued.Value))
	require.Equal(t, 10*time.Minute, issued.TTL)

	_, err = b.Lease(t.Context(), b.Agent(otherUID), broker.LeaseRequest{Secret: "openai/key"})
	require.ErrorIs(t, err, broker.ErrDenied)
}

func TestOverTheSockets(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	h.serve(b)
	owner := h.client(broker.OwnerSocket)

	quoted := canary.New(t, "quoted") + "\"quoted\"\n\\"
	v := value(t, quoted)
	defer v.Clear()
	version, err := owner.Set(t.Context(), "openai/key", "", v)
	require.NoError(t, err)
	require.Equal(t, uint64(1), version)
	handed, err := owner.Lease(t.Context(), broker.LeaseRequest{Secret: "openai/key"})
	require.NoError(t, err)
	defer handed.Value.Clear()
	require.Equal(t, quoted, reveal(t, handed.Value))

	status, err := owner.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, status.Secrets)
	require.Equal(t, 1, status.Leases)
	report, err := owner.Verify(t.Context())
	require.NoError(t, err)
	require.True(t, report.OK, "%+v", report)
}
