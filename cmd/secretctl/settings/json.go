// Package settings edits the settings files of the tools around the broker:
// Claude Code's settings.json and Codex's config.toml.
//
// It guards against a settings file that is damaged for its owner's sake: an edit
// inserts text and leaves every other byte as it was, order, unknown keys and
// indentation included; taking it out again gives back the file there was, byte by
// byte; and a file that is not understood to the letter is not touched. It edits
// texts; reading and writing files is left to the caller.
package settings

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"secretctl/cmd/secretctl/json5"
)

// document is a settings text that is plain JSON.
type document struct {
	text []byte
	root *json5.Node
}

// errComments tells of what is not plain JSON.
var errComments = errors.New("it is not plain JSON, so it is not edited: put the lines in by hand")

func parseJSON(text []byte) (document, error) {
	root, err := json5.ParseJSON(text)
	if err != nil {
		if _, loose := json5.Parse(text); loose == nil {
			return document{}, fmt.Errorf("%w (%w)", errComments, err)
		}
		return document{}, err
	}
	if root.Kind != json5.Object {
		return document{}, errors.New("it is not a JSON object")
	}
	return document{text, root}, nil
}

// with returns the document with text in the place of a part of it.
func (d document) with(start, end int, text string) (document, error) {
	b := make([]byte, 0, len(d.text)+len(text))
	b = append(append(append(b, d.text[:start]...), text...), d.text[end:]...)
	return parseJSON(b)
}

// member is a key with its value, and item a value, as they are written: on
// lines of their own, each with an indent more than the one that it is given, or
// all on one line. What they open begins with white space, which tells it from
// what was there and empty: see [document.remove].
type (
	layout struct {
		lines  bool
		indent string // of the line that it is on
		unit   string // of one level more
	}
	value interface{ render(l layout) string }
	text  string   // a string
	array []value  // with items
	pair  struct { // a member
		key   string
		value value
	}
	object []pair // with members
)

func (t text) render(layout) string { return string(json5.AppendString(nil, []byte(t))) }

func (a array) render(l layout) string {
	var items []string
	for _, v := range a {
		items = append(items, v.render(l.deeper()))
	}
	return l.enclose("[", items, "]")
}

func (o object) render(l layout) string {
	var items []string
	for _, p := range o {
		items = append(items, p.render(l.deeper()))
	}
	return l.enclose("{", items, "}")
}

func (p pair) render(l layout) string { return text(p.key).render(l) + ": " + p.value.render(l) }

func (l layout) deeper() layout {
	l.indent += l.unit
	return l
}

func (l layout) enclose(begin string, items []string, end string) string {
	if !l.lines {
		return begin + " " + strings.Join(items, ", ") + " " + end
	}
	within := "\n" + l.indent + l.unit
	return begin + within + strings.Join(items, ","+within) + "\n" + l.indent + end
}

// parts are where the members or items of a container are.
func parts(n *json5.Node) (spans [][2]int) {
	for _, m := range n.Members {
		spans = append(spans, [2]int{m.Start, m.Value.End})
	}
	for _, item := range n.Items {
		spans = append(spans, [2]int{item.Start, item.End})
	}
	return spans
}

// insert adds a member or an item at the end of a container, laid out as those
// before it. In one that is empty it stands right behind the bracket.
func (d document) insert(into *json5.Node, v value) (document, error) {
	all := parts(into)
	if len(all) == 0 {
		at := into.Start + 1
		return d.with(at, at, v.render(layout{}))
	}
	last := all[len(all)-1]
	before := into.Start + 1
	if len(all) > 1 {
		between := d.text[all[len(all)-2][1]:last[0]]
		before = all[len(all)-2][1] + bytes.IndexByte(between, ',') + 1
	}
	gap := string(d.text[before:last[0]])
	l := layout{unit: d.unit()}
	if at := strings.LastIndexByte(gap, '\n'); at >= 0 {
		l.lines, l.indent = true, gap[at+1:]
	}
	return d.with(last[1], last[1], ","+gap+v.render(l))
}

// unit is the indent of one level: that of the members of the whole.
func (d document) unit() string {
	if len(d.root.Members) > 0 {
		gap := string(d.text[d.root.Start+1 : d.root.Members[0].Start])
		if at := strings.LastIndexByte(gap, '\n'); at >= 0 {
			return gap[at+1:]
		}
	}
	return "  "
}

// remove takes a member or an item out of the innermost of these containers,
// which lead to it from the outside in. A container in which nothing is left goes
// with it if white space is behind its bracket: then it was opened for what it
// held. When that is true of the whole, nothing is left: the text is nil.
func (d document) remove(containers []*json5.Node, index int) (document, error) {
	n := containers[len(containers)-1]
	all := parts(n)
	one := all[index]
	switch {
	case index > 0:
		return d.with(all[index-1][1], one[1], "")
	case len(all) > 1:
		return d.with(one[0], all[1][0], "")
	case one[0] == n.Start+1:
		return d.with(one[0], one[1], "")
	case len(containers) == 1:
		return document{}, nil
	}
	outer := containers[len(containers)-2]
	for i, m := range outer.Members {
		if m.Value == n {
			return d.remove(containers[:len(containers)-1], i)
		}
	}
	for i, item := range outer.Items {
		if item == n {
			return d.remove(containers[:len(containers)-1], i)
		}
	}
	return d, nil
}

// indexOf returns where an object has a key, -1 where it has it not.
func indexOf(n *json5.Node, key string) int {
	for i, m := range n.Members {
		if m.Key == key {
			return i
		}
	}
	return -1
}

// twice reports whether an object has a key twice.
func twice(n *json5.Node, key string) bool {
	found := 0
	for _, m := range n.Members {
		if m.Key == key {
			found++
		}
	}
	return found > 1
}

// fresh is the text of a new file.
func fresh(o object) []byte {
	return []byte(o.render(layout{lines: true, unit: "  "}) + "\n")
}
