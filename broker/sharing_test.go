package broker_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers/storetest"
)

// TestSharing: it is known who holds the same value as of now, whatever became
// of it since it was last asked.
func TestSharing(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	one, other := canary.New(t, "one"), canary.New(t, "other")
	type with = map[secret.Name][]uint64
	requireSharing := func(name secret.Name, version uint64, want with) {
		t.Helper()
		got, err := b.Vault().Sharing(t.Context(), name, version)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	requireSharing("a", 1, with{})
	set(t, b, "a", one)
	set(t, b, "b", one)
	set(t, b, "c", one)
	set(t, b, "d", other)
	requireSharing("a", 1, with{"b": {1}, "c": {1}})
	requireSharing("a", 2, with{})
	requireSharing("d", 1, with{})

	set(t, b, "b", other)
	requireSharing("a", 1, with{"b": {1}, "c": {1}})
	requireSharing("b", 2, with{"d": {1}})
	set(t, b, "b", "third "+one)
	requireSharing("a", 1, with{"c": {1}})
	set(t, b, "c", one)
	requireSharing("c", 1, with{"a": {1}, "c": {2}})
	require.NoError(t, b.Remove(t.Context(), broker.Owner(), "c"))
	requireSharing("a", 1, with{})

	// Two may have these by chance.
	set(t, b, "e", "changeme")
	set(t, b, "f", "changeme")
	requireSharing("e", 1, with{})
}

// TestSharingAfterTrouble: what cannot be opened now is looked at again, and until
// then as it was.
func TestSharingAfterTrouble(t *testing.T) {
	h := newHome(t, grants)
	shed := new(storetest.Memory)
	stores := h.stores()
	stores["shed"] = shed
	b, err := h.openWith(stores)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	one := canary.New(t, "one")
	v := value(t, one)
	defer v.Clear()
	set(t, b, "a", one)
	_, err = b.Set(t.Context(), broker.Owner(), "b", "shed", v)
	require.NoError(t, err)
	requireSharing := func(want map[secret.Name][]uint64) {
		t.Helper()
		got, err := b.Vault().Sharing(t.Context(), "a", 1)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	mend := shed.Break(errors.New("the power is gone"))
	requireSharing(map[secret.Name][]uint64{})
	mend()
	_, err = b.Status(t.Context()) // sees that it works again
	require.NoError(t, err)
	requireSharing(map[secret.Name][]uint64{"b": {1}})
	_, err = b.Set(t.Context(), broker.Owner(), "b", "", v)
	require.NoError(t, err)
	mend = shed.Break(errors.New("the power is gone"))
	requireSharing(map[secret.Name][]uint64{"b": {1}})
	mend()
	_, err = b.Status(t.Context())
	require.NoError(t, err)
	requireSharing(map[secret.Name][]uint64{"b": {1, 2}})
}
