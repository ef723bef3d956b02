package shape

import (
	"bytes"
	"encoding/binary"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// gate finds the places where a rule is worth asking: where one of its literals
// stands. It looks at three bytes at a time, in no case, through a table that is
// nearly empty, and then at the fourth, so that almost every byte of ordinary
// text costs one look.
type gate struct {
	rules  []Rule
	slots  [1 << slotBits]uint16 // hash of three bytes → index in groups, 0 for none
	groups []group
}

// group are the literals whose first three bytes share a slot.
type group struct {
	fourth   [4]uint64 // a bit for every byte that may follow the three
	literals []literal
}

const slotBits = 16

// literal is a text where a rule is asked.
type literal struct {
	text string
	fold bool
	rule *Rule
}

// folded sets the bit that tells small letters from capitals. Other bytes that
// differ in nothing else are taken for each other, too.
const folded = 0x20

// slot returns the slot of three bytes, of which the first is the lowest. What
// is above them does not matter.
func slot(three uint32) uint32 { return three << 8 * 0x9E3779B1 >> (32 - slotBits) }

func newGate(rules []Rule) *gate {
	g := &gate{rules: rules, groups: make([]group, 1)}
	slices.SortFunc(g.rules, func(a, b Rule) int { return strings.Compare(a.ID, b.ID) })
	for i := range g.rules {
		r := &g.rules[i]
		if r.find == nil {
			r.least, r.endless, r.bytes = bounds(r.pattern)
			r.compiled = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile("^(?:" + r.pattern + ")") })
		}
		for _, text := range r.literals {
			g.add(literal{text, r.fold, r})
		}
	}
	return g
}

func (g *gate) add(l literal) {
	t := l.text
	s := &g.slots[slot(uint32(t[0]|folded)|uint32(t[1]|folded)<<8|uint32(t[2]|folded)<<16)]
	if *s == 0 {
		*s = uint16(len(g.groups))
		g.groups = append(g.groups, group{})
	}
	found := &g.groups[*s]
	found.literals = append(found.literals, l)
	if len(t) == 3 {
		found.fourth = [4]uint64{math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxUint64}
		return
	}
	c := t[3] | folded
	found.fourth[c>>6] |= 1 << (c & 63)
}

// find appends what the rules find in b, in no order.
func (g *gate) find(dst []Match, b []byte) []Match {
	i := 0
	// Eight bytes are six times three.
	for ; i+8 <= len(b); i += 6 {
		v := binary.LittleEndian.Uint64(b[i:]) | folded*0x0101010101010101
		if g.slots[slot(uint32(v))]|g.slots[slot(uint32(v>>8))]|g.slots[slot(uint32(v>>16))]|
			g.slots[slot(uint32(v>>24))]|g.slots[slot(uint32(v>>32))]|g.slots[slot(uint32(v>>40))] == 0 {
			continue
		}
		for k := range 6 {
			if s := g.slots[slot(uint32(v>>(8*k)))]; s != 0 {
				dst = g.groups[s].ask(dst, b, i+k)
			}
		}
	}
	for ; i+3 <= len(b); i++ {
		if s := g.slots[slot(uint32(b[i]|folded)|uint32(b[i+1]|folded)<<8|uint32(b[i+2]|folded)<<16)]; s != 0 {
			dst = g.groups[s].ask(dst, b, i)
		}
	}
	return dst
}

// ask asks the rules whose literal stands at a place.
func (g *group) ask(dst []Match, b []byte, at int) []Match {
	if at+3 < len(b) {
		if c := b[at+3] | folded; g.fourth[c>>6]>>(c&63)&1 == 0 {
			return dst
		}
	}
	for i := range g.literals {
		l := &g.literals[i]
		if !l.stands(b[at:]) {
			continue
		}
		if start, end, ok := l.rule.at(b, at); ok {
			dst = append(dst, Match{l.rule, start, end})
		}
	}
	return dst
}

func (l *literal) stands(b []byte) bool {
	if len(b) < len(l.text) {
		return false
	}
	b = b[:len(l.text)]
	return string(b) == l.text || l.fold && bytes.EqualFold(b, []byte(l.text))
}
