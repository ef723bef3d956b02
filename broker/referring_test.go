package broker_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/audit"
	"secretctl/broker/config"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/storetest"
)

// refs is a config with a secret that lies in a store by itself.
const refs = `
[store.shed]
type = "drawer"
max_stale = "10m"
[secret."weather"]
store = "shed"
ref = "the red box"
env = "WEATHER"
` + grants

// shed is a store in which people keep things, and which counts how often it was
// asked for them, and to remove something.
type shed struct {
	storetest.Memory
	asked, removing atomic.Int64
}

func (s *shed) Delete(ctx context.Context, name secret.Name, version uint64) error {
	s.removing.Add(1)
	return s.Memory.Delete(ctx, name, version)
}

func (s *shed) Refer(ctx context.Context, ref string) (secret.Value, error) {
	s.asked.Add(1)
	return s.Memory.Refer(ctx, ref)
}

// openShed opens a broker with a shed, in which the red box has a value.
func (h *home) openShed() (*broker.Broker, *shed) {
	h.kinds = []providers.StoreKind{{
		Name: "drawer", Fresh: time.Hour, Open: func(providers.StoreSetup) (providers.Store, error) { return nil, nil },
		Reference: func(string) (string, string) { return "", "" },
	}}
	s := new(shed)
	return h.openOn(s), s
}

func (h *home) openOn(s *shed) *broker.Broker {
	b, err := broker.Open(context.Background(), broker.Options{
		Home: h.dir, Disk: h.disk, Clock: h.clock, Version: "test", Stores: h.stores(), Load: h.load, Warn: h.warn,
		OpenStore: func(config.Store, func(context.Context, secret.Name) (secret.Value, error)) (providers.Store, error) {
			return s, nil
		},
	})
	require.NoError(h.t, err)
	return b
}

// lies puts into the red box what [canary.New] mints for the label.
func (s *shed) lies(t testing.TB, label string) {
	s.Keep("the red box", []byte(canary.New(t, label)))
}

// TestReferred: a secret that lies in a store by itself is served as it is there:
// what is seen first is the first version, and what is another value later the next.
func TestReferred(t *testing.T) {
	h := newHome(t, refs)
	b, s := h.openShed()
	defer func() { require.NoError(t, b.Close()) }()
	s.lies(t, "one")
	agent := b.Agent(agentUID)

	list, err := b.List("")
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, broker.SecretInfo{Name: "weather", Store: "shed", Ref: "the red box", Env: "WEATHER"}, list[0])
	available, err := b.Available(agent)
	require.NoError(t, err)
	require.Len(t, available, 1)
	require.Equal(t, "WEATHER", available[0].Env)
	state, err := b.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, state.Secrets)
	versions, err := b.Versions("weather")
	require.NoError(t, err)
	require.Empty(t, versions)
	explained, err := b.Explain("claw", "weather", "value")
	require.NoError(t, err)
	require.True(t, explained.Exists && explained.Allow)
	require.Zero(t, s.asked.Load(), "nobody has asked for the value")

	lease := func(pinned bool) *broker.Issued {
		t.Helper()
		issued, err := b.Lease(t.Context(), agent, broker.LeaseRequest{Secret: "weather", Pinned: pinned})
		require.NoError(t, err)
		return issued
	}
	following, pinned := lease(false), lease(true)
	require.Equal(t, canary.New(t, "one"), reveal(t, following.Value))
	require.Equal(t, uint64(1), following.Version)
	require.EqualValues(t, 2, s.asked.Load(), "to see it, and to give it")
	list, err = b.List("")
	require.NoError(t, err)
	require.True(t, list[0].AtLeast)
	require.Equal(t, "the red box", list[0].Ref)
	require.Nil(t, list[0].RotatedAt)
	require.Equal(t, []string{"reference"}, reasons(h.recorded(audit.EventAdopt)))

	// It is believed for as long as the store's values are.
	s.lies(t, "two")
	h.clock.Advance(9 * time.Minute)
	renew := func(l *broker.Issued) (*broker.Issued, error) { return b.Renew(t.Context(), agent, l.ID.String()) }
	for range 6 {
		for _, l := range []*broker.Issued{following, pinned} {
			again, err := renew(l)
			require.NoError(t, err)
			require.Equal(t, canary.New(t, "one"), reveal(t, again.Value))
		}
		h.clock.Advance(9 * time.Minute)
	}
	require.EqualValues(t, 2, s.asked.Load())

	// Then the following lease moves to the new value, and the pinned one is told.
	again, err := renew(following)
	require.NoError(t, err)
	require.Equal(t, uint64(2), again.Version)
	require.Equal(t, canary.New(t, "two"), reveal(t, again.Value))
	_, err = renew(pinned)
	require.ErrorIs(t, err, broker.ErrStoreUnavailable)
	require.ErrorContains(t, err, `version 1 of "weather" is no longer where it lay`)
	_, err = renew(pinned)
	require.ErrorIs(t, err, broker.ErrNoSuchLease)
	list, err = b.List("")
	require.NoError(t, err)
	require.False(t, list[0].AtLeast)
	require.Zero(t, list[0].AgeSeconds, "it is as old as it was seen")
	require.Equal(t, h.clock.Now().Wall, *list[0].RotatedAt)
	versions, err = b.Versions("weather")
	require.NoError(t, err)
	require.Len(t, versions, 2)
	_, err = b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather", Version: 1})
	require.ErrorContains(t, err, "no longer where it lay")
	text, version := get(t, b, "weather")
	require.Equal(t, canary.New(t, "two"), text)
	require.Equal(t, uint64(2), version)
	require.Empty(t, storedIn(t, s), "nothing is ever put there")
}

