package secret

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// arenaSize is the memory for values, in bytes. Linux lets an ordinary user
// lock 8 MiB by default (RLIMIT_MEMLOCK); this and the buffers fit in that.
const arenaSize = 4 << 20

// grain is what allocations are rounded up to, in bytes.
const grain = 16

// ErrFull means that the locked memory has no room for the value now.
var ErrFull = errors.New("the locked memory for values is full")

// span is a free part of the arena.
type span struct{ at, size int }

// arena hands out parts of one locked mapping, first fit. It is safe for
// concurrent use.
type arena struct {
	mu   sync.Mutex
	mem  []byte
	free []span // by address, never adjacent
	lock error  // why the mapping is not locked in memory; nil when it is
}

// values is the arena of every Value, made on first use.
var values = sync.OnceValues(func() (*arena, error) { return newArena(arenaSize) })

func newArena(size int) (*arena, error) {
	mem, lock, err := lockedMemory(size)
	if err != nil {
		return nil, fmt.Errorf("mapping memory for values: %w", err)
	}
	return &arena{mem: mem, free: []span{{0, size}}, lock: lock}, nil
}

// rounded is how much is taken for n bytes: never nothing, so that no two
// allocations begin at one address.
func rounded(n int) int { return max((n+grain-1)/grain*grain, grain) }

// alloc returns n zero bytes whose capacity is what was taken.
func (a *arena) alloc(n int) ([]byte, error) {
	size := rounded(n)
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, s := range a.free {
		if s.size >= size {
			a.takeLocked(i, size)
			return a.mem[s.at : s.at+n : s.at+size], nil
		}
	}
	return nil, ErrFull
}

// extend makes what alloc returned n bytes long, where the memory after it is
// free: nothing is copied, and a large value never needs its memory twice.
func (a *arena) extend(b []byte, n int) ([]byte, bool) {
	at, size := a.offset(b), rounded(n)
	end, more := at+cap(b), size-cap(b)
	a.mu.Lock()
	defer a.mu.Unlock()
	i, ok := a.findLocked(end)
	if !ok || a.free[i].size < more {
		return nil, false
	}
	a.takeLocked(i, more)
	return a.mem[at : at+n : at+size], true
}

// takeLocked takes size bytes off the beginning of a free span.
func (a *arena) takeLocked(i, size int) {
	if s := a.free[i]; s.size > size {
		a.free[i] = span{s.at + size, s.size - size}
	} else {
		a.free = slices.Delete(a.free, i, i+1)
	}
}

// findLocked returns the place in the list of the free span that begins at the
// offset, or where one would go.
func (a *arena) findLocked(at int) (i int, found bool) {
	return slices.BinarySearchFunc(a.free, at, func(s span, at int) int { return s.at - at })
}

// release clears what alloc returned and takes it back.
func (a *arena) release(b []byte) {
	b = b[:cap(b)]
	clear(b)
	a.mu.Lock()
	defer a.mu.Unlock()
	at := a.offset(b)
	i, _ := a.findLocked(at)
	a.free = slices.Insert(a.free, i, span{at, len(b)})
	a.joinLocked(i)
	if i > 0 {
		a.joinLocked(i - 1)
	}
}

// joinLocked makes one free span of the i-th and the next if they are adjacent.
func (a *arena) joinLocked(i int) {
	if i+1 < len(a.free) && a.free[i].at+a.free[i].size == a.free[i+1].at {
		a.free[i].size += a.free[i+1].size
		a.free = slices.Delete(a.free, i+1, i+2)
	}
}

// offset finds where in the mapping b begins. Slices of one array differ in
// capacity by how far apart they begin, but alloc cuts capacities off, so the
// addresses themselves are compared.
func (a *arena) offset(b []byte) int { return distance(a.mem, b) }

// Lock makes the memory for values now and reports when it cannot be kept from
// being swapped out, with what to do about it. A broker calls it at start;
// short-lived commands do not need to.
func Lock() error {
	a, err := values()
	if err != nil {
		return err
	}
	p, err := pool()
	if err != nil {
		return err
	}
	if err := cmp.Or(a.lock, p.lock); err != nil {
		return fmt.Errorf("locking %d MiB of memory for values: %w (raise RLIMIT_MEMLOCK: ulimit -l 8192, or LimitMEMLOCK=8M in the unit)", (arenaSize+poolSize)>>20, err)
	}
	return nil
}
