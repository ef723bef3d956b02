// Package shape knows what credentials look like: the prefixes and alphabets
// that services give their keys, private keys, passwords in URLs, headers and
// assignments, and the names that people give variables with a secret in them.
//
// It guards against a credential nobody told us of: in a log that is masked, a
// file that is scanned, a variable that is imported. It is a guess, made to be
// right when it says yes: a password that is a word, a key without a prefix at
// a place that says nothing, and what was compressed or encrypted are not found.
// Values that are known are found by package mask, whatever they look like.
package shape

import (
	"cmp"
	"regexp"
	"slices"
	"sync"
)

// Rule is one kind of credential.
type Rule struct {
	ID   string // "openai-api-key": lower case, digits and "-"
	What string // for people: "OpenAI API key"

	// pattern is what follows where a match begins: a regular expression whose
	// first group, or else the whole, is the secret. What stands before and after
	// the whole is no part of a longer word.
	pattern string
	longest int // what the pattern is matched against, in bytes; 0: usual
	// find is used where a pattern cannot say it: it is asked at a literal and
	// returns the span of the secret.
	find func(b []byte, at int) (start, end int, ok bool)
	// literals are what a match begins with, or where find is asked: one of them.
	// At least three bytes each.
	literals []string
	fold     bool                     // literals in any case
	check    func(secret []byte) bool // nil: the pattern is enough
	vague    int                      // of matches that overlap, the least vague stays

	compiled func() *regexp.Regexp
	least    int     // how long a match of the pattern is at least, in bytes
	endless  bool    // it takes as many bytes of a kind as there are
	bytes    byteSet // those that it may have
}

// Match is a credential in a buffer.
type Match struct {
	Rule       *Rule
	Start, End int // of the secret itself, not of what tells that it is one
}

// Rules returns every rule there is, by ID.
func Rules() []Rule { return slices.Clone(load().rules) }

// Find appends every credential in b to dst: in order, not overlapping. One
// that b holds only the beginning of may be missed or cut.
func Find(dst []Match, b []byte) []Match {
	own := len(dst)
	dst = load().find(dst, b)
	return append(dst[:own], settle(dst[own:])...)
}

// settle sorts matches and keeps, of those that overlap, the least vague, or else
// the first.
func settle(all []Match) []Match {
	if len(all) < 2 {
		return all
	}
	slices.SortFunc(all, func(x, y Match) int {
		return cmp.Or(cmp.Compare(x.Start, y.Start), cmp.Compare(y.End, x.End), cmp.Compare(x.Rule.ID, y.Rule.ID))
	})
	kept := all[:1]
	for _, m := range all[1:] {
		last := &kept[len(kept)-1]
		switch {
		case m.Start >= last.End:
			kept = append(kept, m)
		case m.Rule.vague < last.Rule.vague:
			*last = m
		}
	}
	return kept
}

// usual is longer than most keys, in bytes, and short enough for text that was
// made to be slow. What is longer than a pattern is matched against is none.
const usual = 512

// at returns the secret of a rule that is asked at a place in b.
func (r *Rule) at(b []byte, at int) (start, end int, ok bool) {
	if r.find != nil {
		start, end, ok = r.find(b, at)
	} else {
		start, end, ok = r.match(b, at)
	}
	return start, end, ok && (r.check == nil || r.check(b[start:end]))
}

// match matches the pattern.
func (r *Rule) match(b []byte, at int) (start, end int, ok bool) {
	if !begins(b, at) {
		return 0, 0, false
	}
	// Most that begins like a key is a word, and a look at the next bytes tells.
	if len(b)-at < r.least || !r.bytes.hasAll(b[at:at+r.least]) {
		return 0, 0, false
	}
	longest := cmp.Or(r.longest, usual)
	// What is longer is none, and text made to be slow has a beginning at each place.
	if r.endless && len(b)-at > longest && r.bytes.hasAll(b[at:at+longest+1]) {
		return 0, 0, false
	}
	m := r.compiled().FindSubmatchIndex(b[at:min(len(b), at+longest)])
	if m == nil || !ends(b, at+m[1]) {
		return 0, 0, false
	}
	if len(m) > 2 {
		return at + m[2], at + m[3], true
	}
	return at + m[0], at + m[1], true
}

// begins reports whether a word may begin at a place: nothing of a word stands
// before it, unless that is the end of an escape such as \n.
func begins(b []byte, at int) bool {
	if at == 0 || !isURLSafe(b[at-1]) {
		return true
	}
	if at >= 2 && b[at-2] == '\\' {
		return b[at-1] == 'n' || b[at-1] == 't' || b[at-1] == 'r'
	}
	return at >= 3 && b[at-3] == '%' && isHex(b[at-2]) && isHex(b[at-1])
}

// ends reports whether no word goes on at a place.
func ends(b []byte, at int) bool { return at >= len(b) || !isWord(b[at]) || !isWord(b[at-1]) }

func isWord(c byte) bool { return isAlnum(c) || c == '_' }

func isAlnum(c byte) bool { return isLetter(c) || isDigit(c) }

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

// load makes the table at its first use: most commands have none for it.
var load = sync.OnceValue(func() *gate { return newGate(table()) })
