package optest

import (
	"context"
	"slices"
	"strings"
	"time"

	onepassword "github.com/1password/onepassword-sdk-go"
)

// Keep has a person keep a value in a field of an item, which is made where there is
// none; "" takes the item away.
func (a *Account) Keep(title, section, field, value string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.Items == nil {
		if err := a.load(); err != nil {
			return err
		}
	}
	for id, item := range a.Items {
		if item.Title == title && value == "" {
			delete(a.Items, id)
			return a.save()
		}
		if i := slices.IndexFunc(item.Fields, func(f onepassword.ItemField) bool { return f.Title == field }); item.Title == title && i >= 0 {
			item.Fields[i].Value = value
			item.Version++
			return a.save()
		}
	}
	now, id := time.Now().UTC(), newID()
	a.Items[id] = &onepassword.Item{
		ID: id, Title: title, Category: onepassword.ItemCategoryLogin, VaultID: a.Vault, Version: 1, CreatedAt: now, UpdatedAt: now,
		Sections: []onepassword.ItemSection{{ID: "of-" + section, Title: section}},
		Fields: []onepassword.ItemField{
			{ID: "username", Title: "username", FieldType: onepassword.ItemFieldTypeText, Value: "joel"},
			{ID: newID(), Title: field, SectionID: new("of-" + section), FieldType: onepassword.ItemFieldTypeConcealed, Value: value},
		},
	}
	return a.save()
}

type secrets struct {
	onepassword.SecretsAPI // what is not below panics
	a                      *Account
}

func (s secrets) ResolveAll(_ context.Context, refs []string) (out onepassword.ResolveAllResponse, err error) {
	end, err := s.a.begin(0)
	if err != nil {
		return out, err
	}
	defer end()
	out.IndividualResponses = make(map[string]onepassword.Response[onepassword.ResolvedReference, onepassword.ResolveReferenceError])
	for _, ref := range refs {
		got, wrong := s.a.resolve(ref)
		if wrong != nil {
			out.IndividualResponses[ref] = onepassword.Response[onepassword.ResolvedReference, onepassword.ResolveReferenceError]{Error: wrong}
			continue
		}
		out.IndividualResponses[ref] = onepassword.Response[onepassword.ResolvedReference, onepassword.ResolveReferenceError]{Content: &got}
	}
	return through(out)
}

// is reports whether part of a reference means what has this ID and this name, for
// which case does not matter.
func is(part, id, name string) bool { return part == id || strings.EqualFold(part, name) }

func (a *Account) resolve(ref string) (out onepassword.ResolvedReference, wrong *onepassword.ResolveReferenceError) {
	fail := func(e onepassword.ResolveReferenceError) (onepassword.ResolvedReference, *onepassword.ResolveReferenceError) {
		return onepassword.ResolvedReference{}, &e
	}
	path, ok := strings.CutPrefix(ref, "op://")
	parts := strings.Split(path, "/")
	if !ok || len(parts) < 3 || len(parts) > 4 || slices.Contains(parts, "") {
		return fail(onepassword.NewResolveReferenceErrorTypeVariantParsing("malformed"))
	}
	if !is(parts[0], a.Vault, VaultName) {
		return fail(onepassword.NewResolveReferenceErrorTypeVariantVaultNotFound())
	}
	var item *onepassword.Item
	for _, i := range a.Items {
		if a.Gone[i.ID] || !is(parts[1], i.ID, i.Title) {
			continue
		}
		if item != nil {
			return fail(onepassword.NewResolveReferenceErrorTypeVariantTooManyItems())
		}
		item = i
	}
	if item == nil {
		return fail(onepassword.NewResolveReferenceErrorTypeVariantItemNotFound())
	}
	in := func(*string) bool { return true }
	if len(parts) == 4 {
		var ids []string
		for _, s := range item.Sections {
			if is(parts[2], s.ID, s.Title) {
				ids = append(ids, s.ID)
			}
		}
		if ids == nil {
			return fail(onepassword.NewResolveReferenceErrorTypeVariantNoMatchingSections())
		}
		in = func(id *string) bool { return id != nil && slices.Contains(ids, *id) }
	}
	found := 0
	for _, f := range item.Fields {
		if is(parts[len(parts)-1], f.ID, f.Title) && in(f.SectionID) {
			found++
			out = onepassword.ResolvedReference{Secret: f.Value, ItemID: item.ID, VaultID: item.VaultID}
		}
	}
	switch found {
	case 0:
		return fail(onepassword.NewResolveReferenceErrorTypeVariantFieldNotFound())
	case 1:
		return out, nil
	}
	return fail(onepassword.NewResolveReferenceErrorTypeVariantTooManyMatchingFields())
}
