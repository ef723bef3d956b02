package broker_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/storetest"
)

const notSharing = "[store.drawer]\ntype = \"drawer\"\n[secret.weather]\nstore = \"drawer\"\n" + grants

// nosy is a store in which a test looks at each call.
type nosy struct {
	*storetest.Memory
	onRecord func()
	onDelete func()
}

func (n *nosy) Record(ctx context.Context, name secret.Name) (providers.Record, error) {
	if n.onRecord != nil {
		n.onRecord()
	}
	return n.Memory.Record(ctx, name)
}

func (n *nosy) Delete(ctx context.Context, name secret.Name, version uint64) error {
	if do := n.onDelete; do != nil {
		n.onDelete = nil
		do()
	}
	return n.Memory.Delete(ctx, name, version)
}

// TestHostsLateStage: a host that was slow, and has lost its rotation meanwhile, does
// not replace the version that is in force since.
func TestHostsLateStage(t *testing.T) {
	store := new(storetest.Memory)
	slow := &nosy{Memory: store}
	a, ha := hostOf(t, slow, sharing)
	b, hb := hostOf(t, store, sharing)
	store.Now = func() time.Time { return ha.clock.Now().Wall }
	later := func(d time.Duration) { ha.clock.Advance(d); hb.clock.Advance(d) }
	mint(t, a, "weather", "one")
	va, vb := a.Vault(), b.Vault()
	_, err := va.Claim(t.Context(), "weather", claimOf("r1", ""), never)
	require.NoError(t, err)
	n, err := va.Reserve("weather")
	require.NoError(t, err)
	c := claimOf("r1", `{"state":"issued"}`)
	c.Version, c.Mark = n, "m1"
	open := func(label string) func() (secret.Value, error) {
		return func() (secret.Value, error) { return secret.New([]byte(canary.New(t, label))) }
	}
	require.NoError(t, va.Keep(t.Context(), "weather", c, open("two")))
	// Its next value: between looking whether the rotation is still its own and putting
	// it, the host is asleep.
	slow.onDelete = func() {
		later(11 * time.Minute)
		left, err := vb.Claim(t.Context(), "weather", claimOf("r2", ""), never)
		require.NoError(t, err)
		staged, err := vb.Staged(t.Context(), "weather", left.Version)
		require.NoError(t, err)
		defer staged.Clear()
		require.NoError(t, vb.Publish(t.Context(), "weather", providers.Version{Number: left.Version}, staged))
		require.NoError(t, vb.Unclaim(t.Context(), "weather", left.ID))
	}
	c.Mark = "m2"
	require.ErrorContains(t, va.Keep(t.Context(), "weather", c, open("of the late one")), "is another already")
	if slow.onDelete != nil {
		slow.onDelete()
	}
	later(2 * time.Minute)
	b.ClearValues()
	issued, err := b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
	require.NoError(t, err, "what is in force was overwritten")
	require.Equal(t, canary.New(t, "two"), reveal(t, issued.Value))
}

// TestHostsEndedUntold: that a version is dead, which could not be told when it was
// found, is told when the others can be reached again.
func TestHostsEndedUntold(t *testing.T) {
	store := new(storetest.Memory)
	a, ha := hostOf(t, store, sharing)
	b, hb := hostOf(t, store, sharing)
	later := func(d time.Duration) { ha.clock.Advance(d); hb.clock.Advance(d) }
	mint(t, a, "weather", "one")
	later(time.Minute)
	leased(t, b, "weather")
	mend := store.Break(&providers.StoreError{Kind: providers.ErrUnavailable, Problem: "stuck"})
	require.NoError(t, a.Vault().Mark("weather", providers.Version{Number: 1, Ended: true}))
	mend()
	for range 10 {
		later(time.Minute)
		_, _ = a.Lease(t.Context(), a.Agent(agentUID), broker.LeaseRequest{Secret: "weather"}) // it looks
	}
	_, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.Error(t, err, "ten minutes later the other host hands out a key that is known to be dead")
}

