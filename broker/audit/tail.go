package audit

import (
	"bytes"
	"errors"
	"io"
)

// sector is the unit in which a disk loses writes, in bytes: no file system
// or disk this runs on has a smaller one.
const sector = 512

// torn decides whether everything from off, where the first line is that is
// not intact, can be what a crash leaves of one write that was never
// acknowledged. Such a write may be cut short at any byte, and where its size
// reached the disk before its data, whole sectors of it read as zeros. So a
// tail is torn when it is no more than one write and its first line either has
// no end or contains lost sectors. A line that is whole and wrong was changed: no
// crash does that.
func (p *part) torn(off int64) (bool, error) {
	if p.size-off > maxTail {
		return false, nil
	}
	tail := make([]byte, p.size-off)
	n, err := p.file.ReadAt(tail, off)
	if n < len(tail) && !errors.Is(err, io.EOF) {
		return false, err
	}
	tail = tail[:n] // shorter by now when the log is open and took a failed write back
	first, _, whole := bytes.Cut(tail, []byte{'\n'})
	if bytes.IndexByte(first, 0) < 0 {
		return !whole && len(first) <= maxLine, nil
	}
	return lostSectors(tail, off) && oneWrite(tail), nil
}

// oneWrite reports whether the records that begin in b can be of one write: it
// has no more than that, all with one time.
func oneWrite(b []byte) bool {
	records, first := 0, []byte(nil)
	for line := range bytes.Lines(b) {
		if !bytes.HasPrefix(line, []byte(`{"seq":`)) {
			continue
		}
		records++
		_, at, _ := bytes.Cut(line, []byte(`,"time":"`))
		at, _, whole := bytes.Cut(at, []byte{'"'})
		if !whole || bytes.IndexByte(at, 0) >= 0 {
			continue // lost
		}
		if first != nil && !bytes.Equal(first, at) {
			return false
		}
		first = at
	}
	return records <= maxBatch
}

// lostSectors reports whether every run of zeros in tail, which lies at off in
// its file, is one that lost sectors leave: from the beginning of the write or of
// a sector, to the end of a sector or of the write.
func lostSectors(tail []byte, off int64) bool {
	edge := func(i int) bool { return i == 0 || i == len(tail) || (off+int64(i))%sector == 0 }
	for i := 0; i < len(tail); i++ {
		begin := i
		for i < len(tail) && tail[i] == 0 {
			i++
		}
		if i > begin && !(edge(begin) && edge(i)) {
			return false
		}
	}
	return true
}
