package mask

import (
	"bytes"

	"secretctl/broker/shape"
)

// shapes finds what looks like a credential in the buffer of a Writer, line by
// line.
type shapes struct {
	line    int // where what is not searched begins: a line, or a part of a long one
	from    int // where the search begins: at the line before, which may tell what is on the next
	looked  int // the line does not end before
	key     keyBlock
	matches []shape.Match
}

const (
	// window is how much of a line without an end is searched, in bytes, and
	// overlap how much of that once more with what follows: a credential that is
	// longer may be cut there.
	window  = 64 << 10
	overlap = 16 << 10

	// before is how long a line may be to be searched with the next too, in bytes.
	before = 512
)

// search searches the lines that have ended.
func (s *shapes) search(w *Writer, final bool) {
	for len(w.buf) > s.line {
		end := s.line
		if n := lineEnd(w.buf[s.looked:]); n > 0 {
			end = s.looked + n
		}
		s.looked = max(s.line, len(w.buf)-1) // what follows the last byte may be its \n
		switch {
		case final:
			end = len(w.buf)
		case end > s.line:
		case len(w.buf)-s.line >= window:
			end = s.line + window
			s.find(w, end, end-overlap)
			s.line = end - overlap
			s.from = s.line - 1 // so that no word begins there that does not
			continue
		default:
			return
		}
		s.find(w, end, end)
		s.key.search(w, s.line, end)
		s.from = lastLine(w.buf, s.line, end)
		if end-s.from > before {
			s.from = end
		}
		s.line = end
	}
}

// find marks the credentials that begin in the lines from s.line to limit, of
// what there is to end.
func (s *shapes) find(w *Writer, end, limit int) {
	b := w.buf[s.from:end]
	s.matches = shape.Find(s.matches[:0], b)
	for _, m := range s.matches {
		if m.Rule.ID == privateKey {
			if first, _, many := cutLine(b[m.Start:m.End]); opensKey(first) {
				continue // what follows is the key block's
			} else if many {
				m.End = m.Start + len(first)
			}
		}
		if at := s.from + m.Start; at >= s.line && at < limit {
			w.found = append(w.found, span{at, s.from + m.End, shapeLabel(m.Rule.ID), true})
		}
	}
}

func shapeLabel(rule string) string { return "[secretctl:?" + rule + "]" }

// begun marks what is in the line that has not ended, and returns up to where
// that may be let go: to its last word, or to its end where no more comes.
func (s *shapes) begun(w *Writer, quiet bool) int {
	s.find(w, len(w.buf), len(w.buf))
	line := w.buf[s.line:]
	limit := len(line)
	if !quiet {
		limit = bytes.LastIndexFunc(line, func(r rune) bool { return r <= ' ' }) + 1
	}
	return s.line + min(limit, s.key.begun(line))
}

// forget forgets what begun has marked: the line is searched again.
func (s *shapes) forget(w *Writer) {
	kept := w.found[:0]
	for _, f := range w.found {
		if !f.shape || f.start < s.line {
			kept = append(kept, f)
		}
	}
	w.found = kept
}

func (s *shapes) shift(n int) {
	s.line -= n
	s.from -= n
	s.looked -= n
}

// lineEnd returns where the last line that b has the end of ends, 0 when there
// is none. A \r alone ends a line when something follows it.
func lineEnd(b []byte) int {
	lf := bytes.LastIndexByte(b, '\n')
	if len(b) == 0 || bytes.IndexByte(b, '\r') < 0 { // which is faster than to search from the end
		return lf + 1
	}
	return max(lf, bytes.LastIndexByte(b[:len(b)-1], '\r')) + 1
}

// lastLine returns where the last line of b[from:end] begins.
func lastLine(b []byte, from, end int) int {
	return from + bytes.LastIndexAny(bytes.TrimRight(b[from:end], "\r\n"), "\r\n") + 1
}

// cutLine returns the first line of b without its end, how long it is with it,
// and whether it has one.
func cutLine(b []byte) (line []byte, size int, ended bool) {
	n := bytes.IndexAny(b, "\r\n")
	switch {
	case n < 0:
		return b, len(b), false
	case b[n] == '\r' && n+1 < len(b) && b[n+1] == '\n':
		return b[:n], n + 2, true
	}
	return b[:n], n + 1, true
}
