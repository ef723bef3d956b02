package source

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	onepassword "github.com/1password/onepassword-sdk-go"

	"secretctl/broker/secret"
	"secretctl/providers/onepassword/wire"
)

// tag is on every item that is ours.
const tag = "secretctl"

// vault is the items of one vault.
type vault struct {
	client    *onepassword.Client
	transport *Transport
	name      string
	sick      bool // the library is

	id    string
	items map[secret.Name]string // :: → ID of its item; as last seen
	twins map[secret.Name]bool   // with more than one item
}

// noVault is the error of a vault that cannot be told from its name.
func (v *vault) noVault(problem string) *wire.Error {
	return &wire.Error{Kind: wire.Refused, Problem: fmt.Sprintf(problem, v.name), Remedy: "op vault list shows the vaults; the service account must be given this one when it is made"}
}

// failed says what an error of the library's means.
func (v *vault) failed(err error, doing string) *wire.Error {
	if isSick(err) {
		v.sick = true
	}
	return v.transport.failed(err, doing)
}

// find returns the vault's ID. 1Password takes no name for one.
func (v *vault) find(ctx context.Context) (string, *wire.Error) {
	if v.id != "" {
		return v.id, nil
	}
	all, err := v.client.Vaults().List(ctx)
	if err != nil {
		return "", v.failed(err, "looking for the vault")
	}
	var found []string
	for _, o := range all {
		if o.ID == v.name {
			v.id = o.ID
			return v.id, nil
		}
		if o.Title == v.name {
			found = append(found, o.ID)
		}
	}
	switch len(found) {
	case 0:
		return "", v.noVault("the service account sees no vault %q")
	case 1:
		v.id = found[0]
		return v.id, nil
	}
	return "", v.noVault("there is more than one vault %q: name it by its ID")
}

// list looks which items there are.
func (v *vault) list(ctx context.Context) *wire.Error {
	id, failed := v.find(ctx)
	if failed != nil {
		return failed
	}
	all, err := v.client.Items().List(ctx, id, onepassword.NewItemListFilterTypeVariantByState(&onepassword.ItemListFilterByStateInner{Active: true}))
	if err != nil {
		return v.failed(err, "listing the vault")
	}
	v.items, v.twins = make(map[secret.Name]string), make(map[secret.Name]bool)
	for _, o := range all {
		name, err := secret.ParseName(o.Title)
		if err != nil || !slices.Contains(o.Tags, tag) || o.State == onepassword.ItemStateArchived {
			continue
		}
		if v.items[name] != "" {
			v.twins[name] = true
		}
		v.items[name] = o.ID
	}
	return nil
}

// names returns all secrets there are.
func (v *vault) names(ctx context.Context) ([]secret.Name, *wire.Error) {
	if failed := v.list(ctx); failed != nil {
		return nil, failed
	}
	return slices.Sorted(maps.Keys(v.items)), nil
}

// get returns the items of these secrets, as far as there are. What is said of one
// alone is in errs.
func (v *vault) get(ctx context.Context, names []secret.Name) (items map[secret.Name]onepassword.Item, errs map[secret.Name]*wire.Error, failed *wire.Error) {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	items, errs = make(map[secret.Name]onepassword.Item), make(map[secret.Name]*wire.Error)
	// An item may be one that was made since we looked, or be gone since.
	for listed := false; ; {
		unknown := slices.ContainsFunc(names, func(n secret.Name) bool { return v.items[n] == "" })
		if unknown && !listed {
			if failed := v.list(ctx); failed != nil {
				return nil, nil, failed
			}
			listed = true
		}
		gone, failed := v.fetch(ctx, names, items, errs)
		if failed != nil || len(gone) == 0 || listed {
			return items, errs, failed
		}
		names = gone
		for _, n := range gone {
			delete(v.items, n)
		}
	}
}

