package secret

import (
	"crypto/subtle"
	"errors"
	"sync"
)

// ErrCleared is returned by [Value.Use] once the value has been cleared.
var ErrCleared = errors.New("the value has been cleared")

// Value is the value of a secret. Its bytes are in locked memory behind a
// closure, which no printing, marshalling or comparing can look into, even
// from inside an unexported field of another struct. Copies of a Value share
// the bytes: clearing one clears them all. The zero Value is empty and
// cleared.
type Value struct {
	// A func makes == a compile error, and fmt prints only its address.
	cell func() *cell
}

// cell is the bytes of a value.
type cell struct {
	mu    sync.RWMutex // held shared while b is being used
	b     []byte       // of the arena; nil once cleared
	arena *arena
}

// New moves b into locked memory: it clears b, whatever it returns. It fails
// with [ErrFull] when there is no room.
func New(b []byte) (Value, error) {
	defer clear(b)
	a, err := values()
	if err != nil {
		return Value{}, err
	}
	mem, err := a.alloc(len(b))
	if err != nil {
		return Value{}, err
	}
	copy(mem, b)
	return a.value(mem), nil
}

// Fill makes a value of n bytes by letting fill write them, which are zero,
// straight into locked memory. When fill fails, so does Fill, and what was
// written is cleared.
func Fill(n int, fill func(b []byte) error) (Value, error) {
	a, err := values()
	if err != nil {
		return Value{}, err
	}
	mem, err := a.alloc(n)
	if err != nil {
		return Value{}, err
	}
	if err := fill(mem); err != nil {
		a.release(mem)
		return Value{}, err
	}
	return a.value(mem), nil
}

func (a *arena) value(mem []byte) Value {
	c := &cell{b: mem, arena: a}
	return Value{func() *cell { return c }}
}

// Use calls f with the bytes, which are valid, and must not be changed, until
// it returns. f must not block, nor use or clear a value, this or another: Clear
// waits for it. Use fails with [ErrCleared] after Clear, else with what f
// returns.
func (v Value) Use(f func(b []byte) error) error {
	if v.cell == nil {
		return ErrCleared
	}
	c := v.cell()
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.b == nil {
		return ErrCleared
	}
	return f(c.b)
}

// Clear overwrites the bytes and gives their memory back.
func (v Value) Clear() {
	if v.cell == nil {
		return
	}
	c := v.cell()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.b != nil {
		c.arena.release(c.b)
		c.b = nil
	}
}

// Len returns the length in bytes, 0 once cleared.
func (v Value) Len() (n int) {
	_ = v.Use(func(b []byte) error { n = len(b); return nil })
	return n
}

// IsZero reports whether v never held a value.
func (v Value) IsZero() bool { return v.cell == nil }

// comparing is held by whoever uses two values at once. Two who did in opposite
// order would wait for each other as soon as others wait to clear both.
var comparing sync.Mutex

// Equal reports whether both hold the same bytes, in a time that depends on
// their lengths alone. Cleared values equal nothing.
func (v Value) Equal(w Value) (same bool) {
	if v.cell != nil && w.cell != nil && v.cell() == w.cell() {
		return v.Use(func([]byte) error { return nil }) == nil
	}
	comparing.Lock()
	defer comparing.Unlock()
	_ = v.Use(func(b []byte) error {
		return w.Use(func(c []byte) error {
			same = subtle.ConstantTimeCompare(b, c) == 1
			return nil
		})
	})
	return same
}
