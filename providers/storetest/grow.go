package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// Grown is a store that has n secrets, each with a version 1: [Filler] says what they
// are called.
type Grown struct {
	Store providers.Store
	N     int
	Value func(i int) string // of a secret
	Fixed bool               // putting is not tried

	// The least that a program could do for the same; nil: it is not known.
	Get  func(i int) error
	Put  func(i int) error // of one that is not there yet
	List func() error
}

// Filler is what secrets are called that a store is filled with.
func Filler(i int) secret.Name { return secret.Name(fmt.Sprintf("team-%d/secret-%d", i%100, i)) }

// Served holds a store that was filled to what it has: every version is listed once,
// with the sum that it is asked for by, and a sample of them opens.
func Served(t *testing.T, g Grown) {
	all := make(map[secret.Name]providers.Sum)
	require.NoError(t, g.Store.List(t.Context(), func(n secret.Name, version uint64, sum providers.Sum) error {
		require.EqualValues(t, 1, version)
		require.NotContains(t, all, n)
		all[n] = sum
		return nil
	}))
	require.Len(t, all, g.N)
	for i := 0; i < g.N; i += max(1, g.N/200) {
		name := Filler(i)
		v, err := g.Store.Get(t.Context(), name, 1, all[name])
		require.NoError(t, err)
		require.NoError(t, v.Use(func(b []byte) error { require.Equal(t, []byte(g.Value(i)), b); return nil }))
		v.Clear()
		sum, err := g.Store.Sum(t.Context(), name, 1)
		require.NoError(t, err)
		require.Equal(t, all[name], sum)
		_, err = g.Store.Get(t.Context(), name, 2, providers.Sum{})
		require.ErrorIs(t, err, providers.ErrAbsent)
	}
	if g.Fixed {
		return
	}
	v, err := secret.New([]byte("one more"))
	require.NoError(t, err)
	defer v.Clear()
	sum, err := g.Store.Put(t.Context(), Filler(g.N), 1, v)
	require.NoError(t, err)
	got, err := g.Store.Get(t.Context(), Filler(g.N), 1, sum)
	require.NoError(t, err)
	defer got.Clear()
	require.True(t, got.Equal(v))
	require.NoError(t, g.Store.Delete(t.Context(), Filler(g.N), 1))
	_, err = g.Store.Sum(t.Context(), Filler(g.N), 1)
	require.ErrorIs(t, err, providers.ErrAbsent)
}

// Grow measures a store with 100, 1,000 and 10,000 secrets, in turns with the least
// that a program could do for the same.
func Grow(b *testing.B, fill func(b *testing.B, n int) Grown) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			g := fill(b, n)
			m := meter{b, make(map[string][]time.Duration)}
			next := n
			for b.Loop() {
				for i := range 20 {
					m.turn(g, i*n/20, &next)
				}
				m.time("list", func() error {
					return g.Store.List(b.Context(), func(secret.Name, uint64, providers.Sum) error { return nil })
				})
				if g.List != nil {
					m.time("list-limit", g.List)
				}
			}
			m.report()
		})
	}
}

// meter takes how long things take.
type meter struct {
	*testing.B
	took map[string][]time.Duration
}

func (m *meter) time(what string, do func() error) {
	began := time.Now()
	err := do()
	m.took[what] = append(m.took[what], time.Since(began))
	require.NoError(m, err, what)
}

// turn does everything once.
func (m *meter) turn(g Grown, i int, next *int) {
	ctx := m.Context()
	m.time("get", func() error {
		v, err := g.Store.Get(ctx, Filler(i), 1, providers.Sum{})
		v.Clear()
		return err
	})
	if g.Get != nil {
		m.time("get-limit", func() error { return g.Get(i) })
	}
	m.time("sum", func() error { _, err := g.Store.Sum(ctx, Filler(i), 1); return err })
	if g.Fixed {
		return
	}
	v, err := secret.New([]byte("one more"))
	require.NoError(m, err)
	defer v.Clear()
	m.time("put", func() error { _, err := g.Store.Put(ctx, Filler(*next), 1, v); return err })
	if g.Put != nil {
		m.time("put-limit", func() error { return g.Put(*next + 1) })
	}
	*next += 2
}

func (m *meter) report() {
	m.ReportMetric(0, "ns/op")
	median := func(what string) float64 {
		d := m.took[what]
		slices.Sort(d)
		return float64(d[len(d)/2].Nanoseconds()) / 1e6
	}
	for _, what := range []string{"get", "sum", "put", "list"} {
		if m.took[what] == nil {
			continue
		}
		m.ReportMetric(median(what), what+"-ms")
		if m.took[what+"-limit"] != nil {
			m.ReportMetric(median(what)/median(what+"-limit"), what+"-ratio")
		}
	}
}
