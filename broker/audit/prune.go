package audit

import (
	"fmt"
	"path"
	"time"

	"secretctl/broker/durable"
)

// prune removes the oldest segments whose records are all older than keep. That
// they may be gone is recorded before they are, so that [Verify] can tell a
// beginning that was pruned from one that was taken away. A segment that a start
// would read, the snapshot's and those behind it, stays.
func (w *writer) prune(keep time.Duration) error {
	if keep <= 0 || w.file == nil {
		return nil
	}
	list, err := segments(w.d, w.dir)
	if err != nil {
		return err
	}
	n, last, err := w.prunable(list, w.clk.Now().Wall.Add(-keep))
	if n == 0 || err != nil {
		return err
	}
	if w.pruned < last {
		r := &Record{Event: EventPrune, Count: last}
		if err := w.commit([]item{{r, appendBody(nil, r)}}); err != nil {
			return err
		}
		if err := w.seal(); err != nil { // what is not signed could be cut, and with it why they are gone
			return err
		}
		w.pruned = last
	}
	for _, segment := range list[:n] {
		if err := durable.Remove(w.d, path.Join(w.dir, segmentName(segment))); err != nil {
			return fmt.Errorf("removing an old segment of the audit log: %w", err)
		}
	}
	return nil
}

// prunable returns how many segments can go and the number of their last
// record. A segment's records are no younger than the header behind it.
func (w *writer) prunable(list []uint64, before time.Time) (n int, last uint64, err error) {
	for ; n+1 < len(list) && list[n] < w.snapAt; n++ {
		p, err := openPart(w.d, w.dir, list[n+1])
		if err != nil {
			return 0, 0, err
		}
		h, err := p.header()
		p.Close()
		if err != nil {
			return 0, 0, err
		}
		if !h.Time.Before(before) {
			break
		}
		last = h.FirstSeq - 1
	}
	return n, last, nil
}
