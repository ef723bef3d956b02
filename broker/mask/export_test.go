package mask

import (
	"bytes"
	"slices"
)

// Forms returns every form of a value.
func Forms(value []byte) (all [][]byte) {
	eachForm(value, func(form []byte) { all = append(all, bytes.Clone(form)) })
	return all
}

// Growth is how many times longer than a value its longest form may be.
const Growth = growth

// Worth returns why a value is not masked.
func Worth(value []byte) error { return worth(value) }

// Kept returns the memory of a Writer, used or not.
func (w *Writer) Kept() []byte { return slices.Concat(w.buf[:cap(w.buf)], w.out[:cap(w.out)]) }

// UsedForms returns the forms of a value as they are afterwards, but for those
// that are parts of it.
func UsedForms(value []byte) (all [][]byte) {
	eachForm(value, func(form []byte) {
		if !bytes.Contains(value, form) {
			all = append(all, form)
		}
	})
	return all
}

// Idle is what the timer calls.
func (w *Writer) Idle() { w.idle() }

// Waiting reports whether the timer runs.
func (w *Writer) Waiting() bool { return w.waiting }
