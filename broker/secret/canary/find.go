package canary

import (
	"bytes"
	"errors"
	"io"
)

// Hit is a place with a canary, or a large part of one.
type Hit struct {
	Offset int64 // of the marker or, in a compressed stream, of the outermost stream
	Form   string
}

// Finder finds the canaries of one run. It may be used by one goroutine at a
// time.
type Finder struct {
	marker  string
	forms   []form
	longest int     // of the forms, in bytes
	depth   int     // how many compressed streams it is inside of
	inner   *Finder // for the streams inside this one, once there are any
	text    []byte
	folded  []byte
}

// window is how much is searched at a time, in bytes.
const window = 1 << 20

// NewFinder returns a finder for the canaries minted with the seed.
func NewFinder(seed string) *Finder { return newFinder(marker(seed), 0) }

func newFinder(marker string, depth int) *Finder {
	f := &Finder{marker: marker, forms: forms(marker), depth: depth}
	for _, form := range f.forms {
		f.longest = max(f.longest, len(form.text))
	}
	f.text = make([]byte, window+f.longest-1)
	f.folded = make([]byte, len(f.text))
	return f
}

// FindIn finds canaries in b.
func (f *Finder) FindIn(b []byte) []Hit {
	hits, _ := f.Find(bytes.NewReader(b)) // reading memory does not fail
	return hits
}

// Find finds canaries in all of r, and in the compressed streams in it.
func (f *Finder) Find(r io.ReaderAt) (hits []Hit, err error) {
	for at := int64(0); ; at += window {
		// A window overlaps the next, or a marker on the border is missed.
		n, err := r.ReadAt(f.text, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return hits, err
		}
		text := f.text[:n]
		hits = append(hits, f.scan(text, at)...)
		if f.depth < maxDepth {
			hits = append(hits, f.inflate(r, text, at)...)
		}
		if n < len(f.text) {
			return hits, nil
		}
	}
}

// scan finds the forms that begin in the window, whose text is at an offset.
func (f *Finder) scan(text []byte, at int64) (hits []Hit) {
	folded := f.folded[:len(text)]
	fold(folded, text)
	for _, form := range f.forms {
		for from := 0; ; from++ {
			i := bytes.Index(folded[from:], form.text)
			if i < 0 || from+i >= window {
				break
			}
			from += i
			name := form.name
			if name == raw {
				name = cased(string(text[from:from+len(form.text)]), f.marker)
			}
			hits = append(hits, Hit{at + int64(from), name})
		}
	}
	return hits
}
