package config

import (
	"errors"
	"sort"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Bounds on the file. Sanity checks, far above what a person writes by hand.
const (
	maxBytes   = 1 << 20
	maxDepth   = 32     // of tables and arrays inside each other
	maxEntries = 10_000 // keys and array elements
)

// pos is a place in the file, from 1. The zero value is the file as a whole.
type pos struct{ line, column int }

// entry is a key and what it is set to.
type entry struct {
	key   string
	pos   pos // of the key
	value *value
}

// value is what a key, or one place of an array, is set to.
type value struct {
	pos   pos
	kind  unstable.Kind // Array, InlineTable for any table, or a scalar's
	text  string        // of a scalar: a string's content, else as written
	items []*value      // of an Array
	table *table        // of an InlineTable
}

// table is a table however it was written: [header], inline or dotted keys.
type table struct {
	pos     pos
	entries []*entry          // in the order of the file
	byKey   map[string]*entry // the same
}

func newTable(at pos) *value {
	return &value{pos: at, kind: unstable.InlineTable, table: &table{pos: at, byKey: make(map[string]*entry)}}
}

// get returns the entry of a key, or nil.
func (t *table) get(key string) *entry { return t.byKey[key] }

// builder makes a tree with places from the parser's expressions, which have
// places but no structure. It believes the file to be valid; where it is not,
// the tree is thrown away.
type builder struct {
	parser  unstable.Parser
	lines   []int // offset of each line's first byte
	entries int
}

// Why a tree was not built.
var (
	errTooDeep    = errors.New("tables and arrays are nested too deep")
	errTooMany    = errors.New("there are too many keys and array elements")
	errTreeBroken = errors.New("a key is used both as a table and as a value")
)

// parseTree reads the file as TOML. What it returns as an error is the first
// thing wrong, for nothing after that can be told apart.
func parseTree(data []byte) (*table, *Error) {
	if len(data) > maxBytes {
		return nil, &Error{Problem: "the file is larger than 1 MiB"}
	}
	root, at, err := build(data)
	if errors.Is(err, errTooDeep) || errors.Is(err, errTooMany) {
		return nil, &Error{Line: at.line, Column: at.column, Problem: err.Error()}
	}
	var all map[string]any
	if strict := toml.Unmarshal(data, &all); strict != nil {
		return nil, syntaxError(data, strict)
	}
	if err != nil {
		return nil, &Error{Line: at.line, Column: at.column, Problem: err.Error()}
	}
	return root, nil
}

// syntaxError gives the TOML reader's error our shape.
func syntaxError(data []byte, err error) *Error {
	e := &Error{Problem: strings.TrimPrefix(err.Error(), "toml: ")}
	var de *toml.DecodeError
	if !errors.As(err, &de) {
		return e
	}
	e.Line, e.Column = de.Position()
	lines := strings.Split(string(data), "\n")
	line := strings.TrimSpace(lines[min(e.Line, len(lines))-1])
	switch {
	case strings.HasPrefix(line, "[secret.") && !strings.HasPrefix(line, `[secret."`):
		e.Remedy = `quote the name: [secret."openai/api-key"]`
	case strings.Contains(e.Problem, "already defined"), strings.Contains(e.Problem, "already exists"):
		e.Remedy = "remove one of the two"
	case strings.Contains(e.Problem, "at start of value"), strings.Contains(e.Problem, "must be quoted"):
		e.Remedy = `put text between quotes: key = "text"`
	}
	return e
}

// build reads all expressions. On an error at is where it came up.
func build(data []byte) (root *table, at pos, err error) {
	b := &builder{lines: []int{0}}
	for i, c := range data {
		if c == '\n' {
			b.lines = append(b.lines, i+1)
		}
	}
	b.parser.Reset(data)
	top := newTable(pos{})
	current := top
	for b.parser.NextExpression() {
		e := b.parser.Expression()
		at = b.at(e.Child())
		switch e.Kind {
		case unstable.KeyValue:
			at = b.at(e.Child().Next())
			err = b.set(current, e, 0)
		case unstable.Table, unstable.ArrayTable:
			current, err = b.header(top, e)
		}
		if err != nil {
			return nil, at, err
		}
	}
	return top.table, pos{}, b.parser.Error()
}

// at returns the place of a node that has one: keys and scalars do.
func (b *builder) at(n *unstable.Node) pos {
	offset := int(n.Raw.Offset)
	line := sort.SearchInts(b.lines, offset+1)
	return pos{line, offset - b.lines[line-1] + 1}
}

// count notes another key or element.
func (b *builder) count() error {
	if b.entries++; b.entries > maxEntries {
		return errTooMany
	}
	return nil
}

// header goes to the table that a [header] opens, making it and those around
// it; a [[header]] adds a table to an array.
func (b *builder) header(top *value, e *unstable.Node) (*value, error) {
	current, depth := top, 0
	for keys := e.Key(); keys.Next(); {
		if depth++; depth > maxDepth {
			return nil, errTooDeep
		}
		var err error
		if e.Kind == unstable.ArrayTable && keys.IsLast() {
			current, err = b.element(current, keys.Node())
		} else {
			current, err = b.inner(current, keys.Node())
		}
		if err != nil {
			return nil, err
		}
	}
	return current, nil
}

// inner returns the table under a key of t, made if absent; of an array the
// last table, which is the one that TOML means.
func (b *builder) inner(t *value, key *unstable.Node) (*value, error) {
	at := b.at(key)
	found := t.table.get(string(key.Data))
	if found == nil {
		made := newTable(at)
		return made, b.put(t, key, made)
	}
	v := found.value
	if v.kind == unstable.Array && len(v.items) > 0 {
		v = v.items[len(v.items)-1]
	}
	if v.kind != unstable.InlineTable {
		return nil, errTreeBroken
	}
	return v, nil
}

// element adds a table to the array under a key of t.
func (b *builder) element(t *value, key *unstable.Node) (*value, error) {
	at := b.at(key)
	found := t.table.get(string(key.Data))
	if found == nil {
		array := &value{pos: at, kind: unstable.Array}
		if err := b.put(t, key, array); err != nil {
			return nil, err
		}
		found = t.table.get(string(key.Data))
	}
	if found.value.kind != unstable.Array {
		return nil, errTreeBroken
	}
	made := newTable(at)
	found.value.items = append(found.value.items, made)
	return made, b.count()
}

// put enters a key. The first of two stays: the file is refused anyway.
func (b *builder) put(t *value, key *unstable.Node, v *value) error {
	name := string(key.Data)
	if t.table.get(name) == nil {
		e := &entry{key: name, pos: b.at(key), value: v}
		t.table.byKey[name] = e
		t.table.entries = append(t.table.entries, e)
	}
	return b.count()
}

// set enters what `a.b.c = value` says into t, a table at the given depth.
func (b *builder) set(t *value, e *unstable.Node, depth int) error {
	keys := e.Key()
	for keys.Next() {
		if depth++; keys.IsLast() {
			break
		}
		var err error
		if t, err = b.inner(t, keys.Node()); err != nil {
			return err
		}
	}
	v, err := b.value(e.Value(), b.at(keys.Node()), depth)
	if err != nil {
		return err
	}
	return b.put(t, keys.Node(), v)
}

// value makes the tree of a value. Arrays and inline tables have no place of
// their own and take that of their key.
func (b *builder) value(n *unstable.Node, key pos, depth int) (*value, error) {
	if depth > maxDepth {
		return nil, errTooDeep
	}
	children := n.Children()
	switch n.Kind {
	case unstable.Array:
		v := &value{pos: key, kind: unstable.Array}
		for children.Next() {
			item, err := b.value(children.Node(), key, depth+1)
			if err == nil {
				err = b.count()
			}
			if err != nil {
				return nil, err
			}
			v.items = append(v.items, item)
		}
		return v, nil
	case unstable.InlineTable:
		v := newTable(key)
		for children.Next() {
			if err := b.set(v, children.Node(), depth); err != nil {
				return nil, err
			}
		}
		return v, nil
	default:
		return &value{pos: b.at(n), kind: n.Kind, text: string(n.Data)}, nil
	}
}
