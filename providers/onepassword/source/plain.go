package source

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	onepassword "github.com/1password/onepassword-sdk-go"

	"secretctl/providers/onepassword/wire"
)

// server is 1Password without its library: items are JSON, of one shape for a
// Connect server and for the op program. Its errors are a [wire.Error].
type server interface {
	vaults(context.Context) ([]overview, error)
	items(ctx context.Context, vault string) ([]overview, error)
	// get returns those of the items that are there.
	get(ctx context.Context, vault string, ids []string) ([]json.RawMessage, error)
	create(ctx context.Context, vault string, item []byte) (json.RawMessage, error)
	// put replaces the whole item.
	put(ctx context.Context, vault, id string, item []byte) error
	remove(ctx context.Context, vault, id string) error
}

// overview is a vault, or an item without its fields.
type overview struct {
	ID    string   `json:"id"`
	Name  string   `json:"name"`  // of a vault
	Title string   `json:"title"` // of an item
	Tags  []string `json:"tags"`
	State string   `json:"state"` // of an item: "ARCHIVED", "DELETED" or, mostly, ""
}

// plainItem is as much of an item as we understand.
type plainItem struct {
	ID       string            `json:"id,omitempty"`
	Title    string            `json:"title"`
	Category string            `json:"category"`
	Vault    plainID           `json:"vault"`
	Tags     []string          `json:"tags"`
	Version  uint32            `json:"version,omitempty"`
	Sections []plainSection    `json:"sections"`
	Fields   []plainField      `json:"fields"`
	Files    []json.RawMessage `json:"files,omitempty"`
}

type plainID struct {
	ID string `json:"id"`
}

type plainSection struct {
	ID    string `json:"id"`
	Label string `json:"label"`
}

type plainField struct {
	ID      string   `json:"id"`
	Section *plainID `json:"section,omitempty"`
	Type    string   `json:"type"`
	Purpose string   `json:"purpose,omitempty"`
	Label   string   `json:"label"`
	Value   string   `json:"value"`
}

// plainTypes are the types of the fields that we make.
var plainTypes = map[onepassword.ItemFieldType]string{onepassword.ItemFieldTypeConcealed: "CONCEALED", onepassword.ItemFieldTypeText: "STRING"}

// isNotes reports whether a field is what the library has as an item's notes.
func (f plainField) isNotes() bool { return f.Purpose == "NOTES" || f.ID == "notesPlain" }

// item is what it is to the library. Category and types it does not have are left
// out: nothing here asks for them.
func (p *plainItem) item() onepassword.Item {
	out := onepassword.Item{ID: p.ID, Title: p.Title, VaultID: p.Vault.ID, Tags: p.Tags, Version: p.Version}
	for _, s := range p.Sections {
		out.Sections = append(out.Sections, onepassword.ItemSection{ID: s.ID, Title: s.Label})
	}
	for _, f := range p.Fields {
		if f.isNotes() {
			out.Notes = f.Value
			continue
		}
		field := onepassword.ItemField{ID: f.ID, Title: f.Label, Value: f.Value}
		if f.Section != nil {
			field.SectionID = &f.Section.ID
		}
		out.Fields = append(out.Fields, field)
	}
	out.Files = make([]onepassword.ItemFile, len(p.Files))
	return out
}

func plainFields(fields []onepassword.ItemField) (out []plainField) {
	for _, f := range fields {
		p := plainField{ID: f.ID, Type: plainTypes[f.FieldType], Label: f.Title, Value: f.Value}
		if f.SectionID != nil {
			p.Section = &plainID{*f.SectionID}
		}
		out = append(out, p)
	}
	return out
}

func plainSections(sections []onepassword.ItemSection) (out []plainSection) {
	for _, s := range sections {
		out = append(out, plainSection{s.ID, s.Title})
	}
	return out
}

// merged is the item raw with the fields and sections that item has, and as it is in
// all else: what we do not understand stays.
func merged(raw json.RawMessage, item onepassword.Item) ([]byte, error) {
	var whole map[string]json.RawMessage
	var fields []map[string]json.RawMessage
	var is plainItem
	if err := errors.Join(json.Unmarshal(raw, &whole), json.Unmarshal(raw, &is)); err != nil {
		return nil, err
	}
	if whole["fields"] != nil {
		if err := json.Unmarshal(whole["fields"], &fields); err != nil {
			return nil, err
		}
	}
	known := make(map[string]bool)
	var left []any
	for i, f := range is.Fields {
		known[f.ID] = true
		if f.isNotes() || slices.ContainsFunc(item.Fields, func(w onepassword.ItemField) bool { return w.ID == f.ID }) {
			left = append(left, fields[i])
		}
	}
	for _, f := range plainFields(item.Fields) {
		if !known[f.ID] {
			left = append(left, f)
		}
	}
	var sections []json.RawMessage
	if whole["sections"] != nil {
		if err := json.Unmarshal(whole["sections"], &sections); err != nil {
			return nil, err
		}
	}
	for _, s := range plainSections(item.Sections) {
		if slices.ContainsFunc(is.Sections, func(p plainSection) bool { return p.ID == s.ID }) {
			continue
		}
		b, err := json.Marshal(s)
		if err != nil {
			return nil, err
		}
		sections = append(sections, b)
	}
	var err error
	if whole["fields"], err = json.Marshal(left); err != nil {
		return nil, err
	}
	if whole["sections"], err = json.Marshal(sections); err != nil {
		return nil, err
	}
	return json.Marshal(whole)
}