// fetch gets those of the items whose ID is known. It returns whose was not there,
// or is another's by now.
func (v *vault) fetch(ctx context.Context, names []secret.Name, items map[secret.Name]onepassword.Item, errs map[secret.Name]*wire.Error) (gone []secret.Name, failed *wire.Error) {
	var ids []string
	var of []secret.Name
	for _, n := range names {
		switch id := v.items[n]; {
		case v.twins[n]:
			errs[n] = &wire.Error{Kind: wire.Unavailable, Problem: fmt.Sprintf("the vault has more than one item %q with the tag %s", n, tag), Remedy: "rename or remove all but the one that is meant"}
		case id != "":
			ids, of = append(ids, id), append(of, n)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	got, err := v.client.Items().GetAll(ctx, v.id, ids)
	if err != nil {
		return nil, v.failed(err, "reading items")
	}
	if len(got.IndividualResponses) != len(ids) {
		return nil, v.failed(errors.New("another number of items than was asked for"), "reading items")
	}
	for i, r := range got.IndividualResponses {
		switch n := of[i]; {
		case r.Content != nil && r.Content.ID == ids[i] && r.Content.Title == string(n) && slices.Contains(r.Content.Tags, tag):
			items[n] = *r.Content
		case r.Content != nil, r.Error != nil && r.Error.Type == onepassword.ItemsGetAllErrorTypeVariantItemNotFound:
			gone = append(gone, n)
		default:
			errs[n] = v.failed(errors.New("an item that is not given"), "reading an item")
		}
	}
	return gone, nil
}

// create makes an item.
func (v *vault) create(ctx context.Context, name secret.Name, fields []onepassword.ItemField) *wire.Error {
	got, err := v.client.Items().CreateAll(ctx, v.id, []onepassword.ItemCreateParams{{
		Category: onepassword.ItemCategoryPassword, VaultID: v.id, Title: string(name), Tags: []string{tag},
		Fields: fields, Sections: []onepassword.ItemSection{{ID: section, Title: section}},
	}})
	switch {
	case err != nil:
		return v.failed(err, "making an item")
	case len(got.IndividualResponses) != 1 || got.IndividualResponses[0].Content == nil && got.IndividualResponses[0].Error == nil:
		return v.failed(errors.New("no item"), "making an item")
	case got.IndividualResponses[0].Error != nil:
		return v.notUpdated(got.IndividualResponses[0].Error.Type, "making an item")
	}
	v.items[name] = got.IndividualResponses[0].Content.ID
	return nil
}

// change puts an item in the place of what it was read as. 1Password refuses it when
// it has been changed since.
func (v *vault) change(ctx context.Context, item onepassword.Item) *wire.Error {
	if _, err := v.client.Items().Put(ctx, item); err != nil {
		return v.failed(err, "changing an item")
	}
	return nil
}

// remove removes an item.
func (v *vault) remove(ctx context.Context, name secret.Name) *wire.Error {
	id := v.items[name]
	got, err := v.client.Items().DeleteAll(ctx, v.id, []string{id})
	if err != nil {
		return v.failed(err, "removing an item")
	}
	r, ok := got.IndividualResponses[id]
	switch {
	case !ok:
		return v.failed(errors.New("no answer"), "removing an item")
	case r.Error != nil && r.Error.Type != onepassword.ItemUpdateFailureReasonTypeVariantItemNotFound:
		return v.notUpdated(r.Error.Type, "removing an item")
	}
	delete(v.items, name)
	return nil
}

// notUpdated is the error of an item that was not changed.
func (v *vault) notUpdated(why onepassword.ItemUpdateFailureReasonTypes, doing string) *wire.Error {
	switch why {
	case onepassword.ItemUpdateFailureReasonTypeVariantItemStatusTooBig:
		return &wire.Error{Kind: wire.Refused, Problem: "1Password takes no item that is so large", Remedy: "keep it in the age store: secretctl mv NAME --store age"}
	case onepassword.ItemUpdateFailureReasonTypeVariantItemStatusPermissionError:
		return v.failed(errors.New("permission"), doing)
	}
	return v.failed(errors.New("it was not changed"), doing)
}
