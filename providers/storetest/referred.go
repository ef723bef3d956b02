package storetest

import (
	"context"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/providers"
)

// referred: what others keep in the store is given as it is there now, is no version
// of anything, and is absent only when it is not there.
func referred(t *tester) {
	store, ok := t.store.(providers.Referrer)
	require.Equal(t, t.Keep != nil, ok, "a store that has references, or has none, and its test")
	if !ok {
		return
	}
	first := t.mint("first")
	ref, change := t.Keep(first)
	opens := func(want []byte) {
		t.Helper()
		v, err := store.Refer(t.ctx, ref)
		require.NoError(t, err)
		defer v.Clear()
		t.requireHolds(v, want)
	}
	opens(first)
	require.Empty(t, t.listed(), "it is nobody's version")
	t.put(key{"a", 1}, t.mint("ours"))
	opens(first)

	for _, next := range [][]byte{t.mint("second"), []byte("żółw 🐢"), first} {
		change(next)
		opens(next)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			v, err := store.Refer(t.ctx, ref)
			if err != nil || v.Len() != len(first) {
				t.Errorf("eight at once: %d bytes, %v", v.Len(), err)
			}
			v.Clear()
		})
	}
	all.Wait()

	cancelled, cancel := context.WithCancel(t.ctx)
	cancel()
	if v, err := store.Refer(cancelled, ref); err != nil {
		require.ErrorIs(t, err, context.Canceled)
		require.True(t, v.IsZero())
	} else {
		v.Clear()
	}
	t.referredInTrouble(store, ref)
	opens(first)

	change(nil)
	v, err := store.Refer(t.ctx, ref)
	require.ErrorIs(t, err, providers.ErrAbsent)
	require.True(t, v.IsZero())
	require.Len(t, t.listed(), 1)
}

// referredInTrouble: while the store does not work, nothing is absent.
func (t *tester) referredInTrouble(store providers.Referrer, ref string) {
	if t.Break == nil {
		return
	}
	mend := t.Break()
	defer mend()
	ctx, stop := context.WithTimeout(t.ctx, patience)
	defer stop()
	began := time.Now()
	v, err := store.Refer(ctx, ref)
	require.Less(t, time.Since(began), patience+slack)
	require.True(t, v.IsZero())
	t.requireTrouble("refer", err)
}
