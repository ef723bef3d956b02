package secret

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
)

// Redacted is what a value prints as.
const Redacted = "REDACTED"

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

func (a *arena) value(mem []byte) Value {
	c := &cell{b: mem, arena: a}
	return Value{func() *cell { return c }}
}

// Use calls f with the bytes, which are valid, and must not be changed, until
// it returns. f must not block: Clear waits for it. Use fails with
// [ErrCleared] after Clear, else with what f returns.
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

// Equal reports whether both hold the same bytes, in a time that depends on
// their lengths alone. Cleared values equal nothing.
func (v Value) Equal(w Value) (same bool) {
	if v.cell != nil && w.cell != nil && v.cell() == w.cell() {
		return v.Use(func([]byte) error { return nil }) == nil
	}
	_ = v.Use(func(b []byte) error {
		return w.Use(func(c []byte) error {
			same = subtle.ConstantTimeCompare(b, c) == 1
			return nil
		})
	})
	return same
}

// ErrTooLong is returned by [Read] for more bytes than it may take.
var ErrTooLong = errors.New("the value is too long")

// firstRead is how much memory Read starts with, in bytes.
const firstRead = 4 << 10

// Read reads to the end of r straight into locked memory, so that no growing
// buffer leaves copies behind. More than limit bytes are [ErrTooLong].
func Read(r io.Reader, limit int) (Value, error) {
	a, err := values()
	if err != nil {
		return Value{}, err
	}
	mem, err := a.alloc(min(firstRead, limit+1))
	if err != nil {
		return Value{}, err
	}
	for n := 0; ; {
		m, err := r.Read(mem[n:])
		n += m
		switch {
		case n > limit:
			a.release(mem)
			return Value{}, ErrTooLong
		case err == io.EOF:
			return a.shrunk(mem, n)
		case err != nil:
			a.release(mem)
			return Value{}, err
		case n == len(mem):
			if mem, err = a.grown(mem, min(2*n, limit+1)); err != nil {
				return Value{}, err
			}
		}
	}
}

// grown moves mem to more memory; what it was in is given back either way.
func (a *arena) grown(mem []byte, size int) ([]byte, error) {
	defer a.release(mem)
	larger, err := a.alloc(size)
	copy(larger, mem)
	return larger, err
}

// shrunk makes a value of the first n bytes, giving a larger rest back.
func (a *arena) shrunk(mem []byte, n int) (Value, error) {
	if cap(mem)-n < firstRead/4 {
		return a.value(mem[:n]), nil
	}
	tight, err := a.alloc(n)
	if err != nil {
		return a.value(mem[:n]), nil // the larger piece serves as well
	}
	copy(tight, mem)
	a.release(mem)
	return a.value(tight), nil
}

// What follows makes every way to show a Value show [Redacted], and every way
// to marshal one fail.

var errMarshal = errors.New("the value of a secret is not marshalled")

// Format prints [Redacted] for every verb.
func (Value) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, Redacted) }

// String returns [Redacted].
func (Value) String() string { return Redacted }

// GoString returns [Redacted].
func (Value) GoString() string { return Redacted }

// LogValue returns [Redacted].
func (Value) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalJSON fails.
func (Value) MarshalJSON() ([]byte, error) { return nil, errMarshal }

// MarshalText fails.
func (Value) MarshalText() ([]byte, error) { return nil, errMarshal }

// MarshalBinary fails.
func (Value) MarshalBinary() ([]byte, error) { return nil, errMarshal }

// GobEncode fails.
func (Value) GobEncode() ([]byte, error) { return nil, errMarshal }
