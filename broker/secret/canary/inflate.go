package canary

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"math"
)

const (
	// maxInflated is how much of one compressed stream is searched, in bytes. A
	// sanity check, not a limit of any format.
	maxInflated = 64 << 20
	// maxDepth is how many compressed streams are opened inside one another.
	maxDepth = 3
)

// compression is a format of compressed streams.
type compression struct {
	name string
	open func(io.Reader) (io.Reader, error)
}

var (
	gzipped   = compression{"gzip", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }}
	zlibbed   = compression{"deflate", func(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) }}
	flattened = compression{"deflate", func(r io.Reader) (io.Reader, error) { return flate.NewReader(r), nil }}
)

// inflate finds canaries in the compressed streams that begin in the window of
// r, whose text is at an offset.
func (f *Finder) inflate(r io.ReaderAt, text []byte, at int64) (hits []Hit) {
	if at == 0 { // a bare stream has no header to be known by
		hits = f.stream(flattened, r, 0)
	}
	for i := range text[:min(len(text), window)] {
		switch b := text[i:]; {
		case len(b) > 2 && b[0] == 0x1f && b[1] == 0x8b && b[2] == 8:
			hits = append(hits, f.stream(gzipped, r, at+int64(i))...)
		case len(b) > 1 && b[0] == 0x78 && (0x7800+int(b[1]))%31 == 0:
			hits = append(hits, f.stream(zlibbed, r, at+int64(i))...)
		}
	}
	return hits
}

// stream finds canaries in what may be a compressed stream.
func (f *Finder) stream(c compression, r io.ReaderAt, at int64) (hits []Hit) {
	in, err := c.open(io.NewSectionReader(r, at, math.MaxInt64-at))
	if err != nil {
		return nil // it only looked like one
	}
	var plain bytes.Buffer
	_, _ = io.Copy(&plain, io.LimitReader(in, maxInflated)) // what is before damage counts
	if plain.Len() < partLen {
		return nil
	}
	if f.inner == nil {
		f.inner = newFinder(f.marker, f.depth+1)
	}
	for _, h := range f.inner.FindIn(plain.Bytes()) {
		hits = append(hits, Hit{at, c.name + ", " + h.Form})
	}
	return hits
}
