package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/durable"
	"secretctl/broker/ledger"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
)

// rotations says of one secret what a test wants; the engine is elsewhere.
type rotations struct {
	broker.Rotations // what no test asks panics

	mu       sync.Mutex
	flights  map[secret.Name]providers.Progress
	rotate   func(ctx context.Context, o broker.RotateOrder, v secret.Value, step func(providers.Progress)) (providers.Progress, error)
	upstream func(ctx context.Context, held []broker.Held, step func(broker.Receipt)) error
	back     func() (providers.Progress, error)
}

func (r *rotations) Flight(name secret.Name) (providers.Progress, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.flights[name]
	return p, ok
}

// begin has a rotation of weather begin.
func (r *rotations) begin(from uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flights = map[secret.Name]providers.Progress{"weather": {ID: "f00", Secret: "weather", State: "issued", From: from}}
}

func (r *rotations) Rotate(ctx context.Context, o broker.RotateOrder, v secret.Value, step func(providers.Progress)) (providers.Progress, error) {
	r.mu.Lock()
	rotate := r.rotate
	r.mu.Unlock()
	return rotate(ctx, o, v, step)
}

func (r *rotations) Upstream(ctx context.Context, held []broker.Held, step func(broker.Receipt)) error {
	r.mu.Lock()
	upstream := r.upstream
	r.mu.Unlock()
	return upstream(ctx, held, step)
}

func (r *rotations) RollBack(context.Context, secret.Name) (providers.Progress, error) {
	r.mu.Lock()
	back := r.back
	r.mu.Unlock()
	return back()
}

func (r *rotations) Due(secret.Name) (broker.Due, bool) { return broker.Due{}, false }

func (r *rotations) Last(name secret.Name) (providers.Progress, bool) { return r.Flight(name) }

// reserve returns the number for the next version of weather.
func reserve(t *testing.T, b *broker.Broker) uint64 {
	t.Helper()
	n, err := b.Vault().Reserve("weather")
	require.NoError(t, err)
	return n
}

// publish makes version n of weather current, twice.
func publish(t *testing.T, b *broker.Broker, n uint64, text string) {
	t.Helper()
	v := value(t, text)
	defer v.Clear()
	ver := providers.Version{Number: n, ID: fmt.Sprintf("key-%d", n), Facts: map[string]string{"user": "blue"}, Created: start, Expires: start.Add(90 * 24 * time.Hour)}
	for range 2 {
		require.NoError(t, b.Vault().Publish(t.Context(), "weather", ver, v))
	}
	got, err := b.Vault().Current("weather")
	require.NoError(t, err)
	require.Equal(t, ver, got)
}

// states is the versions of weather.
func states(t *testing.T, b *broker.Broker) map[uint64]string {
	t.Helper()
	all, err := b.Versions("weather")
	require.NoError(t, err)
	out := map[uint64]string{}
	for _, v := range all {
		out[v.Version] = v.State
	}
	return out
}

