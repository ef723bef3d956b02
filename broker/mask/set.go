package mask

import (
	"bytes"
	"cmp"
	"math"
	"math/bits"
	"slices"
	"sync"
)

// Set recognises the forms of many values. It holds no value. It is used by any
// number of goroutines and Writers at a time.
type Set struct {
	salt   Salt
	keys   hashKeys
	filter []uint64 // a bit for the end of each hash of the gate; at most one in 64 is set
	groups []group  // in order of prefix
	starts []uint32 // :: beginning of a hash → the first of its groups
	forms  []form   // in order of group and length
	names  []string
	labels []string  // :: index of names → what is written instead
	idle   sync.Pool // of *matcher
}

// group is the forms that the gate cannot tell apart.
type group struct {
	prefix     uint32
	first, end uint32 // of forms
}

// form is a fingerprint.
type form struct {
	digest [16]byte
	len    int
	head   uint32
	name   uint32 // of names
	floor  byte
}

// New makes a set of the fingerprints that were made with salt. Of values that
// are equal under several names it knows the first in alphabetical order.
func New(salt Salt, known []Fingerprint) *Set {
	s := &Set{salt: salt, keys: keysOf(salt)}
	s.idle.New = func() any { return newMatcher(s) }
	known = slices.DeleteFunc(slices.Clone(known), func(f Fingerprint) bool { return f.Len < gateLen })
	slices.SortFunc(known, func(a, b Fingerprint) int {
		return cmp.Or(cmp.Compare(a.Prefix, b.Prefix), cmp.Compare(a.Len, b.Len),
			bytes.Compare(a.Digest[:], b.Digest[:]), cmp.Compare(a.Name, b.Name))
	})
	known = slices.CompactFunc(known, func(a, b Fingerprint) bool { return a.Digest == b.Digest && a.Len == b.Len })

	prefixes := 0 // which are fewer: wrapped forms differ late
	for i := range known {
		if i == 0 || known[i].Prefix != known[i-1].Prefix {
			prefixes++
		}
	}
	size := bits.Len(uint(prefixes))
	s.filter = make([]uint64, 1<<size)
	s.starts = make([]uint32, 1<<size+1)
	named := make(map[string]uint32)
	for _, f := range known {
		name, ok := named[f.Name]
		if !ok {
			name = uint32(len(s.names))
			named[f.Name] = name
			s.names = append(s.names, f.Name)
			s.labels = append(s.labels, "[secretctl:"+f.Name+"]")
		}
		n := len(s.groups)
		if n == 0 || s.groups[n-1].prefix != f.Prefix {
			at := uint32(len(s.forms))
			s.groups = append(s.groups, group{f.Prefix, at, at})
			s.filter[f.Prefix/64%uint32(len(s.filter))] |= 1 << (f.Prefix % 64)
			s.starts[s.bucket(f.Prefix)+1]++
			n++
		}
		s.groups[n-1].end++
		s.forms = append(s.forms, form{f.Digest, f.Len, f.Head, name, f.Floor})
	}
	for i := range len(s.starts) - 1 {
		s.starts[i+1] += s.starts[i]
	}
	return s
}

// Longest returns how long the longest form is, in bytes.
func (s *Set) Longest() (n int) {
	for i := range s.forms {
		n = max(n, s.forms[i].len)
	}
	return n
}

// bucket is the beginning of a hash that starts is indexed with.
func (s *Set) bucket(prefix uint32) uint32 {
	return uint32(uint64(prefix) * uint64(len(s.starts)-1) >> 32)
}

// gate finds the first place from on where a form may begin, and which. Without
// one it returns the first place that cannot be told about yet.
func (s *Set) gate(b []byte, from int) (at int, g group, ok bool) {
	keys, filter := s.keys, s.filter
	last := uint32(len(filter) - 1)
	for at = from; at <= len(b)-gateLen; at++ {
		h := keys.prefix(b[at : at+gateLen])
		if filter[h/64&last]>>(h%64)&1 == 0 {
			continue
		}
		n := s.bucket(h)
		for _, g := range s.groups[s.starts[n]:s.starts[n+1]] {
			if g.prefix == h {
				return at, g, true
			}
		}
	}
	return at, group{}, false
}

// Hit is a form of a value in a buffer.
type Hit struct {
	Name       string // of the secret
	Start, End int    // b[Start:End] is the form
}

// Find appends the hits in b, in order of their beginnings. Of the forms that
// begin at one place the longest is a hit; one within another is none. Hits may
// overlap.
func (s *Set) Find(dst []Hit, b []byte) []Hit {
	m := s.idle.Get().(*matcher)
	defer s.idle.Put(m)
	end := 0
	for at := 0; ; at++ {
		next, g, ok := s.gate(b, at)
		if !ok {
			return dst
		}
		at = next
		m.begin(g)
		m.decide(b[at:], true)
		if f := m.best; f != nil && at+f.len > end {
			end = at + f.len
			dst = append(dst, Hit{s.names[f.name], at, end})
		}
	}
}

// matcher decides which of a group of forms begins at a place, as the bytes from
// there on arrive.
type matcher struct {
	set    *Set
	digest *digester
	left   []form // undecided, in order of length
	best   *form  // the longest that is there; nil: none so far

	headed  bool     // head is known
	head    uint32   // of what is there
	summed  int      // how many bytes sum is of; 0: none
	sum     [16]byte // the digest
	looked  int      // how many bytes space and control are known of
	space   int      // the first byte below '!'
	control int      // the first byte below ' '
}

func newMatcher(s *Set) *matcher { return &matcher{set: s, digest: newDigester(s.salt)} }

// begin makes m decide about the forms of g.
func (m *matcher) begin(g group) {
	*m = matcher{set: m.set, digest: m.digest, left: m.set.forms[g.first:g.end], space: math.MaxInt, control: math.MaxInt}
}

// decide decides as much as b tells, which begins at the place and never gets
// shorter. It reports whether all is decided, which it is when no more will come.
func (m *matcher) decide(b []byte, final bool) bool {
	for len(m.left) > 0 {
		f := &m.left[0]
		possible := m.possible(f, b)
		if possible && f.len > len(b) && !final {
			return false
		}
		if possible && f.len <= len(b) && m.is(f, b) {
			m.best = f
		}
		m.left = m.left[1:]
	}
	return true
}

// possible reports whether b may be the beginning of f, or begin with it.
func (m *matcher) possible(f *form, b []byte) bool {
	if f.len > headLen && len(b) >= headLen {
		if !m.headed {
			m.headed, m.head = true, m.set.keys.head(b)
		}
		if m.head != f.head {
			return false
		}
	}
	n := min(f.len, len(b))
	for ; m.looked < n && m.control == math.MaxInt; m.looked++ {
		c := b[m.looked]
		if c < '!' && m.space == math.MaxInt {
			m.space = m.looked
		}
		if c < ' ' {
			m.control = m.looked
		}
	}
	switch {
	case f.floor > ' ':
		return m.space >= n
	case f.floor == ' ':
		return m.control >= n
	}
	return true
}

// is reports whether b begins with f, which is no longer.
func (m *matcher) is(f *form, b []byte) bool {
	if m.summed != f.len {
		m.summed, m.sum = f.len, m.digest.sum(b[:f.len])
	}
	return m.sum == f.digest
}
