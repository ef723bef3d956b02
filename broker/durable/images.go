package durable

import (
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
)

// sector is the unit in which a lost write reads as zeros, in bytes.
const sector = 512

// Images yields at most limit disks that a power loss at this moment could leave,
// each independent, unlocked and with everything in it durable. First what is
// synced and nothing else, then everything, then the last write cut at every
// length, then as many random ones as the limit has room for: each directory at
// some point of its unsynced changes, each file with some of its unsynced
// writes, cut or with sectors that read as zeros. Where the limit has no room
// for every length, half of it is for some of them. The disk must not change
// between two images.
func (m *Mem) Images(limit int, rnd *rand.Rand) iter.Seq[*Mem] {
	return func(yield func(*Mem) bool) {
		for f := range m.fates(limit, rnd) {
			if !yield(m.image(f)) {
				return
			}
		}
	}
}

// fate decides what a power loss leaves of unsynced changes.
type fate struct {
	names func(changes int) (kept int)
	file  func(*memFile) []byte // only asked of one with unsynced writes
}

func (m *Mem) fates(limit int, rnd *rand.Rand) iter.Seq[fate] {
	none := func(int) int { return 0 }
	all := func(n int) int { return n }
	some := func(n int) int { return rnd.IntN(n + 1) }
	return func(yield func(fate) bool) {
		if limit < 1 || !yield(fate{none, func(f *memFile) []byte { return f.synced }}) {
			return
		}
		if limit < 2 || m.settled() || !yield(fate{all, (*memFile).whole}) {
			return
		}
		cuts := m.cuts(limit-2, rnd)
		for _, cut := range cuts {
			if !yield(fate{all, func(f *memFile) []byte { return m.cutOf(f, cut) }}) {
				return
			}
		}
		for range limit - 2 - len(cuts) {
			if !yield(fate{some, func(f *memFile) []byte { return f.some(rnd) }}) {
				return
			}
		}
	}
}

// cuts returns where the last write is cut, in bytes of it: everywhere if there
// is room, else, in half of the room, at its ends, about a sector's, and at random.
func (m *Mem) cuts(room int, rnd *rand.Rand) (cuts []int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last == nil || len(m.last.writes) == 0 {
		return nil
	}
	n := len(m.last.writes[len(m.last.writes)-1].data)
	if n <= room {
		for at := range n {
			cuts = append(cuts, at)
		}
		return cuts
	}
	ends := []int{0, 1, n - 1, sector - 1, sector, sector + 1}
	rnd.Shuffle(len(ends), func(i, j int) { ends[i], ends[j] = ends[j], ends[i] })
	for _, at := range ends {
		if at < n && len(cuts) < room/2 {
			cuts = append(cuts, at)
		}
	}
	for len(cuts) < room/2 {
		cuts = append(cuts, rnd.IntN(n))
	}
	return cuts
}

// cutOf is the file as it is, but for the last write to the disk, which is cut.
func (m *Mem) cutOf(f *memFile, cut int) []byte {
	if f != m.last {
		return f.whole()
	}
	b := f.before()
	last := len(f.writes) - 1
	for _, w := range f.writes[:last] {
		b = w.apply(b)
	}
	return memWrite{f.writes[last].at, f.writes[last].data[:cut]}.apply(b)
}

// before is the file without its writes, and with room for them.
func (f *memFile) before() []byte {
	return append(make([]byte, 0, max(len(f.synced), len(f.data))), f.synced...)
}

// whole is the file with all of its writes.
func (f *memFile) whole() []byte { return slices.Clone(f.data) }

// some is the file with some of its writes: each whole, gone, cut, or with
// sectors that were allotted and never written.
func (f *memFile) some(rnd *rand.Rand) []byte {
	b := f.before()
	for _, w := range f.writes {
		switch fate := rnd.IntN(4); {
		case fate == 0:
			b = w.apply(b)
		case fate == 1 && w.data != nil:
			b = memWrite{w.at, w.data[:rnd.IntN(len(w.data)+1)]}.apply(b)
		case fate == 2 && w.data != nil:
			b = w.holed(b, rnd)
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

// settled reports whether everything is durable.
func (m *Mem) settled() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.root.settled()
}

func (d *memDir) settled() bool {
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
			if !n.settled() {
				return false
			}
		}
	}
	return true
}

// image builds the disk that a fate leaves.
func (m *Mem) image(f fate) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Mem{root: f.dir(m.root)}
}

func (f fate) dir(d *memDir) *memDir {
	kept := d.synced
	if n := f.names(len(d.changes)); n > 0 {
		kept = maps.Clone(kept)
		for _, c := range d.changes[:n] {
			applyNames(kept, c)
		}
	}
	names := make(map[string]memNode, len(kept))
	for name, n := range kept {
		switch n := n.(type) {
		case *memDir:
			names[name] = f.dir(n)
		case *memFile:
			b := n.synced
			if len(n.writes) > 0 {
				b = f.file(n)
			}
			names[name] = &memFile{perm: n.perm, synced: b, data: b, db: n.db}
		}
	}
	return &memDir{perm: d.perm, synced: names, names: names}
}