// files is the versions of weather that rest in the vault.
func (h *home) files() (names []string) {
	entries, err := os.ReadDir(filepath.Join(h.dir, "vault/weather"))
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(h.t, err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// cursor is where those who wait for changes are.
func cursor(t *testing.T, b *broker.Broker) string {
	t.Helper()
	c, err := b.Changes(t.Context(), broker.Owner(), "")
	require.NoError(t, err)
	return c.Cursor
}

// TestVaultOfARotation: a version goes from reserved to current, the one before
// is left to those who hold it until it is forgotten, and each step may be
// repeated. Consumers are woken by the one change that matters to them.
func TestVaultOfARotation(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	mint(t, b, "weather", "one")
	mint(t, b, "weather", "two")
	follows := leaseWeather(t, b)
	pinned, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather", Pinned: true})
	require.NoError(t, err)
	at := cursor(t, b)

	n := reserve(t, b)
	require.Equal(t, uint64(3), n)
	require.Equal(t, map[uint64]string{1: "previous", 2: "current", 3: "pending"}, states(t, b))
	require.Equal(t, at, cursor(t, b), "a lease gets what it got before")
	_, version := get(t, b, "weather")
	require.Equal(t, uint64(2), version)

	publish(t, b, n, canary.New(t, "three"))
	require.NotEqual(t, at, cursor(t, b))
	at = cursor(t, b)
	require.Equal(t, map[uint64]string{2: "previous", 3: "current"}, states(t, b))
	require.Equal(t, []string{"@2.age", "@3.age"}, h.files())
	text, version := get(t, b, "weather")
	require.Equal(t, canary.New(t, "three"), text)
	require.Equal(t, uint64(3), version)

	moving, _, kept := b.Vault().Holders("weather", 2)
	require.Equal(t, [2]int{2, 1}, [2]int{moving, kept}, "the owner's lease is one")
	again, err := b.Renew(t.Context(), b.Agent(agentUID), follows.ID.String())
	require.NoError(t, err)
	require.Equal(t, uint64(3), again.Version)
	again, err = b.Renew(t.Context(), b.Agent(agentUID), pinned.ID.String())
	require.NoError(t, err)
	require.Equal(t, uint64(2), again.Version)
	moving, _, kept = b.Vault().Holders("weather", 2)
	require.Equal(t, [2]int{1, 1}, [2]int{moving, kept})

	for range 2 {
		require.ErrorContains(t, b.Vault().Forget(t.Context(), "weather", 3), "current")
		require.NoError(t, b.Vault().Forget(t.Context(), "weather", 2))
		moving, _, kept = b.Vault().Holders("weather", 2)
		require.Zero(t, moving+kept)
		require.Equal(t, map[uint64]string{3: "current"}, states(t, b))
		require.Equal(t, []string{"@3.age"}, h.files())
	}
	_, err = b.Renew(t.Context(), b.Agent(agentUID), pinned.ID.String())
	require.ErrorIs(t, err, broker.ErrNoSuchLease)
	require.Equal(t, at, cursor(t, b))
	_, err = b.Rollback(t.Context(), broker.Owner(), "weather")
	require.ErrorIs(t, err, broker.ErrConflict, "there is nothing to go back to")
}

// TestVaultGoesBack: a version that was published is taken back, and whether the
// old one had to be replaced comes back with it.
func TestVaultGoesBack(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	mint(t, b, "weather", "one")
	must := func() []string {
		s, err := b.Status(context.Background())
		require.NoError(t, err)
		return s.Overdue
	}
	for range 2 {
		require.NoError(t, b.Vault().MustRotate("weather"))
	}
	require.Equal(t, []string{"weather"}, must())
	n := reserve(t, b)
	publish(t, b, n, canary.New(t, "two"))
	require.Empty(t, must())
	at := cursor(t, b)
	for range 2 {
		require.NoError(t, b.Vault().Restore(t.Context(), "weather", n, 1))
		require.Equal(t, map[uint64]string{1: "current", 2: "pending"}, states(t, b))
	}
	require.NotEqual(t, at, cursor(t, b), "who has the new one is told")
	require.Equal(t, []string{"weather"}, must())
	require.ErrorContains(t, b.Vault().Restore(t.Context(), "weather", 1, 7), "has changed")
	for range 2 {
		require.NoError(t, b.Vault().Withdraw(t.Context(), "weather", n))
		require.Equal(t, map[uint64]string{1: "current"}, states(t, b))
	}
	text, _ := get(t, b, "weather")
	require.Equal(t, canary.New(t, "one"), text)
	require.Equal(t, uint64(3), reserve(t, b), "a number is never used again")

	mint(t, b, "weather", "three")
	require.Empty(t, must())
	_, err := b.Rollback(t.Context(), broker.Owner(), "weather")
	require.NoError(t, err)
	require.Equal(t, []string{"weather"}, must())
	_, err = b.Rollback(t.Context(), broker.Owner(), "weather")
	require.NoError(t, err)
	require.Empty(t, must())
}

// TestFirstVersionByRotation: a secret may begin with a rotation. Until one is
// published there is none, and what a removal has left goes first.
func TestFirstVersionByRotation(t *testing.T) {
	h := newHome(t, grants)
	var failing error
	b, store := h.hook(nil)
	store.deleting = func() error { return failing }
	for _, from := range []uint64{1, 4} {
		require.Equal(t, from, reserve(t, b))
		_, err := b.Versions("weather")
		require.ErrorIs(t, err, broker.ErrNotFound)
		require.NoError(t, b.Vault().Withdraw(t.Context(), "weather", from))
		require.Equal(t, from+1, reserve(t, b))
		publish(t, b, from+1, canary.New(t, "one"))
		list, err := b.List("")
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Equal(t, start, *list[0].CreatedAt)
		require.Nil(t, list[0].RotatedAt)

		mint(t, b, "weather", "two")
		failing = errors.New("the vault is elsewhere")
		require.ErrorIs(t, b.Remove(t.Context(), broker.Owner(), "weather"), failing)
		_, err = b.Vault().Reserve("weather")
		require.ErrorIs(t, err, failing)
		failing = nil
		require.Len(t, h.files(), 2)
		if from == 4 {
			mint(t, b, "weather", "again")
			require.Equal(t, []string{"@7.age"}, h.files())
		}
	}
}

// TestPublishedAgain: what was published and is gone from the store is put there
// again, before the old one is ended on the strength of it; what somebody changed
// is theirs.
func TestPublishedAgain(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	mint(t, b, "weather", "one")
	publish(t, b, reserve(t, b), canary.New(t, "two"))
	file := filepath.Join(h.dir, "vault/weather/@2.age")
	require.NoError(t, os.Remove(file))
	publish(t, b, 2, canary.New(t, "two"))
	text, _ := get(t, b, "weather")
	require.Equal(t, canary.New(t, "two"), text)

	other, err := os.ReadFile(filepath.Join(h.dir, "vault/weather/@1.age"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, other, 0o600))
	v := value(t, canary.New(t, "two"))
	defer v.Clear()
	err = b.Vault().Publish(t.Context(), "weather", providers.Version{Number: 2}, v)
	require.ErrorContains(t, err, "changed outside")
	_, err = b.Adopt(t.Context(), broker.Owner(), "weather")
	require.NoError(t, err)
	require.NoError(t, b.Vault().Publish(t.Context(), "weather", providers.Version{Number: 2}, v))
	got, err := b.Vault().Current("weather")
	require.NoError(t, err)
	require.Equal(t, "key-2", got.ID, "it is still to be ended at its service")
}

// A service whose clock is wrong does not make a credential younger than it is.
func TestMadeInTheFuture(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	v := value(t, canary.New(t, "one"))
	defer v.Clear()
	require.NoError(t, b.Vault().Publish(t.Context(), "weather", providers.Version{Number: reserve(t, b), Created: start.AddDate(1, 0, 0)}, v))
	got, err := b.Vault().Current("weather")
	require.NoError(t, err)
	require.Equal(t, start, got.Created)
}

// TestBusy: nothing of a secret's versions is changed by others while it is
// rotated, but for what lets a rotation go on.
func TestBusy(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	r := &rotations{}
	b.Use(r)
	mint(t, b, "weather", "one")
	mint(t, b, "weather", "two")
	r.begin(2)
	r.mu.Lock()
	r.back = func() (providers.Progress, error) {
		why := "the disk is full"
		return providers.Progress{From: 1, State: "needs-owner", Error: &why}, nil
	}
	r.mu.Unlock()
	for name, change := range changes {
		err := change(t, b)
		if name == "adopt" {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, broker.ErrConflict, name)
	}
	_, err := b.Rollback(t.Context(), broker.Owner(), "weather")
	require.ErrorContains(t, err, "version 1 is not in force yet: the disk is full")
	require.Equal(t, map[uint64]string{1: "previous", 2: "current"}, states(t, b))
	v := value(t, canary.New(t, "three"))
	defer v.Clear()
	_, err = b.Import(t.Context(), broker.Owner(), []broker.ImportEntry{{Name: "weather", Value: v}}, broker.ImportOptions{})
	require.ErrorIs(t, err, broker.ErrConflict)
}

// A rotation that begins while somebody sets the secret gets no number: it would
// replace what is not there any more.
func TestBegunWhileItIsSet(t *testing.T) {
	h := newHome(t, grants)
	b, store := h.hook(nil)
	r := &rotations{}
	b.Use(r)
	mint(t, b, "weather", "one")
	store.deleting = func() error { r.begin(1); return nil }
	mint(t, b, "weather", "two")
	store.deleting = nil
	_, err := b.Vault().Reserve("weather")
	require.ErrorContains(t, err, "has got version 2 meanwhile")
	r.begin(2)
	require.Equal(t, uint64(3), reserve(t, b))
}

// TestPublishingWaitsForChoices: when a version has been published, the table has
// every lease that was given the one before: none of them holds it unseen while it
// is ended.
func TestPublishingWaitsForChoices(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	mint(t, b, "weather", "one")
	n := reserve(t, b)
	v := value(t, canary.New(t, "two"))
	defer v.Clear()
	chosen := b.Choosing()
	published := make(chan error, 1)
	go func() {
		published <- b.Vault().Publish(context.Background(), "weather", providers.Version{Number: n}, v)
	}()
	defer func() { chosen(); require.NoError(t, <-published) }()
	require.Eventually(t, b.Awaits, patience, time.Millisecond)
	current, err := b.Vault().Current("weather")
	require.NoError(t, err)
	require.Equal(t, n, current.Number, "who chooses now chooses the new one")
}

// TestCopiesBeforeAStart: who copied a version is forgotten when the broker stops.
// One that was handed out before then is taken for copied, one that never was
// is not.
func TestCopiesBeforeAStart(t *testing.T) {
	h := newHome(t, grants)
	copied := func(b *broker.Broker, version uint64) int {
		moving, copied, pinned := b.Vault().Holders("weather", version)
		require.Zero(t, moving+pinned)
		return copied
	}
	restart := func(b *broker.Broker) *broker.Broker {
		require.NoError(t, b.Close())
		h.clock.Advance(time.Hour)
		b, err := h.open()
		require.NoError(t, err)
		return b
	}
	replace := func(b *broker.Broker, text string) {
		v := value(t, canary.New(t, text))
		defer v.Clear()
		ver := providers.Version{Number: reserve(t, b), Created: h.clock.Now().Wall}
		require.NoError(t, b.Vault().Publish(t.Context(), "weather", ver, v))
	}
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "one")
	b = restart(b)
	replace(b, "two")
	require.Zero(t, copied(b, 1), "nobody ever had it")
	_, version := get(t, b, "weather")
	require.EqualValues(t, 2, version)
	replace(b, "three")
	h.clock.Advance(2 * time.Hour)
	b.Expire()
	require.Zero(t, copied(b, 2), "it is known who copied what was published meanwhile")
	b = restart(b)
	replace(b, "four")
	require.Equal(t, 1, copied(b, 3))
	require.Zero(t, copied(b, 4))
	require.NoError(t, b.Close())
}

// replacing is a store in which a secret is replaced, and its old version is
// ended, when somebody opens that.
type replacing struct {
	providers.Store
	once    sync.Once
	replace func()
}

func (s *replacing) Get(ctx context.Context, name secret.Name, version uint64, want providers.Sum) (secret.Value, error) {
	if s.replace != nil && version == 1 {
		s.once.Do(s.replace)
	}
	return s.Store.Get(ctx, name, version, want)
}

// TestReplacedWhileGiven: a lease whose version is ended before its value was
// opened is on the new one; a renewal's lease is over, and not the store at fault.
func TestReplacedWhileGiven(t *testing.T) {
	for _, renewed := range []bool{false, true} {
		h := newHome(t, grants)
		var store *replacing
		stores := h.stores()
		store = &replacing{Store: stores["age"]}
		stores["age"] = store
		b, err := h.openWith(stores)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		mint(t, b, "weather", "one")
		agent := b.Agent(agentUID)
		var held *broker.Issued
		if renewed {
			held, err = b.Lease(t.Context(), agent, broker.LeaseRequest{Secret: "weather"})
			require.NoError(t, err)
			b.ClearValues()
		}
		store.replace = func() {
			publish(t, b, reserve(t, b), canary.New(t, "two"))
			require.NoError(t, b.Vault().Forget(context.Background(), "weather", 1))
		}
		if renewed {
			_, err = b.Renew(t.Context(), agent, held.ID.String())
			require.ErrorIs(t, err, broker.ErrNoSuchLease)
			continue
		}
		issued, err := b.Lease(t.Context(), agent, broker.LeaseRequest{Secret: "weather"})
		require.NoError(t, err)
		require.EqualValues(t, 2, issued.Version)
		require.Len(t, b.Leases(agent), 1)
	}
}

// stalled is a disk on which the log's writes wait.
func (h *home) stalled() (b *broker.Broker, stall func() (release func())) {
	var mu sync.Mutex
	var wait chan struct{}
	disk := &durable.Hook{Disk: h.disk, Before: func(op durable.Op) durable.Verdict {
		mu.Lock()
		w := wait
		mu.Unlock()
		if w != nil && op.Kind == durable.OpSync && strings.HasPrefix(op.Name, broker.AuditDir) {
			<-w
		}
		return durable.Verdict{}
	}}
	b, err := broker.Open(context.Background(), broker.Options{Home: h.dir, Disk: disk, Clock: h.clock, Version: "test", Stores: h.stores(), Load: h.load, Warn: h.warn})
	require.NoError(h.t, err)
	h.t.Cleanup(func() { require.NoError(h.t, b.Close()) })
	return b, func() func() {
		mu.Lock()
		defer mu.Unlock()
		wait = make(chan struct{})
		return sync.OnceFunc(func() { mu.Lock(); defer mu.Unlock(); close(wait); wait = nil })
	}
}

// TestChoosing: a lease that is given or renewed has chosen its version once it
// is in the table, and not before.
func TestChoosing(t *testing.T) {
	h := newHome(t, grants)
	b, stall := h.stalled()
	mint(t, b, "weather", "one")
	held := leaseWeather(t, b)
	for name, give := range map[string]func() error{
		"lease": func() error {
			_, err := b.Lease(context.Background(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
			return err
		},
		"renew": func() error { _, err := b.Renew(context.Background(), b.Agent(agentUID), held.ID.String()); return err },
	} {
		t.Run(name, func(t *testing.T) {
			require.True(t, b.Chosen())
			release := stall()
			defer release()
			given := make(chan error, 1)
			go func() { given <- give() }()
			require.Eventually(t, func() bool { return !b.Chosen() }, patience, time.Millisecond)
			release()
			require.NoError(t, <-given)
			require.True(t, b.Chosen())
		})
	}
}

// TestListWhileTheLedgerGrows: those who list never wait for one who makes the
// file longer while that one waits for them.
func TestListWhileTheLedgerGrows(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	for i := range 20 {
		mint(t, b, fmt.Sprintf("openai/key-%d", i), "one")
	}
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		var err error
		for done := false; !done && err == nil; {
			select {
			case <-stop:
				done = true
			default:
				_, err = b.List("")
			}
		}
		stopped <- err
	}()
	for i := range 300 {
		require.NoError(t, b.Vault().DB().Update(func(tx durable.Tx) error {
			return tx.Put("filler", []byte(fmt.Sprint(i)), make([]byte, 64<<10))
		}))
	}
	close(stop)
	require.NoError(t, <-stopped)
}

// TestOverdueByExpiry: what its service ends by itself is overdue then, with no
// max_age.
func TestOverdueByExpiry(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	publish(t, b, reserve(t, b), canary.New(t, "one")) // for 90 days
	for _, c := range []struct {
		days    int
		overdue bool
	}{{89, false}, {1, true}} {
		h.clock.Advance(time.Duration(c.days) * 24 * time.Hour)
		status, err := b.Status(context.Background())
		require.NoError(t, err)
		list, err := b.List("weather")
		require.NoError(t, err)
		require.Equal(t, c.overdue, list[0].Overdue)
		require.Equal(t, c.overdue, len(status.Overdue) == 1)
		require.Equal(t, start.AddDate(0, 0, 90), *list[0].ExpiresAt)
	}
	mint(t, b, "weather", "two")
	status, err := b.Status(context.Background())
	require.NoError(t, err)
	require.Empty(t, status.Overdue)
}

// TestLeasedAt: when a secret was last handed out is known across restarts, and
// forgotten with it.
func TestLeasedAt(t *testing.T) {
	h := newHome(t, grants)
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "one")
	leased := func() *time.Time {
		list, err := b.List("weather")
		require.NoError(t, err)
		return list[0].LeasedAt
	}
	require.Nil(t, leased())
	for range 2 {
		h.clock.Advance(time.Minute)
		leaseWeather(t, b)
		require.Equal(t, h.clock.Now().Wall, *leased())
		b.KeepLeased()
		require.Equal(t, h.clock.Now().Wall, *leased())
	}
	h.clock.Advance(time.Minute)
	leaseWeather(t, b)
	at := h.clock.Now().Wall
	require.NoError(t, b.Close())
	h.clock.Advance(time.Hour)
	b = h.broker()
	require.Equal(t, at, *leased())

	leaseWeather(t, b)
	require.NoError(t, b.Remove(t.Context(), broker.Owner(), "weather"))
	b.KeepLeased()
	mint(t, b, "weather", "two")
	require.Nil(t, leased())
}

// TestRecoverKeepsWhatIsKnown: what the stores do not say is taken from the
// ledger before, as far as it is of the same bytes and not older than the vault.
func TestRecoverKeepsWhatIsKnown(t *testing.T) {
	h := newHome(t, grants)
	var failing error
	b, err := h.openWith(stored(&hooked{Store: h.stores()["age"], deleting: func() error { return failing }}))
	require.NoError(t, err)
	mint(t, b, "weather", "one")
	publish(t, b, reserve(t, b), canary.New(t, "two"))
	pending := reserve(t, b)
	mint(t, b, "openai/gone", "gone")
	mint(t, b, "openai/rm", "removed")
	failing = errors.New("the vault is elsewhere")
	require.Error(t, b.Remove(t.Context(), broker.Owner(), "openai/rm"))
	require.NoError(t, b.Close())
	require.NoError(t, os.RemoveAll(filepath.Join(h.dir, "vault/openai/gone")))
	older, err := os.ReadFile(filepath.Join(h.dir, ledger.Name))
	require.NoError(t, err)

	kept := func(old durable.DB) (func(durable.Tx) error, []secret.Name, error) {
		require.NoError(t, old.View(func(durable.Tx) error { return nil }))
		return func(tx durable.Tx) error { return tx.Put("rotations", []byte("weather"), []byte("{}")) }, []secret.Name{"weather"}, nil
	}
	found, err := broker.Recover(t.Context(), h.disk, h.clock, h.stores(), kept)
	require.NoError(t, err)
	require.Equal(t, broker.Recovered{Secrets: 1, Versions: 2, Gone: []string{"openai/gone"}, Rotations: []string{"weather"}}, found)
	b, err = h.open()
	require.NoError(t, err)
	require.NoError(t, b.Vault().DB().View(func(tx durable.Tx) error {
		require.Equal(t, "{}", string(tx.Get("rotations", []byte("weather"))))
		return nil
	}))
	got, err := b.Vault().Current("weather")
	require.NoError(t, err)
	require.Equal(t, "key-2", got.ID)
	require.Equal(t, start.AddDate(0, 0, 90), got.Expires)
	require.Equal(t, map[uint64]string{1: "previous", 2: "current", 3: "pending"}, states(t, b))
	require.NoFileExists(t, filepath.Join(h.dir, "vault/openai/rm/@1.age"), "it was removed, and is")
	require.Equal(t, uint64(2), mint(t, b, "openai/gone", "again"), "a number is never used again")

	// The second time the ledger is older than the vault, which still has what was
	// current then.
	publish(t, b, pending, canary.New(t, "three"))
	_, err = b.Rollback(t.Context(), broker.Owner(), "weather")
	require.NoError(t, err)
	mint(t, b, "weather", "four")
	require.Equal(t, map[uint64]string{2: "previous", 4: "current"}, states(t, b))
	require.NoError(t, b.Close())
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, ledger.Name), older, 0o600))
	found, err = broker.Recover(t.Context(), h.disk, h.clock, h.stores(), func(durable.DB) (func(durable.Tx) error, []secret.Name, error) {
		return nil, nil, errors.New("reading the rotation journal: it is damaged")
	})
	require.NoError(t, err)
	require.Equal(t, "reading the rotation journal: it is damaged", found.Journal)
	b = h.broker()
	text, version := get(t, b, "weather")
	require.Equal(t, canary.New(t, "four"), text, "the newest there is, and not what was current then")
	require.Equal(t, uint64(4), version)
	list, err := b.List("weather")
	require.NoError(t, err)
	require.True(t, list[0].AtLeast)
	require.True(t, list[0].Overdue)
}