func reasons(records []*audit.Record) (out []string) {
	for _, r := range records {
		out = append(out, r.Reason)
	}
	return out
}

func storedIn(t *testing.T, s providers.Store) (names []string) {
	require.NoError(t, s.List(t.Context(), func(n secret.Name, _ uint64, _ providers.Sum) error { names = append(names, string(n)); return nil }))
	return names
}

// TestReferredAfterRestart: what was seen is known by its sum alone, which says the
// same of the same value and says nothing of it.
func TestReferredAfterRestart(t *testing.T) {
	h := newHome(t, refs)
	b, s := h.openShed()
	s.lies(t, "one")
	get(t, b, "weather")
	for _, c := range []struct {
		label   string
		version uint64
	}{{"one", 1}, {"two", 2}, {"two", 2}, {"one", 3}} {
		require.NoError(t, b.Close())
		s.lies(t, c.label)
		b = h.openOn(s)
		text, version := get(t, b, "weather")
		require.Equal(t, canary.New(t, c.label), text)
		require.Equal(t, c.version, version)
	}

	// A backup has nothing of it; what was seen stays known.
	require.NoError(t, b.Close())
	found, err := broker.Recover(t.Context(), h.disk, h.clock, map[string]providers.Store{"age": h.stores()["age"], "shed": s}, nil)
	require.NoError(t, err)
	require.Empty(t, found.Gone)
	b = h.openOn(s)
	defer func() { require.NoError(t, b.Close()) }()
	text, version := get(t, b, "weather")
	require.Equal(t, canary.New(t, "one"), text)
	require.Equal(t, uint64(3), version)
}

// TestReferredIsOnlyRead: what would change it is refused, with the reason; removing
// it forgets it here.
func TestReferredIsOnlyRead(t *testing.T) {
	h := newHome(t, refs)
	b, s := h.openShed()
	defer func() { require.NoError(t, b.Close()) }()
	s.lies(t, "one")
	v := value(t, canary.New(t, "other"))
	defer v.Clear()
	refused := func() {
		t.Helper()
		_, setErr := b.Set(t.Context(), broker.Owner(), "weather", "", v)
		_, setThereErr := b.Set(t.Context(), broker.Owner(), "weather", "age", v)
		_, importErr := b.Import(t.Context(), broker.Owner(), []broker.ImportEntry{{Name: "weather", Value: v}}, broker.ImportOptions{})
		_, dryErr := b.Import(t.Context(), broker.Owner(), []broker.ImportEntry{{Name: "weather", Value: v}}, broker.ImportOptions{DryRun: true})
		_, reserveErr := b.Vault().Reserve("weather")
		for _, err := range []error{setErr, setThereErr, importErr, dryErr, reserveErr} {
			require.ErrorIs(t, err, broker.ErrConflict)
			require.ErrorContains(t, err, `it lies at the red box in store "shed", which is only read from here`)
		}
	}
	refused()
	require.ErrorContains(t, b.Remove(t.Context(), broker.Owner(), "weather"), "nothing of it is here")
	get(t, b, "weather")
	refused()
	s.lies(t, "two")
	adopted, err := b.Adopt(t.Context(), broker.Owner(), "weather")
	require.NoError(t, err)
	require.Equal(t, []uint64{2}, adopted, "at once, though the first is believed for an hour")
	adopted, err = b.Adopt(t.Context(), broker.Owner(), "weather")
	require.NoError(t, err)
	require.Empty(t, adopted)
	_, err = b.Rollback(t.Context(), broker.Owner(), "weather")
	require.ErrorContains(t, err, "only read from here")
	_, err = b.Move(t.Context(), broker.Owner(), "weather", "age")
	require.ErrorContains(t, err, "only read from here")

	require.NoError(t, b.Remove(t.Context(), broker.Owner(), "weather"))
	list, err := b.List("")
	require.NoError(t, err)
	require.Zero(t, list[0].Version)
	text, version := get(t, b, "weather")
	require.Equal(t, canary.New(t, "two"), text, "it is still there")
	require.Equal(t, uint64(3), version, "a number is never used again")
	require.Zero(t, s.removing.Load())
}

