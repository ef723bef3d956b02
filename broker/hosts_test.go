package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/config"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/storetest"
)

// sharing is a config whose drawer is one that hosts share.
const sharing = "[store.drawer]\ntype = \"drawer\"\nshared = true\n[secret.weather]\nstore = \"drawer\"\n" + grants

// drawer is the kind of that store. What is in it is believed for a minute.
var drawer = providers.StoreKind{
	Name: "drawer", Fresh: time.Minute, Options: []providers.Option{{Name: providers.SharedOption, Type: providers.Switch, Example: "true", Help: "others have it too"}},
	Open: func(providers.StoreSetup) (providers.Store, error) { return nil, nil },
}

// hostOf opens a broker of a host that shares the store.
func hostOf(t *testing.T, store providers.Store, text string) (*broker.Broker, *home) {
	h := newHome(t, text)
	h.kinds = []providers.StoreKind{drawer}
	return reopen(t, h, store), h
}

func reopen(t *testing.T, h *home, store providers.Store) *broker.Broker {
	b, err := broker.Open(t.Context(), broker.Options{
		Home: h.dir, Disk: h.disk, Clock: h.clock, Version: "test", Stores: h.stores(), Load: h.load, Warn: h.warn,
		OpenStore: func(config.Store, func(context.Context, secret.Name) (secret.Value, error)) (providers.Store, error) {
			return store, nil
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// leased is what a lease of a secret gives, with its version.
func leased(t *testing.T, b *broker.Broker, name string) (string, uint64) {
	t.Helper()
	issued, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: name})
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Release(b.Agent(agentUID), issued.ID.String())) }()
	return reveal(t, issued.Value), issued.Version
}

// TestHostsFollow: what one host does to a secret the other hears of in the time
// that a value is believed, and then its leases are on it.
func TestHostsFollow(t *testing.T) {
	store := new(storetest.Memory)
	a, ha := hostOf(t, store, sharing)
	b, hb := hostOf(t, store, sharing)
	later := func(d time.Duration) { ha.clock.Advance(d); hb.clock.Advance(d) }

	_, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(t, err, broker.ErrDenied, "there is none yet, which an agent is not told")
	mint(t, a, "weather", "one")
	later(time.Minute)
	text, n := leased(t, b, "weather")
	require.Equal(t, uint64(1), n)
	require.Equal(t, canary.New(t, "one"), text)

	following, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather", TTLSeconds: 900})
	require.NoError(t, err)
	pinned, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather", TTLSeconds: 900, Pinned: true})
	require.NoError(t, err)
	mint(t, a, "weather", "two")
	_, n = leased(t, b, "weather")
	require.Equal(t, uint64(1), n, "it was looked for a moment ago")
	later(time.Minute)
	renewed, err := b.Renew(t.Context(), b.Agent(agentUID), following.ID.String())
	require.NoError(t, err)
	require.Equal(t, uint64(2), renewed.Version)
	renewed, err = b.Renew(t.Context(), b.Agent(agentUID), pinned.ID.String())
	require.NoError(t, err)
	require.Equal(t, uint64(1), renewed.Version)
	changes, err := b.Changes(t.Context(), b.Agent(agentUID), "0")
	require.NoError(t, err)
	require.Equal(t, []broker.Change{{Name: "weather", Version: 2}}, changes.Changes, "whoever waits for it is told")

	require.Equal(t, uint64(3), mint(t, b, "weather", "three"), "numbers are never used twice")
	require.Equal(t, uint64(4), mint(t, a, "weather", "four"), "whoever writes looks first")
	later(time.Minute)
	text, n = leased(t, b, "weather")
	require.Equal(t, uint64(4), n)
	require.Equal(t, canary.New(t, "four"), text)
	_, err = b.Renew(t.Context(), b.Agent(agentUID), pinned.ID.String())
	require.Error(t, err, "its version is gone")

	back, err := b.Rollback(t.Context(), broker.Owner(), "weather")
	require.NoError(t, err)
	require.Equal(t, uint64(3), back)
	later(time.Minute)
	_, n = leased(t, a, "weather")
	require.Equal(t, uint64(3), n)

	require.NoError(t, a.Remove(t.Context(), broker.Owner(), "weather"))
	later(time.Minute)
	_, err = b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(t, err, broker.ErrDenied)
	require.Equal(t, uint64(5), mint(t, b, "weather", "five"), "nor of one that was removed")
	later(time.Minute)
	text, _ = leased(t, a, "weather")
	require.Equal(t, canary.New(t, "five"), text)

	// An age, and that it was ended, are the same everywhere.
	before, err := a.List("weather")
	require.NoError(t, err)
	after, err := b.List("weather")
	require.NoError(t, err)
	require.Equal(t, before[0].CreatedAt, after[0].CreatedAt)
	require.NoError(t, a.Vault().Mark("weather", providers.Version{Number: 5, Ended: true}))
	later(time.Minute)
	_, err = b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.Error(t, err, "it is dead")
}

