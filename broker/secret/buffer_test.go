package secret

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// takeAll takes every buffer there is and returns them by address.
func takeAll(t *testing.T) []*Buffer {
	t.Helper()
	var all []*Buffer
	for range poolSize / BufferSize {
		b, err := GetBuffer()
		require.NoError(t, err)
		require.Empty(t, b.B)
		require.Equal(t, BufferSize, cap(b.B))
		require.Equal(t, make([]byte, BufferSize), b.B[:BufferSize])
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b *Buffer) int { return distance(b.own[:1], a.own[:1]) })
	return all
}

func releaseAll(all []*Buffer) {
	for _, b := range all {
		b.Release()
	}
}

func TestBuffersAreApart(t *testing.T) {
	all := takeAll(t)
	defer func() { releaseAll(all) }()
	for i := range all[1:] {
		require.Equal(t, BufferSize, distance(all[i].own[:1], all[i+1].own[:1]))
	}
}

// Whatever was done with a buffer, what comes back is the locked memory, clear.
func TestBuffersComeBackClear(t *testing.T) {
	all := takeAll(t)
	outside := append(all[0].B, make([]byte, BufferSize+1)...)
	outside[0] = 1
	all[0].B = outside
	all[0].own[:1][0] = 1
	for _, b := range all[1:] {
		b.B = b.B[:BufferSize][10:20]
		b.own[:BufferSize][BufferSize-1] = 1
	}
	before := slices.Clone(all)
	own := all[0].own
	releaseAll(all)
	require.Equal(t, make([]byte, len(outside)), outside)

	all = takeAll(t)
	defer func() { releaseAll(all) }()
	require.ElementsMatch(t, before, all)
	require.Zero(t, distance(own[:1], all[0].B[:1]))
}

func TestGetBufferWaits(t *testing.T) {
	all := takeAll(t)
	got := make(chan *Buffer)
	go func() {
		b, _ := GetBuffer()
		got <- b
	}()
	select {
	case <-got:
		t.Fatal("one buffer too many")
	default:
	}
	all[7].Release()
	all[7] = <-got
	releaseAll(all)
}
