package broker_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
)

// get leases as the owner and returns the text and the version.
func get(t testing.TB, b *broker.Broker, name string) (string, uint64) {
	issued, err := b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: name})
	require.NoError(t, err)
	return reveal(t, issued.Value), issued.Version
}

func TestVersionsAndRollback(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	_, err := b.Rollback(t.Context(), broker.Owner(), "weather")
	require.ErrorIs(t, err, broker.ErrNotFound)
	mint(t, b, "weather", "one")
	_, err = b.Rollback(t.Context(), broker.Owner(), "weather")
	require.ErrorIs(t, err, broker.ErrConflict)
	mint(t, b, "weather", "two")
	mint(t, b, "weather", "three")

	versions, err := b.Versions("weather")
	require.NoError(t, err)
	require.Len(t, versions, 2, "the one before the previous is gone")
	require.Equal(t, "current", versions[0].State)
	require.Equal(t, uint64(3), versions[0].Version)
	require.Equal(t, "previous", versions[1].State)
	require.NoFileExists(t, filepath.Join(h.dir, "vault/weather/@1.age"))

	for _, want := range []struct {
		text    string
		version uint64
	}{{"two", 2}, {"three", 3}} {
		version, err := b.Rollback(t.Context(), broker.Owner(), "weather")
		require.NoError(t, err)
		require.Equal(t, want.version, version)
		text, _ := get(t, b, "weather")
		require.Equal(t, canary.New(t, want.text), text)
	}
	_, err = b.Versions("absent")
	require.ErrorIs(t, err, broker.ErrNotFound)
}

func TestRemove(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	mint(t, b, "weather", "one")
	held := leaseWeather(t, b)
	require.ErrorIs(t, b.Remove(t.Context(), broker.Owner(), "absent"), broker.ErrNotFound)
	require.NoError(t, b.Remove(t.Context(), broker.Owner(), "weather"))
	_, err := b.Renew(t.Context(), b.Agent(agentUID), held.ID.String())
	require.ErrorIs(t, err, broker.ErrNoSuchLease)
	_, err = b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(t, err, broker.ErrNotFound)
	require.NoDirExists(t, filepath.Join(h.dir, "vault/weather"))
	require.Equal(t, uint64(2), mint(t, b, "weather", "again"), "a number is never used again")
}

// TestAdopt: a version file that changed behind the broker's back is not served
// until the owner says so.
func TestAdopt(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	mint(t, b, "weather", "mine")
	mint(t, b, "other", "theirs")
	file := func(name string) string { return filepath.Join(h.dir, "vault", name, "@1.age") }
	adopted, err := b.Adopt(t.Context(), broker.Owner(), "weather")
	require.NoError(t, err)
	require.Empty(t, adopted, "nothing has changed")

	changed, err := os.ReadFile(file("other"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file("weather"), changed, 0o600))
	_, err = b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(t, err, broker.ErrStoreUnavailable)
	require.ErrorContains(t, err, "changed outside secretctl")
	_, err = b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(t, err, broker.ErrStoreUnavailable)
	require.NotContains(t, err.Error(), "weather", "agents are told no more than that it failed")

	adopted, err = b.Adopt(t.Context(), broker.Owner(), "weather")
	require.NoError(t, err)
	require.Equal(t, []uint64{1}, adopted)
	text, _ := get(t, b, "weather")
	require.Equal(t, canary.New(t, "theirs"), text)

	require.NoError(t, os.WriteFile(file("weather"), []byte("not age"), 0o600))
	_, err = b.Adopt(t.Context(), broker.Owner(), "weather")
	require.ErrorIs(t, err, broker.ErrStoreUnavailable, "what does not open is not adopted")
	require.NoError(t, os.Remove(file("weather")))
	_, err = b.Adopt(t.Context(), broker.Owner(), "weather")
	require.ErrorIs(t, err, broker.ErrStoreUnavailable)
	_, err = b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.NoError(t, err, "the value adopted before is in memory while leases on it live")
	_, err = b.Revoke(broker.Owner(), broker.Selection{All: true})
	require.NoError(t, err)
	_, err = b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
	require.ErrorContains(t, err, "gone from its store")
}

