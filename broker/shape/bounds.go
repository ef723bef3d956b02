package shape

import (
	"math"
	"regexp/syntax"
	"slices"
)

// byteSet is a set of bytes.
type byteSet [256]bool

func (s *byteSet) hasAll(b []byte) bool {
	for _, c := range b {
		if !s[c] {
			return false
		}
	}
	return true
}

// bounds returns the least length of what a pattern matches, whether it takes as
// many bytes of a kind as there are, and the bytes that may be in a match. It
// panics where the pattern is wrong, as compiling it would.
func bounds(pattern string) (least int, endless bool, may byteSet) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		panic(err)
	}
	return shortest(re, &may), takesAll(re), may
}

func takesAll(re *syntax.Regexp) bool {
	many := re.Op == syntax.OpStar || re.Op == syntax.OpPlus || re.Op == syntax.OpRepeat && re.Max < 0
	return many && re.Sub[0].Op == syntax.OpCharClass || slices.ContainsFunc(re.Sub, takesAll)
}

// shortest adds the bytes that re may match to a set and returns the least
// length. Patterns are of ASCII.
func shortest(re *syntax.Regexp, may *byteSet) (n int) {
	add := func(from, to rune) {
		for c := from; c <= min(to, math.MaxUint8); c++ {
			may[c] = true
		}
	}
	switch re.Op {
	case syntax.OpLiteral:
		for _, c := range re.Rune {
			add(c, c)
			if re.Flags&syntax.FoldCase != 0 && isLetter(byte(c)) {
				add(c^folded, c^folded)
			}
		}
		return len(re.Rune)
	case syntax.OpCharClass:
		for i := 0; i < len(re.Rune); i += 2 {
			add(re.Rune[i], re.Rune[i+1])
		}
		return 1
	case syntax.OpAlternate:
		n = math.MaxInt
		for _, sub := range re.Sub {
			n = min(n, shortest(sub, may))
		}
		return n
	}
	for _, sub := range re.Sub {
		n += shortest(sub, may)
	}
	switch re.Op {
	case syntax.OpStar, syntax.OpQuest:
		return 0
	case syntax.OpRepeat:
		return n * re.Min
	case syntax.OpConcat, syntax.OpCapture, syntax.OpPlus:
		return n
	}
	panic("a pattern has an operator that is not known: " + re.String())
}
