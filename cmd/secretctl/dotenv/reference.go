package dotenv

import (
	"bytes"
	"slices"
)

const (
	scheme  = "secret://"
	spelled = "?spelled="
)

// Reference reports whether a value stands for a secret, and for which: it is
// secret://NAME, or secret://NAME?spelled=HOW where the value was written in a
// way of its own ([Spelling]). The name is as it is written there, unchecked.
func Reference(value []byte) (name string, ok bool) {
	name, _, ok = reference(value)
	return name, ok
}

// ReferenceSpelling returns how the value that a reference stands for was
// written, [Plain] where it does not say.
func ReferenceSpelling(value []byte) Spelling {
	_, s, _ := reference(value)
	return s
}

func reference(value []byte) (name string, s Spelling, ok bool) {
	rest, ok := bytes.CutPrefix(value, []byte(scheme))
	if !ok || len(rest) == 0 || bytes.ContainsAny(rest, " \t\r\n\"'`") {
		return "", Plain, false
	}
	before, how, said := bytes.Cut(rest, []byte(spelled))
	if said && (len(how) == 0 || !slices.Contains(spellings[:], Spelling(how))) {
		return "", Plain, false
	}
	return string(before), Spelling(how), true // a name, not a value
}

// AppendReference appends what [Reference] reads.
func AppendReference(dst []byte, name string, s Spelling) []byte {
	dst = append(append(dst, scheme...), name...)
	if s != Plain {
		dst = append(append(dst, spelled...), s...)
	}
	return dst
}
