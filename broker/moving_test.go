package broker_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/audit"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/storetest"
)

// moving is a home with a second store.
func movingHome(t *testing.T) (h *home, shed *storetest.Memory, stores map[string]providers.Store) {
	h = newHome(t, grants)
	shed = new(storetest.Memory)
	stores = h.stores()
	stores["shed"] = shed
	return h, shed, stores
}

// versionsIn counts the versions of a secret that a store has.
func versionsIn(t *testing.T, s providers.Store, name secret.Name) (n int) {
	require.NoError(t, s.List(t.Context(), func(has secret.Name, _ uint64, _ providers.Sum) error {
		if has == name {
			n++
		}
		return nil
	}))
	return n
}

// TestMove: all versions are in the other store, and none in the one before;
// leases go on, and so does rollback.
func TestMove(t *testing.T) {
	h, shed, stores := movingHome(t)
	b, err := h.openWith(stores)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	mint(t, b, "weather", "one")
	mint(t, b, "weather", "two")
	held := leaseWeather(t, b)
	at := cursor(t, b)

	for range 2 { // twice is as once
		moved, err := b.Move(t.Context(), broker.Owner(), "weather", "shed")
		require.NoError(t, err)
		require.Equal(t, "shed", moved.To)
		require.Equal(t, 2, moved.Versions)
		require.Equal(t, 2, versionsIn(t, shed, "weather"))
		require.Empty(t, h.files())
	}
	require.Equal(t, at, cursor(t, b), "a lease gets what it got before")
	records := h.recorded(audit.EventMove)
	require.Len(t, records, 1)
	require.Equal(t, "age to shed", records[0].Stated)

	b.ClearValues()
	again, err := b.Renew(t.Context(), b.Agent(agentUID), held.ID.String())
	require.NoError(t, err)
	require.EqualValues(t, 2, again.Version)
	_, err = b.Rollback(t.Context(), broker.Owner(), "weather")
	require.NoError(t, err)
	text, _ := get(t, b, "weather")
	require.Equal(t, canary.New(t, "one"), text)
	mint(t, b, "weather", "three")
	require.Equal(t, 2, versionsIn(t, shed, "weather"), "what is new goes there too")
	_, err = b.Move(t.Context(), broker.Owner(), "weather", "age")
	require.NoError(t, err)
	require.Zero(t, versionsIn(t, shed, "weather"))
	text, _ = get(t, b, "weather")
	require.Equal(t, canary.New(t, "three"), text)
}

// TestMoveRefused: nothing is moved that must not be, or cannot whole.
func TestMoveRefused(t *testing.T) {
	h, shed, stores := movingHome(t)
	b, err := h.openWith(stores)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	mint(t, b, "weather", "one")
	mint(t, b, "own/key", "own")
	move := func(name secret.Name, to string) error {
		_, err := b.Move(t.Context(), broker.Owner(), name, to)
		return err
	}
	require.ErrorIs(t, move("none", "shed"), broker.ErrNotFound)
	require.ErrorContains(t, move("weather", "attic"), `there is no store "attic"`)
	require.ErrorContains(t, move("own/key", "shed"), "stay in the age store")
	mend := shed.Break(errors.New("the shed is locked"))
	require.ErrorContains(t, move("weather", "shed"), `moving "weather": the shed is locked`)
	mend()
	require.Len(t, h.files(), 1)
	require.NoError(t, move("weather", "shed"))
	mend = shed.Break(errors.New("the shed is locked"))
	require.ErrorContains(t, move("weather", "age"), "the shed is locked")
	mend()
	require.Equal(t, 1, versionsIn(t, shed, "weather"))

	h.configure("[secret.\"weather\"]\nstore = \"age\"\n" + grants)
	require.NoError(t, b.Reload())
	require.ErrorContains(t, move("weather", "shed"), `the config has it in store "age"`)
	require.NoError(t, move("weather", "age"))
}

// interrupted is a store that stops working after a number of calls, of which the
// last has its effect or has not.
type interrupted struct {
	providers.Store
	calls *int
	after int
	done  bool
}

var errInterrupted = errors.New("the power is gone")

