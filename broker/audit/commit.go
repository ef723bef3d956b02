package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"secretctl/broker/clock"
	"secretctl/broker/durable"
)

// backstep is how far the wall clock may go back without a record of it: NTP's
// ordinary corrections are smaller.
const backstep = 2 * time.Second

// item is a record on its way to the disk.
type item struct {
	r    *Record
	body []byte // of its line, from event on
}

// writer puts records on the disk. Whoever leads has it for himself. Its cursor
// is always that of the durable records, whatever has failed.
type writer struct {
	d    durable.Disk
	dir  string
	clk  clock.Clock
	o    Options
	sign *signer
	x    *hasher

	c       cursor
	file    durable.File // nil when the segment must not be written any more
	size    int64        // of what counts in it
	broken  error        // why file is nil
	latched bool         // and why that will stay so

	snapAt     uint64 // segment of the durable snapshot; 0: none
	snapOffset int64  // its place there, when that is the segment being written
	snapDue    bool   // a newer one should be written
	pruned     uint64 // Count of the last prune record

	buf   []byte
	notes [][]byte // of the checkpoints in buf
	batch []item   // scratch for a batch of several callers
	items []item   // scratch for a batch with a clock step
}

// commit makes records durable, applies them and sets their Seq and Time. When
// it fails, none is acknowledged and none of this has happened.
func (w *writer) commit(items []item) error {
	if err := w.usable(); err != nil {
		return err
	}
	now, items := w.now(items)
	if len(items) == 0 {
		return nil
	}
	if w.size >= w.o.SegmentBytes && w.c.records > 0 {
		if err := w.seal(); err != nil {
			return err
		}
		if err := w.roll(); err != nil {
			return w.fail(err)
		}
	}
	err := w.again(func(next *cursor) error { return w.encode(next, items, now) })
	if err != nil {
		return err
	}
	first := w.c.seq - uint64(len(items)) + 1
	for i := range items {
		items[i].r.Seq, items[i].r.Time = first+uint64(i), now
		if w.o.Apply != nil {
			w.o.Apply(items[i].r)
		}
	}
	w.publish()
	return nil
}

// now returns the time of a batch, and the batch led by a clock-step record if
// the wall clock has gone back.
func (w *writer) now(items []item) (time.Time, []item) {
	now := micro(w.clk.Now().Wall)
	if back := w.c.last.Sub(now); back <= 0 {
		return now, items
	} else if back <= backstep {
		return w.c.last, items
	}
	step := &Record{Event: EventClockStep}
	w.items = append(w.items[:0], item{step, appendBody(nil, step)})
	w.items = append(w.items, items...)
	return now, w.items
}

// usable opens a new segment if the last write left none to write to.
func (w *writer) usable() error {
	switch {
	case w.file != nil:
		return nil
	case w.latched:
		return unavailable(w.broken)
	}
	if err := w.roll(); err != nil {
		return w.fail(err)
	}
	return nil
}

// again writes what encode puts in the buffer, and when that fails, writes it
// to a new segment: a file whose sync failed once is never synced again, for
// the kernel may have dropped the bytes and then say that all is well.
func (w *writer) again(encode func(next *cursor) error) error {
	for try := 1; ; try++ {
		w.buf, w.notes = w.buf[:0], w.notes[:0]
		next := w.c
		if err := encode(&next); err != nil {
			return unavailable(err)
		}
		err := w.write()
		if err == nil {
			w.c = next
			return nil
		}
		w.abandon()
		if try == 2 {
			return w.fail(err)
		}
		if err2 := w.roll(); err2 != nil {
			w.latched = !passes(err)
			return w.fail(err2)
		}
	}
}

func (w *writer) write() error {
	n, err := w.file.Write(w.buf)
	if err == nil && n < len(w.buf) {
		err = io.ErrShortWrite
	}
	if err == nil {
		err = w.file.Sync()
	}
	if err == nil {
		w.size += int64(len(w.buf))
	}
	return err
}

