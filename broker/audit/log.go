package audit

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// Options says what is done with the records of a log. The zero value keeps
// them and folds nothing.
type Options struct {
	// Apply is called with every durable record, in order and one at a time: by
	// Open with those behind the snapshot, then with each as it becomes durable,
	// before its Append returns. It must not call the Log.
	Apply func(*Record)
	// Snapshot returns the state Apply has folded, and Restore takes it back when
	// the log is opened. Without them every Open reads the whole log.
	Snapshot func() []byte
	Restore  func(state []byte) error
	// OnCheckpoint is called with each signed note once it is durable. It must not
	// block or keep the slice.
	OnCheckpoint func(note []byte)
	// SegmentBytes is the size at which a new segment begins; 0: 16 MiB.
	SegmentBytes int64
	// Forget opens a log whose folded state is not wanted any more: Open calls
	// neither Restore nor Apply, and a snapshot that is not intact does not matter.
	Forget bool
}

const defaultSegmentBytes = 16 << 20

// Head is where a log ends.
type Head struct {
	Seq   uint64 // of the last durable record; 0: none
	Chain string // over all records, base64url
	Err   error  // why no record can be written at this moment; nil when they can
}

// Log is an open log. It is safe for concurrent use: records that are appended
// at the same time become durable together, with one sync.
type Log struct {
	w       writer         // of whoever leads
	writers sync.WaitGroup // goroutines that lead
	entries sync.Pool      // of *entry that nobody has in hand

	mu      sync.Mutex
	queue   []*entry    // not durable yet, in the order they will be
	leading bool        // somebody has the writer
	late    int         // deferred records in the queue
	dropped uint64      // deferred records that found no room
	timer   *time.Timer // flushes deferred records; nil: none is waiting for it
	closed  bool
	head    cursorHead
}

// cursorHead is a Head before it is put into words.
type cursorHead struct {
	seq   uint64
	chain tlog.Hash
	err   error
}

// Deferred records.
const (
	lateTime     = 50 * time.Millisecond // until they are written at the latest
	maxLate      = 1024                  // in memory, when the log cannot take them
	reservedLate = 256                   // of those, kept from denials, which agents cause
)

// maxTogether is how many records AppendAll makes durable at once.
const maxTogether = 128

// Append makes r durable. It sets Seq and Time, cuts the other fields to the
// resolution of the disk, and returns after Options.Apply has seen r. Any error
// means that r is not in the log and that what it would have allowed must not
// happen; [ErrUnavailable] that the disk would not take it. Only a disk that
// will not take back what it failed to make durable can leave r for the next
// [Open] to find.
func (l *Log) Append(r *Record) error { return l.AppendAll([]*Record{r}) }

// AppendAll is Append for several records, which become durable together, at
// most 128 at a time.
func (l *Log) AppendAll(records []*Record) error {
	for len(records) > 0 {
		n := min(len(records), maxTogether)
		e, _ := l.entries.Get().(*entry)
		if e == nil {
			e = newEntry()
		}
		err := e.fill(records[:n])
		if err == nil {
			err = l.wait(e)
		}
		// The caller has been told, so nobody else knows e any more.
		*e = entry{done: e.done, memory: e.memory}
		l.entries.Put(e)
		if err != nil {
			return err
		}
		records = records[n:]
	}
	return nil
}

// Defer takes a record for which nobody waits: it is written with the next
// batch, or soon, or when the disk takes records again. Beyond a bound in memory
// such records are only counted, as is one that has no form in the log.
func (l *Log) Defer(r *Record) {
	e := newEntry()
	err := e.fill([]*Record{r})
	l.mu.Lock()
	defer l.mu.Unlock()
	room := maxLate
	if r.Decision == Deny {
		room -= reservedLate
	}
	if err != nil || l.closed || l.late >= room {
		l.dropped++
		return
	}
	e.late = true
	l.late++
	l.queue = append(l.queue, e)
	l.flushSoonLocked()
}

func (l *Log) flushSoonLocked() {
	if l.timer == nil && !l.closed {
		l.timer = time.AfterFunc(lateTime, l.flush)
	}
}

// flush writes what was deferred, unless somebody is writing anyway.
func (l *Log) flush() {
	l.mu.Lock()
	l.timer = nil
	if l.leading || len(l.queue) == 0 {
		l.mu.Unlock()
		return
	}
	l.leading = true
	l.mu.Unlock()
	l.lead(nil)
}

// Checkpoint signs all records there are.
func (l *Log) Checkpoint() error { return l.do((*writer).seal) }

// Tick does what is due now and then: it signs the records behind the last
// checkpoint, keeps the snapshot near the end of the log, and removes segments
// whose records are all older than keep (0: none).
func (l *Log) Tick(keep time.Duration) error {
	return l.do(func(w *writer) error {
		if err := w.seal(); err != nil {
			return err
		}
		if w.snapDue || w.size-w.snapOffset > maxReplay {
			w.snapshot()
		}
		return w.prune(keep)
	})
}

// maxReplay is how many bytes of the last segment a start reads at most, about,
// after a crash: 40,000 records.
const maxReplay = 4 << 20

