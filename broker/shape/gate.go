package shape

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// gate finds the places where a rule is worth asking: where one of its literals
// stands. It looks at three bytes at a time, in no case, through a table that
// stays in the first-level cache, so that almost every byte of ordinary text
// costs one look.
type gate struct {
	rules []Rule
	slots [1 << slotBits]uint16 // hash of three bytes → index in literals, 0 for none
	// literals are grouped by the slot of their first three bytes.
	literals [][]literal
}

const slotBits = 14

// literal is a text where a rule is asked.
type literal struct {
	text string
	fold bool
	rule *Rule
}

// folded sets the bit that tells small letters from capitals. Other bytes that
// differ in nothing else share a slot, too.
const folded = 0x20

func slot(three uint32) uint32 { return three * 0x9E3779B1 >> (32 - slotBits) }

func newGate(rules []Rule) *gate {
	g := &gate{rules: rules, literals: make([][]literal, 1)}
	slices.SortFunc(g.rules, func(a, b Rule) int { return strings.Compare(a.ID, b.ID) })
	for i := range g.rules {
		r := &g.rules[i]
		if r.find == nil {
			r.compiled = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile("^(?:" + r.pattern + ")") })
		}
		for _, text := range r.literals {
			three := uint32(text[0]|folded)<<16 | uint32(text[1]|folded)<<8 | uint32(text[2]|folded)
			s := &g.slots[slot(three)]
			if *s == 0 {
				*s = uint16(len(g.literals))
				g.literals = append(g.literals, nil)
			}
			g.literals[*s] = append(g.literals[*s], literal{text, r.fold, r})
		}
	}
	return g
}

// find appends what the rules find in b, in no order.
func (g *gate) find(dst []Match, b []byte) []Match {
	if len(b) < 3 {
		return dst
	}
	three := uint32(b[0]|folded)<<8 | uint32(b[1]|folded)
	for i, c := range b[2:] {
		three = (three<<8 | uint32(c|folded)) & 0xffffff
		if s := g.slots[slot(three)]; s != 0 {
			dst = ask(dst, g.literals[s], b, i)
		}
	}
	return dst
}

// ask asks the rules whose literal stands at a place.
func ask(dst []Match, literals []literal, b []byte, at int) []Match {
	for i := range literals {
		l := &literals[i]
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
