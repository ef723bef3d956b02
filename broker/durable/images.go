package durable

import (
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
)

// sector is the unit in which a lost write reads as zeros, in bytes.
const sector = 512

// wholeTear is the longest write of which every torn length is tried, in bytes.
const wholeTear = 4 << 10

// Images yields at most limit disks that a power loss at this moment could leave,
// each independent, unlocked and with everything in it durable. First what is
// synced and nothing else, then everything, then the last write cut at every
// length (of a long one: at some), then as many random ones as the limit has
// room for: each directory at some point of its unsynced changes, each file with
// some of its unsynced writes, cut or with sectors that read as zeros. The disk
// must not change meanwhile.
func (m *Mem) Images(limit int, rnd *rand.Rand) iter.Seq[*Mem] {
	return func(yield func(*Mem) bool) {
		for i := 0; i < limit; i++ {
			f, ok := m.fate(i, rnd)
			if !ok || !yield(m.image(f)) {
				return
			}
		}
	}
}

// fate decides what a power loss leaves of unsynced changes.
type fate struct {
	names func(changes int) (kept int)
	file  func(*memFile) []byte
}

func none(int) int  { return 0 }
func all(n int) int { return n }

func content(f *memFile) []byte { return f.data }

// fate returns the fate of the i-th image. There is one when nothing is unsynced.
func (m *Mem) fate(i int, rnd *rand.Rand) (fate, bool) {
	cuts := m.cuts(rnd)
	switch {
	case i == 0:
		return fate{none, func(f *memFile) []byte { return f.synced }}, true
	case m.settled(m.root):
		return fate{}, false
	case i == 1:
		return fate{all, content}, true
	case i-2 < len(cuts):
		return fate{all, func(f *memFile) []byte {
			if f != m.last {
				return f.data
			}
			return f.upTo(len(f.writes)-1, cuts[i-2])
		}}, true
	}
	return fate{func(n int) int { return rnd.IntN(n + 1) }, func(f *memFile) []byte { return f.some(rnd) }}, true
}

// cuts returns where the last write is cut, in bytes of it.
func (m *Mem) cuts(rnd *rand.Rand) (cuts []int) {
	if m.last == nil || len(m.last.writes) == 0 {
		return nil
	}
	n := len(m.last.writes[len(m.last.writes)-1].data)
	if n <= wholeTear {
		for at := range n {
			cuts = append(cuts, at)
		}
		return cuts
	}
	cuts = []int{0, 1, sector - 1, sector, sector + 1, n - 1}
	for range 32 {
		cuts = append(cuts, rnd.IntN(n))
	}
	return cuts
}

// settled reports whether everything below d is durable.
func (m *Mem) settled(d *memDir) bool {
	if len(d.changes) > 0 {
		return false
	}
	for _, n := range d.names {
		switch n := n.(type) {
		case *memFile:
			if len(n.writes) > 0 {
				return false
			}
		case *memDir:
			if !m.settled(n) {
				return false
			}
		}
	}
	return true
}

// upTo is the file with its first writes and a part of the next.
func (f *memFile) upTo(writes, cut int) []byte {
	b := slices.Clone(f.synced)
	for _, w := range f.writes[:writes] {
		b = w.apply(b)
	}
	w := f.writes[writes]
	if w.data == nil {
		return b
	}
	return memWrite{w.at, w.data[:cut]}.apply(b)
}

// some is the file with some of its writes: each whole, gone, cut, or with
// sectors that were allotted and never written.
func (f *memFile) some(rnd *rand.Rand) []byte {
	b := slices.Clone(f.synced)
	for _, w := range f.writes {
		switch rnd.IntN(4) {
		case 0:
			b = w.apply(b)
		case 1:
			if w.data != nil {
				b = memWrite{w.at, w.data[:rnd.IntN(len(w.data)+1)]}.apply(b)
			}
		case 2:
			if w.data != nil {
				b = w.holed(b, rnd)
			}
		}
	}
	return b
}

// holed applies the write but for some sectors of the file, which keep what was
// there, or read as zeros where nothing was.
func (w memWrite) holed(b []byte, rnd *rand.Rand) []byte {
	before := slices.Clone(b)
	after := w.apply(b)
	before = resize(before, int64(len(after)))
	for at := w.at / sector * sector; at < w.at+int64(len(w.data)); at += sector {
		if rnd.IntN(2) == 0 {
			end := min(at+sector, int64(len(after)))
			copy(after[at:end], before[at:end])
		}
	}
	return after
}

// image builds the disk that a fate leaves.
func (m *Mem) image(f fate) *Mem {
	return &Mem{root: f.dir(m.root)}
}

func (f fate) dir(d *memDir) *memDir {
	names := maps.Clone(d.synced)
	for _, c := range d.changes[:f.names(len(d.changes))] {
		applyNames(names, c)
	}
	for name, n := range names {
		switch n := n.(type) {
		case *memDir:
			names[name] = f.dir(n)
		case *memFile:
			data := f.file(n)
			// Capacity cut to length: a write to the image copies first.
			names[name] = &memFile{perm: n.perm, data: slices.Clone(data), synced: slices.Clip(slices.Clone(data)), db: n.db}
		}
	}
	return &memDir{perm: d.perm, names: names, synced: maps.Clone(names)}
}