// TestHostsEndedAlive: a version that turned out to be alive is handed out again, also
// by who had heard that it was dead.
func TestHostsEndedAlive(t *testing.T) {
	store := new(storetest.Memory)
	a, ha := hostOf(t, store, sharing)
	b, hb := hostOf(t, store, sharing)
	later := func(d time.Duration) { ha.clock.Advance(d); hb.clock.Advance(d) }
	mint(t, a, "weather", "one")
	require.NoError(t, a.Vault().Mark("weather", providers.Version{Number: 1, Ended: true}))
	later(time.Minute)
	_, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.Error(t, err)
	require.NoError(t, a.Vault().Mark("weather", providers.Version{Number: 1, Ended: false}))
	later(time.Minute)
	_, err = a.Lease(t.Context(), a.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.NoError(t, err)
	_, err = b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.NoError(t, err, "one host gives it, and the other never again")
}

// TestHostsOffAndOn: a host whose store was its own for a while has what the others
// have when it is shared again.
func TestHostsOffAndOn(t *testing.T) {
	store := new(storetest.Memory)
	a, ha := hostOf(t, store, sharing)
	b, hb := hostOf(t, store, sharing)
	later := func(d time.Duration) { ha.clock.Advance(d); hb.clock.Advance(d) }
	mint(t, a, "weather", "one")
	later(time.Minute)
	leased(t, b, "weather")
	ha.configure(notSharing)
	require.NoError(t, a.Reload())
	v := value(t, canary.New(t, "two"))
	defer v.Clear()
	_, err := a.Set(t.Context(), broker.Owner(), "weather", "", v)
	require.ErrorContains(t, err, "the config does not say so any more")
	_, err = a.Lease(t.Context(), a.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.Error(t, err)
	ha.configure(sharing)
	require.NoError(t, a.Reload())
	mint(t, b, "weather", "three")
	var na, nb uint64
	for range 5 {
		later(time.Minute)
		_, na = leased(t, a, "weather")
		_, nb = leased(t, b, "weather")
	}
	require.Equal(t, na, nb, "the two never agree")

	// Who says that no other host has it is believed.
	hb.configure(notSharing)
	require.NoError(t, b.Reload())
	_, err = b.Adopt(t.Context(), broker.Owner(), "weather")
	require.NoError(t, err)
	require.Equal(t, nb+1, mint(t, b, "weather", "alone"))
}

// TestHostsOffOverwrites: a host whose config does not say that others keep the
// secrets too does not replace what one of them put.
func TestHostsOffOverwrites(t *testing.T) {
	store := new(storetest.Memory)
	a, ha := hostOf(t, store, sharing)
	b, hb := hostOf(t, store, sharing)
	mint(t, a, "weather", "one")
	ha.configure(notSharing)
	require.NoError(t, a.Reload())
	require.Equal(t, uint64(2), mint(t, b, "weather", "two"))
	v := value(t, canary.New(t, "of the other"))
	defer v.Clear()
	_, _ = a.Set(t.Context(), broker.Owner(), "weather", "", v)
	hb.clock.Advance(time.Minute)
	b.ClearValues()
	issued, err := b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
	require.NoError(t, err, "version 2 was overwritten")
	require.Equal(t, canary.New(t, "two"), reveal(t, issued.Value))
}

// TestHostsStaleMeanwhile: while one lease waits for the record, after hours in which
// nobody asked, the next does not get what was in force then.
func TestHostsStaleMeanwhile(t *testing.T) {
	store := new(storetest.Memory)
	a, _ := hostOf(t, store, sharing)
	slow := &nosy{Memory: store}
	b, hb := hostOf(t, slow, sharing)
	mint(t, a, "weather", "one")
	leased(t, b, "weather")
	require.NoError(t, a.Vault().Mark("weather", providers.Version{Number: 1, Ended: true}))
	hb.clock.Advance(3 * time.Hour)
	asked, goOn := make(chan struct{}, 8), make(chan struct{})
	slow.onRecord = func() { asked <- struct{}{}; <-goOn }
	first := make(chan error, 1)
	go func() {
		_, err := b.Lease(context.Background(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
		first <- err
	}()
	<-asked
	second := make(chan error, 1)
	go func() {
		_, err := b.Lease(context.Background(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
		second <- err
	}()
	select {
	case err := <-second:
		close(goOn)
		<-first
		require.Error(t, err, "a key that died three hours ago")
	case <-asked: // it looks too
		close(goOn)
		require.Error(t, <-first)
		require.Error(t, <-second)
	case <-time.After(time.Second): // or waits
		close(goOn)
		require.Error(t, <-first)
		require.Error(t, <-second)
	}
}

// TestHostsEnteringDead: a host that was lost while it moved a secret into the store
// does not keep the name from the others for ever.
func TestHostsEnteringDead(t *testing.T) {
	store := new(storetest.Memory)
	cut := &cutting{Memory: store, left: 1}
	gone, _ := hostOf(t, cut, "[store.drawer]\ntype = \"drawer\"\nshared = true\n"+grants)
	mint(t, gone, "weather", "one")
	_, err := gone.Move(t.Context(), broker.Owner(), "weather", "drawer")
	require.Error(t, err)
	require.NoError(t, gone.Close()) // and never comes back
	b, hb := hostOf(t, store, sharing)
	store.Now = func() time.Time { return hb.clock.Now().Wall }
	hb.clock.Advance(30 * 24 * time.Hour)
	v := value(t, canary.New(t, "two"))
	defer v.Clear()
	_, err = b.Set(t.Context(), broker.Owner(), "weather", "", v)
	if err != nil {
		t.Log(err)
		var told *broker.Error
		require.True(t, errors.As(err, &told) && told.Hint != "", "and nobody says what to do")
		require.NoError(t, b.Remove(t.Context(), broker.Owner(), "weather"))
	}
	require.NoError(t, err)
}

// TestHostsDryRun: an import that only says what would happen changes nothing, here or
// there.
func TestHostsDryRun(t *testing.T) {
	store := new(storetest.Memory)
	a, _ := hostOf(t, store, sharing)
	mint(t, a, "weather", "one")
	b, _ := hostOf(t, store, "[store.drawer]\ntype = \"drawer\"\nshared = true\n"+grants)
	v := value(t, canary.New(t, "two"))
	defer v.Clear()
	_, err := b.Import(t.Context(), broker.Owner(), []broker.ImportEntry{{Name: "weather", Value: v}}, broker.ImportOptions{Store: "drawer", DryRun: true})
	require.NoError(t, err)
	_, err = b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(t, err, broker.ErrDenied, "the agents of this host have the others' secret since")
}

// TestHostsRefusedSet: a set that is refused, since the config has the secret in
// another store, takes nothing in from the one that was asked for.
func TestHostsRefusedSet(t *testing.T) {
	store := new(storetest.Memory)
	a, _ := hostOf(t, store, sharing)
	mint(t, a, "weather", "one")
	b, _ := hostOf(t, store, "[store.drawer]\ntype = \"drawer\"\nshared = true\n[secret.weather]\nstore = \"age\"\n"+grants)
	v := value(t, canary.New(t, "two"))
	defer v.Clear()
	_, err := b.Set(t.Context(), broker.Owner(), "weather", "drawer", v)
	require.Error(t, err)
	_, err = b.Set(t.Context(), broker.Owner(), "weather", "", v)
	require.NoError(t, err, "and since then it cannot be set where the config has it")
}

// TestHostsRemovedLeases: removing a secret ends the leases on it, also those of
// another host that heard of it before the versions were gone.
func TestHostsRemovedLeases(t *testing.T) {
	store := new(storetest.Memory)
	stuck := &cutting{Memory: store, left: 1 << 20}
	a, _ := hostOf(t, stuck, sharing)
	b, hb := hostOf(t, store, sharing)
	mint(t, a, "weather", "one")
	_, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather", TTLSeconds: 900})
	require.NoError(t, err)
	stuck.left = 1 // that it is removed is told, and then the store fails
	require.Error(t, a.Remove(t.Context(), broker.Owner(), "weather"))
	stuck.left = 1 << 20
	hb.clock.Advance(time.Minute)
	_, err = b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(t, err, broker.ErrDenied)
	require.Empty(t, b.Leases(broker.Owner()), "a lease on a secret that is gone")
}

// TestHostsEndedLeases: no lease is on a version that another host has ended.
func TestHostsEndedLeases(t *testing.T) {
	store := new(storetest.Memory)
	a, _ := hostOf(t, store, sharing)
	b, hb := hostOf(t, store, sharing)
	mint(t, a, "weather", "one")
	_, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather", TTLSeconds: 900})
	require.NoError(t, err)
	require.NoError(t, a.Vault().Mark("weather", providers.Version{Number: 1, Ended: true}))
	hb.clock.Advance(time.Minute)
	_, err = b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.Error(t, err)
	require.Empty(t, b.Leases(broker.Owner()))
}

// TestHostsMineAfterRestart: a host that was started again says of the rotation it has
// that it is there.
func TestHostsMineAfterRestart(t *testing.T) {
	store := new(storetest.Memory)
	a, ha := hostOf(t, store, sharing)
	mint(t, a, "weather", "one")
	_, err := a.Vault().Claim(t.Context(), "weather", claimOf("r1", ""), never)
	require.NoError(t, err)
	require.NoError(t, a.Vault().Keep(t.Context(), "weather", claimOf("r1", `{}`), nil))
	require.Equal(t, []secret.Name{"weather"}, a.Mine())
	require.NoError(t, a.Close())
	a = reopen(t, ha, store)
	require.NoError(t, a.Vault().Hold(t.Context(), "weather", "r1"))
	leased(t, a, "weather")
	require.Equal(t, []secret.Name{"weather"}, a.Mine(), "no beat is sent until the next step, which may be a day away")
}

// forgetting is a store whose records somebody deletes, with all their history.
type forgetting struct {
	*storetest.Memory
	records *storetest.Memory
}

func (f *forgetting) Record(ctx context.Context, name secret.Name) (providers.Record, error) {
	return f.records.Record(ctx, name)
}

func (f *forgetting) Change(ctx context.Context, name secret.Name, revision uint64, text []byte) (uint64, error) {
	return f.records.Change(ctx, name, revision, text)
}

// TestHostsRecordDeleted: where the record is gone that a host has read before, one
// that knows less does not write it anew for all.
func TestHostsRecordDeleted(t *testing.T) {
	store := &forgetting{new(storetest.Memory), new(storetest.Memory)}
	a, ha := hostOf(t, store, sharing)
	b, hb := hostOf(t, store, sharing)
	later := func(d time.Duration) { ha.clock.Advance(d); hb.clock.Advance(d) }
	mint(t, a, "weather", "one")
	leased(t, b, "weather")
	mint(t, a, "weather", "two")
	require.NoError(t, a.Vault().Forget(t.Context(), "weather", 1)) // it was ended at its service
	store.records = new(storetest.Memory)
	later(time.Minute)
	for _, host := range []*broker.Broker{b, a} {
		_, err := host.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
		require.ErrorContains(t, err, "which all hosts go by, is gone")
	}
	require.NoError(t, b.Vault().Mark("weather", providers.Version{Number: 1, Ended: true}), "also then")
	_, err := store.Record(t.Context(), "weather")
	require.ErrorIs(t, err, providers.ErrAbsent)
	_, err = a.Adopt(t.Context(), broker.Owner(), "weather")
	require.NoError(t, err)
	for _, host := range []*broker.Broker{a, b} {
		text, n := leased(t, host, "weather")
		require.Equal(t, uint64(2), n, "the host that had version 2 was talked out of it")
		require.Equal(t, canary.New(t, "two"), text)
	}
	current, err := a.Vault().Current("weather")
	require.NoError(t, err)
	require.Equal(t, uint64(2), current.Number)
}

// TestHostsOracle: the store hears nothing of an agent that has no grant any more.
func TestHostsOracle(t *testing.T) {
	store := &nosy{Memory: new(storetest.Memory)}
	a, ha := hostOf(t, store, sharing)
	mint(t, a, "weather", "one")
	req := broker.LeaseRequest{Secret: "weather", Pinned: true, Reuse: true, TTLSeconds: 900}
	_, err := a.Lease(t.Context(), a.Agent(agentUID), req)
	require.NoError(t, err)
	ha.configure("[store.drawer]\ntype = \"drawer\"\nshared = true\n[secret.weather]\nstore = \"drawer\"\n[agent.claw]\nuid = 61001\n")
	require.NoError(t, a.Reload())
	ha.clock.Advance(2 * time.Minute)
	asked := 0
	store.onRecord = func() { asked++ }
	_, err = a.Lease(t.Context(), a.Agent(agentUID), req)
	require.ErrorIs(t, err, broker.ErrDenied)
	require.Zero(t, asked, "the store was asked before it was decided")
}

// TestHostsRecoverHost: a host that was recovered is still the one whose rotation is
// under way: the journal of it is kept.
func TestHostsRecoverHost(t *testing.T) {
	store := new(storetest.Memory)
	a, ha := hostOf(t, store, sharing)
	mint(t, a, "weather", "one")
	_, err := a.Vault().Claim(t.Context(), "weather", claimOf("r1", ""), never)
	require.NoError(t, err)
	require.NoError(t, a.Vault().Keep(t.Context(), "weather", claimOf("r1", `{}`), nil))
	require.NoError(t, a.Close())
	_, err = broker.Recover(t.Context(), ha.disk, ha.clock, ha.stores(), nil)
	require.NoError(t, err)
	a = reopen(t, ha, store)
	require.NoError(t, a.Vault().Keep(t.Context(), "weather", claimOf("r1", `{}`), nil))
}

// TestHostsLeftValue: of two hosts that set a secret at once, what the one that was
// told to try again had put does not stay in the store for ever.
func TestHostsLeftValue(t *testing.T) {
	store := new(storetest.Memory)
	slow := &meddling{Memory: store}
	a, _ := hostOf(t, slow, sharing)
	b, _ := hostOf(t, store, sharing)
	mint(t, a, "weather", "one")
	slow.before = func() { mint(t, b, "weather", "three") }
	v := value(t, canary.New(t, "two"))
	defer v.Clear()
	_, err := a.Set(t.Context(), broker.Owner(), "weather", "", v)
	require.ErrorContains(t, err, "in this moment")
	require.NoError(t, b.Remove(t.Context(), broker.Owner(), "weather"))
	require.NoError(t, store.List(t.Context(), func(name secret.Name, n uint64, _ providers.Sum) error {
		t.Errorf("%s is removed, and its version %d rests in the store", name, n)
		return nil
	}))
}

// TestHostsOffInFlight: a rotation that is under way when the store stops being
// shared in the config is not one that others can take over while it goes on.
func TestHostsOffInFlight(t *testing.T) {
	store := new(storetest.Memory)
	a, ha := hostOf(t, store, sharing)
	b, hb := hostOf(t, store, sharing)
	store.Now = func() time.Time { return ha.clock.Now().Wall }
	mint(t, a, "weather", "one")
	va, vb := a.Vault(), b.Vault()
	_, err := va.Claim(t.Context(), "weather", claimOf("r1", ""), never)
	require.NoError(t, err)
	n, err := va.Reserve("weather")
	require.NoError(t, err)
	c := claimOf("r1", `{"state":"issued"}`)
	require.NoError(t, va.Keep(t.Context(), "weather", c, nil))
	ha.configure(notSharing)
	require.NoError(t, a.Reload())
	ha.clock.Advance(11 * time.Minute)
	hb.clock.Advance(11 * time.Minute)
	_, err = vb.Claim(t.Context(), "weather", claimOf("r2", ""), never)
	require.NoError(t, err)
	two := value(t, canary.New(t, "two"))
	defer two.Clear()
	require.Error(t, errors.Join(va.Keep(t.Context(), "weather", c, nil), va.Publish(t.Context(), "weather", providers.Version{Number: n}, two)),
		"both go on with rotation r1, and neither hears of the other")
}

// TestHostsWatchAfterRestart: whoever waits for a change hears of one that was made
// elsewhere, also when nothing was leased here since the start.
func TestHostsWatchAfterRestart(t *testing.T) {
	store := new(storetest.Memory)
	a, _ := hostOf(t, store, sharing)
	b, hb := hostOf(t, store, sharing)
	mint(t, a, "weather", "one")
	leased(t, b, "weather") // and kept by a consumer that took a copy
	require.NoError(t, b.Close())
	b = reopen(t, hb, store)
	cursor, err := b.Changes(t.Context(), b.Agent(agentUID), "")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = b.Changes(ctx, b.Agent(agentUID), cursor.Cursor)
	}()
	defer func() { stop(); <-done }()
	require.Eventually(t, b.Awaited, patience, time.Millisecond)
	mint(t, a, "weather", "two")
	hb.clock.Advance(time.Minute)
	require.Contains(t, b.Followed(), secret.Name("weather"), "nobody looks for what it waits for")
}

// TestHostsUpstreamElsewhere: what another host ended at the service is not asked for
// again here.
func TestHostsUpstreamElsewhere(t *testing.T) {
	store := new(storetest.Memory)
	a, _ := hostOf(t, store, sharing)
	b, hb := hostOf(t, store, sharing)
	mint(t, a, "weather", "one")
	leased(t, b, "weather")
	va := a.Vault()
	n, err := va.Reserve("weather")
	require.NoError(t, err)
	v := value(t, canary.New(t, "two"))
	defer v.Clear()
	require.NoError(t, va.Publish(t.Context(), "weather", providers.Version{Number: n}, v))
	require.NoError(t, va.Mark("weather", providers.Version{Number: 1, Ended: true}))
	require.NoError(t, va.Forget(t.Context(), "weather", 1))
	hb.clock.Advance(time.Minute)
	leased(t, b, "weather")
	held, err := b.HandedOut("")
	require.NoError(t, err)
	require.Equal(t, []broker.Held{{Secret: "weather", Versions: []uint64{2}}}, held, "version 1 is dead, and kill --upstream says it could not be revoked")
}

// TestHostsMoveOvertaken: a host that is slow to move a secret into the store, so that
// another gave the name a value meanwhile, still has its own.
func TestHostsMoveOvertaken(t *testing.T) {
	store := new(storetest.Memory)
	slow := &meddling{Memory: store}
	x, hx := hostOf(t, slow, "[store.drawer]\ntype = \"drawer\"\nshared = true\n"+grants)
	b, hb := hostOf(t, store, sharing)
	store.Now = func() time.Time { return hx.clock.Now().Wall }
	mint(t, x, "weather", "mine")
	slow.before = func() { // it sleeps
		hx.clock.Advance(11 * time.Minute)
		hb.clock.Advance(11 * time.Minute)
		mint(t, b, "weather", "of the other")
	}
	_, err := x.Move(t.Context(), broker.Owner(), "weather", "drawer")
	require.Error(t, err)
	hb.clock.Advance(2 * time.Minute)
	b.ClearValues()
	theirs, _ := leased(t, b, "weather")
	require.Equal(t, canary.New(t, "of the other"), theirs, "what the other set was removed by who came late")
	hx.clock.Advance(2 * time.Minute)
	_, _ = x.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
	var texts []string
	for at, s := range map[string]providers.Store{"age": hx.stores()["age"], "drawer": store} {
		require.NoError(t, s.List(t.Context(), func(name secret.Name, n uint64, _ providers.Sum) error {
			v, err := s.Get(t.Context(), name, n, providers.Sum{})
			if err == nil {
				texts = append(texts, reveal(t, v))
				v.Clear()
			}
			t.Log(at, name, n, err)
			return nil
		}))
	}
	text, n := leased(t, x, "weather")
	t.Log("here it is version", n)
	require.Equal(t, canary.New(t, "mine"), text, "an error said that it was not moved")
	require.Contains(t, texts, canary.New(t, "mine"))
}

// telling is a store with a disk beside it that fails once the others were told of a
// move.
type telling struct {
	*storetest.Memory
	disk *durable.Hook
}

func (s *telling) Change(ctx context.Context, name secret.Name, revision uint64, text []byte) (uint64, error) {
	n, err := s.Memory.Change(ctx, name, revision, text)
	if err == nil && !bytes.Contains(text, []byte(`"entering"`)) {
		s.disk.Before = func(op durable.Op) durable.Verdict {
			if op.Kind == durable.OpCommit {
				return durable.Verdict{Err: errors.New("the disk is gone")}
			}
			return durable.Verdict{}
		}
	}
	return n, err
}

// TestHostsMoveTold: a move that was told, and that a crash kept from being known here,
// is finished: what the others have by now is not taken from them.
func TestHostsMoveTold(t *testing.T) {
	const here = "[store.drawer]\ntype = \"drawer\"\nshared = true\n" + grants
	store := new(storetest.Memory)
	h := newHome(t, here)
	h.kinds = []providers.StoreKind{drawer}
	hook := &durable.Hook{Disk: h.disk}
	h.disk = hook
	a := reopen(t, h, &telling{store, hook})
	mint(t, a, "weather", "one")
	_, err := a.Move(t.Context(), broker.Owner(), "weather", "drawer")
	require.ErrorContains(t, err, "the disk is gone")
	require.NoError(t, a.Close())
	hook.Before = nil

	b, _ := hostOf(t, store, sharing)
	text, _ := leased(t, b, "weather")
	require.Equal(t, canary.New(t, "one"), text)
	a = reopen(t, h, store)
	moved, err := a.Move(t.Context(), broker.Owner(), "weather", "drawer")
	require.NoError(t, err)
	require.Equal(t, broker.Moved{Secret: "weather", From: "age", To: "drawer", Versions: 1}, moved)
	b.ClearValues()
	for _, host := range []*broker.Broker{a, b} {
		text, n := leased(t, host, "weather")
		require.Equal(t, uint64(1), n)
		require.Equal(t, canary.New(t, "one"), text)
	}
}
