package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// plugin is whose options a table has.
type plugin struct {
	who      string   // for people
	reserved []string // keys of the table that are not the plugin's
	options  []providers.Option
	check    func(set map[string]any) (providers.Options, error)
}

// pluginOptions reads what a table sets for a plugin. What is wrong with the
// whole is wrong at that place.
func (r *reader) pluginOptions(t *table, whole pos, p *plugin) (_ providers.Options, ok bool) {
	set := make(map[string]any)
	good := true
	for _, o := range t.entries {
		if slices.Contains(p.reserved, o.key) {
			continue
		}
		v, ok := r.option(p, o)
		set[o.key], good = v, good && ok
	}
	if !good {
		return providers.Options{}, false
	}
	options, err := p.check(set)
	if err == nil {
		return options, true
	}
	at, remedy := whole, ""
	if wrong := (*providers.OptionError)(nil); errors.As(err, &wrong) {
		remedy = wrong.Remedy
		if o := t.get(wrong.Option); o != nil {
			at = o.pos
		}
	}
	r.fail(at, remedy, "%v", err)
	return providers.Options{}, false
}

// filesOf are the files that options name and that are believed.
func filesOf(all []providers.Option, set providers.Options) (paths []string) {
	for _, o := range all {
		if o.Type == providers.File && set.IsSet(o.Name) {
			paths = append(paths, set.Text(o.Name))
		}
	}
	return paths
}

// option reads one option, as the plugin's list has its type.
func (r *reader) option(p *plugin, e *entry) (v any, ok bool) {
	i := slices.IndexFunc(p.options, func(o providers.Option) bool { return o.Name == e.key })
	if i < 0 {
		names := slices.Clone(p.reserved)
		for _, o := range p.options {
			names = append(names, o.Name)
		}
		remedy := "it takes " + strings.Join(names, ", ")
		if near, ok := nearest(e.key, names); ok {
			remedy = fmt.Sprintf("did you mean %q?", near)
		}
		r.fail(e.pos, remedy, "%s has no option %q", p.who, e.key)
		return nil, false
	}
	o := &p.options[i]
	example := o.Name + " = " + o.Example
	switch o.Type {
	case providers.Text:
		return e.value.text, r.is(e, unstable.String, example)
	case providers.File:
		return e.value.text, r.is(e, unstable.String, example) && r.absolute(e.value.pos, "the file of "+e.key, e.value.text)
	case providers.Number:
		n, ok := r.integer(e, 0, 1<<53, example)
		return n, ok
	case providers.Switch:
		b, err := strconv.ParseBool(e.value.text)
		return b, r.is(e, unstable.Bool, example) && err == nil
	case providers.Span:
		if !r.is(e, unstable.String, example) {
			return nil, false
		}
		d, err := ParseDuration(e.value.text)
		if err != nil {
			r.fail(e.value.pos, "for example: "+example, "%v", err)
		}
		return d, err == nil
	case providers.List:
		if !r.is(e, unstable.Array, example) {
			return nil, false
		}
		var all []string
		for _, item := range e.value.items {
			if item.kind != unstable.String {
				r.fail(e.pos, "for example: "+example, "%q must hold text", e.key)
				return nil, false
			}
			all = append(all, item.text)
		}
		return all, true
	case providers.Own:
		return r.own(e, example)
	}
	panic("config: there is no option type " + string(o.Type))
}

// own reads the name of one of the broker's own secrets.
func (r *reader) own(e *entry, example string) (any, bool) {
	if !r.is(e, unstable.String, example) {
		return nil, false
	}
	name, err := secret.ParseName(e.value.text)
	switch {
	case err != nil:
		r.fail(e.value.pos, "for example: "+example, "%v", err)
	case !name.Own():
		r.fail(e.value.pos, "keep it under own/, where no grant reaches: "+e.key+` = "own/`+string(name)+`"`,
			"%q manages another credential, and an agent could be granted it", name)
	default:
		return name, true
	}
	return nil, false
}