// hearLine reads on to a line with these words.
func (c *conversation) hearLine(words string) string {
	c.t.Helper()
	for {
		line, err := c.r.ReadString('\n')
		require.NoError(c.t, err)
		if strings.Contains(line, words) {
			return line
		}
	}
}

// stepped is a rotation after its nth step.
func stepped(n int) providers.Progress {
	return providers.Progress{ID: "f00", Secret: "weather", State: fmt.Sprint("step-", n), Step: fmt.Sprint("step-", n)}
}

// TestRotateStreams: each step is a line of its own, at once, to a caller of
// HTTP/1.0 too and with the kill switch on.
func TestRotateStreams(t *testing.T) {
	h, b, r := rotating(t)
	_, err := b.Kill(broker.Owner())
	require.NoError(t, err)
	next := make(chan struct{})
	var got string
	r.mu.Lock()
	r.rotate = func(_ context.Context, o broker.RotateOrder, v secret.Value, step func(providers.Progress)) (providers.Progress, error) {
		defer v.Clear()
		if !v.IsZero() {
			got = reveal(t, v)
		}
		for n := range 3 {
			step(stepped(n))
			<-next
		}
		return providers.Progress{ID: "f00", Secret: "weather", State: "done", Ended: true}, nil
	}
	r.mu.Unlock()
	for _, version := range []string{"1.1", "1.0"} {
		c := converse(t, h.path(broker.OwnerSocket))
		c.say("POST /v1/rotate?name=weather HTTP/" + version + "\r\nHost: x\r\n\r\n")
		for n := range 3 {
			c.hearLine(fmt.Sprint("step-", n))
			next <- struct{}{}
		}
		c.hearLine("done")
	}

	v := value(t, canary.New(t, "by hand"))
	defer v.Clear()
	go func() {
		for range 3 {
			next <- struct{}{}
		}
	}()
	steps := 0
	last, err := h.client(broker.OwnerSocket).Rotate(t.Context(), broker.RotateOrder{Secret: "weather"}, v, func(providers.Progress) { steps++ })
	require.NoError(t, err)
	require.True(t, last.Ended)
	require.Equal(t, 4, steps)
	require.Equal(t, canary.New(t, "by hand"), got)
	require.Equal(t, 400, h.raw(broker.OwnerSocket, "POST /v1/rotate?name=weather&value=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"), "an empty value is not none")
}

