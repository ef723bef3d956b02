package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"secretctl/broker/durable"
)

// The files beside the segments.
const (
	keyFile  = "key"
	snapFile = "leases.snap"
)

// maxSegment is the largest number of a segment: eight digits.
const maxSegment = 99_999_999

// maxTail is how many bytes one write can leave torn: the limit of a batch.
const maxTail = 1 << 20

// maxBatch is how many records one write can hold.
const maxBatch = 512

func segmentName(n uint64) string { return fmt.Sprintf("%08d.jsonl", n) }

// parseSegment is the inverse of segmentName. Other names are no segments.
func parseSegment(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, ".jsonl")
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, ok && err == nil && n > 0 && n <= maxSegment && segmentName(n) == name
}

// segments returns the numbers of the segments in dir, ascending. The reading
// of a directory can miss a name that comes, and show one that goes, meanwhile:
// only a gap that stays is one.
func segments(d durable.Disk, dir string) (list []uint64, err error) {
	for range 3 {
		var damaged *DamagedError
		if list, err = segmentsOnce(d, dir); !errors.As(err, &damaged) {
			break
		}
	}
	return list, err
}

func segmentsOnce(d durable.Disk, dir string) ([]uint64, error) {
	entries, err := d.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var list []uint64
	for _, e := range entries {
		if n, ok := parseSegment(e.Name()); ok {
			list = append(list, n)
		}
	}
	for i := range list {
		if list[i] != list[0]+uint64(i) {
			return nil, &DamagedError{Reason: fmt.Sprintf("segment %s is missing", segmentName(list[i-1]+1))}
		}
	}
	return list, nil
}

// part is a segment opened for reading, as long as it was at that moment.
type part struct {
	file durable.File
	n    uint64
	size int64
}

func openPart(d durable.Disk, dir string, n uint64) (*part, error) {
	f, err := d.OpenFile(path.Join(dir, segmentName(n)), os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &part{f, n, size}, nil
}

func (p *part) Close() error { return p.file.Close() }

// header reads the segment's header, without checking its chain.
func (p *part) header() (header, error) {
	line, _, err := p.lines(0, p.size).next()
	if err != nil && !errors.Is(err, errTorn) && !errors.Is(err, io.EOF) {
		return header{}, err
	}
	h, _, _, err2 := decodeHeader(string(line))
	if err != nil || err2 != nil || h.Segment != p.n {
		return header{}, &DamagedError{Segment: p.n, Line: 1, Reason: "it has no header of this segment"}
	}
	return h, nil
}

// lines reads the lines between two offsets.
func (p *part) lines(from, to int64) *lines {
	return &lines{bufio.NewReaderSize(io.NewSectionReader(p.file, from, to-from), 64<<10), from}
}

type lines struct {
	r   *bufio.Reader
	off int64 // of the next line
}

var (
	errTorn = errors.New("the line has no end")
	errLong = errors.New("the line is too long")
)

// next returns a line without its newline and the offset behind it. The line is
// valid until the next call. At the end it returns io.EOF, and errTorn when
// bytes without a newline are left.
func (l *lines) next() (line []byte, end int64, err error) {
	line, err = l.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, l.off, errLong
	case errors.Is(err, io.EOF) && len(line) > 0:
		return nil, l.off, errTorn
	case err != nil:
		return nil, l.off, err
	case len(line) > maxLine:
		return nil, l.off, errLong
	}
	l.off += int64(len(line))
	return line[:len(line)-1], l.off, nil
}

// lineAt is the number of the line that begins at off.
func (p *part) lineAt(off int64) int {
	n, buf := 1, make([]byte, 64<<10)
	for at := int64(0); at < off; at += int64(len(buf)) {
		chunk := buf[:min(int64(len(buf)), off-at)]
		if m, err := p.file.ReadAt(chunk, at); m < len(chunk) && err != nil {
			return 0
		}
		n += bytes.Count(chunk, []byte{'\n'})
	}
	return n
}