// client is a server behind the interfaces of the library.
func client(s server) *onepassword.Client {
	return &onepassword.Client{VaultsAPI: plainVaults{s: s}, ItemsAPI: plainItems{s: s}, SecretsAPI: plainSecrets{s: s}}
}

// What the interfaces have and this program does not ask for would panic.
type (
	plainVaults struct {
		onepassword.VaultsAPI
		s server
	}
	plainItems struct {
		onepassword.ItemsAPI
		s server
	}
	plainSecrets struct {
		onepassword.SecretsAPI
		s server
	}
)

func (v plainVaults) List(ctx context.Context, _ ...onepassword.VaultListParams) (out []onepassword.VaultOverview, err error) {
	all, err := v.s.vaults(ctx)
	for _, o := range all {
		out = append(out, onepassword.VaultOverview{ID: o.ID, Title: o.Name})
	}
	return out, err
}

func (i plainItems) List(ctx context.Context, vault string, _ ...onepassword.ItemListFilter) (out []onepassword.ItemOverview, err error) {
	all, err := i.s.items(ctx, vault)
	for _, o := range all {
		if o.State == "" || o.State == "ACTIVE" {
			out = append(out, onepassword.ItemOverview{ID: o.ID, Title: o.Title, Tags: o.Tags, VaultID: vault})
		}
	}
	return out, err
}

// read gets items as we understand them, beside the JSON they are.
func read(ctx context.Context, s server, vault string, ids []string) (items map[string]plainItem, raw map[string]json.RawMessage, err error) {
	all, err := s.get(ctx, vault, ids)
	if err != nil {
		return nil, nil, err
	}
	items, raw = make(map[string]plainItem), make(map[string]json.RawMessage)
	for _, r := range all {
		var p plainItem
		if err := json.Unmarshal(r, &p); err != nil || p.ID == "" || p.Version == 0 {
			return nil, nil, notUnderstood("an item")
		}
		items[p.ID], raw[p.ID] = p, r
	}
	return items, raw, nil
}

// notUnderstood is the error of an answer that is not what is documented.
func notUnderstood(what string) *wire.Error {
	return &wire.Error{Kind: wire.Unavailable, Problem: "1Password gave " + what + " that is not what it documents"}
}

func (i plainItems) GetAll(ctx context.Context, vault string, ids []string) (out onepassword.ItemsGetAllResponse, err error) {
	items, _, err := read(ctx, i.s, vault, ids)
	if err != nil {
		return out, err
	}
	for _, id := range ids {
		var r onepassword.Response[onepassword.Item, onepassword.ItemsGetAllError]
		if p, ok := items[id]; ok {
			r.Content = new(p.item())
		} else {
			r.Error = new(onepassword.NewItemsGetAllErrorTypeVariantItemNotFound())
		}
		out.IndividualResponses = append(out.IndividualResponses, r)
	}
	return out, nil
}

func (i plainItems) CreateAll(ctx context.Context, vault string, params []onepassword.ItemCreateParams) (out onepassword.ItemsUpdateAllResponse, err error) {
	for _, p := range params {
		b, err := json.Marshal(plainItem{
			Title: p.Title, Category: "PASSWORD", Vault: plainID{vault}, Tags: p.Tags, Sections: plainSections(p.Sections), Fields: plainFields(p.Fields),
		})
		if err != nil {
			return out, err
		}
		raw, err := i.s.create(ctx, vault, b)
		if err != nil {
			return out, err
		}
		var made plainItem
		if err := json.Unmarshal(raw, &made); err != nil || made.ID == "" {
			return out, notUnderstood("an item")
		}
		out.IndividualResponses = append(out.IndividualResponses, onepassword.Response[onepassword.Item, onepassword.ItemUpdateFailureReason]{Content: new(made.item())})
	}
	return out, nil
}

// Put reads the item once more, since it is replaced as a whole by what is sent, and
// neither server takes a condition: one that was changed since is left alone. Who
// changes it in the moment between the two loses.
func (i plainItems) Put(ctx context.Context, item onepassword.Item) (out onepassword.Item, err error) {
	items, raw, err := read(ctx, i.s, item.VaultID, []string{item.ID})
	if err != nil {
		return out, err
	}
	if now, ok := items[item.ID]; !ok || now.Version != item.Version {
		return out, &wire.Error{Kind: wire.Unavailable, Problem: "the item was changed in 1Password meanwhile", Remedy: "try again"}
	}
	b, err := merged(raw[item.ID], item)
	if err != nil {
		return out, notUnderstood("an item")
	}
	return item, i.s.put(ctx, item.VaultID, item.ID, b)
}

