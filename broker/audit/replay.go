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
	signed uint64                             // the last record under a checkpoint
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
	if from > 0 {
		v.signed = v.c.seq // one begins within a segment behind a checkpoint only
	}
	in := p.lines(from, limit)
	for end = from; ; {
		line, next, err := in.next()
		if errors.Is(err, io.EOF) && v.begun(p) {
			return end, nil
		}
		var bad error
		switch {
		case errors.Is(err, io.EOF):
			bad = errors.New("it ends before its first checkpoint")
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
			if last && v.begun(p) {
				if torn, err := p.torn(end); torn || err != nil {
					return end, err
				}
			}
			return 0, v.damaged(p, end, bad)
		}
		end = next
	}
}

// begun reports whether the header and the checkpoint behind it have been read.
// They are written as a whole, so no crash leaves a segment without them.
func (v *replay) begun(p *part) bool {
	return v.c.segment == p.n && (v.c.records > 0 || v.c.since < every)
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
		if v.c.since == 0 {
			return unsigned{errors.New("it is the second checkpoint of the same records")}, nil
		}
		if bad := v.c.readCheckpoint(v.sign, line); bad != nil {
			return unsigned{bad}, nil
		}
		v.signed = v.c.seq
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

// unsigned is what is wrong with a checkpoint: whoever can write the log could
// have made every record since the one before.
type unsigned struct{ error }

func (v *replay) damaged(p *part, off int64, bad error) error {
	seq := v.c.seq + 1
	if errors.As(bad, new(unsigned)) {
		seq = v.signed + 1
	}
	return &DamagedError{Segment: p.n, Line: p.lineAt(off), Seq: seq, Reason: bad.Error()}
}