// TestRotateHangUp: whoever hangs up ends the waiting, and nothing else.
func TestRotateHangUp(t *testing.T) {
	h, _, r := rotating(t)
	ended := make(chan error, 1)
	r.mu.Lock()
	r.rotate = func(ctx context.Context, _ broker.RotateOrder, _ secret.Value, step func(providers.Progress)) (providers.Progress, error) {
		step(stepped(0))
		<-ctx.Done()
		step(stepped(1)) // to nobody
		ended <- ctx.Err()
		return stepped(1), ctx.Err()
	}
	r.mu.Unlock()
	c := converse(t, h.path(broker.OwnerSocket))
	c.say("POST /v1/rotate?name=weather HTTP/1.1\r\nHost: x\r\n\r\n")
	_, err := c.r.ReadString('{')
	require.NoError(t, err)
	require.NoError(t, c.conn.Close())
	require.ErrorIs(t, <-ended, context.Canceled)
}

// TestRotateErrors: what goes wrong before the first line and after it is told in
// the broker's words.
func TestRotateErrors(t *testing.T) {
	h, _, r := rotating(t)
	for _, lines := range []int{0, 2} {
		r.mu.Lock()
		r.rotate = func(_ context.Context, _ broker.RotateOrder, _ secret.Value, step func(providers.Progress)) (providers.Progress, error) {
			for n := range lines {
				step(stepped(n))
			}
			return providers.Progress{}, &broker.Error{Code: broker.CodeConflict, Message: "the new value is made by hand", Hint: "make one"}
		}
		r.mu.Unlock()
		got := 0
		_, err := h.client(broker.OwnerSocket).Rotate(t.Context(), broker.RotateOrder{Secret: "weather"}, secret.Value{}, func(providers.Progress) { got++ })
		var told *broker.Error
		require.ErrorAs(t, err, &told)
		require.Equal(t, "make one", told.Hint)
		require.Equal(t, lines, got)
	}
}

