package mask

import (
	"cmp"
	"io"
	"io/fs"
	"slices"
	"sync"
	"time"
)

// Options say how a [Writer] masks.
type Options struct {
	// Shapes also masks what looks like a credential: package shape. It makes the
	// Writer hold back the line that has not ended.
	Shapes bool
	// Delay is for how long what may be the beginning of something, but of nothing
	// in particular, is held back for more to come. 0 means 50 ms.
	Delay time.Duration
}

const defaultDelay = 50 * time.Millisecond

// chunk is how much of what is written is looked at in one go, in bytes.
const chunk = 32 << 10

// Writer masks what is written to it. It holds back the last bytes, fewer than 8,
// until more comes or the delay is over; and what agrees with the beginning of a
// form until it can be told whether it is one. What it has let go it still knows,
// so that the rest of a value is masked whose first bytes came alone. It is safe
// for concurrent use.
//
// Of forms that overlap each is named: [secretctl:a][secretctl:b]. One within
// another is not.
type Writer struct {
	dst   io.Writer
	delay time.Duration

	mu      sync.Mutex
	m       *matcher // nil: no values are known
	shapes  *shapes  // nil: shapes are not masked
	timer   *time.Timer
	waiting bool      // idle will be called
	wrote   time.Time // when Write was last called
	closed  bool
	err     error // of dst, for ever

	buf      []byte
	at       int    // buf[:at] is searched for forms
	deciding bool   // whether m decides about buf[at:]
	found    []span // and not yet written, in any order
	sent     int    // buf[:sent] is written, masked or as it is
	last     span   // that was masked
	out      []byte // what the next write to dst is
}

// span is a part of a buffer that is masked.
type span struct {
	start, end int
	label      string
	shape      bool
}

// inOrder sorts spans by where they begin, longer ones first, and of equal ones
// the known value's.
func inOrder(a, b span) int {
	order := cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(b.end, a.end))
	switch {
	case order != 0 || a.shape == b.shape:
		return order
	case a.shape:
		return 1
	}
	return -1
}

// NewWriter returns a Writer to dst. A nil set knows no values.
func NewWriter(dst io.Writer, set *Set, opts Options) *Writer {
	w := &Writer{dst: dst, delay: opts.Delay}
	if w.delay == 0 {
		w.delay = defaultDelay
	}
	if set != nil && len(set.forms) > 0 {
		w.m = newMatcher(set)
	}
	if opts.Shapes {
		w.shapes = new(shapes)
	}
	return w
}

// Write masks p. An error is of a write to dst, which is not tried again, or
// [fs.ErrClosed].
func (w *Writer) Write(p []byte) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, fs.ErrClosed
	}
	for n < len(p) && w.err == nil {
		piece := p[n:min(n+chunk, len(p))]
		w.append(piece)
		w.search(false)
		w.flush(w.decided())
		n += len(piece)
	}
	if w.err != nil {
		return 0, w.err
	}
	w.wrote = time.Now()
	// A line may go on for long without a pause, so with shapes the delay is counted
	// from where it began.
	if w.sent < len(w.buf) && (w.shapes == nil || !w.waiting) {
		w.wake(w.delay)
	}
	return n, nil
}

// Know replaces the values that are known. What is held back is looked at again,
// so that a value is found that began before.
func (w *Writer) Know(set *Set) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	if w.m != nil {
		w.m.digest.forget()
		w.m = nil
	}
	if set != nil && len(set.forms) > 0 {
		w.m = newMatcher(set)
	}
	w.found = slices.DeleteFunc(w.found, func(s span) bool { return !s.shape })
	w.deciding, w.at = false, min(w.at, w.sent)
	w.search(false)
	w.flush(w.decided())
}

// Close writes what is held back. It does not close dst.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return fs.ErrClosed
	}
	w.closed = true
	if w.timer != nil {
		w.timer.Stop()
	}
	w.search(true)
	w.flush(len(w.buf))
	clear(w.buf[:cap(w.buf)])
	clear(w.out[:cap(w.out)])
	if w.m != nil {
		w.m.digest.forget()
	}
	return w.err
}

