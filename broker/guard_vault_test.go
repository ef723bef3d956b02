package broker_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
)

// changes are all that an owner can do to a secret.
var changes = map[string]func(t *testing.T, b *broker.Broker) error{
	"set": func(t *testing.T, b *broker.Broker) error {
		v := value(t, "three")
		defer v.Clear()
		_, err := b.Set(t.Context(), broker.Owner(), "weather", "", v)
		return err
	},
	"rm": func(t *testing.T, b *broker.Broker) error { return b.Remove(t.Context(), broker.Owner(), "weather") },
	"rollback": func(t *testing.T, b *broker.Broker) error {
		_, err := b.Rollback(t.Context(), broker.Owner(), "weather")
		return err
	},
	"adopt": func(t *testing.T, b *broker.Broker) error {
		_, err := b.Adopt(t.Context(), broker.Owner(), "weather")
		return err
	},
}

// What cannot be recorded is not done to the vault, and leaves nothing in it.
func TestNoChangeWithoutARecord(t *testing.T) {
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			h := newHome(t, grants)
			disk := &full{Disk: h.disk, only: broker.AuditDir}
			h.disk = disk
			b := h.broker()
			mint(t, b, "weather", "one")
			mint(t, b, "weather", "two")
			held := leaseWeather(t, b)
			one := filepath.Join(h.dir, "vault/weather/@1.age")
			before, err := os.ReadFile(one)
			require.NoError(t, err)
			if name == "adopt" {
				mint(t, b, "other", "theirs")
				theirs, err := os.ReadFile(filepath.Join(h.dir, "vault/other/@1.age"))
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(one, theirs, 0o600))
			}
			versions, err := b.Versions("weather")
			require.NoError(t, err)
			disk.on.Store(true)
			require.ErrorIs(t, change(t, b), broker.ErrStoreUnavailable)
			disk.on.Store(false)

			after, err := b.Versions("weather")
			require.NoError(t, err)
			require.Equal(t, versions, after)
			files, err := os.ReadDir(filepath.Join(h.dir, "vault/weather"))
			require.NoError(t, err)
			require.Len(t, files, 2)
			_, err = b.Renew(t.Context(), b.Agent(agentUID), held.ID.String())
			require.NoError(t, err)
			if name != "adopt" {
				again, err := os.ReadFile(one)
				require.NoError(t, err)
				require.Equal(t, before, again)
			}
			require.NoError(t, change(t, b), "room again")
		})
	}
}

// With a log that cannot be read nothing is done to the vault either.
func TestNoChangeWithoutALog(t *testing.T) {
	h := newHome(t, grants)
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "one")
	mint(t, b, "weather", "two")
	require.NoError(t, b.Close())
	h.spoilLog()
	b = h.broker()
	require.Error(t, b.Degraded())
	versions, err := b.Versions("weather")
	require.NoError(t, err)
	for name, change := range changes {
		require.ErrorIs(t, change(t, b), broker.ErrStoreUnavailable, name)
	}
	after, err := b.Versions("weather")
	require.NoError(t, err)
	require.Equal(t, versions, after)
}

// spoilLog changes a bit of the log and returns what undoes it.
func (h *home) spoilLog() (undo func()) {
	segment, snap := filepath.Join(h.dir, "audit/00000001.jsonl"), filepath.Join(h.dir, "audit/leases.snap")
	text, err := os.ReadFile(segment)
	require.NoError(h.t, err)
	leases, err := os.ReadFile(snap)
	require.NoError(h.t, err)
	spoilt := append([]byte{}, text...)
	spoilt[len(spoilt)/2] ^= 1
	require.NoError(h.t, os.WriteFile(segment, spoilt, 0o600))
	require.NoError(h.t, os.Remove(snap))
	return func() {
		require.NoError(h.t, os.WriteFile(segment, text, 0o600))
		require.NoError(h.t, os.WriteFile(snap, leases, 0o600))
	}
}

// A log that could not be read once ends the leases for good: when it can be
// read again, they are over.
func TestUnreadableLogEndsLeases(t *testing.T) {
	h := newHome(t, grants)
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "sunny")
	held := leaseWeather(t, b)
	require.NoError(t, b.Close())
	undo := h.spoilLog()
	b, err = h.open()
	require.NoError(t, err)
	require.Error(t, b.Degraded())
	require.NoError(t, b.Close())
	undo()
	b = h.broker()
	require.NoError(t, b.Degraded())
	_, err = b.Renew(t.Context(), b.Agent(agentUID), held.ID.String())
	require.ErrorIs(t, err, broker.ErrNoSuchLease)
}