// TestUpstream: every version that agents were given is ended, also of a secret
// that was removed since, and whether whoever asked for it stays or not.
func TestUpstream(t *testing.T) {
	h, b, r := rotating(t)
	for _, name := range []string{"openai/rm", "openai/idle"} {
		mint(t, b, name, name)
	}
	agent := b.Agent(uint32(os.Getuid()))
	lease := func(name string) {
		_, err := b.Lease(t.Context(), agent, broker.LeaseRequest{Secret: name})
		require.NoError(t, err)
	}
	lease("weather")
	lease("openai/rm")
	mint(t, b, "weather", "two") // which only its owner saw
	get(t, b, "weather")
	mint(t, b, "weather", "three")
	lease("weather")
	require.NoError(t, b.Remove(t.Context(), broker.Owner(), "openai/rm"))

	goOn, gone, under := make(chan struct{}), make(chan error, 1), make(chan context.Context, 2)
	r.mu.Lock()
	r.upstream = func(ctx context.Context, held []broker.Held, step func(broker.Receipt)) error {
		require.Equal(t, []broker.Held{{Secret: "openai/rm", Versions: []uint64{1}}, {Secret: "weather", Versions: []uint64{1, 3}}}, held)
		under <- ctx
		step(broker.Receipt{Secret: "openai/rm", Version: 1, State: "not-revoked"})
		<-goOn
		step(broker.Receipt{Secret: "weather", Version: 3, State: "revoked", Proven: true})
		gone <- ctx.Err()
		return nil
	}
	r.mu.Unlock()
	c := converse(t, h.path(broker.OwnerSocket))
	c.say("POST /v1/upstream HTTP/1.1\r\nHost: x\r\n\r\n")
	var receipt broker.Receipt
	require.NoError(t, json.Unmarshal([]byte(c.hearLine("{")), &receipt))
	require.Equal(t, "openai/rm", receipt.Secret, "a receipt comes at once")
	require.NoError(t, c.conn.Close())
	ctx := <-under
	require.Never(t, func() bool { return ctx.Err() != nil }, 100*time.Millisecond, time.Millisecond, "it goes on")
	close(goOn)
	require.NoError(t, <-gone, "and with nobody to tell")

	var all []broker.Receipt
	require.NoError(t, h.client(broker.OwnerSocket).Upstream(t.Context(), "", func(r broker.Receipt) { all = append(all, r) }))
	require.Len(t, all, 2)
	require.True(t, all[1].Proven)
	<-gone
}

