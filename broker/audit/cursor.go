package audit

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// every is how many records at most lie between two checkpoints.
const every = 256

// cursor is a place in the log: everything that the next line is checked
// against when it is read, or made from when it is written. The zero value is
// before a first header of which nothing is known.
type cursor struct {
	origin  string
	segment uint64
	seq     uint64    // of the last record
	head    tlog.Hash // chain of the last record
	running tlog.Hash // chain of the last record or header
	tree    tree      // over all records
	last    time.Time // of the last record; before the first, when the log was made
	records uint64    // in this segment
	since   int       // records since the last checkpoint; every: one is due now
	cut     int64     // of this segment's header, or already of the next one's
}

// start moves to the beginning of a segment whose header is h.
func (c *cursor) start(h *header, chain tlog.Hash) {
	c.segment, c.running, c.records, c.since, c.cut = h.Segment, chain, 0, every, h.Cut
}

// adopt makes c what h says came before it.
func (c *cursor) adopt(h *header) error {
	*c = cursor{origin: h.Origin, seq: h.FirstSeq - 1, head: h.Head, running: h.Head, last: h.Time}
	if !c.tree.restore(c.seq, h.Tree) {
		return errors.New("its tree does not fit its first record")
	}
	return nil
}

// readHeader checks a header's line and moves past it.
func (c *cursor) readHeader(x *hasher, line []byte, segment uint64) error {
	h, chain, body, err := decodeHeader(string(line))
	switch {
	case err != nil:
		return err
	case h.Segment != segment:
		return fmt.Errorf("it is the header of segment %d", h.Segment)
	case c.origin == "":
		if err := c.adopt(&h); err != nil {
			return err
		}
	case h.Origin != c.origin:
		return errors.New("it is the header of another log")
	case c.records == 0:
		return errors.New("the segment before has no records")
	case h.FirstSeq != c.seq+1 || h.Head != c.head || !slices.Equal(h.Tree, c.tree.frontier()):
		return fmt.Errorf("it does not continue after record %d, where the segment before ends", c.seq)
	}
	if x.chain(c.running, line[:body]) != chain {
		return errors.New("its chain is wrong")
	}
	c.start(&h, chain)
	return nil
}

// readRecord checks a record's line, fills r from it and moves past it.
func (c *cursor) readRecord(x *hasher, line []byte, r *Record) error {
	chain, body, err := decodeRecord(string(line), r)
	switch {
	case err != nil:
		return err
	case r.Seq != c.seq+1:
		return fmt.Errorf("it is record %d, after record %d", r.Seq, c.seq)
	case x.chain(c.running, line[:body]) != chain:
		return errors.New("its chain is wrong: it, or something before it, is not what was written")
	case c.since >= every:
		return errors.New("a checkpoint is missing before it")
	case r.Time.Before(c.last) && r.Event != EventClockStep:
		return errors.New("its time is before that of the record before, without a clock-step record")
	}
	c.advance(x, line, chain, r.Time, r.Event)
	return nil
}

// advance moves past a record.
func (c *cursor) advance(x *hasher, line []byte, chain tlog.Hash, at time.Time, event Event) {
	c.seq++
	c.records++
	c.since++
	c.head, c.running, c.last = chain, chain, at
	c.tree.add(x.leaf(line))
	if event.seals() {
		c.since = every
	}
}

// readCheckpoint checks a checkpoint's line and moves past it.
func (c *cursor) readCheckpoint(s *signer, line []byte) error {
	msg, err := decodeCheckpoint(line)
	if err != nil {
		return err
	}
	got, err := s.openExact(msg)
	if err != nil {
		return err
	}
	if got != c.checkpoint() {
		return fmt.Errorf("the checkpoint signs %d records that are not the %d before it", got.Size, c.seq)
	}
	c.since = 0
	return nil
}

// checkpoint is what a note signed here says.
func (c *cursor) checkpoint() checkpoint {
	return checkpoint{Size: c.seq, Root: c.tree.root(), Chain: c.head}
}