// TestHostsNewcomer: a host whose home is new, or was lost, and one whose store
// was its own, have what the others have.
func TestHostsNewcomer(t *testing.T) {
	store := new(storetest.Memory)
	alone := "[store.drawer]\ntype = \"drawer\"\n[secret.weather]\nstore = \"drawer\"\n" + grants
	a, ha := hostOf(t, store, alone)
	mint(t, a, "weather", "one")
	mint(t, a, "weather", "two")
	_, err := store.Record(t.Context(), "weather")
	require.ErrorIs(t, err, providers.ErrAbsent, "nobody else is to know of it")
	ha.configure(sharing)
	require.NoError(t, a.Reload())
	text, n := leased(t, a, "weather")
	require.Equal(t, uint64(2), n)
	require.Equal(t, canary.New(t, "two"), text)
	b, _ := hostOf(t, store, sharing)
	text, n = leased(t, b, "weather")
	require.Equal(t, uint64(2), n)
	require.Equal(t, canary.New(t, "two"), text)
	back, err := b.Rollback(t.Context(), broker.Owner(), "weather")
	require.NoError(t, err)
	require.Equal(t, uint64(1), back)

	c, _ := hostOf(t, store, "[store.drawer]\ntype = \"drawer\"\nshared = true\n"+grants)
	_, err = c.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(t, err, broker.ErrNotFound, "where it is nobody has said here")
	v := value(t, canary.New(t, "three"))
	defer v.Clear()
	n, err = c.Set(t.Context(), broker.Owner(), "weather", "drawer", v)
	require.NoError(t, err)
	require.Equal(t, uint64(3), n)
}

// TestHostsImport: what is imported is numbered after what the others have.
func TestHostsImport(t *testing.T) {
	store := new(storetest.Memory)
	a, _ := hostOf(t, store, sharing)
	b, hb := hostOf(t, store, sharing)
	mint(t, a, "weather", "one")
	v := value(t, canary.New(t, "two"))
	defer v.Clear()
	results, err := b.Import(t.Context(), broker.Owner(), []broker.ImportEntry{{Name: "weather", Value: v}}, broker.ImportOptions{})
	require.NoError(t, err)
	require.Equal(t, []broker.ImportResult{{Name: "weather", Action: "updated", Version: 2}}, results)
	hb.clock.Advance(time.Minute)
	text, _ := leased(t, b, "weather")
	require.Equal(t, canary.New(t, "two"), text)
}

// foreseen is a store in which something happens before a record changes.
type foreseen struct {
	*storetest.Memory
	before func(secret.Name)
}

func (f *foreseen) Change(ctx context.Context, name secret.Name, revision uint64, text []byte) (uint64, error) {
	f.before(name)
	return f.Memory.Change(ctx, name, revision, text)
}

