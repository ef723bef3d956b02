package audit

import (
	"bytes"
	"errors"
	"io"
)

// replay checks a segment's lines against the cursor as it goes.
type replay struct {
	x      *hasher
	sign   *signer
	c      cursor
	record func(r *Record, line []byte) error // called behind each record; may be nil
	mark   func(end int64)                    // called behind each checkpoint; may be nil
}

// segment reads p from an offset at a line's beginning to its end, or to cut
// when that is not 0. Only in the last segment can the tail be torn; end is
// where it begins, or the end of p.
func (v *replay) segment(p *part, from, cut int64, last bool) (end int64, err error) {
	limit := p.size
	if cut != 0 {
		if cut > p.size {
			return 0, v.damaged(p, p.size, errors.New("it is shorter than the segment behind it says"))
		}
		limit = cut
	}
	in := p.lines(from, limit)
	for end = from; ; {
		line, next, err := in.next()
		if errors.Is(err, io.EOF) {
			return end, nil
		}
		var bad error
		switch {
		case errors.Is(err, errTorn) || errors.Is(err, errLong):
			bad = err
		case err != nil:
			return 0, err
		default:
			var stop error
			if bad, stop = v.line(p, end, line, next); stop != nil {
				return 0, stop
			}
		}
		if bad != nil {
			if last && end > 0 && p.torn(end) == nil {
				return end, nil
			}
			return 0, v.damaged(p, end, bad)
		}
		end = next
	}
}

// line reads one line at off. bad is what is wrong with it, stop an error of
// the record callback.
func (v *replay) line(p *part, off int64, line []byte, next int64) (bad, stop error) {
	switch {
	case off == 0:
		bad := v.c.readHeader(v.x, line, p.n)
		if bad == nil && v.c.origin != v.sign.origin {
			bad = errors.New("it is the header of another log than the key's")
		}
		return bad, nil
	case bytes.HasPrefix(line, []byte(checkpointKey)):
		if bad := v.c.readCheckpoint(v.sign, line); bad != nil {
			return bad, nil
		}
		if v.mark != nil {
			v.mark(next)
		}
		return nil, nil
	}
	var r Record
	if bad := v.c.readRecord(v.x, line, &r); bad != nil {
		return bad, nil
	}
	if v.record != nil {
		return nil, v.record(&r, line)
	}
	return nil, nil
}

func (v *replay) damaged(p *part, off int64, bad error) error {
	return &DamagedError{Segment: p.n, Line: p.lineAt(off), Seq: v.c.seq + 1, Reason: bad.Error()}
}
