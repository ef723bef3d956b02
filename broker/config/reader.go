package config

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"

	"secretctl/broker/grant"
	"secretctl/broker/secret"
)

// reader collects what is wrong while the tree is read, so that one run shows
// everything. Its methods that return ok have reported what is wrong when ok is
// false.
type reader struct {
	path     string
	options  ParseOptions
	lookup   func(name string) (uid uint32, err error)
	errs     Errors
	warnings []*Error
	graces   map[secret.Name]pos // of the secrets that have one
}

// fail reports something wrong.
func (r *reader) fail(at pos, remedy, format string, args ...any) {
	r.errs = append(r.errs, r.note(at, remedy, format, args...))
}

// warn reports something allowed that is probably not meant.
func (r *reader) warn(at pos, remedy, format string, args ...any) {
	r.warnings = append(r.warnings, r.note(at, remedy, format, args...))
}

func (r *reader) note(at pos, remedy, format string, args ...any) *Error {
	return &Error{Path: r.path, Line: at.line, Column: at.column, Problem: fmt.Sprintf(format, args...), Remedy: remedy}
}

// failMalformed reports a word of a rule that the grant package refused.
func (r *reader) failMalformed(at pos, err error) {
	m := &grant.Malformed{Problem: err.Error()}
	errors.As(err, &m)
	r.fail(at, m.Remedy, "%s", m.Problem)
}

// check refuses every key of t that s does not have.
func (r *reader) check(t *table, s schema) {
	for _, e := range t.entries {
		if !slices.Contains(s.known, e.key) {
			r.fail(e.pos, s.adviseUnknown(e.key), "unknown key %q", e.key)
		}
	}
}

// kindNames are the kinds of values in the words of an error.
var kindNames = map[unstable.Kind]string{
	unstable.String:        "text",
	unstable.Bool:          "true or false",
	unstable.Integer:       "a whole number",
	unstable.Float:         "a number with a fraction",
	unstable.Array:         "a list",
	unstable.InlineTable:   "a table",
	unstable.LocalDate:     "a date",
	unstable.LocalTime:     "a time",
	unstable.LocalDateTime: "a date and time",
	unstable.DateTime:      "a date and time",
}

// is checks the kind of what e is set to. example is a line that would be right.
func (r *reader) is(e *entry, kind unstable.Kind, example string) (ok bool) {
	if e.value.kind == kind {
		return true
	}
	r.fail(e.pos, "for example: "+example, "%q must be %s, not %s", e.key, kindNames[kind], kindNames[e.value.kind])
	return false
}

// table returns the table under a key, which may be absent.
func (r *reader) table(t *table, key, example string) (*table, bool) {
	e := t.get(key)
	if e == nil || !r.is(e, unstable.InlineTable, example) {
		return nil, false
	}
	return e.value.table, true
}

// named calls f for every table under a key that holds tables by name.
func (r *reader) named(t *table, key, example string, f func(name string, at pos, t *table)) {
	all, ok := r.table(t, key, example)
	if !ok {
		return
	}
	for _, e := range all.entries {
		if r.is(e, unstable.InlineTable, example) {
			f(e.key, e.pos, e.value.table)
		}
	}
}

// text returns the string a key is set to. ok is false when it is absent too.
func (r *reader) text(t *table, key, example string) (s string, at pos, ok bool) {
	e := t.get(key)
	if e == nil || !r.is(e, unstable.String, example) {
		return "", pos{}, false
	}
	return e.value.text, e.value.pos, true
}

// duration returns the duration a key is set to, or otherwise when it is absent.
// A bad one is reported, and ok false.
func (r *reader) duration(t *table, key string, otherwise time.Duration) (d time.Duration, ok bool) {
	if t.get(key) == nil {
		return otherwise, true
	}
	s, at, ok := r.text(t, key, key+` = "12h"`)
	if !ok {
		return 0, false
	}
	d, err := ParseDuration(s)
	switch {
	case err != nil:
		r.fail(at, `for example: `+key+` = "90s", "12h", "30d" or "1d12h"`, "%v", err)
	case d < time.Second:
		r.fail(at, "", "%q is shorter than a second", key)
	default:
		return d, true
	}
	return 0, false
}

// integer returns the number an entry is set to, which must be from low to high.
func (r *reader) integer(e *entry, low, high int64, example string) (n int64, ok bool) {
	if !r.is(e, unstable.Integer, example) {
		return 0, false
	}
	// The TOML reader has accepted it: base 0 reads all its forms.
	n, err := strconv.ParseInt(e.value.text, 0, 64)
	if err != nil || n < low || n > high {
		r.fail(e.value.pos, "", "%q must be from %d to %d", e.key, low, high)
		return 0, false
	}
	return n, true
}

// number is [reader.integer] for a key that may be absent.
func (r *reader) number(t *table, key string, low, high, otherwise int) int {
	e := t.get(key)
	if e == nil {
		return otherwise
	}
	n, ok := r.integer(e, int64(low), int64(high), key+" = 20")
	if !ok {
		return otherwise
	}
	return int(n)
}

// boolean returns what a key is set to, false when it is absent.
func (r *reader) boolean(t *table, key string) bool {
	e := t.get(key)
	return e != nil && r.is(e, unstable.Bool, key+" = true") && e.value.text == "true"
}

// list returns the strings a key is set to; an empty list is refused, for what
// it means is a guess. ok is false when the key is absent.
func (r *reader) list(t *table, key, example string) (items []*value, ok bool) {
	e := t.get(key)
	if e == nil || !r.is(e, unstable.Array, example) {
		return nil, false
	}
	if len(e.value.items) == 0 {
		r.fail(e.pos, "fill it, or remove the line", "%q is empty", key)
		return nil, false
	}
	for _, item := range e.value.items {
		if item.kind != unstable.String {
			r.fail(item.pos, "for example: "+example, "%q must hold text, not %s", key, kindNames[item.kind])
			return nil, false
		}
	}
	return e.value.items, true
}

// absolute checks a path that the kernel, not a search, is to resolve.
func (r *reader) absolute(at pos, what, p string) (ok bool) {
	switch {
	case strings.ContainsRune(p, 0):
		r.fail(at, "", "%s %q holds a zero byte", what, p)
	case !path.IsAbs(p):
		r.fail(at, "give the whole path, from / on", "%s %q is not an absolute path", what, p)
	case path.Clean(p) != p:
		r.fail(at, fmt.Sprintf("write %q", path.Clean(p)), "%s %q is not in its shortest form", what, p)
	default:
		return true
	}
	return false
}
