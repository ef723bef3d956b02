package audit

import (
	"bytes"
	"fmt"
)

// sector is the unit in which a disk loses writes, in bytes: no file system
// or disk this runs on has a smaller one.
const sector = 512

// torn decides whether everything from off, where the first line is that is
// not intact, can be what a crash leaves of one write that was never
// acknowledged. Such a write may be cut short at any byte, and where its size
// reached the disk before its data, whole sectors of it read as zeros. So a
// tail is torn when it is no longer than one write and its first line either
// has no end or contains lost sectors. A line that is whole and wrong was
// changed: no crash does that.
func (p *part) torn(off int64) error {
	if p.size-off > maxTail {
		return fmt.Errorf("%d bytes from here on are not intact: more than one lost write", p.size-off)
	}
	tail := make([]byte, p.size-off)
	if n, err := p.file.ReadAt(tail, off); n < len(tail) && err != nil {
		return err
	}
	first, rest, whole := bytes.Cut(tail, []byte{'\n'})
	if bytes.IndexByte(first, 0) < 0 {
		if !whole && len(first) <= maxLine {
			return nil
		}
		return errWhole
	}
	if !lostSectors(tail, off) || bytes.Count(rest, []byte("\n{\"seq\":")) > maxBatch {
		return errWhole
	}
	return nil
}

var errWhole = fmt.Errorf("no crash leaves this behind")

// lostSectors reports whether every run of zeros in tail, which lies at off in
// its file, is one that lost sectors leave: from the beginning of the write, or
// a whole sector at least, or up to the end.
func lostSectors(tail []byte, off int64) bool {
	for i := 0; i < len(tail); {
		if tail[i] != 0 {
			i++
			continue
		}
		end := i
		for end < len(tail) && tail[end] == 0 {
			end++
		}
		first := i == 0 && (off+int64(end))%sector == 0
		if !first && end-i < sector && end < len(tail) {
			return false
		}
		i = end
	}
	return true
}
