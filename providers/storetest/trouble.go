package storetest

import (
	"context"
	"errors"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// patience is the deadline that callers have while a store is in trouble, and
// slack how much later it may return.
const (
	patience = time.Second
	slack    = 2 * time.Second
)

// trouble: while what it stands on does not work, a store says so, in time, and
// never that something is absent; and then all is as it was.
func trouble(t *tester) {
	if t.Break == nil {
		return
	}
	there := key{"a/b", 1}
	sum := t.put(there, t.mint("there"))
	mend := t.Break()
	for what, do := range map[string]func(ctx context.Context) error{
		"get": func(ctx context.Context) error {
			v, err := t.store.Get(ctx, there.name, there.version, sum)
			require.True(t, v.IsZero())
			return err
		},
		"get of what is not there": func(ctx context.Context) error {
			_, err := t.store.Get(ctx, "none", 1, providers.Sum{})
			return err
		},
		"sum":    func(ctx context.Context) error { _, err := t.store.Sum(ctx, there.name, there.version); return err },
		"put":    func(ctx context.Context) error { _, err := t.try(ctx, key{"c", 1}, t.mint("new")); return err },
		"delete": func(ctx context.Context) error { return t.store.Delete(ctx, there.name, there.version) },
		"list": func(ctx context.Context) error {
			return t.store.List(ctx, func(secret.Name, uint64, providers.Sum) error { return nil })
		},
		"health": t.store.Health,
	} {
		ctx, stop := context.WithTimeout(t.ctx, patience)
		begin := time.Now()
		err := do(ctx)
		stop()
		require.Less(t, time.Since(begin), patience+slack, what)
		t.requireTrouble(what, err)
	}
	mend()
	require.NoError(t, t.store.Health(t.ctx))
	t.requireHas(there, t.mint("there"), sum)

	// What was asked for meanwhile was done or was not.
	require.NoError(t, t.store.Delete(t.ctx, "c", 1))
	t.put(key{"c", 1}, t.mint("new"))
}

// requireTrouble checks that an error is of a kind a person is told the remedy of.
func (t *tester) requireTrouble(what string, err error) {
	t.Helper()
	var e *providers.StoreError
	require.ErrorAs(t, err, &e, what)
	require.Contains(t, []error{providers.ErrLocked, providers.ErrRefused, providers.ErrRateLimited, providers.ErrUnavailable}, e.Kind, what)
	require.NotEmpty(t, e.Error(), what)
	for _, outcome := range []error{providers.ErrAbsent, providers.ErrExists, providers.ErrChanged} {
		require.False(t, errors.Is(err, outcome), "%s: %v", what, err)
	}
}

// health: a store that works says so.
func health(t *tester) {
	require.NoError(t, t.store.Health(t.ctx))
	t.put(key{"a", 1}, t.mint("x"))
	require.NoError(t, t.store.Health(t.ctx))
}
