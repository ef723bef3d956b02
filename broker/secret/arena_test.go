package secret

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// testArena returns an arena of ordinary memory.
func testArena(size int) *arena {
	return &arena{mem: make([]byte, size), free: []span{{0, size}}}
}

// requireWhole checks that everything has been given back, cleared.
func requireWhole(t require.TestingT, a *arena) {
	require.Equal(t, []span{{0, len(a.mem)}}, a.free)
	require.Equal(t, make([]byte, len(a.mem)), a.mem)
}

// taken is a piece of the arena as the model sees it.
type taken struct {
	b    []byte
	at   int
	mark byte // what b, up to its capacity, is full of
}

// arenaModel is an arena beside the plainest account of what is taken of it.
type arenaModel struct {
	a     *arena
	taken []taken // by address
	marks byte
}

func (m *arenaModel) end(i int) int { return m.taken[i].at + cap(m.taken[i].b) }

// gaps are the free parts, each as large as it can be.
func (m *arenaModel) gaps() (gaps []span) {
	at := 0
	for i, p := range m.taken {
		if p.at > at {
			gaps = append(gaps, span{at, p.at - at})
		}
		at = m.end(i)
	}
	if at < len(m.a.mem) {
		gaps = append(gaps, span{at, len(m.a.mem) - at})
	}
	return gaps
}

// mark fills what b newly has with a mark of its own, after seeing that it was
// zero.
func (m *arenaModel) mark(t *rapid.T, b []byte, old int) byte {
	b = b[:cap(b)]
	require.Equal(t, make([]byte, len(b)-old), b[old:], "handed out with something in it")
	m.marks = m.marks%255 + 1
	for i := range b {
		b[i] = m.marks
	}
	return m.marks
}

func (m *arenaModel) alloc(t *rapid.T) {
	n := rapid.IntRange(0, 300).Draw(t, "bytes")
	want := slices.IndexFunc(m.gaps(), func(s span) bool { return s.size >= n && s.size >= 1 })
	b, err := m.a.alloc(n)
	if want < 0 {
		require.ErrorIs(t, err, ErrFull)
		return
	}
	require.NoError(t, err, "%d bytes fit into %v", n, m.gaps())
	require.Len(t, b, n)
	at := m.gaps()[want].at
	require.Equal(t, at, m.a.offset(b))
	p := taken{b, at, m.mark(t, b, 0)}
	i, _ := slices.BinarySearchFunc(m.taken, at, func(p taken, at int) int { return p.at - at })
	m.taken = slices.Insert(m.taken, i, p)
}

func (m *arenaModel) extend(t *rapid.T) {
	i := m.pick(t)
	p := &m.taken[i]
	n := cap(p.b) + rapid.IntRange(1, 200).Draw(t, "more")
	fits := slices.ContainsFunc(m.gaps(), func(s span) bool { return s.at == m.end(i) && m.end(i)+s.size >= p.at+n })
	b, ok := m.a.extend(p.b, n)
	require.Equal(t, fits, ok, "%d bytes at %d with %v free", n, p.at, m.gaps())
	if ok {
		require.Len(t, b, n)
		require.Equal(t, p.at, m.a.offset(b))
		m.requireMark(t, *p)
		*p = taken{b, p.at, m.mark(t, b, cap(p.b))}
	}
}

func (m *arenaModel) release(t *rapid.T) {
	i := m.pick(t)
	m.requireMark(t, m.taken[i])
	m.a.release(m.taken[i].b)
	m.taken = slices.Delete(m.taken, i, i+1)
}

func (m *arenaModel) pick(t *rapid.T) int {
	if len(m.taken) == 0 {
		t.Skip("nothing is taken")
	}
	return rapid.IntRange(0, len(m.taken)-1).Draw(t, "piece")
}

func (m *arenaModel) requireMark(t *rapid.T, p taken) {
	require.Equal(t, cap(p.b), bytes.Count(p.b[:cap(p.b)], []byte{p.mark}), "somebody else wrote at %d", p.at)
}

func (m *arenaModel) check(t *rapid.T) {
	require.Empty(t, slices.DeleteFunc(slices.Clone(m.a.free), func(s span) bool { return slices.Contains(m.gaps(), s) }))
	require.Len(t, m.a.free, len(m.gaps()))
	require.True(t, slices.IsSortedFunc(m.a.free, func(a, b span) int { return a.at - b.at }))
}

func TestArenaModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &arenaModel{a: testArena(rapid.SampledFrom([]int{16, 160, 1024}).Draw(t, "size"))}
		t.Repeat(map[string]func(*rapid.T){
			"alloc":   m.alloc,
			"extend":  m.extend,
			"release": m.release,
			"":        m.check,
		})
		for len(m.taken) > 0 {
			m.requireMark(t, m.taken[0])
			m.a.release(m.taken[0].b)
			m.taken = m.taken[1:]
		}
		requireWhole(t, m.a)
	})
}
