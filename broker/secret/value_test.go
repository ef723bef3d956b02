package secret_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
)

// newValue returns a value that is cleared with the test.
func newValue(t *testing.T, s string) secret.Value {
	t.Helper()
	v, err := secret.New([]byte(s))
	require.NoError(t, err)
	t.Cleanup(v.Clear)
	return v
}

func TestNewClearsWhatItTakes(t *testing.T) {
	b := []byte("correct horse")
	v, err := secret.New(b)
	require.NoError(t, err)
	defer v.Clear()
	require.Equal(t, make([]byte, 13), b)
	require.NoError(t, v.Use(func(b []byte) error {
		require.Equal(t, "correct horse", string(b))
		return nil
	}))
}

func TestUseReturnsWhatItsFunctionDoes(t *testing.T) {
	want := errors.New("on purpose")
	require.ErrorIs(t, newValue(t, "x").Use(func([]byte) error { return want }), want)
}

func TestZeroValue(t *testing.T) {
	var v secret.Value
	require.True(t, v.IsZero())
	require.Zero(t, v.Len())
	require.False(t, v.Equal(v))
	require.ErrorIs(t, v.Use(nil), secret.ErrCleared)
	v.Clear()
}

func TestEmptyValue(t *testing.T) {
	v := newValue(t, "")
	require.False(t, v.IsZero())
	require.Zero(t, v.Len())
	require.NoError(t, v.Use(func(b []byte) error {
		require.Empty(t, b)
		return nil
	}))
}

func TestClear(t *testing.T) {
	v := newValue(t, "correct horse")
	w := v // shares the bytes
	require.Equal(t, 13, w.Len())
	v.Clear()
	v.Clear()
	w.Clear()
	require.Zero(t, w.Len())
	require.False(t, w.IsZero())
	require.False(t, v.Equal(w))
	require.ErrorIs(t, w.Use(nil), secret.ErrCleared)
}

func TestEqual(t *testing.T) {
	v := newValue(t, "correct horse")
	require.True(t, v.Equal(v))
	require.True(t, v.Equal(newValue(t, "correct horse")))
	for _, other := range []string{"", "correct", "correct horsf", "Correct horse", "correct horse "} {
		require.False(t, v.Equal(newValue(t, other)), other)
	}
	require.True(t, newValue(t, "").Equal(newValue(t, "")))
	require.False(t, v.Equal(secret.Value{}))
}

func TestFill(t *testing.T) {
	v, err := secret.Fill(5, func(b []byte) error {
		require.Equal(t, make([]byte, 5), b)
		copy(b, "horse")
		return nil
	})
	require.NoError(t, err)
	defer v.Clear()
	require.True(t, v.Equal(newValue(t, "horse")))

	var kept []byte
	broken := errors.New("broken")
	v, err = secret.Fill(5, func(b []byte) error {
		kept = b
		copy(b, "horse")
		return broken
	})
	require.ErrorIs(t, err, broken)
	require.True(t, v.IsZero())
	require.Equal(t, make([]byte, 5), kept)
}

func TestNoRoom(t *testing.T) {
	var all []secret.Value
	for err := error(nil); err == nil; {
		var v secret.Value
		if v, err = secret.Fill(1<<19, func([]byte) error { return nil }); err == nil {
			all = append(all, v)
		} else {
			require.ErrorIs(t, err, secret.ErrFull)
		}
	}
	require.NotEmpty(t, all)
	b := make([]byte, 1<<19)
	b[0] = 1
	_, err := secret.New(b)
	require.ErrorIs(t, err, secret.ErrFull)
	require.Zero(t, b[0], "cleared although there was no room")

	all[0].Clear()
	v, err := secret.New(b)
	require.NoError(t, err)
	v.Clear()
	for _, v := range all {
		v.Clear()
	}
}

// Whoever is given the bytes has the right ones for as long as it has them,
// whenever the value is cleared.
func TestUseWhileClearing(t *testing.T) {
	for range 30 {
		v := newValue(t, "correct horse")
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for {
					err := v.Use(func(b []byte) error {
						for range 10 {
							if string(b) != "correct horse" {
								return errors.New("changed while it was used")
							}
						}
						return nil
					})
					if err != nil {
						require.ErrorIs(t, err, secret.ErrCleared)
						return
					}
				}
			})
		}
		wg.Go(v.Clear)
		wg.Go(v.Clear)
		wg.Wait()
	}
}

// Comparing two values in both orders while both are cleared ends.
func TestEqualWhileClearing(t *testing.T) {
	for range 5000 {
		v, err := secret.New([]byte("correct"))
		require.NoError(t, err)
		w, err := secret.New([]byte("correct"))
		require.NoError(t, err)
		var wg sync.WaitGroup
		wg.Go(func() { v.Equal(w) })
		wg.Go(func() { w.Equal(v) })
		wg.Go(v.Clear)
		wg.Go(w.Clear)
		wg.Wait()
	}
}
