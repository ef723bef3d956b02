package broker_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/config"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/storetest"
)

// closing is a store that knows that it was closed.
type closing struct {
	storetest.Memory
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

var _ io.Closer = (*closing)(nil)

// stuck is a store whose calls end when their context does.
type stuckStore struct{ providers.Store }

func (stuckStore) Health(ctx context.Context) error {
	<-ctx.Done()
	return providers.Unavailable(ctx.Err())
}

// TestStores: a store that does not work says so, and since when, and keeps
// nobody from another's secrets; a reload opens what is new and closes what is
// gone.
func TestStores(t *testing.T) {
	h := newHome(t, "[store.shed]\ntype = \"drawer\"\n[store.desk]\ntype = \"drawer\"\n"+grants)
	h.kinds = []providers.StoreKind{{Name: "drawer", Open: func(providers.StoreSetup) (providers.Store, error) { return nil, nil }}}
	opened := make(map[string]*closing)
	b, err := broker.Open(t.Context(), broker.Options{
		Home: h.dir, Disk: h.disk, Clock: h.clock, Version: "test", Stores: h.stores(), Load: h.load, Warn: h.warn,
		OpenStore: func(s config.Store, own func(context.Context, secret.Name) (secret.Value, error)) (providers.Store, error) {
			require.Equal(t, "drawer", s.Type)
			require.Nil(t, opened[s.Name], "opened again")
			opened[s.Name] = new(closing)
			return opened[s.Name], nil
		},
	})
	require.NoError(t, err)
	require.Len(t, opened, 2)

	v := value(t, canary.New(t, "in the shed"))
	defer v.Clear()
	_, err = b.Set(t.Context(), broker.Owner(), "weather", "shed", v)
	require.NoError(t, err)
	mint(t, b, "other", "in the vault")
	_, err = b.Set(t.Context(), broker.Owner(), "weather", "desk", v)
	require.ErrorContains(t, err, `"weather" is in store "shed", not "desk"`)
	_, err = b.Set(t.Context(), broker.Owner(), "own/key", "shed", v)
	require.ErrorContains(t, err, "stay in the age store")
	_, err = b.Set(t.Context(), broker.Owner(), "lost", "attic", v)
	require.ErrorContains(t, err, `there is no store "attic"`)
	text, _ := get(t, b, "weather")
	require.Equal(t, canary.New(t, "in the shed"), text)

	b.ClearValues()
	since := h.clock.Now().Wall
	mend := opened["shed"].Break(&providers.StoreError{Kind: providers.ErrLocked, Problem: "the shed is locked", Remedy: "unlock it"})
	_, err = b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
	require.ErrorContains(t, err, "the shed is locked")
	var told *broker.Error
	require.ErrorAs(t, err, &told)
	require.Equal(t, broker.CodeStoreUnavailable, told.Code)
	require.Equal(t, "unlock it", told.Hint)
	_, err = b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.ErrorAs(t, err, &told)
	require.NotContains(t, told.Error(), "shed", "an agent learns nothing of where things are")
	get(t, b, "other")
	h.clock.Advance(time.Hour)
	states := func() map[string]broker.StoreStatus {
		s, err := b.Status(t.Context())
		require.NoError(t, err)
		all := make(map[string]broker.StoreStatus)
		for _, st := range s.Stores {
			all[st.Name] = st
		}
		return all
	}
	all := states()
	require.Len(t, all, 3)
	require.True(t, all["age"].OK && all["desk"].OK)
	require.False(t, all["shed"].OK)
	require.Equal(t, "the shed is locked", *all["shed"].Error)
	require.Equal(t, "unlock it", all["shed"].Hint)
	require.Equal(t, since, *all["shed"].Since)
	mend()
	require.Nil(t, states()["shed"].Since)
	mend = opened["shed"].Break(errors.New("the door is gone"))
	require.Equal(t, h.clock.Now().Wall, *states()["shed"].Since)
	mend()

	h.configure("[store.shed]\ntype = \"drawer\"\n" + grants)
	require.NoError(t, b.Reload())
	require.True(t, opened["desk"].closed)
	require.False(t, opened["shed"].closed)
	require.NoError(t, b.Close())
	require.True(t, opened["shed"].closed)
}

// TestStatusOfAStoreThatHangs: it is one line of the answer, and no longer in
// coming.
func TestStatusOfAStoreThatHangs(t *testing.T) {
	h := newHome(t, grants)
	stores := h.stores()
	stores["shed"] = stuckStore{new(storetest.Memory)}
	b, err := h.openWith(stores)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	s, err := b.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, []bool{true, false}, []bool{s.Stores[0].OK, s.Stores[1].OK})
}

