package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// versions: any number may be a version's, and all are kept apart.
func versions(t *tester) {
	numbers := []uint64{9, 10, 11, 99, 100, 101, 1 << 32, math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64}
	for n := range uint64(8) {
		numbers = append(numbers, n+1)
	}
	want := make(map[key]providers.Sum)
	for _, n := range numbers {
		k := key{"a", n}
		want[k] = t.put(k, t.mint(n))
	}
	for k, sum := range want {
		t.requireHas(k, t.mint(k.version), sum)
	}
	require.Equal(t, want, t.listed())
}

// fill puts versions under many names.
func (t *tester) fill() map[key]providers.Sum {
	all := make(map[key]providers.Sum)
	for i := range 12 {
		for v := range uint64(3) {
			for _, name := range []string{"top%d", "deep/%d", "deep/er/%d"} {
				k := key{secret.Name(fmt.Sprintf(name, i)), v + 1}
				all[k] = t.put(k, t.mint(name))
			}
		}
	}
	return all
}

// list: every version is listed, once, with its sum, as it is now.
func list(t *tester) {
	all := t.fill()
	require.Equal(t, all, t.listed())
	for i, k := range slices.Collect(maps.Keys(all)) {
		if i%2 == 0 {
			require.NoError(t, t.store.Delete(t.ctx, k.name, k.version))
			delete(all, k)
		}
	}
	require.Equal(t, all, t.listed())
}

// listStops: an error of the caller's ends the list and comes back.
func listStops(t *tester) {
	all := t.fill()
	stop := errors.New("enough")
	for _, after := range []int{1, 5, len(all)} {
		calls := 0
		err := t.store.List(t.ctx, func(secret.Name, uint64, providers.Sum) error {
			if calls++; calls == after {
				return stop
			}
			return nil
		})
		require.ErrorIs(t, err, stop)
		require.Equal(t, after, calls)
	}
}

// cancelled: with no time left a store may still do what it is asked, or say that
// it did not; it never says what is not so.
func cancelled(t *tester) {
	there := key{"a", 1}
	sum := t.put(there, t.mint("x"))
	ctx, cancel := context.WithCancel(t.ctx)
	cancel()

	v, err := t.store.Get(ctx, there.name, there.version, sum)
	if err == nil {
		t.requireHolds(v, t.mint("x"))
		v.Clear()
	} else {
		require.ErrorIs(t, err, context.Canceled)
	}
	if _, err := t.store.Sum(ctx, there.name, there.version); err != nil {
		require.ErrorIs(t, err, context.Canceled)
	}
	require.ErrorIs(t, t.store.List(ctx, func(secret.Name, uint64, providers.Sum) error { return nil }), context.Canceled,
		"a list cut short looks like a store with less in it")

	put, err := t.try(ctx, key{"b", 1}, t.mint("y"))
	if err == nil {
		t.requireHas(key{"b", 1}, t.mint("y"), put)
	} else {
		require.ErrorIs(t, err, context.Canceled)
		t.requireAbsent(key{"b", 1})
	}
	if err := t.store.Delete(ctx, there.name, there.version); err == nil {
		t.requireAbsent(there)
	} else {
		require.ErrorIs(t, err, context.Canceled)
		t.requireHas(there, t.mint("x"), sum)
	}
}

// concurrency: whatever goes on with other versions, of the same secret too, each
// goes its way, and one that stays is there all the time.
func concurrency(t *tester) {
	const secrets, rounds = 4, 6
	stays := key{"shared/0", 4}
	value := t.mint(stays)
	sum := t.put(stays, value)
	var wg, others sync.WaitGroup
	for i := range secrets {
		for version := range uint64(3) {
			k := key{secret.Name(fmt.Sprintf("shared/%d", i/2)), uint64(i%2)*4 + version + 1}
			others.Go(func() {
				for range rounds {
					if err := t.roundTrip(k); err != nil {
						t.Errorf("%v: %v", k, err)
						return
					}
				}
			})
		}
	}
	over := make(chan struct{})
	wg.Go(func() { others.Wait(); close(over) })
	meanwhile := func(what string, do func() error) {
		wg.Go(func() {
			for goesOn := true; goesOn; {
				select {
				case <-over:
					goesOn = false // and once more
				default:
				}
				if err := do(); err != nil {
					t.Errorf("%s meanwhile: %v", what, err)
					return
				}
			}
		})
	}
	meanwhile("getting", func() error {
		v, err := t.store.Get(t.ctx, stays.name, stays.version, sum)
		if err != nil {
			return err
		}
		defer v.Clear()
		return v.Use(func(got []byte) error {
			if !bytes.Equal(got, value) {
				return errors.New("it is another value")
			}
			return nil
		})
	})
	meanwhile("listing", func() error {
		found := false
		err := t.store.List(t.ctx, func(name secret.Name, version uint64, s providers.Sum) error {
			found = found || key{name, version} == stays && s == sum
			return nil
		})
		if err == nil && !found {
			err = errors.New("what stays is not in it")
		}
		return err
	})
	wg.Wait()
	require.NoError(t, t.store.Delete(t.ctx, stays.name, stays.version))
	require.Empty(t, t.listed())
}

// many: 64 callers at once, each with a secret of its own.
func many(t *tester) {
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			if err := t.roundTrip(key{secret.Name(fmt.Sprintf("caller/%d", i)), 1}); err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	require.Empty(t, t.listed())
}

// roundTrip puts a version, gets it and deletes it.
func (t *tester) roundTrip(k key) error {
	v, err := secret.New(t.mint(k))
	if err != nil {
		return err
	}
	defer v.Clear()
	sum, err := t.store.Put(t.ctx, k.name, k.version, v)
	if err != nil {
		return fmt.Errorf("putting: %w", err)
	}
	got, err := t.store.Get(t.ctx, k.name, k.version, sum)
	if err != nil {
		return fmt.Errorf("getting: %w", err)
	}
	defer got.Clear()
	if !got.Equal(v) {
		return errors.New("got another value than was put")
	}
	if err := t.store.Delete(t.ctx, k.name, k.version); err != nil {
		return fmt.Errorf("deleting: %w", err)
	}
	if _, err := t.store.Get(t.ctx, k.name, k.version, sum); !errors.Is(err, providers.ErrAbsent) {
		return fmt.Errorf("getting what was deleted: %w", err)
	}
	return nil
}