// TestRecover: without its ledger a vault is not empty but closed; recovering
// brings every value back, ends every lease and marks everything for rotation.
func TestRecover(t *testing.T) {
	h := newHome(t, grants)
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "one")
	mint(t, b, "weather", "two")
	mint(t, b, "openai/key", "key")
	held := leaseWeather(t, b)
	require.NoError(t, b.Close())
	require.NoError(t, os.Remove(filepath.Join(h.dir, "ledger.db")))
	_, err = h.open()
	require.ErrorIs(t, err, broker.ErrConflict)
	require.ErrorContains(t, err, "no ledger")

	found, err := broker.Recover(t.Context(), h.disk, h.clock, h.stores(), nil)
	require.NoError(t, err)
	require.Equal(t, broker.Recovered{Secrets: 2, Versions: 3}, found)
	b = h.broker()
	text, version := get(t, b, "weather")
	require.Equal(t, canary.New(t, "two"), text)
	require.Equal(t, uint64(2), version)
	_, err = b.Renew(t.Context(), b.Agent(agentUID), held.ID.String())
	require.ErrorIs(t, err, broker.ErrNoSuchLease)
	status, err := b.Status(context.Background())
	require.NoError(t, err)
	require.Equal(t, []string{"openai/key", "weather"}, status.Overdue)
	mint(t, b, "weather", "three")
	status, err = b.Status(context.Background())
	require.NoError(t, err)
	require.Equal(t, []string{"openai/key"}, status.Overdue, "replaced")
}

// TestRecoverLog: a log that cannot be read closes the broker for everything but
// stopping, and is put aside whole by recover.
func TestRecoverLog(t *testing.T) {
	h := newHome(t, grants)
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "one")
	leaseWeather(t, b)
	require.NoError(t, b.Close())
	segment := filepath.Join(h.dir, "audit/00000001.jsonl")
	text, err := os.ReadFile(segment)
	require.NoError(t, err)
	text[len(text)/2] ^= 1
	require.NoError(t, os.WriteFile(segment, text, 0o600))
	require.NoError(t, os.Remove(filepath.Join(h.dir, "audit/leases.snap")))

	b, err = h.open()
	require.NoError(t, err)
	require.Error(t, b.Degraded())
	for _, c := range []*broker.Caller{broker.Owner(), b.Agent(agentUID)} {
		_, err = b.Lease(t.Context(), c, broker.LeaseRequest{Secret: "weather"})
		require.ErrorIs(t, err, broker.ErrStoreUnavailable)
	}
	v := value(t, canary.New(t, "two"))
	defer v.Clear()
	_, err = b.Set(t.Context(), broker.Owner(), "weather", "", v)
	require.ErrorIs(t, err, broker.ErrStoreUnavailable)
	status, err := b.Status(context.Background())
	require.NoError(t, err)
	require.False(t, status.Audit.OK)
	require.Zero(t, status.Leases)
	_, err = b.Kill(broker.Owner())
	require.NoError(t, err)
	require.Error(t, b.Resume(broker.Owner()))
	require.NoError(t, b.Close())

	found, err := broker.Recover(t.Context(), h.disk, h.clock, h.stores(), nil)
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(h.dir, found.Log, "00000001.jsonl"))
	b = h.broker()
	require.NoError(t, b.Degraded())
	require.NoError(t, b.Resume(broker.Owner()), "recovering does not undo a kill")
	leaseWeather(t, b)
}

// TestRecoverSnapshot: a lease table that cannot be restored is forgotten by
// recover, and the log kept.
func TestRecoverSnapshot(t *testing.T) {
	h := newHome(t, grants)
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "one")
	leaseWeather(t, b)
	require.NoError(t, b.Close())
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "audit/leases.snap"), []byte("{}"), 0o600))
	b, err = h.open()
	require.NoError(t, err)
	require.Error(t, b.Degraded())
	require.NoError(t, b.Close())
	found, err := broker.Recover(t.Context(), h.disk, h.clock, h.stores(), nil)
	require.NoError(t, err)
	require.Empty(t, found.Log)
	b = h.broker()
	require.NoError(t, b.Degraded())
	require.Empty(t, b.Leases(broker.Owner()))
	leaseWeather(t, b)
}

func TestSecondBroker(t *testing.T) {
	h := newHome(t, grants)
	h.broker()
	_, err := h.open()
	require.ErrorIs(t, err, broker.ErrConflict)
	require.ErrorContains(t, err, "another broker")
}

func TestInitTwice(t *testing.T) {
	h := newHome(t, grants)
	before, err := os.ReadFile(filepath.Join(h.dir, "identity.txt"))
	require.NoError(t, err)
	require.ErrorIs(t, h.init(), broker.ErrHome)
	// A home without its config is one that a crash left half made.
	require.NoError(t, os.Remove(filepath.Join(h.dir, broker.ConfigFile)))
	require.NoError(t, h.init())
	after, err := os.ReadFile(filepath.Join(h.dir, "identity.txt"))
	require.NoError(t, err)
	require.Equal(t, before, after, "the identity is what opens the vault: it stays")
}