// TestRecoverOfOtherStores: what the ledger knew of a store that cannot be read
// is kept; of a secret that was being moved the store counts that the ledger
// names.
func TestRecoverOfOtherStores(t *testing.T) {
	h := newHome(t, grants)
	shed := new(storetest.Memory)
	stores := h.stores()
	stores["shed"] = shed
	b, err := h.openWith(stores)
	require.NoError(t, err)
	for name, store := range map[string]string{"weather": "shed", "vaulted": "age", "moving": "shed", "openai/a": "shed"} {
		v := value(t, canary.New(t, name))
		_, err = b.Set(t.Context(), broker.Owner(), secret.Name(name), store, v)
		v.Clear()
		require.NoError(t, err)
	}
	require.NoError(t, b.Close())
	v := value(t, canary.New(t, "moving"))
	defer v.Clear()
	_, err = stores["age"].Put(t.Context(), "moving", 1, v)
	require.NoError(t, err)

	for _, c := range []struct {
		what   string
		lack   func() (undo func())
		unread []string
	}{
		{"all is well", func() func() { return func() {} }, nil},
		{"it does not work", func() func() { return shed.Break(errors.New("the shed is locked")) }, []string{"shed: the shed is locked"}},
		{"the config does not name it", func() func() { delete(stores, "shed"); return func() { stores["shed"] = shed } }, []string{"shed: the config does not name it"}},
	} {
		undo := c.lack()
		found, err := broker.Recover(t.Context(), h.disk, h.clock, stores, nil)
		require.NoError(t, err, c.what)
		undo()
		require.Equal(t, broker.Recovered{Secrets: 4, Versions: 4, Unread: c.unread}, found, c.what)
		b, err := h.openWith(stores)
		require.NoError(t, err)
		list, err := b.List("")
		require.NoError(t, err)
		for _, s := range list {
			want := "shed"
			if s.Name == "vaulted" || s.Name == "moving" && c.unread != nil {
				want = "age" // it is there, and the other cannot be seen
			}
			require.Equal(t, want, s.Store, "%s: %s", c.what, s.Name)
			require.True(t, s.Overdue, s.Name)
			text, _ := get(t, b, s.Name)
			require.Equal(t, canary.New(t, s.Name), text)
		}
		require.NoError(t, b.Close())
	}
}

// TestLocks: one change of a secret at a time, and of others meanwhile; two who
// want several do not wait for each other for ever.
func TestLocks(t *testing.T) {
	var l broker.Locks
	held := l.Lock("a")
	l.Lock("b")()
	waiting := make(chan struct{})
	go func() { defer close(waiting); l.Lock("a", "b", "a")() }()
	require.Eventually(t, func() bool { return l.Users("a") == 2 }, patience, time.Millisecond)
	require.False(t, closedNow(waiting))
	held()
	<-waiting

	counts := make([]int, 5)
	together(100, func(i int) {
		names := []secret.Name{"a", "b", "c", "d", "e"}
		one, two := i%5, i/5%5
		defer l.Lock(names[one], names[two])()
		counts[one]++
		counts[two]++
	})
	total := 0
	for _, n := range counts {
		total += n
	}
	require.Equal(t, 200, total)
	require.Zero(t, l.Len())
}

