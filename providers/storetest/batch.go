package storetest

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// batch: where a store can put versions together they are there once that is
// committed, and not before or when it is given up.
func batch(t *tester) {
	store, ok := t.store.(providers.Batcher)
	if !ok {
		return
	}
	there := key{"a", 1}
	sum := t.put(there, t.mint("there"))
	const n = 40
	keys, sums := make([]key, n), make([]providers.Sum, n)
	fill := func(b providers.Batch) {
		var all sync.WaitGroup
		for i := range n {
			keys[i] = key{secret.Name(fmt.Sprintf("b-%d/c", i%8)), uint64(i + 1)}
			v, err := secret.New(bytes.Clone(t.mint(i)))
			require.NoError(t, err)
			all.Go(func() {
				defer v.Clear()
				if sums[i], err = b.Put(t.ctx, keys[i].name, keys[i].version, v); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		v, err := secret.New(bytes.Clone(t.mint("other")))
		require.NoError(t, err)
		defer v.Clear()
		_, err = b.Put(t.ctx, there.name, there.version, v)
		require.ErrorIs(t, err, providers.ErrExists)
	}

	given := store.Batch()
	fill(given)
	require.Len(t, t.listed(), 1)
	require.NoError(t, given.Discard())
	require.Len(t, t.listed(), 1)
	for _, k := range keys {
		t.requireAbsent(k)
	}

	b := store.Batch()
	fill(b)
	require.Len(t, t.listed(), 1)
	require.NoError(t, b.Commit())
	require.NoError(t, b.Discard(), "there is nothing left of it")
	require.Len(t, t.listed(), n+1)
	for i, k := range keys {
		t.requireHas(k, t.mint(i), sums[i])
	}
	t.requireHas(there, t.mint("there"), sum)
}