// TestReferredAndConfig: what the config says and what is known here must go
// together.
func TestReferredAndConfig(t *testing.T) {
	h := newHome(t, refs)
	b, s := h.openShed()
	defer func() { require.NoError(t, b.Close()) }()
	s.lies(t, "one")
	get(t, b, "weather")

	s.Keep("the blue box", []byte(canary.New(t, "one")))
	h.configure(strings.Replace(refs, "red", "blue", 1))
	require.NoError(t, b.Reload())
	_, version := get(t, b, "weather")
	require.Equal(t, uint64(1), version, "the same value lies elsewhere")

	h.configure("[store.shed]\ntype = \"drawer\"\nmax_stale = \"10m\"\n" + grants)
	require.NoError(t, b.Reload())
	v := value(t, canary.New(t, "other"))
	defer v.Clear()
	_, leaseErr := b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
	_, setErr := b.Set(t.Context(), broker.Owner(), "weather", "", v)
	_, adoptErr := b.Adopt(t.Context(), broker.Owner(), "weather")
	for _, err := range []error{leaseErr, setErr, adoptErr} {
		require.ErrorIs(t, err, broker.ErrConflict)
		require.ErrorContains(t, err, "the config has no ref of it any more")
	}
	require.NoError(t, b.Remove(t.Context(), broker.Owner(), "weather"))
	mint(t, b, "weather", "ours")
	text, _ := get(t, b, "weather")
	require.Equal(t, canary.New(t, "ours"), text)

	h.configure(refs)
	require.NoError(t, b.Reload())
	_, err := b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
	require.ErrorContains(t, err, `has versions in store "age"`)
	_, err = b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(t, err, broker.ErrStoreUnavailable)
	require.NotContains(t, err.Error(), "age")
	require.NoError(t, b.Remove(t.Context(), broker.Owner(), "weather"))
	text, _ = get(t, b, "weather")
	require.Equal(t, canary.New(t, "one"), text)
}

// TestReferredNoOracle: the decision comes before the store is touched, and that
// nothing lies there is for an agent the answer to what it was not granted.
func TestReferredNoOracle(t *testing.T) {
	h := newHome(t, refs+"\n[secret.\"openai/billing-key\"]\nstore = \"shed\"\nref = \"the safe\"\n[secret.\"private\"]\nstore = \"shed\"\nref = \"the safe\"\n")
	b, s := h.openShed()
	defer func() { require.NoError(t, b.Close()) }()
	s.Keep("the safe", []byte(canary.New(t, "safe")))
	ask := func(name string) error {
		_, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: name})
		return err
	}
	want := ask("nothing/there")
	require.ErrorIs(t, want, broker.ErrDenied)
	for _, name := range []string{"openai/billing-key", "private"} {
		require.Equal(t, want, ask(name))
	}
	require.Zero(t, s.asked.Load())
	available, err := b.Available(b.Agent(agentUID))
	require.NoError(t, err)
	require.Len(t, available, 1)

	require.Equal(t, want, ask("weather"), "nothing lies there")
	_, err = b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(t, err, broker.ErrNotFound)
	require.ErrorContains(t, err, "nothing lies at the red box")
	s.Keep("the red box", []byte{})
	require.Equal(t, want, ask("weather"), "an empty field")
	s.lies(t, "one")
	require.NoError(t, ask("weather"))
	require.Empty(t, h.leasesLeft(b, "weather", 1))
	s.Keep("the red box", nil)
	b.ClearValues()
	require.Equal(t, want, ask("weather"), "it is gone")
}

// leasesLeft checks how many leases there are on a secret.
func (h *home) leasesLeft(b *broker.Broker, name string, want int) string {
	n := 0
	for _, l := range b.Leases(broker.Owner()) {
		if string(l.Secret) == name {
			n++
		}
	}
	if n != want {
		return "there are other leases"
	}
	return ""
}