// A removal that the store cuts short is an error, and the next start goes on
// with it.
func TestRemovalGoesOn(t *testing.T) {
	h := newHome(t, grants)
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "one")
	require.NoError(t, b.Close())

	store := &hooked{Store: h.stores()["age"], deleting: func() error { return errors.New("the vault is elsewhere") }}
	b, err = h.openWith(stored(store))
	require.NoError(t, err)
	held := leaseWeather(t, b)
	require.ErrorContains(t, b.Remove(t.Context(), broker.Owner(), "weather"), "elsewhere")
	_, err = b.Renew(t.Context(), b.Agent(agentUID), held.ID.String())
	require.ErrorIs(t, err, broker.ErrNoSuchLease, "it is gone for everybody all the same")
	require.NoError(t, b.Close())
	file := filepath.Join(h.dir, "vault/weather/@1.age")
	require.FileExists(t, file)
	b = h.broker()
	require.NoFileExists(t, file)
	require.Equal(t, uint64(2), mint(t, b, "weather", "again"))
}

// A version that the ledger does not know is served to nobody, whatever lies in
// the store under its number: not to who had it, nor as the next.
func TestUnknownVersionsAreNotServed(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	file := func(n string) string { return filepath.Join(h.dir, "vault/weather", "@"+n+".age") }
	mint(t, b, "weather", "one")
	one, err := os.ReadFile(file("1"))
	require.NoError(t, err)
	pinned, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather", Pinned: true})
	require.NoError(t, err)
	mint(t, b, "weather", "two")
	mint(t, b, "weather", "three")
	require.ErrorIs(t, pinned.Value.Use(func([]byte) error { return nil }), secret.ErrCleared, "it went with its version")
	require.NoError(t, os.WriteFile(file("1"), one, 0o600))
	_, err = b.Renew(t.Context(), b.Agent(agentUID), pinned.ID.String())
	require.ErrorIs(t, err, broker.ErrStoreUnavailable)

	require.NoError(t, os.WriteFile(file("4"), one, 0o600))
	require.Equal(t, uint64(4), mint(t, b, "weather", "four"))
	text, _ := get(t, b, "weather")
	require.Equal(t, canary.New(t, "four"), text)
}

// What was adopted is served at once, also where the value before is in memory.
func TestAdoptedAtOnce(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	mint(t, b, "weather", "mine")
	mint(t, b, "other", "theirs")
	leaseWeather(t, b)
	theirs, err := os.ReadFile(filepath.Join(h.dir, "vault/other/@1.age"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "vault/weather/@1.age"), theirs, 0o600))
	_, err = b.Adopt(t.Context(), broker.Owner(), "weather")
	require.NoError(t, err)
	text, _ := get(t, b, "weather")
	require.Equal(t, canary.New(t, "theirs"), text)
}

// Adopting looks at every version and keeps none of them in memory.
func TestAdoptKeepsNothing(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	mint(t, b, "weather", "mine")
	for range 8 {
		set(t, b, "other", large)
		other, err := filepath.Glob(filepath.Join(h.dir, "vault/other/*.age"))
		require.NoError(t, err)
		require.Len(t, other, 1)
		theirs, err := os.ReadFile(other[0])
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(h.dir, "vault/weather/@1.age"), theirs, 0o600))
		require.NoError(t, b.Remove(t.Context(), broker.Owner(), "other"))
		adopted, err := b.Adopt(t.Context(), broker.Owner(), "weather")
		require.NoError(t, err)
		require.Equal(t, []uint64{1}, adopted)
	}
}

// The config and --store may not contradict each other.
func TestStoreContradictsConfig(t *testing.T) {
	b := newHome(t, grants+"[secret.fresh]\nstore = \"age\"\n").broker()
	v := value(t, "x")
	defer v.Clear()
	_, err := b.Set(t.Context(), broker.Owner(), "fresh", "elsewhere", v)
	require.ErrorIs(t, err, broker.ErrConflict)
}

// No value stays when the broker closes, and what is removed is no change to
// wait for.
func TestNothingStays(t *testing.T) {
	h := newHome(t, grants)
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "sunny")
	mint(t, b, "openai/key", "sk")
	present, err := b.Changes(t.Context(), b.Agent(agentUID), "")
	require.NoError(t, err)
	require.NoError(t, b.Remove(t.Context(), broker.Owner(), "openai/key"))
	mint(t, b, "weather", "rainy")
	for _, c := range []*broker.Caller{b.Agent(agentUID), broker.Owner()} {
		got, err := b.Changes(t.Context(), c, present.Cursor)
		require.NoError(t, err)
		require.Equal(t, []broker.Change{{Name: "weather", Version: 2}}, got.Changes)
	}
	held := leaseWeather(t, b)
	require.NoError(t, b.Close())
	require.ErrorIs(t, held.Value.Use(func([]byte) error { return nil }), secret.ErrCleared)
}