func closedNow(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestStoreThatHangsHoldsUpNobody: while a store does not answer who puts a secret
// there, others change theirs.
func TestStoreThatHangsHoldsUpNobody(t *testing.T) {
	h := newHome(t, grants)
	stores := h.stores()
	hanging := &hangs{Store: new(storetest.Memory), reached: make(chan struct{}), release: make(chan struct{})}
	stores["shed"] = hanging
	b, err := h.openWith(stores)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	done := make(chan error, 1)
	v := value(t, canary.New(t, "slow"))
	defer v.Clear()
	go func() {
		_, err := b.Set(context.Background(), broker.Owner(), "openai/slow", "shed", v)
		done <- err
	}()
	<-hanging.reached
	mint(t, b, "weather", "one")
	publish(t, b, reserve(t, b), canary.New(t, "two"))
	close(hanging.release)
	require.NoError(t, <-done)
	get(t, b, "openai/slow")
}

// hangs is a store whose puts wait.
type hangs struct {
	providers.Store
	reached, release chan struct{}
}

func (s *hangs) Put(ctx context.Context, name secret.Name, version uint64, v secret.Value) (providers.Sum, error) {
	close(s.reached)
	<-s.release
	return s.Store.Put(ctx, name, version, v)
}

// TestFreshness: a value that a store gave is believed for as long as its kind
// says, and while the store does not work for as long as the config says besides,
// and no longer; from the age store it always is.
func TestFreshness(t *testing.T) {
	h := newHome(t, "[store.shed]\ntype = \"drawer\"\nmax_stale = \"10m\"\n[store.desk]\ntype = \"drawer\"\n"+grants)
	h.kinds = []providers.StoreKind{{Name: "drawer", Fresh: time.Minute, Open: func(providers.StoreSetup) (providers.Store, error) { return nil, nil }}}
	opened := make(map[string]*storetest.Memory)
	asked := 0
	b, err := broker.Open(t.Context(), broker.Options{
		Home: h.dir, Disk: h.disk, Clock: h.clock, Version: "test", Stores: h.stores(), Load: h.load, Warn: h.warn,
		OpenStore: func(s config.Store, _ func(context.Context, secret.Name) (secret.Value, error)) (providers.Store, error) {
			opened[s.Name] = new(storetest.Memory)
			return &counted{opened[s.Name], &asked}, nil
		},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	put := func(name, store string) {
		v := value(t, canary.New(t, name))
		defer v.Clear()
		_, err := b.Set(t.Context(), broker.Owner(), secret.Name(name), store, v)
		require.NoError(t, err)
	}
	put("openai/shed", "shed")
	put("openai/desk", "desk")
	put("openai/vault", "age")
	given := func(name string) error {
		t.Helper()
		issued, err := b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: name, TTLSeconds: 3600})
		if err == nil {
			require.NoError(t, issued.Value.Use(func(v []byte) error { require.Equal(t, canary.New(t, name), string(v)); return nil }))
		}
		return err
	}
	for range 3 {
		require.NoError(t, given("openai/shed"))
	}
	require.Equal(t, 1, asked)
	h.clock.Advance(59 * time.Second)
	require.NoError(t, given("openai/shed"))
	require.Equal(t, 1, asked)
	h.clock.Advance(2 * time.Second)
	together(8, func(int) { assert.NoError(t, given("openai/shed")) })
	require.Equal(t, 2, asked, "once, for all who ask")

	require.NoError(t, given("openai/desk"))
	require.NoError(t, given("openai/vault"))
	down := errors.New("the power is gone")
	opened["shed"].Break(down)
	opened["desk"].Break(down)
	require.NoError(t, given("openai/desk"))
	h.clock.Advance(2 * time.Minute)
	require.ErrorContains(t, given("openai/desk"), "the power is gone")
	require.NoError(t, given("openai/shed"))
	h.clock.Advance(8 * time.Minute)
	require.NoError(t, given("openai/shed"))
	h.clock.Advance(2 * time.Minute)
	require.ErrorContains(t, given("openai/shed"), "the power is gone")
	require.NoError(t, given("openai/vault"))
	opened["shed"].Break(nil)
	require.NoError(t, given("openai/shed"))
}

// counted counts how often a version is asked for.
type counted struct {
	providers.Store
	asked *int
}

func (c *counted) Get(ctx context.Context, name secret.Name, version uint64, want providers.Sum) (secret.Value, error) {
	*c.asked++
	return c.Store.Get(ctx, name, version, want)
}

// TestRefreshing: who was given a value has it while it is asked for again, and
// afterwards; when the kill switch has answered nobody has.
func TestRefreshing(t *testing.T) {
	h := newHome(t, "[store.shed]\ntype = \"drawer\"\n"+grants)
	h.kinds = []providers.StoreKind{{Name: "drawer", Fresh: time.Minute, Open: func(providers.StoreSetup) (providers.Store, error) { return nil, nil }}}
	shed := &waits{Store: new(storetest.Memory)}
	b, err := broker.Open(t.Context(), broker.Options{
		Home: h.dir, Disk: h.disk, Clock: h.clock, Version: "test", Stores: h.stores(), Load: h.load, Warn: h.warn,
		OpenStore: func(config.Store, func(context.Context, secret.Name) (secret.Value, error)) (providers.Store, error) {
			return shed, nil
		},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	v := value(t, canary.New(t, "shed"))
	defer v.Clear()
	_, err = b.Set(t.Context(), broker.Owner(), "weather", "shed", v)
	require.NoError(t, err)
	lease := func() (*broker.Issued, error) {
		return b.Lease(context.Background(), broker.Owner(), broker.LeaseRequest{Secret: "weather", TTLSeconds: 3600})
	}
	first, err := lease()
	require.NoError(t, err)
	h.clock.Advance(2 * time.Minute)
	_, err = lease()
	require.NoError(t, err)
	require.True(t, first.Value.Equal(v), "it was cleared under who has it")

	h.clock.Advance(2 * time.Minute)
	shed.begin()
	done := make(chan error, 1)
	go func() { _, err := lease(); done <- err }()
	<-shed.reached
	_, err = b.Kill(broker.Owner())
	require.NoError(t, err)
	require.ErrorIs(t, first.Value.Use(func([]byte) error { return nil }), secret.ErrCleared)
	close(shed.release)
	require.ErrorIs(t, <-done, broker.ErrKilled)
}

// waits is a store whose gets wait, once that has begun.
type waits struct {
	providers.Store
	mu               sync.Mutex
	reached, release chan struct{}
}

func (s *waits) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reached, s.release = make(chan struct{}), make(chan struct{})
}

func (s *waits) Get(ctx context.Context, name secret.Name, version uint64, want providers.Sum) (secret.Value, error) {
	s.mu.Lock()
	reached, release := s.reached, s.release
	s.mu.Unlock()
	if reached != nil {
		close(reached)
		<-release
	}
	return s.Store.Get(ctx, name, version, want)
}