// abandon gives up the segment. What a failed write left in it is taken back if
// that works; if not, the next segment's header says that it does not count.
func (w *writer) abandon() {
	_ = w.file.Truncate(w.size) // see above
	_ = w.file.Close()          // nothing in it is waiting to be written
	w.file = nil
	if w.c.records > 0 {
		w.c.cut = w.size
	}
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", ErrUnavailable, err) }

// fail notes why there is no segment to write to.
func (w *writer) fail(err error) error {
	w.broken, w.latched = err, w.latched || !passes(err)
	return unavailable(err)
}

// encode puts the lines of a batch, checkpoints among them, in the buffer.
func (w *writer) encode(next *cursor, items []item, now time.Time) error {
	for i := range items {
		if next.since >= every {
			if err := w.encodeCheckpoint(next); err != nil {
				return err
			}
		}
		start := len(w.buf)
		w.buf = appendStart(w.buf, next.seq+1, now)
		w.buf = append(w.buf, items[i].body...)
		chain := w.x.chain(next.running, w.buf[start:])
		w.buf = appendChain(w.buf, chain)
		next.advance(w.x, w.buf[start:len(w.buf)-1], chain, now, items[i].r.Event)
	}
	if next.since >= every {
		return w.encodeCheckpoint(next)
	}
	return nil
}

func (w *writer) encodeCheckpoint(next *cursor) error {
	msg, err := w.sign.note(next.checkpoint())
	if err != nil {
		return err
	}
	w.buf = appendCheckpoint(w.buf, msg)
	w.notes = append(w.notes, msg)
	next.since = 0
	return nil
}

// publish tells of the checkpoints that have just become durable.
func (w *writer) publish() {
	if w.o.OnCheckpoint == nil {
		return
	}
	for _, msg := range w.notes {
		w.o.OnCheckpoint(msg)
	}
}

// seal writes a checkpoint if there are records behind the last one.
func (w *writer) seal() error {
	if err := w.usable(); err != nil || w.c.since == 0 {
		return err
	}
	// A new segment after a failed write begins with a checkpoint already.
	err := w.again(func(next *cursor) error {
		if next.since == 0 {
			return nil
		}
		return w.encodeCheckpoint(next)
	})
	if err == nil {
		w.publish()
	}
	return err
}

// roll begins a new segment, whole from the first moment anybody can see it.
// A segment without records is replaced: it says nothing yet. Its header has the
// time of the record before: whoever begins to read there expects no record to
// be older than that, and a batch may have read the clock already.
func (w *writer) roll() error {
	n := w.c.segment
	if w.c.records > 0 {
		n++
		if w.file != nil {
			w.c.cut = 0 // the old one ended well; its own cut is about the one before
		}
	}
	next := w.c
	if n > maxSegment {
		return errors.New("there are as many segments as there can be")
	}
	first, msg, err := next.begin(w.x, w.sign, n, w.c.cut, w.c.last)
	if err != nil {
		return err
	}
	name := path.Join(w.dir, segmentName(n))
	file := w.file
	w.file, w.broken = nil, errors.New("a new segment could not be made")
	if file != nil {
		_ = file.Close() // all of it is durable
	}
	if err := durable.WriteFile(w.d, name, first, 0o600); err != nil {
		return err
	}
	if file, err = w.d.OpenFile(name, os.O_RDWR|os.O_APPEND, 0); err != nil {
		return err
	}
	w.c, w.file, w.size, w.broken = next, file, int64(len(first)), nil
	w.notes = append(w.notes[:0], msg)
	w.publish()
	w.snapshot()
	return nil
}

// begin moves c behind the first two lines of a new segment, and returns them
// and the note in the second.
func (c *cursor) begin(x *hasher, s *signer, n uint64, cut int64, now time.Time) (lines, msg []byte, err error) {
	h := header{Segment: n, Origin: c.origin, FirstSeq: c.seq + 1, Head: c.head, Tree: c.tree.frontier(), Cut: cut, Time: now}
	lines = appendHeader(nil, &h)
	chain := x.chain(c.head, lines)
	lines = appendChain(lines, chain)
	c.start(&h, chain)
	if msg, err = s.note(c.checkpoint()); err != nil {
		return nil, nil, err
	}
	c.since = 0
	return appendCheckpoint(lines, msg), msg, nil
}

// snapshot writes the folded state. It is called behind a checkpoint or a
// header. A failure costs a longer start, no record: the next Tick tries again.
func (w *writer) snapshot() {
	if w.o.Snapshot == nil {
		return
	}
	s := snapshot{
		origin: w.c.origin, segment: w.c.segment, seq: w.c.seq, head: w.c.head, tree: w.c.tree.frontier(),
		time: w.c.last, bootID: w.clk.BootID(), state: w.o.Snapshot(),
	}
	if w.c.records > 0 {
		s.offset = w.size
	}
	err := durable.WriteFile(w.d, path.Join(w.dir, snapFile), s.encode(), 0o600)
	if w.snapDue = err != nil; err == nil {
		w.snapAt, w.snapOffset = s.segment, s.offset
	}
}

// close signs and keeps what there is, and lets go of the file for good.
func (w *writer) close() error {
	if w.latched && w.file == nil {
		return unavailable(w.broken)
	}
	err := w.seal()
	if w.file != nil {
		w.snapshot()
		err = errors.Join(err, w.file.Close())
	}
	w.file, w.broken, w.latched = nil, ErrClosed, true
	return err
}
