package secret

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

var errBroken = errors.New("broken")

// pattern returns n bytes that do not repeat.
func pattern(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// withError reads as r does and then fails.
func withError(r io.Reader) io.Reader { return io.MultiReader(r, iotest.ErrReader(errBroken)) }

func TestReadEveryReader(t *testing.T) {
	const limit = 100_000
	readers := map[string]func(io.Reader) io.Reader{
		"at once":          func(r io.Reader) io.Reader { return r },
		"a byte at a time": iotest.OneByteReader,
		"by halves":        iotest.HalfReader,
		"end with data":    iotest.DataErrReader,
		"one byte and end": func(r io.Reader) io.Reader { return iotest.DataErrReader(iotest.OneByteReader(r)) },
	}
	sizes := []int{0, 1, 15, 16, 17, 1023, 4095, 4096, 4097, 8191, 8192, 8193, limit - 1, limit}
	for name, reader := range readers {
		for _, n := range sizes {
			a, want := testArena(4*limit), pattern(n)
			v, err := a.read(reader(bytes.NewReader(want)), limit)
			require.NoError(t, err, "%s, %d bytes", name, n)
			require.NoError(t, v.Use(func(b []byte) error {
				require.True(t, bytes.Equal(want, b), "%s, %d bytes", name, n)
				require.Less(t, cap(b), n+firstRead/4+grain, "%s, %d bytes", name, n)
				return nil
			}))
			v.Clear()
			requireWhole(t, a)

			_, err = a.read(reader(withError(bytes.NewReader(want))), limit)
			require.ErrorIs(t, err, errBroken, "%s, %d bytes", name, n)
			requireWhole(t, a)
		}
		for _, n := range []int{limit + 1, limit + 2, 2 * limit} {
			a := testArena(4 * limit)
			_, err := a.read(reader(bytes.NewReader(pattern(n))), limit)
			require.ErrorIs(t, err, ErrTooLong, "%s, %d bytes", name, n)
			requireWhole(t, a)
		}
	}
}

func TestReadLimits(t *testing.T) {
	for _, limit := range []int{0, 1, 16, 4095, 4096, 4097, 10_000} {
		a := testArena(1 << 16)
		v, err := a.read(bytes.NewReader(pattern(limit)), limit)
		require.NoError(t, err, limit)
		require.Equal(t, limit, v.Len())
		v.Clear()
		_, err = a.read(bytes.NewReader(pattern(limit+1)), limit)
		require.ErrorIs(t, err, ErrTooLong, limit)
		requireWhole(t, a)
	}
}

// A value may be nearly as large as the arena: growing does not need its memory
// twice where the memory after it is free.
func TestReadGrowsInPlace(t *testing.T) {
	a := testArena(1 << 20)
	v, err := a.read(bytes.NewReader(pattern(1<<20-100)), 1<<20-1)
	require.NoError(t, err)
	require.Equal(t, 1<<20-100, v.Len())
}

func TestReadMovesWhereItMust(t *testing.T) {
	a, want := testArena(1<<16), pattern(30_000)
	fence := false
	_, err := a.alloc(0)
	require.NoError(t, err)
	v, err := a.read(readerFunc(func(p []byte) (int, error) {
		if !fence { // what comes after the first 4 KiB is taken
			fence = true
			_, err := a.alloc(1)
			require.NoError(t, err)
		}
		n := copy(p, want)
		want = want[n:]
		if n == 0 {
			return 0, io.EOF
		}
		return n, nil
	}), 1<<16)
	require.NoError(t, err)
	require.NoError(t, v.Use(func(b []byte) error {
		require.True(t, bytes.Equal(pattern(30_000), b))
		return nil
	}))
	require.Equal(t, span{grain, firstRead}, a.free[0], "where it was first is given back")
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestReadWithoutRoom(t *testing.T) {
	for _, size := range []int{0, 16, 4095, 4096, 5000, 20_000} {
		a := &arena{mem: make([]byte, size)}
		if size > 0 {
			a = testArena(size / grain * grain)
		}
		_, err := a.read(bytes.NewReader(pattern(40_000)), 1<<16)
		require.ErrorIs(t, err, ErrFull, size)
		if size > 0 {
			requireWhole(t, a)
		}
	}
}

// Without room for a tight copy the larger piece serves.
func TestReadKeepsTheLargerPiece(t *testing.T) {
	a := testArena(firstRead)
	v, err := a.read(bytes.NewReader([]byte("horse")), 1<<16)
	require.NoError(t, err)
	require.Equal(t, 5, v.Len())
	v.Clear()
	requireWhole(t, a)
}

func TestRead(t *testing.T) {
	v, err := Read(bytes.NewReader([]byte("horse")), 5)
	require.NoError(t, err)
	defer v.Clear()
	require.Equal(t, 5, v.Len())
}