// TestHostsImportRace: another host is faster with the second of three secrets
// that are imported together, when the first is known to all: the host has it
// too, and says so; the third nobody has.
func TestHostsImportRace(t *testing.T) {
	config := "[store.drawer]\ntype = \"drawer\"\nshared = true\n"
	for _, name := range []string{"one", "two", "three"} {
		config += fmt.Sprintf("[secret.\"openai/%s\"]\nstore = \"drawer\"\n", name)
	}
	store := new(storetest.Memory)
	b, hb := hostOf(t, store, config+grants)
	changes := 0
	a, ha := hostOf(t, &foreseen{store, func(name secret.Name) {
		if name != "openai/two" {
			return
		}
		if changes++; changes == 2 { // the first keeps a number
			v := value(t, canary.New(t, "theirs"))
			defer v.Clear()
			_, err := b.Import(t.Context(), broker.Owner(), []broker.ImportEntry{{Name: name, Value: v}}, broker.ImportOptions{})
			require.NoError(t, err)
		}
	}}, config+grants)
	ours := entries(t, "openai/one", canary.New(t, "one"), "openai/two", canary.New(t, "two"), "openai/three", canary.New(t, "three"))
	_, err := a.Import(t.Context(), broker.Owner(), ours, broker.ImportOptions{})
	require.ErrorIs(t, err, broker.ErrConflict)
	require.ErrorContains(t, err, `another host has changed "openai/two" in this moment; in force by then: openai/one`)
	ha.clock.Advance(time.Minute)
	hb.clock.Advance(time.Minute)
	for _, host := range []*broker.Broker{a, b} {
		require.Equal(t, canary.New(t, "one"), reveal(t, leaseNamed(t, host, "openai/one").Value))
		require.Equal(t, canary.New(t, "theirs"), reveal(t, leaseNamed(t, host, "openai/two").Value))
		_, err := host.Lease(t.Context(), host.Agent(agentUID), broker.LeaseRequest{Secret: "openai/three"})
		require.ErrorIs(t, err, broker.ErrDenied)
	}
}