// TestStorePlacement: where a secret lies is decided once; a contradiction is an
// error with what to type, never a move in passing.
func TestStorePlacement(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	mint(t, b, "weather", "sunny")
	v := value(t, canary.New(t, "x"))
	defer v.Clear()
	_, err := b.Set(t.Context(), broker.Owner(), "weather", "elsewhere", v)
	require.ErrorIs(t, err, broker.ErrConflict)
	var told *broker.Error
	require.ErrorAs(t, err, &told)
	require.Contains(t, told.Hint, "mv weather --store elsewhere")
	_, err = b.Set(t.Context(), broker.Owner(), "fresh", "elsewhere", v)
	require.ErrorIs(t, err, broker.ErrStoreUnavailable)
}

// TestOpenedOnce: a version is decrypted once while leases on it live, whoever
// asks, and cleared when the last has ended.
func TestOpenedOnce(t *testing.T) {
	h := newHome(t, grants)
	store := &countingStore{Store: h.stores()["age"]}
	b, err := h.openWith(map[string]providers.Store{"age": store})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	mint(t, b, "weather", "sunny")
	issued := make([]*broker.Issued, 20)
	together(len(issued), func(i int) {
		issued[i], _ = b.Lease(context.Background(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	})
	require.Equal(t, int64(1), store.asked.Load())
	for _, i := range issued {
		require.NoError(t, i.Value.Use(func([]byte) error { return nil }), "its lease lives")
		require.NoError(t, b.Release(b.Agent(agentUID), i.ID.String()))
	}
	require.ErrorIs(t, issued[0].Value.Use(func([]byte) error { return nil }), secret.ErrCleared)
	leaseWeather(t, b)
	require.Equal(t, int64(2), store.asked.Load())
}

// TestCacheIsBounded: more values than the locked memory holds are all served;
// those used longest ago leave it.
func TestCacheIsBounded(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	long := func(size int) string { return strings.Repeat(canary.New(t, "big"), size/canary.Len+1)[:size] }
	v := value(t, long(900<<10)) // now, while the test finds room itself
	big := long(700 << 10)
	names := []string{"openai/a", "openai/b", "openai/c", "openai/d", "openai/e", "openai/f", "openai/g", "openai/h"}
	for i, name := range names {
		set(t, b, name, big[i:])
	}
	for range 2 {
		for i, name := range names {
			issued, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: name})
			require.NoError(t, err, name)
			require.Equal(t, len(big)-i, issued.Value.Len())
		}
	}
	h.serve(b)
	_, err := h.client(broker.OwnerSocket).Set(t.Context(), "openai/i", "", v)
	v.Clear()
	require.NoError(t, err, "leased values give way to one that is set")
}

// TestAges: a secret counts from when its value was put, and is overdue past its
// max_age.
func TestAges(t *testing.T) {
	h := newHome(t, grants+"[secret.weather]\nmax_age = \"30d\"\n")
	b := h.broker()
	mint(t, b, "weather", "sunny")
	mint(t, b, "openai/key", "key")
	h.clock.Advance(29 * 24 * time.Hour)
	list, err := b.List("weather")
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, int64(29*86400), list[0].AgeSeconds)
	require.Equal(t, int64(30*86400), *list[0].MaxAgeSeconds)
	require.False(t, list[0].Overdue)
	require.Nil(t, list[0].RotatedAt)
	h.clock.Advance(2 * 24 * time.Hour)
	status, err := b.Status(context.Background())
	require.NoError(t, err)
	require.Equal(t, []string{"weather"}, status.Overdue)
	mint(t, b, "weather", "rainy")
	status, err = b.Status(context.Background())
	require.NoError(t, err)
	require.Empty(t, status.Overdue)
	list, err = b.List("")
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, start.Add(31*24*time.Hour), *list[1].RotatedAt)
	require.Equal(t, start, *list[1].CreatedAt)
	require.Nil(t, list[0].MaxAgeSeconds)
	list, err = b.List("open*")
	require.NoError(t, err)
	require.Len(t, list, 1)
}

// TestUnreadableIsNotEmpty: a vault whose identity cannot be read is an error.
func TestUnreadableIsNotEmpty(t *testing.T) {
	h := newHome(t, grants)
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "sunny")
	require.NoError(t, b.Close())
	require.NoError(t, durable.Remove(h.disk, "identity.txt"))
	b = h.broker()
	_, err = b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(t, err, broker.ErrStoreUnavailable)
	require.ErrorContains(t, err, "identity.txt")
	status, err := b.Status(context.Background())
	require.NoError(t, err)
	require.False(t, status.Stores[0].OK)
	require.Equal(t, 1, status.Secrets)
}
