package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one thing that is wrong with the file, or worth a warning.
type Error struct {
	Path         string // as given to Parse
	Line, Column int    // from 1, columns in bytes; 0: the file as a whole
	Problem      string // what is wrong
	Remedy       string // what would be right, for a hint line; may be empty
}

// Error returns the place and the problem: `secretctl.toml:12:1: unknown key "ttll"`.
func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.Path, e.Problem)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.Path, e.Line, e.Column, e.Problem)
}

// Errors is all that is wrong with a file, in the order of its lines. It is
// never empty when returned as an error.
type Errors []*Error

// Error returns one line for each.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets [errors.As] find the first [*Error].
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

// sorted returns the list in the order of the file.
func sorted(list []*Error) []*Error {
	slices.SortStableFunc(list, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return list
}

// nearest returns the known word that a misspelt one was probably meant to be:
// the closest within two edits, the first of those equally close. A word that
// would have to change altogether is no misspelling.
func nearest(word string, known []string) (string, bool) {
	best, least := "", 3
	for _, k := range known {
		if d := distance(word, k); d < least && d < len(k) && d < len(word) {
			best, least = k, d
		}
	}
	return best, best != ""
}

// distance counts the insertions, deletions and substitutions that make b of a.
// Words far apart in length are not compared.
func distance(a, b string) int {
	const far = 1 << 10
	if len(a)-len(b) > 2 || len(b)-len(a) > 2 {
		return far
	}
	above, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(above[j+1]+1, row[j]+1, above[j]+cost)
		}
		above, row = row, above
	}
	return above[len(b)]
}
