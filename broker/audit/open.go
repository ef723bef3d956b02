package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"secretctl/broker/clock"
	"secretctl/broker/durable"
)

// Open opens the log in dir. It reads, and checks, what lies behind the
// snapshot; a tail that a crash has torn is cut, and the cut recorded. The
// errors are [ErrAbsent], [ErrDamaged], [ErrUnreadable], or the disk's. When it
// fails, what Options.Restore and Apply have been given means nothing.
func Open(d durable.Disk, dir string, clk clock.Clock, o Options) (*Log, error) {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	l := &Log{w: writer{d: d, dir: dir, clk: clk, o: o, x: newHasher()}}
	torn, err := l.w.open()
	if err != nil {
		return nil, fmt.Errorf("opening the audit log: %w", err)
	}
	l.head = cursorHead{l.w.c.seq, l.w.c.head, nil}
	if torn > 0 {
		r := &Record{Event: EventRepair, Count: uint64(torn)}
		if err := l.Append(r); err != nil {
			l.Defer(r) // a disk that takes no record now has all those it acknowledged
		}
	}
	return l, nil
}

// open brings the writer behind the last record. torn is how many bytes it cut.
func (w *writer) open() (torn int64, err error) {
	list, err := segments(w.d, w.dir)
	if err != nil {
		return 0, err
	}
	snap, err := w.readSnapshot()
	if err != nil {
		return 0, err
	}
	if len(list) == 0 {
		if snap == nil {
			return 0, ErrAbsent
		}
		return 0, &DamagedError{Reason: "every segment is missing"}
	}
	if w.sign, err = readSigner(w.d, w.dir); err != nil {
		return 0, err
	}
	v := &replay{x: w.x, sign: w.sign, record: w.fold}
	from, err := w.restore(v, list, snap)
	if err != nil {
		return 0, err
	}
	if snap != nil {
		list = list[slices.Index(list, snap.segment):]
	}
	end, size, err := v.segments(w.d, w.dir, list, from)
	if err != nil {
		return 0, err
	}
	w.c, w.size = v.c, end
	if snap == nil || snap.segment != w.c.segment {
		w.snapOffset, w.snapDue = 0, true
	}
	return size - end, w.reopen(list[len(list)-1], size)
}

// readSnapshot returns the snapshot to begin from, nil for the log's beginning.
func (w *writer) readSnapshot() (*snapshot, error) {
	snap, err := readSnapshot(w.d, w.dir)
	switch {
	case err == nil:
	case w.o.Forget:
		return nil, nil
	default:
		return nil, unreadable("reading %s: %w", snapFile, err)
	}
	if snap == nil {
		return nil, nil
	}
	w.snapAt, w.snapOffset = snap.segment, snap.offset
	return snap, nil
}

// restore takes the snapshot's state back and moves v to its place.
func (w *writer) restore(v *replay, list []uint64, snap *snapshot) (from int64, err error) {
	if snap == nil {
		if list[0] != 1 && !w.o.Forget {
			return 0, unreadable("%s is missing, and the log's beginning is gone", snapFile)
		}
		return 0, nil
	}
	if !slices.Contains(list, snap.segment) {
		return 0, &DamagedError{Reason: fmt.Sprintf("segment %s is missing", segmentName(snap.segment))}
	}
	p, err := openPart(w.d, w.dir, snap.segment)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	if v.c, from, err = snap.resume(p, w.x, w.sign); err != nil {
		return 0, unreadable("%s: %w", snapFile, err)
	}
	if w.o.Restore != nil && !w.o.Forget {
		if err := w.o.Restore(snap.state); err != nil {
			return 0, unreadable("%w", err)
		}
	}
	return from, nil
}

// fold gives a record that is read back to the state.
func (w *writer) fold(r *Record, _ []byte) error {
	if r.Event == EventPrune {
		w.pruned = r.Count
	}
	if w.o.Apply != nil && !w.o.Forget {
		w.o.Apply(r)
	}
	return nil
}

// reopen opens the last segment for writing behind its last whole line. What a
// process that was killed has written may have been read and be in no way
// durable: neither the lines nor the names of the files.
func (w *writer) reopen(segment uint64, size int64) error {
	f, err := w.d.OpenFile(path.Join(w.dir, segmentName(segment)), os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if size > w.size {
		if err := f.Truncate(w.size); err != nil {
			return errors.Join(fmt.Errorf("cutting the torn tail: %w", err), f.Close())
		}
	}
	if err := errors.Join(f.Sync(), w.d.SyncDir(w.dir)); err != nil {
		return errors.Join(err, f.Close())
	}
	w.file = f
	return nil
}

// segments reads whole segments, the first of them from an offset. end is where
// the last one's whole lines end, size how long it is.
func (v *replay) segments(d durable.Disk, dir string, list []uint64, from int64) (end, size int64, err error) {
	p, err := openPart(d, dir, list[0])
	if err != nil {
		return 0, 0, err
	}
	for i := range list {
		var next *part
		var cut int64
		if i+1 < len(list) {
			if next, cut, err = openNext(d, dir, list[i+1]); err != nil {
				return 0, 0, errors.Join(err, p.Close())
			}
		}
		end, err = v.segment(p, from, cut, next == nil)
		size, from = p.size, 0
		if err := errors.Join(err, p.Close()); err != nil {
			if next != nil {
				err = errors.Join(err, next.Close())
			}
			return 0, 0, err
		}
		p = next
	}
	return end, size, nil
}

// openNext opens a segment and says where the one before it ends.
func openNext(d durable.Disk, dir string, n uint64) (*part, int64, error) {
	p, err := openPart(d, dir, n)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, &DamagedError{Reason: fmt.Sprintf("segment %s is missing", segmentName(n))}
	} else if err != nil {
		return nil, 0, err
	}
	h, err := p.header()
	if err != nil {
		return nil, 0, errors.Join(err, p.Close())
	}
	return p, h.Cut, nil
}