func (s *interrupted) cut(do func() error) error {
	*s.calls++
	switch {
	case *s.calls < s.after:
		return do()
	case *s.calls == s.after && s.done:
		_ = do()
	}
	return providers.Unavailable(errInterrupted)
}

func (s *interrupted) Put(ctx context.Context, name secret.Name, version uint64, v secret.Value) (sum providers.Sum, err error) {
	err = s.cut(func() (err error) { sum, err = s.Store.Put(ctx, name, version, v); return err })
	return sum, err
}

func (s *interrupted) Get(ctx context.Context, name secret.Name, version uint64, want providers.Sum) (v secret.Value, err error) {
	err = s.cut(func() (err error) { v, err = s.Store.Get(ctx, name, version, want); return err })
	if err != nil {
		v.Clear()
		return secret.Value{}, err
	}
	return v, nil
}

func (s *interrupted) Delete(ctx context.Context, name secret.Name, version uint64) error {
	return s.cut(func() error { return s.Store.Delete(ctx, name, version) })
}

// TestMoveCutShort: whichever call is the last, the secret is whole afterwards;
// moving it again, or the next start, leaves it in one store alone.
func TestMoveCutShort(t *testing.T) {
	for _, again := range []bool{false, true} {
		for _, done := range []bool{false, true} {
			for after := 1; ; after++ {
				h, _, stores := movingHome(t)
				b, err := h.openWith(stores)
				require.NoError(t, err)
				mint(t, b, "weather", "one")
				mint(t, b, "weather", "two")
				require.NoError(t, b.Close())

				calls := 0
				failing := make(map[string]providers.Store)
				for name, s := range stores {
					failing[name] = &interrupted{s, &calls, after, done}
				}
				b, err = h.openWith(failing)
				require.NoError(t, err)
				_, moveErr := b.Move(t.Context(), broker.Owner(), "weather", "shed")
				require.NoError(t, b.Close())

				b, err = h.openWith(stores)
				require.NoError(t, err)
				text, version := get(t, b, "weather")
				require.Equal(t, canary.New(t, "two"), text)
				require.EqualValues(t, 2, version)
				list, err := b.List("")
				require.NoError(t, err)
				if moveErr == nil {
					require.Equal(t, "shed", list[0].Store)
				}
				if again {
					_, err = b.Move(t.Context(), broker.Owner(), "weather", "shed")
					require.NoError(t, err)
					require.Equal(t, 2, versionsIn(t, stores["shed"], "weather"))
					require.Zero(t, versionsIn(t, stores["age"], "weather"))
				} else if list[0].Store == "shed" {
					require.Zero(t, versionsIn(t, stores["age"], "weather"), "the next start has removed it")
				}
				_, err = b.Rollback(t.Context(), broker.Owner(), "weather")
				require.NoError(t, err)
				text, _ = get(t, b, "weather")
				require.Equal(t, canary.New(t, "one"), text)
				require.NoError(t, b.Close())
				if moveErr == nil {
					require.Greater(t, after, 8, "no call was cut")
					break
				}
				require.ErrorIs(t, moveErr, broker.ErrStoreUnavailable)
			}
		}
	}
}

// TestLeftInAStoreThatIsDown: what a moved secret has left there goes when it
// works again, without anybody asking.
func TestLeftInAStoreThatIsDown(t *testing.T) {
	h, shed, stores := movingHome(t)
	b, err := h.openWith(stores)
	require.NoError(t, err)
	mint(t, b, "weather", "one")
	_, err = b.Move(t.Context(), broker.Owner(), "weather", "shed")
	require.NoError(t, err)
	require.NoError(t, b.Close())

	calls := 0
	stores["shed"] = &interrupted{shed, &calls, 2, false} // the get works, the delete does not
	b, err = h.openWith(stores)
	require.NoError(t, err)
	_, err = b.Move(t.Context(), broker.Owner(), "weather", "age")
	require.ErrorContains(t, err, `"weather" is in store "age", and what it left in store "shed" is not removed yet`)
	require.Equal(t, 1, versionsIn(t, shed, "weather"))
	get(t, b, "weather")
	require.NoError(t, b.Remove(t.Context(), broker.Owner(), "weather"))
	mint(t, b, "weather", "again")
	stores["shed"] = shed
	require.NoError(t, b.Close())
	b, err = h.openWith(stores)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	require.Eventually(t, func() bool { return versionsIn(t, shed, "weather") == 0 }, patience, time.Millisecond)
}

