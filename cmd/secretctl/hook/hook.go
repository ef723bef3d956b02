// Package hook answers Claude Code before and after it uses a tool.
//
// It guards against accidents: a credential that a tool prints is masked before
// the model and the transcript have it, and a command that would print one is
// stopped. It is a seat belt and no wall. The model can spell a command, or have a
// program spell a credential, in a way that is not known here; what keeps a
// credential from it is not to grant it. Only shapes of credentials are known: no
// value leaves the broker for this.
package hook

import (
	"errors"
	"fmt"
	"slices"

	"secretctl/broker/mask"
	"secretctl/cmd/secretctl/json5"
)

// MaxEvent is the largest event, in bytes. A sanity check.
const MaxEvent = 64 << 20

// Event is what Claude Code tells of.
type Event struct {
	Name string // PreToolUse, PostToolUse or another
	Tool string

	text            []byte
	input, response *json5.Node
}

// Parse reads an event. The text is the event's from then on.
func Parse(text []byte) (*Event, error) {
	root, err := json5.ParseJSON(text)
	if err != nil {
		return nil, fmt.Errorf("the event is not JSON: %w", err)
	}
	e := &Event{text: text, input: root.Get("tool_input"), response: root.Get("tool_response")}
	if e.Name = e.string(root.Get("hook_event_name")); e.Name == "" {
		return nil, errors.New("the event has no hook_event_name")
	}
	e.Tool = e.string(root.Get("tool_name"))
	return e, nil
}

func (e *Event) string(n *json5.Node) string { return string(n.AppendText(nil, e.text)) }

// Mask returns what the tool's output is to be instead, in the shape that it has:
// every string in it is masked, whatever the tool. It is nil when there is
// nothing to mask.
func (e *Event) Mask() ([]byte, error) {
	if e.response == nil {
		return nil, nil
	}
	var all []*json5.Node
	collect(e.response, &all)
	var out []byte
	at := e.response.Start
	for _, n := range all {
		masked, err := maskText(n.AppendText(nil, e.text))
		if err != nil {
			return nil, err
		}
		if masked == nil {
			continue
		}
		out = json5.AppendString(append(out, e.text[at:n.Start]...), masked)
		at = n.End
	}
	if out == nil {
		return nil, nil
	}
	return append(out, e.text[at:e.response.End]...), nil
}

// collect lists the strings of a value in their order.
func collect(n *json5.Node, all *[]*json5.Node) {
	if n.Kind == json5.String {
		*all = append(*all, n)
	}
	for _, m := range n.Members {
		collect(m.Value, all)
	}
	for _, item := range n.Items {
		collect(item, all)
	}
}

// written collects what a mask writes.
type written []byte

func (w *written) Write(b []byte) (int, error) {
	*w = append(*w, b...)
	return len(b), nil
}

// maskText returns a text with the shapes in it masked, nil when there are none.
func maskText(text []byte) ([]byte, error) {
	var out written
	w := mask.NewWriter(&out, nil, mask.Options{Shapes: true})
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if slices.Equal(out, text) {
		return nil, nil
	}
	return out, nil
}

// Reply is the answer that has Claude Code take other output for the tool's.
func Reply(output []byte) []byte {
	reply := []byte(`{"hookSpecificOutput":{"hookEventName":"PostToolUse","updatedToolOutput":`)
	return append(append(reply, output...), "}}\n"...)
}