// TestHostsDown: while the store does not work a host gives what it has for as long
// as the config says, changes nothing, and still takes power away.
func TestHostsDown(t *testing.T) {
	store := new(storetest.Memory)
	a, ha := hostOf(t, store, "[store.drawer]\ntype = \"drawer\"\nshared = true\nmax_stale = \"5m\"\n[secret.weather]\nstore = \"drawer\"\n"+grants)
	mint(t, a, "weather", "one")
	// It is in the cache while somebody has it.
	held, err := a.Lease(t.Context(), a.Agent(agentUID), broker.LeaseRequest{Secret: "weather", TTLSeconds: 900})
	require.NoError(t, err)
	mend := store.Break(&providers.StoreError{Kind: providers.ErrUnavailable, Problem: "the drawer is stuck", Remedy: "pull"})
	ha.clock.Advance(3 * time.Minute)
	_, n := leased(t, a, "weather")
	require.Equal(t, uint64(1), n)
	v := value(t, canary.New(t, "two"))
	defer v.Clear()
	_, err = a.Set(t.Context(), broker.Owner(), "weather", "", v)
	require.ErrorContains(t, err, "the drawer is stuck")
	require.Error(t, a.Remove(t.Context(), broker.Owner(), "weather"))
	_, err = a.Rollback(t.Context(), broker.Owner(), "weather")
	require.ErrorContains(t, err, "the drawer is stuck")
	ha.clock.Advance(3*time.Minute + time.Second)
	_, err = a.Lease(t.Context(), a.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.ErrorContains(t, err, "the store did not give the value")
	_, err = a.Renew(t.Context(), a.Agent(agentUID), held.ID.String())
	require.Error(t, err)
	require.NoError(t, a.Vault().Mark("weather", providers.Version{Number: 1, Ended: true}), "that it is dead is known all the same")
	mend()
	_, err = a.Lease(t.Context(), a.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.ErrorContains(t, err, "was ended at its service", "and stays so when the others can be heard again")
}

// TestHostsRecord: a record that this version cannot read is no empty one.
func TestHostsRecord(t *testing.T) {
	store := new(storetest.Memory)
	a, _ := hostOf(t, store, sharing)
	mint(t, a, "weather", "one")
	r, err := store.Record(t.Context(), "weather")
	require.NoError(t, err)
	require.NotContains(t, string(r.Text), canary.New(t, "one"))
	_, err = store.Change(t.Context(), "weather", r.Revision, []byte(`{"format":2,"current":7}`))
	require.NoError(t, err)
	b, _ := hostOf(t, store, sharing)
	_, err = b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
	require.ErrorContains(t, err, "is of another version of secretctl")
	v := value(t, canary.New(t, "two"))
	defer v.Clear()
	_, err = b.Set(t.Context(), broker.Owner(), "weather", "", v)
	require.ErrorContains(t, err, "is of another version of secretctl")
}

// claimOf is the claim of a rotation.
func claimOf(id, state string) providers.Claim {
	return providers.Claim{ID: id, Tag: "secretctl/weather/" + id, Phase: "issued", State: json.RawMessage(state)}
}

func never(string) bool { return false }

// TestHostsClaim: a rotation is one host's. The others leave the secret alone, until
// nothing has been heard of it for long; then one of them goes on with it, and the
// first hears that it is not its any more.
func TestHostsClaim(t *testing.T) {
	store := new(storetest.Memory)
	a, ha := hostOf(t, store, sharing)
	b, hb := hostOf(t, store, sharing)
	store.Now = func() time.Time { return ha.clock.Now().Wall }
	later := func(d time.Duration) { ha.clock.Advance(d); hb.clock.Advance(d) }
	mint(t, a, "weather", "one")
	va, vb := a.Vault(), b.Vault()
	require.True(t, va.Shared("weather"))
	require.False(t, va.Shared("openai/key"))

	left, err := va.Claim(t.Context(), "weather", claimOf("r1", ""), never)
	require.NoError(t, err)
	require.Nil(t, left)
	n, err := va.Reserve("weather")
	require.NoError(t, err)
	require.Equal(t, uint64(2), n)
	c := claimOf("r1", `{"state":"issued"}`)
	c.Version, c.Mark = 2, "m1"
	kept := func(label string) func() (secret.Value, error) {
		return func() (secret.Value, error) { return secret.New([]byte(canary.New(t, label))) }
	}
	require.NoError(t, va.Keep(t.Context(), "weather", c, kept("two")))
	require.NoError(t, va.Keep(t.Context(), "weather", c, func() (secret.Value, error) { return secret.Value{}, errors.New("it is there") }))
	_, n = leased(t, a, "weather")
	require.Equal(t, uint64(1), n, "it is not in force")

	var claimed *providers.ClaimedError
	_, err = vb.Claim(t.Context(), "weather", claimOf("r2", ""), never)
	require.ErrorAs(t, err, &claimed)
	require.Equal(t, "r1", claimed.ID)
	require.Equal(t, 10*time.Minute, claimed.Left)
	_, err = vb.Reserve("weather")
	require.ErrorAs(t, err, &claimed)
	v := value(t, canary.New(t, "three"))
	defer v.Clear()
	var told *broker.Error
	for doing, do := range map[string]func() error{
		"setting":      func() error { _, err := b.Set(t.Context(), broker.Owner(), "weather", "", v); return err },
		"removing":     func() error { return b.Remove(t.Context(), broker.Owner(), "weather") },
		"rolling back": func() error { _, err := b.Rollback(t.Context(), broker.Owner(), "weather"); return err },
		"adopting":     func() error { _, err := b.Adopt(t.Context(), broker.Owner(), "weather"); return err },
		"importing": func() error {
			_, err := b.Import(t.Context(), broker.Owner(), []broker.ImportEntry{{Name: "weather", Value: v}}, broker.ImportOptions{})
			return err
		},
	} {
		err := do()
		require.ErrorAs(t, err, &told, doing)
		require.Equal(t, broker.CodeConflict, told.Code, doing)
		require.Contains(t, told.Error(), "rotates it (issued)", doing)
		require.Contains(t, told.Hint, "secretctl rotate weather", doing)
	}
	_, n = leased(t, b, "weather")
	require.Equal(t, uint64(1), n, "leases go on")

	later(10*time.Minute - 1)
	_, err = vb.Claim(t.Context(), "weather", claimOf("r2", ""), never)
	require.ErrorAs(t, err, &claimed)
	require.NoError(t, va.Keep(t.Context(), "weather", c, kept("two")), "it is there")
	later(10*time.Minute - 1)
	_, err = vb.Claim(t.Context(), "weather", claimOf("r2", ""), never)
	require.ErrorAs(t, err, &claimed)
	later(1)
	left, err = vb.Claim(t.Context(), "weather", claimOf("r2", ""), never)
	require.NoError(t, err)
	require.Equal(t, "r1", left.ID)
	require.JSONEq(t, `{"state":"issued"}`, string(left.State))
	staged, err := vb.Staged(t.Context(), "weather", left.Version)
	require.NoError(t, err)
	require.Equal(t, canary.New(t, "two"), reveal(t, staged))

	require.ErrorAs(t, va.Keep(t.Context(), "weather", c, kept("two")), &claimed, "it is another's now")
	require.ErrorAs(t, va.Unclaim(t.Context(), "weather", "r1"), &claimed)
	require.ErrorAs(t, va.Publish(t.Context(), "weather", providers.Version{Number: 2}, staged), &claimed)
	require.NoError(t, vb.Publish(t.Context(), "weather", providers.Version{Number: 2}, staged))
	staged.Clear()
	require.NoError(t, vb.Keep(t.Context(), "weather", c, kept("two")))
	c.Mark = "sealed anew"
	require.NoError(t, vb.Keep(t.Context(), "weather", c, kept("two")), "the same value")
	c.Mark = "another"
	require.ErrorContains(t, vb.Keep(t.Context(), "weather", c, kept("three")), "is another already")
	require.NoError(t, vb.Unclaim(t.Context(), "weather", "r1"))
	require.ErrorAs(t, va.Keep(t.Context(), "weather", c, kept("two")), &claimed, "it is over")
	require.Equal(t, "ended", claimed.Phase)
	text, n := leased(t, a, "weather")
	require.Equal(t, uint64(2), n)
	require.Equal(t, canary.New(t, "two"), text)
}

// TestHostsClaimBack: a host that has lost what it knew of its own rotation finds
// it again; but not one of which it knows that it has ended.
func TestHostsClaimBack(t *testing.T) {
	store := new(storetest.Memory)
	a, _ := hostOf(t, store, sharing)
	mint(t, a, "weather", "one")
	v := a.Vault()
	_, err := v.Claim(t.Context(), "weather", claimOf("r1", ""), never)
	require.NoError(t, err)
	left, err := v.Claim(t.Context(), "weather", claimOf("r2", ""), never)
	require.NoError(t, err)
	require.Nil(t, left, "nothing was done in it")
	require.NoError(t, v.Keep(t.Context(), "weather", claimOf("r2", `{}`), nil))
	left, err = v.Claim(t.Context(), "weather", claimOf("r3", ""), never)
	require.NoError(t, err)
	require.Equal(t, "r2", left.ID)
	left, err = v.Claim(t.Context(), "weather", claimOf("r3", ""), func(id string) bool { return id == "r2" })
	require.NoError(t, err)
	require.Nil(t, left)
}

// TestHostsMove: a secret is moved into a shared store where there is none of its
// name, and not out of it. What cuts the move short leaves it where it was, or in
// both, and never says that another host's is gone.
func TestHostsMove(t *testing.T) {
	const here = "[store.drawer]\ntype = \"drawer\"\nshared = true\n" + grants
	store := new(storetest.Memory)
	a, ha := hostOf(t, store, here)
	b, _ := hostOf(t, store, here)
	mint(t, a, "weather", "one")
	mint(t, a, "weather", "two")
	mint(t, b, "weather", "other")
	_, err := a.Move(t.Context(), broker.Owner(), "weather", "drawer")
	require.NoError(t, err)
	text, n := leased(t, a, "weather")
	require.Equal(t, uint64(2), n)
	require.Equal(t, canary.New(t, "two"), text)
	d, hd := hostOf(t, store, sharing)
	text, n = leased(t, d, "weather")
	require.Equal(t, uint64(2), n, "the others have it at once")
	require.Equal(t, canary.New(t, "two"), text)
	_, err = a.Move(t.Context(), broker.Owner(), "weather", "age")
	require.ErrorContains(t, err, "other hosts keep it")
	_, err = b.Move(t.Context(), broker.Owner(), "weather", "drawer")
	require.ErrorContains(t, err, "has a secret of that name")
	text, _ = leased(t, b, "weather")
	require.Equal(t, canary.New(t, "other"), text)

	require.NoError(t, a.Remove(t.Context(), broker.Owner(), "weather"))
	last := uint64(2)
	stumbling := &cutting{Memory: store, left: 2, once: true}
	e, _ := hostOf(t, stumbling, here)
	mint(t, e, "weather", "not moved")
	_, err = e.Move(t.Context(), broker.Owner(), "weather", "drawer")
	require.ErrorContains(t, err, "cut")
	hd.clock.Advance(time.Minute)
	_, err = d.Lease(t.Context(), d.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(t, err, broker.ErrDenied)
	require.Greater(t, mint(t, d, "weather", "of the other"), last, "the place is free again")
	require.NoError(t, d.Remove(t.Context(), broker.Owner(), "weather"))
	for at := range 64 {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			cut := &cutting{Memory: store, left: at}
			c, hc := hostOf(t, cut, here)
			mint(t, c, "weather", "mine")
			_, err := c.Move(t.Context(), broker.Owner(), "weather", "drawer")
			done := cut.left >= 0
			require.Equal(t, done, err == nil, err)
			cut.left = 1 << 20
			hc.clock.Advance(time.Minute)
			text, _ := leased(t, c, "weather")
			require.Equal(t, canary.New(t, "mine"), text)
			if !done {
				_, err = c.Move(t.Context(), broker.Owner(), "weather", "drawer")
				require.NoError(t, err)
			}
			require.NoError(t, c.Close())
			c = reopen(t, hc, cut)
			text, _ = leased(t, c, "weather")
			require.Equal(t, canary.New(t, "mine"), text)
			n := mint(t, c, "weather", "next")
			require.Greater(t, n, last, "no number is used twice")
			last = n
			require.NoError(t, c.Remove(t.Context(), broker.Owner(), "weather"))
			if done && at > 0 {
				return
			}
			require.False(t, done, "nothing was cut")
		})
	}
	ha.clock.Advance(time.Minute)
}

// cutting is a store that does not work any more after some calls that change it.
type cutting struct {
	*storetest.Memory
	left int
	once bool // and then it works again
}

func (c *cutting) cut() error {
	if c.left--; c.left < 0 {
		if c.once {
			c.left = 1 << 20
		}
		return &providers.StoreError{Kind: providers.ErrUnavailable, Problem: "cut"}
	}
	return nil
}

func (c *cutting) Put(ctx context.Context, name secret.Name, version uint64, v secret.Value) (providers.Sum, error) {
	if err := c.cut(); err != nil {
		return providers.Sum{}, err
	}
	return c.Memory.Put(ctx, name, version, v)
}

func (c *cutting) Delete(ctx context.Context, name secret.Name, version uint64) error {
	if err := c.cut(); err != nil {
		return err
	}
	return c.Memory.Delete(ctx, name, version)
}

func (c *cutting) Change(ctx context.Context, name secret.Name, revision uint64, text []byte) (uint64, error) {
	if err := c.cut(); err != nil {
		return 0, err
	}
	return c.Memory.Change(ctx, name, revision, text)
}

// meddling is a store in which something happens before a version is put, and
// whose records cannot be read for a while.
type meddling struct {
	*storetest.Memory
	before func()
	deaf   error
}

func (m *meddling) Put(ctx context.Context, name secret.Name, version uint64, v secret.Value) (providers.Sum, error) {
	if do := m.before; do != nil {
		m.before = nil
		do()
	}
	return m.Memory.Put(ctx, name, version, v)
}

func (m *meddling) Record(ctx context.Context, name secret.Name) (providers.Record, error) {
	if m.deaf != nil {
		return providers.Record{}, m.deaf
	}
	return m.Memory.Record(ctx, name)
}

// TestHostsAtOnce: of two hosts that set a secret in the same moment one is told to
// try again, and what the other set is whole.
func TestHostsAtOnce(t *testing.T) {
	store := new(storetest.Memory)
	slow := &meddling{Memory: store}
	a, ha := hostOf(t, slow, sharing)
	b, hb := hostOf(t, store, sharing)
	mint(t, a, "weather", "one")
	slow.before = func() { require.Equal(t, uint64(3), mint(t, b, "weather", "three"), "two is kept for the other") }
	v := value(t, canary.New(t, "two"))
	defer v.Clear()
	_, err := a.Set(t.Context(), broker.Owner(), "weather", "", v)
	require.ErrorContains(t, err, `another host has changed "weather" in this moment`)
	ha.clock.Advance(time.Minute)
	hb.clock.Advance(time.Minute)
	for _, host := range []*broker.Broker{a, b} {
		text, n := leased(t, host, "weather")
		require.Equal(t, uint64(3), n)
		require.Equal(t, canary.New(t, "three"), text)
	}
	slow.before = func() { mint(t, b, "weather", "five") }
	_, err = a.Import(t.Context(), broker.Owner(), []broker.ImportEntry{{Name: "weather", Value: v}}, broker.ImportOptions{})
	require.ErrorContains(t, err, `another host has changed "weather" in this moment`)
	hb.clock.Advance(time.Minute)
	text, n := leased(t, b, "weather")
	require.Equal(t, uint64(5), n)
	require.Equal(t, canary.New(t, "five"), text)
}

// TestHostsUnheard: a host that has not heard of the others for longer than a value
// is believed gives none, though the store still has it.
func TestHostsUnheard(t *testing.T) {
	store := &meddling{Memory: new(storetest.Memory)}
	a, ha := hostOf(t, store, sharing)
	mint(t, a, "weather", "one")
	store.deaf = &providers.StoreError{Kind: providers.ErrUnavailable, Problem: "nobody says anything"}
	ha.clock.Advance(time.Minute - time.Second)
	leased(t, a, "weather")
	ha.clock.Advance(2 * time.Second)
	_, err := a.Lease(t.Context(), a.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.ErrorContains(t, err, "the store did not give the value")
	_, err = a.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
	require.ErrorContains(t, err, "nobody says anything")
	store.deaf = nil
	leased(t, a, "weather")
}

// TestHostsWatch: whoever waits for a change here hears of one that was made there.
func TestHostsWatch(t *testing.T) {
	store := new(storetest.Memory)
	a, _ := hostOf(t, store, sharing)
	b, hb := hostOf(t, store, sharing)
	mint(t, a, "weather", "one")
	leased(t, b, "weather")
	cursor, err := b.Changes(t.Context(), b.Agent(agentUID), "")
	require.NoError(t, err)
	heard := make(chan broker.Changes)
	go func() {
		changes, _ := b.Changes(t.Context(), b.Agent(agentUID), cursor.Cursor)
		heard <- changes
	}()
	require.Eventually(t, b.Awaited, patience, time.Millisecond)
	mint(t, a, "weather", "two")
	hb.clock.Advance(time.Minute)
	require.Contains(t, b.Followed(), secret.Name("weather"), "somebody waits")
	leased(t, b, "weather")
	require.Equal(t, []broker.Change{{Name: "weather", Version: 2}}, (<-heard).Changes)
}

// TestHostsUntold: what the others cannot be told of is not so here either.
func TestHostsUntold(t *testing.T) {
	store := &cutting{Memory: new(storetest.Memory), left: 1 << 20}
	a, _ := hostOf(t, store, sharing)
	mint(t, a, "weather", "one")
	v := a.Vault()
	n, err := v.Reserve("weather")
	require.NoError(t, err)
	two := value(t, canary.New(t, "two"))
	defer two.Clear()
	store.left = 1 // the version, and not the record
	require.ErrorContains(t, v.Publish(t.Context(), "weather", providers.Version{Number: n}, two), "cut")
	_, now := leased(t, a, "weather")
	require.Equal(t, uint64(1), now)
	store.left = 1 << 20
	require.NoError(t, v.Publish(t.Context(), "weather", providers.Version{Number: n}, two))
	_, now = leased(t, a, "weather")
	require.Equal(t, n, now)
}