// TestReferredWhileStoreIsDown: what is in memory is given for as long as the config
// says, then nothing; and what could not be given was no lease.
func TestReferredWhileStoreIsDown(t *testing.T) {
	h := newHome(t, refs)
	b, s := h.openShed()
	defer func() { require.NoError(t, b.Close()) }()
	s.lies(t, "one")
	agent := b.Agent(agentUID)
	mend := s.Break(errors.New("the shed is locked"))
	_, err := b.Lease(t.Context(), agent, broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(t, err, broker.ErrStoreUnavailable)
	require.NotContains(t, err.Error(), "shed")
	_, err = b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
	require.ErrorContains(t, err, "the shed is locked")
	require.Empty(t, b.Leases(broker.Owner()))
	mend()

	hold := func() error {
		_, err := b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather", TTLSeconds: 3600})
		return err
	}
	require.NoError(t, hold())
	h.clock.Advance(59 * time.Minute)
	require.NoError(t, hold())
	s.Break(errors.New("the shed is locked"))
	h.clock.Advance(2 * time.Minute)
	before := s.asked.Load()
	require.NoError(t, hold())
	require.NoError(t, hold())
	require.Equal(t, before+1, s.asked.Load(), "a store that does not work is not asked again at once")
	h.clock.Advance(10 * time.Minute)
	require.ErrorContains(t, hold(), "the shed is locked")
	s.lies(t, "two")
	s.Break(nil)
	text, version := get(t, b, "weather")
	require.Equal(t, canary.New(t, "two"), text)
	require.Equal(t, uint64(2), version)
}

// TestReferredTogether: however many ask while values change, each is given the value
// of the version that it is told.
func TestReferredTogether(t *testing.T) {
	h := newHome(t, refs)
	b, s := h.openShed()
	defer func() { require.NoError(t, b.Close()) }()
	s.lies(t, "0")
	together(16, func(i int) {
		for range 10 {
			issued, err := b.Lease(context.Background(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
			if !assert.NoError(t, err) {
				return
			}
			if i == 0 {
				s.lies(t, string(rune('0'+issued.Version)))
				_, err := b.Adopt(context.Background(), broker.Owner(), "weather")
				assert.NoError(t, err)
			}
			assert.NoError(t, b.Release(b.Agent(agentUID), issued.ID.String()))
		}
	})
	list, err := b.List("")
	require.NoError(t, err)
	require.Greater(t, list[0].Version, uint64(1))
	seen := make(map[uint64]bool)
	for _, r := range h.recorded(audit.EventAdopt) {
		require.False(t, seen[r.Version], "a number is used once")
		seen[r.Version] = true
	}
	require.Len(t, seen, int(list[0].Version))
}

// TestReferredKilled: nothing that was being read when the kill switch went on stays.
func TestReferredKilled(t *testing.T) {
	h := newHome(t, refs)
	b, s := h.openShed()
	defer func() { require.NoError(t, b.Close()) }()
	s.lies(t, "one")
	issued, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.NoError(t, err)
	_, err = b.Kill(broker.Owner())
	require.NoError(t, err)
	require.ErrorIs(t, issued.Value.Use(func([]byte) error { return nil }), secret.ErrCleared)
	asked := s.asked.Load()
	_, err = b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(t, err, broker.ErrKilled)
	require.Equal(t, asked, s.asked.Load())
}

// TestReferredReuse: a consumer that starts again gets what is there then, and a
// watcher is told of it.
func TestReferredReuse(t *testing.T) {
	h := newHome(t, refs)
	b, s := h.openShed()
	defer func() { require.NoError(t, b.Close()) }()
	s.lies(t, "one")
	agent := b.Agent(agentUID)
	req := broker.LeaseRequest{Secret: "weather", Pinned: true, Reuse: true}
	first, err := b.Lease(t.Context(), agent, req)
	require.NoError(t, err)
	cursor, err := b.Changes(t.Context(), agent, "")
	require.NoError(t, err)
	told := make(chan broker.Changes, 1)
	go func() {
		changes, err := b.Changes(context.Background(), agent, cursor.Cursor)
		assert.NoError(t, err)
		told <- changes
	}()
	require.Eventually(t, b.Awaited, 10*time.Second, time.Millisecond)
	s.lies(t, "two")
	h.clock.Advance(9 * time.Minute)
	again, err := b.Lease(t.Context(), agent, req)
	require.NoError(t, err)
	require.Equal(t, first.ID, again.ID)
	for range 5 {
		h.clock.Advance(9 * time.Minute)
		_, err = b.Renew(t.Context(), agent, first.ID.String())
		require.NoError(t, err)
	}
	h.clock.Advance(9 * time.Minute)
	again, err = b.Lease(t.Context(), agent, req)
	require.NoError(t, err)
	require.NotEqual(t, first.ID, again.ID)
	require.Equal(t, canary.New(t, "two"), reveal(t, again.Value))
	require.Len(t, b.Leases(agent), 1)
	require.Equal(t, []broker.Change{{Name: "weather", Version: 2}}, (<-told).Changes)
}