// Close signs the last records, writes the snapshot and lets go of the files.
// Later calls fail with [ErrClosed].
func (l *Log) Close() error {
	err := l.do((*writer).close)
	l.mu.Lock()
	l.closed = true
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	l.mu.Unlock()
	l.writers.Wait()
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// Head returns where the log ends.
func (l *Log) Head() Head {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Head{Seq: l.head.seq, Chain: b64.EncodeToString(l.head.chain[:]), Err: l.head.err}
}

// do has f called with the writer, after everything that is in the queue.
func (l *Log) do(f func(*writer) error) error {
	e := newEntry()
	e.do = f
	return l.wait(e)
}

// entry is what waits in the queue: records, or something to be done with the
// writer.
type entry struct {
	items []item
	bytes int
	do    func(*writer) error
	late  bool          // nobody waits
	done  chan struct{} // one message, once err is set
	err   error

	one    [1]item // of items, when there is one
	memory []byte  // of their bodies
}

func newEntry() *entry { return &entry{done: make(chan struct{}, 1)} }

// fill encodes records on their caller's time.
func (e *entry) fill(records []*Record) error {
	e.items = e.one[:0]
	b := e.memory[:0]
	for _, r := range records {
		r.normalise()
		if f := r.flaw(); f != "" {
			return fmt.Errorf("recording %q: its %s has no form in the log", r.Event, f)
		}
		start := len(b)
		b = appendBody(b, r)
		e.items = append(e.items, item{r, b[start:]})
		e.bytes += len(b) - start + aroundBody
	}
	e.memory = b
	return nil
}

// aroundBody is how much longer a line is than its body, at most, in bytes.
const aroundBody = 160

// wait queues e and returns when it is done. Whoever finds nobody leading leads:
// a lone caller writes its record itself, without handing it to anyone.
func (l *Log) wait(e *entry) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	l.queue = append(l.queue, e)
	if l.leading {
		l.mu.Unlock()
		<-e.done
		return e.err
	}
	l.leading = true
	l.mu.Unlock()
	l.lead(e)
	return e.err
}

// lead writes batches until own is done (nil: one batch). When others wait by
// then, a goroutine goes on for them: who leads for itself does not pay for them,
// and the disk is never idle while one of those it woke gets round to leading.
func (l *Log) lead(own *entry) {
	for !l.writeNext(own) {
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leading = l.goOnLocked(); l.leading {
		l.writers.Go(l.drain)
	}
}

// drain writes batches until nobody waits. It lets those it has told run first:
// those of them that ask again at once are in the next batch, and a larger batch
// costs each of its records less.
func (l *Log) drain() {
	for {
		l.writeNext(nil)
		l.mu.Lock()
		l.leading = l.goOnLocked()
		more := l.leading
		l.mu.Unlock()
		if !more {
			return
		}
		runtime.Gosched()
	}
}

// goOnLocked reports whether somebody waits for anything in the queue. Deferred
// records alone are left to the timer, or, while the disk takes none, to whoever
// tries it next.
func (l *Log) goOnLocked() bool {
	for _, e := range l.queue {
		if !e.late {
			return true
		}
	}
	if len(l.queue) > 0 && l.head.err == nil {
		l.flushSoonLocked()
	}
	return false
}

// writeNext writes one batch and tells those who wait. It reports whether own
// was in it, or is nil.
func (l *Log) writeNext(own *entry) (done bool) {
	batch := l.take()
	err := l.write(batch)
	l.mu.Lock()
	l.head = cursorHead{l.w.c.seq, l.w.c.head, l.w.broken}
	if err != nil {
		l.keepLateLocked(batch)
	}
	l.mu.Unlock()
	done = own == nil
	for _, e := range batch {
		switch {
		case e.late:
			// One that failed is in the queue again, and not ours any more.
		case e == own:
			e.err, done = err, true
		default:
			e.err = err
			e.done <- struct{}{}
		}
	}
	return done
}

// take returns what is written next, in one write.
func (l *Log) take() []*entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dropped > 0 {
		if e := newEntry(); e.fill([]*Record{{Event: EventDropped, Count: l.dropped}}) == nil {
			e.late = true
			l.late++
			l.queue = append([]*entry{e}, l.queue...)
		}
		l.dropped = 0
	}
	n, records, bytes := 0, 0, 0
	for ; n < len(l.queue); n++ {
		e := l.queue[n]
		records += len(e.items)
		bytes += e.bytes
		alone := e.do != nil || n > 0 && l.queue[0].do != nil
		if n > 0 && (alone || records > maxBatch-1 || bytes > maxTail-8*maxLine) {
			break
		}
	}
	batch := append([]*entry(nil), l.queue[:n]...)
	for _, e := range batch {
		if e.late {
			l.late--
		}
	}
	rest := copy(l.queue, l.queue[n:])
	clear(l.queue[rest:])
	l.queue = l.queue[:rest]
	return batch
}

// write makes one batch durable. Of whoever leads.
func (l *Log) write(batch []*entry) error {
	switch {
	case len(batch) == 0:
		return nil
	case batch[0].do != nil:
		return batch[0].do(&l.w)
	case len(batch) == 1:
		return l.w.commit(batch[0].items)
	}
	l.w.batch = l.w.batch[:0]
	for _, e := range batch {
		l.w.batch = append(l.w.batch, e.items...)
	}
	defer clear(l.w.batch)
	return l.w.commit(l.w.batch)
}

// keepLateLocked puts the deferred records of a batch that failed back: behind
// those that somebody waits for, or they would keep them from being tried. The
// count of those that were dropped stays one number.
func (l *Log) keepLateLocked(batch []*entry) {
	for _, e := range batch {
		switch {
		case !e.late:
		case e.items[0].r.Event == EventDropped:
			l.dropped += e.items[0].r.Count
		default:
			l.late++
			l.queue = append(l.queue, e)
		}
	}
}