func (i plainItems) DeleteAll(ctx context.Context, vault string, ids []string) (out onepassword.ItemsDeleteAllResponse, err error) {
	out.IndividualResponses = make(map[string]onepassword.Response[struct{}, onepassword.ItemUpdateFailureReason])
	for _, id := range ids {
		if err := i.s.remove(ctx, vault, id); err != nil {
			return out, err
		}
		out.IndividualResponses[id] = onepassword.Response[struct{}, onepassword.ItemUpdateFailureReason]{Content: new(struct{})}
	}
	return out, nil
}

type (
	resolved   = onepassword.Response[onepassword.ResolvedReference, onepassword.ResolveReferenceError]
	unresolved = onepassword.ResolveReferenceError
)

func (s plainSecrets) ResolveAll(ctx context.Context, refs []string) (out onepassword.ResolveAllResponse, err error) {
	out.IndividualResponses = make(map[string]resolved)
	vaults, err := s.s.vaults(ctx)
	if err != nil {
		return out, err
	}
	listed := make(map[string][]overview) // :: vault → its items
	for _, text := range refs {
		value, wrong, err := s.resolve(ctx, vaults, listed, text)
		if err != nil {
			return out, err
		}
		r := resolved{Error: wrong}
		if wrong == nil {
			r.Content = &onepassword.ResolvedReference{Secret: value}
		}
		out.IndividualResponses[text] = r
	}
	return out, nil
}

// resolve finds what lies at a reference, as the library does: IDs first, and names
// of which the case does not matter.
func (s plainSecrets) resolve(ctx context.Context, vaults []overview, listed map[string][]overview, text string) (value string, wrong *unresolved, err error) {
	ref, problem, _ := wire.ParseReference(text)
	if problem != "" {
		return "", new(onepassword.NewResolveReferenceErrorTypeVariantParsing("")), nil
	}
	in := named(vaults, ref.Vault)
	switch len(in) {
	case 0:
		return "", new(onepassword.NewResolveReferenceErrorTypeVariantVaultNotFound()), nil
	case 1:
	default:
		return "", new(onepassword.NewResolveReferenceErrorTypeVariantTooManyVaults()), nil
	}
	if listed[in[0]] == nil {
		if listed[in[0]], err = s.s.items(ctx, in[0]); err != nil {
			return "", nil, err
		}
	}
	of := named(slices.DeleteFunc(slices.Clone(listed[in[0]]), func(o overview) bool { return o.State != "" && o.State != "ACTIVE" }), ref.Item)
	switch len(of) {
	case 0:
		return "", new(onepassword.NewResolveReferenceErrorTypeVariantItemNotFound()), nil
	case 1:
	default:
		return "", new(onepassword.NewResolveReferenceErrorTypeVariantTooManyItems()), nil
	}
	items, _, err := read(ctx, s.s, in[0], of)
	if err != nil {
		return "", nil, err
	}
	item, ok := items[of[0]]
	if !ok {
		return "", new(onepassword.NewResolveReferenceErrorTypeVariantItemNotFound()), nil
	}
	value, wrong = item.field(ref)
	return value, wrong, nil
}

// named returns the IDs of those that part of a reference means.
func named(all []overview, part string) (ids []string) {
	for _, o := range all {
		if o.ID == part {
			return []string{o.ID}
		}
		if strings.EqualFold(o.Name+o.Title, part) { // it has one of the two
			ids = append(ids, o.ID)
		}
	}
	return ids
}

// field returns the value of the field that a reference means.
func (p *plainItem) field(ref wire.Reference) (value string, wrong *unresolved) {
	sections := make(map[string]bool)
	for _, s := range p.Sections {
		if s.ID == ref.Section || strings.EqualFold(s.Label, ref.Section) {
			sections[s.ID] = true
		}
	}
	if ref.Section != "" && len(sections) == 0 {
		return "", new(onepassword.NewResolveReferenceErrorTypeVariantNoMatchingSections())
	}
	found := 0
	for _, f := range p.Fields {
		if f.ID != ref.Field && !strings.EqualFold(f.Label, ref.Field) || ref.Section != "" && (f.Section == nil || !sections[f.Section.ID]) {
			continue
		}
		value = f.Value
		found++
	}
	switch found {
	case 0:
		return "", new(onepassword.NewResolveReferenceErrorTypeVariantFieldNotFound())
	case 1:
		return value, nil
	}
	return "", new(onepassword.NewResolveReferenceErrorTypeVariantTooManyMatchingFields())
}
