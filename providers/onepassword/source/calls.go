package source

import (
	"context"
	"fmt"

	"secretctl/broker/secret"
	"secretctl/providers/onepassword/wire"
)

// doing is a batch of calls being done.
type doing struct {
	vault   *vault
	calls   []wire.Call
	bodies  []secret.Value
	answers []wire.Answer
	texts   []string // of those that give a value
}

// all does all calls: what is read is read at once, what is changed one by one.
func (d *doing) all() {
	ctx := context.Background() // the time is the transport's: a call is never ended in the middle
	d.readAll(ctx)
	d.referAll(ctx)
	for i, c := range d.calls {
		switch c.Op {
		case wire.Get, wire.Sum, wire.Refer:
		case wire.Put, wire.Delete:
			d.vault.transport.writing = true
			d.answers[i] = d.change(ctx, c, d.bodies[i])
			d.vault.transport.writing = false
		case wire.Index:
			d.answers[i].Names, d.answers[i].Error = d.vault.names(ctx)
		case wire.Versions:
			d.answers[i].Versions, d.answers[i].Error = d.versions(ctx, c.Names)
		case wire.Health:
			d.vault.id = "" // so that it is looked for
			_, d.answers[i].Error = d.vault.find(ctx)
		default:
			d.answers[i].Error = &wire.Error{Kind: wire.Unavailable, Problem: fmt.Sprintf("the helper knows no call %q", c.Op)}
		}
	}
}

// readAll answers the calls for one version each.
func (d *doing) readAll(ctx context.Context) {
	var names []secret.Name
	for _, c := range d.calls {
		if c.Op == wire.Get || c.Op == wire.Sum {
			names = append(names, c.Name)
		}
	}
	if names == nil {
		return
	}
	items, errs, failed := d.vault.get(ctx, names)
	for i, c := range d.calls {
		if c.Op != wire.Get && c.Op != wire.Sum {
			continue
		}
		answer := &d.answers[i]
		item, there := items[c.Name]
		if answer.Error = failed; failed == nil {
			answer.Error = errs[c.Name]
		}
		if answer.Error != nil {
			continue
		}
		r, ok, wrong := find(item, c.Version)
		switch {
		case wrong != nil:
			answer.Error = wrong
			continue
		case !there || !ok:
			answer.Error = &wire.Error{Kind: wire.Absent}
			continue
		}
		answer.Sum = r.sum()
		if c.Op == wire.Sum {
			continue
		}
		var err error
		if d.texts[i], err = r.value(); err != nil {
			answer.Error = &wire.Error{
				Kind: wire.Unavailable, Problem: fmt.Sprintf("the field %q of item %q is not what was put there", valueTitle(c.Version), c.Name),
				Remedy: "1Password keeps former values in the item's history",
			}
		}
	}
}

// referAll answers the calls for what lies at a reference.
func (d *doing) referAll(ctx context.Context) {
	var refs []string
	for _, c := range d.calls {
		if c.Op == wire.Refer {
			refs = append(refs, c.Ref)
		}
	}
	if refs == nil {
		return
	}
	texts, errs, failed := d.vault.resolve(ctx, refs)
	for i, c := range d.calls {
		if c.Op != wire.Refer {
			continue
		}
		d.texts[i] = texts[c.Ref]
		if d.answers[i].Error = failed; failed == nil {
			d.answers[i].Error = errs[c.Ref]
		}
	}
}

// versions returns all versions of these secrets.
func (d *doing) versions(ctx context.Context, names []secret.Name) (all []wire.Version, failed *wire.Error) {
	items, errs, failed := d.vault.get(ctx, names)
	if failed != nil {
		return nil, failed
	}
	for _, n := range names {
		if errs[n] != nil {
			return nil, errs[n]
		}
		for _, f := range items[n].Fields {
			version, ok := versionOf(f)
			if !ok {
				continue
			}
			r, _, wrong := find(items[n], version)
			if wrong != nil {
				return nil, wrong
			}
			all = append(all, wire.Version{Name: n, Version: version, Sum: r.sum()})
		}
	}
	return all, nil
}

// change puts or deletes a version.
func (d *doing) change(ctx context.Context, c wire.Call, body secret.Value) (a wire.Answer) {
	items, errs, failed := d.vault.get(ctx, []secret.Name{c.Name})
	if failed == nil {
		failed = errs[c.Name]
	}
	if failed != nil {
		return wire.Answer{Error: failed}
	}
	item, there := items[c.Name]
	_, has, wrong := find(item, c.Version)
	switch {
	case wrong != nil && c.Op == wire.Put:
		return wire.Answer{Error: wrong}
	case has && c.Op == wire.Put:
		return wire.Answer{Error: &wire.Error{Kind: wire.Exists}}
	case !has && c.Op == wire.Delete:
		return wire.Answer{}
	case c.Op == wire.Delete:
		var holds bool
		if item.Fields, holds = without(item, c.Version); !holds {
			return wire.Answer{Error: d.vault.remove(ctx, c.Name)}
		}
		return wire.Answer{Error: d.vault.change(ctx, item)}
	}
	r, fields, err := fieldsOf(c.Version, body)
	if err != nil {
		return wire.Answer{Error: &wire.Error{Kind: wire.Unavailable, Problem: err.Error()}}
	}
	if !there {
		a.Error = d.vault.create(ctx, c.Name, fields)
	} else {
		item.Fields = append(item.Fields, fields...)
		item.Sections = withSection(item.Sections)
		a.Error = d.vault.change(ctx, item)
	}
	if a.Error == nil {
		a.Sum = r.sum()
	}
	return a
}
