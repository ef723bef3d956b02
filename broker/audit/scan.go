package audit

import (
	"bytes"
	"errors"
	"io"
	"time"

	"secretctl/broker/durable"
)

// Scan calls fn with the records from a sequence number on that are no older
// than since (zero: all), oldest first, and with the lines they were read from,
// without the newline. Both are valid until fn returns. It decodes lines but
// does not check the chain ([Verify] does), and may run while the log is
// written. It stops at the first error of fn and returns it.
func Scan(d durable.Disk, dir string, from uint64, since time.Time, fn func(r *Record, line []byte) error) error {
	list, err := segments(d, dir)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return ErrAbsent
	}
	first, err := firstFor(d, dir, list, from, since)
	if err != nil {
		return err
	}
	for i := first; i < len(list); i++ {
		if err := scanSegment(d, dir, list[i:], from, since, fn); err != nil {
			return err
		}
	}
	return nil
}

// firstFor returns the place in list of the segment to begin with: no record
// that is wanted lies before it.
func firstFor(d durable.Disk, dir string, list []uint64, from uint64, since time.Time) (int, error) {
	for i := len(list) - 1; i > 0; i-- {
		p, err := openPart(d, dir, list[i])
		if err != nil {
			return 0, err
		}
		h, err := p.header()
		p.Close()
		if err != nil {
			return 0, err
		}
		if h.FirstSeq <= from || !since.IsZero() && h.Time.Before(since) {
			return i, nil
		}
	}
	return 0, nil
}

// scanSegment scans the first segment of list; the second says where it ends.
func scanSegment(d durable.Disk, dir string, list []uint64, from uint64, since time.Time, fn func(*Record, []byte) error) error {
	p, err := openPart(d, dir, list[0])
	if err != nil {
		return err
	}
	defer p.Close()
	end := p.size
	if len(list) > 1 {
		next, cut, err := openNext(d, dir, list[1])
		if err != nil {
			return err
		}
		next.Close()
		if cut > 0 {
			end = min(cut, end)
		}
	}
	in := p.lines(0, end)
	for first := true; ; first = false {
		var r Record
		at := in.off
		line, _, err := in.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err == nil && (first || bytes.HasPrefix(line, []byte(checkpointKey))):
			continue
		case err == nil:
			_, _, err = decodeRecord(string(line), &r)
		case !errors.Is(err, errTorn) && !errors.Is(err, errLong):
			return err
		}
		switch {
		case err != nil && len(list) == 1:
			if torn, err := p.torn(at); torn || err != nil {
				return err
			}
			fallthrough
		case err != nil:
			return &DamagedError{Segment: p.n, Reason: err.Error()}
		case r.Seq < from || r.Time.Before(since):
			continue
		}
		if err := fn(&r, line); err != nil {
			return err
		}
	}
}