// wake has idle called.
func (w *Writer) wake(after time.Duration) {
	w.waiting = true
	if w.timer == nil {
		w.timer = time.AfterFunc(after, w.idle)
		return
	}
	w.timer.Reset(after)
}

// idle lets go what is held back without a reason of its own.
func (w *Writer) idle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = false
	if w.closed {
		return // it was waiting for the lock
	}
	limit := w.at
	quiet := time.Since(w.wrote)
	switch {
	case quiet < w.delay: // more came since the delay began
		defer w.wake(w.delay - quiet)
	case !w.deciding:
		limit = len(w.buf)
	case w.m.best != nil:
		// What is there is masked, whether or not it goes on as a longer form.
		w.found = append(w.found, w.known(w.m.best))
		limit++
	}
	if w.shapes != nil {
		limit = min(limit, w.shapes.begun(w, quiet >= w.delay))
	}
	w.flush(limit)
	if w.shapes != nil {
		w.shapes.forget(w)
	}
}

// append adds p to the buffer. What it leaves is cleared.
func (w *Writer) append(p []byte) {
	if len(w.buf)+len(p) > cap(w.buf) {
		larger := make([]byte, len(w.buf), max(2*cap(w.buf), len(w.buf)+len(p), 4<<10))
		copy(larger, w.buf)
		clear(w.buf)
		w.buf = larger
	}
	w.buf = append(w.buf, p...)
}

// search searches what is new in the buffer. The end of the stream is final.
func (w *Writer) search(final bool) {
	if w.m == nil {
		w.at = len(w.buf)
	} else {
		w.searchForms(final)
	}
	if w.shapes != nil {
		w.shapes.search(w, final)
	}
}

func (w *Writer) searchForms(final bool) {
	for {
		if !w.deciding {
			at, g, ok := w.m.set.gate(w.buf, w.at)
			w.at = at
			if !ok {
				return
			}
			w.m.begin(g)
			w.deciding = true
		}
		if !w.m.decide(w.buf[w.at:], final) {
			return
		}
		if f := w.m.best; f != nil {
			w.found = append(w.found, w.known(f))
		}
		w.deciding = false
		w.at++
	}
}

// known returns the span of a form that begins at w.at.
func (w *Writer) known(f *form) span {
	return span{start: w.at, end: w.at + f.len, label: w.m.set.labels[f.name]}
}

// decided returns up to where everything is.
func (w *Writer) decided() int {
	if w.shapes != nil {
		return min(w.at, w.shapes.line)
	}
	return w.at
}

// flush writes what is before limit, and the whole of what is found to begin
// there, and drops what is no longer needed of the buffer.
func (w *Writer) flush(limit int) {
	slices.SortFunc(w.found, inOrder)
	done := 0
	for _, s := range w.found {
		if s.start >= limit {
			break
		}
		done++
		if s.end <= w.sent {
			continue
		}
		if w.sent < s.start {
			w.out = append(w.out, w.buf[w.sent:s.start]...)
		}
		if s.start != w.last.start || s.label != w.last.label {
			w.out = append(w.out, s.label...)
		}
		w.last, w.sent = s, s.end
	}
	w.found = slices.Delete(w.found, 0, done)
	if w.sent < limit {
		w.out = append(w.out, w.buf[w.sent:limit]...)
		w.sent = limit
	}
	if len(w.out) > 0 && w.err == nil {
		_, w.err = w.dst.Write(w.out)
	}
	w.out = w.out[:0]
	w.drop()
}

// drop drops from the buffer what can be no part of anything that is to be
// masked, and clears it.
func (w *Writer) drop() {
	n := min(w.at, w.sent)
	if w.shapes != nil {
		n = min(n, w.shapes.from)
		w.shapes.shift(n)
	}
	if n == 0 {
		return
	}
	kept := copy(w.buf, w.buf[n:])
	clear(w.buf[kept:])
	w.buf = w.buf[:kept]
	w.at -= n
	w.sent -= n
	w.last.start -= n
	for i := range w.found {
		w.found[i].start -= n
		w.found[i].end -= n
	}
}