// TestMoveThatFails: what was copied before it failed is not left there.
func TestMoveThatFails(t *testing.T) {
	h, shed, stores := movingHome(t)
	b, err := h.openWith(stores)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	mint(t, b, "weather", "one")
	mint(t, b, "weather", "two")
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "vault/weather/@2.age"), []byte("somebody's"), 0o600))
	_, err = b.Move(t.Context(), broker.Owner(), "weather", "shed")
	require.ErrorContains(t, err, "changed outside")
	require.Zero(t, versionsIn(t, shed, "weather"))
	require.Len(t, h.files(), 2)
	require.Zero(t, b.Unfinished())
	mint(t, b, "openai/well", "well")
	_, err = b.Move(t.Context(), broker.Owner(), "openai/well", "shed")
	require.NoError(t, err)
	require.Zero(t, b.Unfinished())
}

// lying is a store that gives back another value than it was given.
type lying struct{ storetest.Memory }

func (s *lying) Get(context.Context, secret.Name, uint64, providers.Sum) (secret.Value, error) {
	return secret.New([]byte("another value"))
}

// TestMoveCompares: the old copy goes on the strength of what was read back.
func TestMoveCompares(t *testing.T) {
	h, _, stores := movingHome(t)
	stores["shed"] = new(lying)
	b, err := h.openWith(stores)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	mint(t, b, "weather", "one")
	_, err = b.Move(t.Context(), broker.Owner(), "weather", "shed")
	require.ErrorContains(t, err, "it is another value than was put")
	require.Len(t, h.files(), 1)
	text, _ := get(t, b, "weather")
	require.Equal(t, canary.New(t, "one"), text)
}

// whileGot is a store that does something when a version is asked for next.
type whileGot struct {
	providers.Store
	next atomic.Pointer[func()]
}

func (s *whileGot) Get(ctx context.Context, name secret.Name, version uint64, want providers.Sum) (secret.Value, error) {
	if do := s.next.Swap(nil); do != nil {
		(*do)()
	}
	return s.Store.Get(ctx, name, version, want)
}

// TestMovedWhileGiven: a lease whose secret is moved before its value was opened
// gets it from where it is now.
func TestMovedWhileGiven(t *testing.T) {
	h, _, stores := movingHome(t)
	vault := &whileGot{Store: stores["age"]}
	stores["age"] = vault
	b, err := h.openWith(stores)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	mint(t, b, "weather", "one")
	move := func() {
		_, err := b.Move(context.Background(), broker.Owner(), "weather", "shed")
		require.NoError(t, err)
	}
	vault.next.Store(&move)
	text, _ := get(t, b, "weather")
	require.Equal(t, canary.New(t, "one"), text)
	require.Empty(t, h.files())
}

// TestReuseWaitsForNobodyElse: who asks for reuse does not wait for a store that
// another secret is in.
func TestReuseWaitsForNobodyElse(t *testing.T) {
	h, _, stores := movingHome(t)
	slow := &whileGot{Store: new(storetest.Memory)}
	stores["shed"] = slow
	b, err := h.openWith(stores)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	mint(t, b, "weather", "one")
	v := value(t, canary.New(t, "slow"))
	defer v.Clear()
	_, err = b.Set(t.Context(), broker.Owner(), "openai/slow", "shed", v)
	require.NoError(t, err)
	reached, release := make(chan struct{}), make(chan struct{})
	hang := func() { close(reached); <-release }
	slow.next.Store(&hang)
	reuse := func(name string) error {
		_, err := b.Lease(context.Background(), b.Agent(agentUID), broker.LeaseRequest{Secret: name, Pinned: true, Reuse: true})
		return err
	}
	done := make(chan error, 2)
	go func() { done <- reuse("openai/slow") }()
	<-reached
	go func() { done <- reuse("weather") }()
	select {
	case err = <-done:
	case <-time.After(patience):
		err = errors.New("it waits for the other's store")
	}
	close(release)
	require.NoError(t, err)
	require.NoError(t, <-done)
}
