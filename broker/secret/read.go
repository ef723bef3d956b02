package secret

import (
	"errors"
	"io"
)

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
	return a.read(r, limit)
}

func (a *arena) read(r io.Reader, limit int) (Value, error) {
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

// grown makes mem longer, where it is or elsewhere; when it cannot, mem is given
// back.
func (a *arena) grown(mem []byte, size int) ([]byte, error) {
	if longer, ok := a.extend(mem, size); ok {
		return longer, nil
	}
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