// TestUpstreamEnded: what the log says was ended is not asked for again once it is
// gone from the vault, unless it turned out to be alive; what is there is.
func TestUpstreamEnded(t *testing.T) {
	h, b, r := rotating(t)
	lease := func(b *broker.Broker) {
		_, err := b.Lease(t.Context(), b.Agent(uint32(os.Getuid())), broker.LeaseRequest{Secret: "weather"})
		require.NoError(t, err)
	}
	mark := func(version uint64, ended bool) {
		require.NoError(t, b.Vault().Mark("weather", providers.Version{Number: version, Ended: ended}))
	}
	lease(b)
	mark(1, true)
	publish(t, b, reserve(t, b), canary.New(t, "two"))
	lease(b)
	mark(2, true)
	mark(2, false)
	publish(t, b, reserve(t, b), canary.New(t, "three"))
	lease(b)
	publish(t, b, reserve(t, b), canary.New(t, "four"))
	require.NoError(t, b.Vault().Record("weather", 3, "ended", ""))
	require.NoError(t, b.Vault().Forget(t.Context(), "weather", 3)) // by a rotation that retired it
	lease(b)
	mark(4, true)
	require.Equal(t, map[uint64]string{4: "current"}, states(t, b))
	r.mu.Lock()
	r.upstream = func(_ context.Context, held []broker.Held, _ func(broker.Receipt)) error {
		require.Equal(t, []broker.Held{{Secret: "weather", Versions: []uint64{2, 4}}}, held)
		return nil
	}
	r.mu.Unlock()
	require.NoError(t, h.client(broker.OwnerSocket).Upstream(t.Context(), "", func(broker.Receipt) {}))
}

// TestPrevious: it is known which version goes for the next one.
func TestPrevious(t *testing.T) {
	_, b, _ := rotating(t)
	previous := func(name secret.Name) providers.Version {
		v, err := b.Vault().Previous(name)
		require.NoError(t, err)
		return v
	}
	require.Zero(t, previous("weather"))
	require.Zero(t, previous("absent"))
	mint(t, b, "weather", "two")
	require.Equal(t, uint64(1), previous("weather").Number)
	require.NoError(t, b.Vault().Mark("weather", providers.Version{Number: 1, ID: "id1", Ended: true}))
	require.Equal(t, "id1", previous("weather").ID)
	require.True(t, previous("weather").Ended)
	mint(t, b, "weather", "three")
	require.Equal(t, uint64(2), previous("weather").Number)
}

// rotating is [serving] with rotations, which a broker has before it answers.
func rotating(t *testing.T) (*home, *broker.Broker, *rotations) {
	h, r := newHome(t, selfAgent()), &rotations{}
	b := h.broker()
	b.Use(r)
	h.serve(b)
	mint(t, b, "weather", "sunny")
	return h, b, r
}
