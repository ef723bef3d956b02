// Package storetest holds a store to the contract of [providers.Store].
//
// It guards against stores that differ where the broker cannot see it: a store
// that passes says "absent" only of what is not there, never overwrites, and
// gives back the bytes that it was given or an error.
package storetest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
)

// Subject is a store to be tried.
type Subject struct {
	Store providers.Store
	// Break keeps what the store stands on from working, until mend. Nil: it stands
	// on nothing that could.
	Break func() (mend func())
	// Keep has somebody else keep a value in the store, and returns the reference to it
	// and what puts another in its place; nil takes it away. Nil: the store is no
	// [providers.Referrer].
	Keep func(value []byte) (ref string, change func(value []byte))
}

// Run tries everything a store must do. open returns a new, empty store.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	for name, test := range map[string]func(*tester){
		"values":      values,
		"absent":      absent,
		"exists":      exists,
		"changed":     changed,
		"deleted":     deleted,
		"cleared":     cleared,
		"alike":       alike,
		"versions":    versions,
		"list":        list,
		"list stops":  listStops,
		"cancelled":   cancelled,
		"concurrency": concurrency,
		"batch":       batch,
		"trouble":     trouble,
		"health":      health,
		"many":        many,
		"record":      record,
		"referred":    referred,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			test(&tester{t, t.Context(), s.Store, s})
		})
	}
}

// tester is a store under test.
type tester struct {
	*testing.T
	ctx   context.Context
	store providers.Store
	Subject
}

// key names one version of one secret.
type key struct {
	name    secret.Name
	version uint64
}

// mint makes a value that none but the same label has in this test.
func (t *tester) mint(label any) []byte { return []byte(canary.New(t.T, fmt.Sprint(label))) }

// try puts the bytes.
func (t *tester) try(ctx context.Context, k key, b []byte) (providers.Sum, error) {
	t.Helper()
	v, err := secret.New(bytes.Clone(b))
	require.NoError(t, err)
	defer v.Clear()
	sum, err := t.store.Put(ctx, k.name, k.version, v)
	if err != nil && len(b) > 0 {
		require.NotContains(t, err.Error(), string(b))
	}
	return sum, err
}

// put puts the bytes, which must work.
func (t *tester) put(k key, b []byte) providers.Sum {
	t.Helper()
	sum, err := t.try(t.ctx, k, b)
	require.NoError(t, err, k)
	require.False(t, sum.IsZero(), k)
	return sum
}

// requireHas checks that the version is there, by every way to ask for it.
func (t *tester) requireHas(k key, b []byte, sum providers.Sum) {
	t.Helper()
	for _, want := range []providers.Sum{sum, {}} {
		v, err := t.store.Get(t.ctx, k.name, k.version, want)
		require.NoError(t, err, k)
		t.requireHolds(v, b)
		v.Clear()
	}
	now, err := t.store.Sum(t.ctx, k.name, k.version)
	require.NoError(t, err, k)
	require.Equal(t, sum, now, k)
}

// requireHolds checks that the value is the bytes.
func (t *tester) requireHolds(v secret.Value, b []byte) {
	t.Helper()
	require.NoError(t, v.Use(func(got []byte) error {
		require.True(t, bytes.Equal(b, got), "%d bytes are not the %d that were put", len(got), len(b))
		return nil
	}))
}

// requireAbsent checks that the version is not there, by every way to ask for it.
func (t *tester) requireAbsent(k key) {
	t.Helper()
	for _, want := range []providers.Sum{{}, {1}} {
		v, err := t.store.Get(t.ctx, k.name, k.version, want)
		require.ErrorIs(t, err, providers.ErrAbsent, k)
		require.True(t, v.IsZero(), k)
	}
	_, err := t.store.Sum(t.ctx, k.name, k.version)
	require.ErrorIs(t, err, providers.ErrAbsent, k)
	require.NotContains(t, t.listed(), k)
}

// listed returns what the store lists, each version once.
func (t *tester) listed() map[key]providers.Sum {
	t.Helper()
	all := make(map[key]providers.Sum)
	require.NoError(t, t.store.List(t.ctx, func(name secret.Name, version uint64, sum providers.Sum) error {
		require.NotContains(t, all, key{name, version}, "listed twice")
		all[key{name, version}] = sum
		return nil
	}))
	return all
}

// random returns n bytes that follow from n.
func random(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(b)
	return b
}
