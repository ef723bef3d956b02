package settings

import (
	"errors"
	"fmt"

	"secretctl/cmd/secretctl/json5"
)

// Ours tells the commands that were put into a file by us from others.
type Ours func(command string) bool

// ErrTaken means that a setting is there and somebody else's.
var ErrTaken = errors.New("it has one of somebody else's")

// keyHelper is Claude Code's setting for the command that prints its key.
const keyHelper = "apiKeyHelper"

// AddClaudeHelper makes a command Claude Code's key helper. A nil text is that of
// a file that is not there.
func AddClaudeHelper(b []byte, command string, ours Ours) ([]byte, error) {
	if b == nil {
		return fresh(object{{keyHelper, text(command)}}), nil
	}
	d, err := parseJSON(b)
	if err != nil {
		return nil, err
	}
	is, err := d.helper()
	switch {
	case err != nil:
		return nil, err
	case is == nil:
		d, err = d.insert(d.root, pair{keyHelper, text(command)})
	case !ours(d.string(is)):
		return nil, fmt.Errorf("%s: %w", keyHelper, ErrTaken)
	default:
		d, err = d.with(is.Start, is.End, text(command).render(layout{}))
	}
	return d.text, err
}

// RemoveClaudeHelper takes the key helper out, if it is ours. A nil text means
// that nothing is left, and that the file was made for it.
func RemoveClaudeHelper(b []byte, ours Ours) ([]byte, error) {
	d, err := parseJSON(b)
	if err != nil {
		return nil, err
	}
	is, err := d.helper()
	if err != nil || is == nil || !ours(d.string(is)) {
		return b, err
	}
	d, err = d.remove([]*json5.Node{d.root}, indexOf(d.root, keyHelper))
	return d.text, err
}

// helper finds the key helper.
func (d document) helper() (*json5.Node, error) {
	if twice(d.root, keyHelper) {
		return nil, fmt.Errorf("it has %s twice", keyHelper)
	}
	return d.root.Get(keyHelper), nil
}

// string is what a string says. Settings are no credentials.
func (d document) string(n *json5.Node) string { return string(n.AppendText(nil, d.text)) }

// hookEvents are the events that a hook of ours is for: before a tool runs, and
// after.
var hookEvents = []string{"PreToolUse", "PostToolUse"}

// group is a hook as Claude Code groups them, for every tool.
func group(command string) object {
	return object{
		{"matcher", text("*")},
		{"hooks", array{object{{"type", text("command")}, {"command", text(command)}}}},
	}
}

// AddClaudeHooks has Claude Code run a command before and after each use of a
// tool.
func AddClaudeHooks(b []byte, command string, ours Ours) ([]byte, error) {
	all := object{}
	for _, event := range hookEvents {
		all = append(all, pair{event, array{group(command)}})
	}
	if b == nil {
		return fresh(object{{"hooks", all}}), nil
	}
	d, err := parseJSON(b)
	if err != nil {
		return nil, err
	}
	if err := d.checkHooks(); err != nil {
		return nil, err
	}
	if d.root.Get("hooks") == nil {
		d, err = d.insert(d.root, pair{"hooks", all})
		return d.text, err
	}
	for _, event := range hookEvents {
		if d, err = d.addHook(event, command, ours); err != nil {
			return nil, err
		}
	}
	return d.text, nil
}

// checkHooks refuses what would not be edited right.
func (d document) checkHooks() error {
	hooks := d.root.Get("hooks")
	switch {
	case twice(d.root, "hooks"):
		return errors.New("it has hooks twice")
	case hooks == nil:
		return nil
	case hooks.Kind != json5.Object:
		return errors.New("its hooks are not an object")
	}
	for _, event := range hookEvents {
		if list := hooks.Get(event); list != nil && list.Kind != json5.Array || twice(hooks, event) {
			return fmt.Errorf("its hooks.%s is not one list", event)
		}
	}
	return nil
}

func (d document) addHook(event, command string, ours Ours) (document, error) {
	hooks := d.root.Get("hooks")
	list := hooks.Get(event)
	if list == nil {
		return d.insert(hooks, pair{event, array{group(command)}})
	}
	if found := d.hook(event, ours); found != nil {
		is := found[len(found)-1].Get("command")
		return d.with(is.Start, is.End, text(command).render(layout{}))
	}
	return d.insert(list, group(command))
}

// hook finds our hook for an event, and all that it is in, from the outside in.
func (d document) hook(event string, ours Ours) []*json5.Node {
	hooks := d.root.Get("hooks")
	list := hooks.Get(event)
	if list == nil {
		return nil
	}
	for _, group := range list.Items {
		inner := group.Get("hooks")
		if inner == nil {
			continue
		}
		for _, one := range inner.Items {
			if is := one.Get("command"); is != nil && ours(d.string(is)) {
				return []*json5.Node{d.root, hooks, list, group, inner, one}
			}
		}
	}
	return nil
}

// RemoveClaudeHooks takes our hooks out. A nil text means that nothing is left, and
// that the file was made for them.
func RemoveClaudeHooks(b []byte, ours Ours) ([]byte, error) {
	d, err := parseJSON(b)
	if err != nil {
		return nil, err
	}
	if err := d.checkHooks(); err != nil {
		return nil, err
	}
	for _, event := range []string{hookEvents[1], hookEvents[0]} {
		for d.text != nil {
			found := d.hook(event, ours)
			if found == nil {
				break
			}
			if d, err = d.removeHook(found); err != nil {
				return nil, err
			}
		}
	}
	return d.text, nil
}

// removeHook takes out a hook: with its group, unless others have joined it there.
func (d document) removeHook(found []*json5.Node) (document, error) {
	list, group, inner, one := found[2], found[3], found[4], found[5]
	if len(inner.Items) > 1 {
		return d.remove(found[:5], itemIndex(inner, one))
	}
	return d.remove(found[:3], itemIndex(list, group))
}

func itemIndex(n, item *json5.Node) int {
	for i := range n.Items {
		if n.Items[i] == item {
			return i
		}
	}
	return -1
}
