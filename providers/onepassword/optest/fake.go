// Package optest is a 1Password account for tests, behind the interfaces of its Go
// library.
//
// It is as strict as the documentation, and stricter where that is silent: what
// comes in and goes out passes through JSON, IDs are never names, an item is changed
// only from its last version, and no two calls come at once. It is no proof that the
// real one does the same.
package optest

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	onepassword "github.com/1password/onepassword-sdk-go"
)

// Token is what the account takes as the service account's token.
const Token = "ops_the-token-of-the-fake-account"

// VaultName is the name of the account's one vault.
const VaultName = "Agents"

// Account is the account. Its fields are set before it is used, or under Do.
type Account struct {
	Path string // of the file that it is kept in; "": memory
	// Fail, when not nil, is what every call fails with, and signing in.
	Fail error
	// Left, when not 0, is how many more requests are taken before all are refused as
	// too many: -1 is none.
	Left int
	// Token is what it takes; "": [Token].
	Token string

	mu     sync.Mutex
	busy   atomic.Bool
	Vault  string // its ID
	Items  map[string]*onepassword.Item
	Gone   map[string]bool // archived
	Reads  int             // since Taken
	Writes int
	Asked  int // in all
	SignIn int // how often somebody signed in
}

// kept is what the file holds.
type kept struct {
	Vault string
	Items map[string]*onepassword.Item
	Gone  map[string]bool
}

// Do changes the account.
func (a *Account) Do(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

// Connect signs in, as the library's NewClient does.
func (a *Account) Connect(_ context.Context, token string) (*onepassword.Client, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.SignIn++
	want := a.Token
	if want == "" {
		want = Token
	}
	switch {
	case a.Left < 0:
		return nil, errors.New("error initializing client: rate limit exceeded")
	case a.Fail != nil:
		return nil, a.Fail
	case token != want:
		return nil, errors.New("error initializing client: you are not authenticated")
	}
	if a.Items == nil {
		if err := a.load(); err != nil {
			return nil, err
		}
	}
	return &onepassword.Client{SecretsAPI: secrets{a: a}, ItemsAPI: items{a: a}, VaultsAPI: vaults{a: a}}, nil
}

func (a *Account) load() error {
	k := kept{Vault: newID(), Items: make(map[string]*onepassword.Item), Gone: make(map[string]bool)}
	if a.Path != "" {
		b, err := os.ReadFile(a.Path)
		if err == nil {
			err = json.Unmarshal(b, &k)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	a.Vault, a.Items, a.Gone = k.Vault, k.Items, k.Gone
	return a.save()
}

func (a *Account) save() error {
	if a.Path == "" {
		return nil
	}
	b, err := json.Marshal(kept{a.Vault, a.Items, a.Gone})
	if err != nil {
		return err
	}
	return os.WriteFile(a.Path, b, 0o600)
}

// Taken returns how many requests there were since it was last asked.
func (a *Account) Taken() (reads, writes int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	reads, writes = a.Reads, a.Writes
	a.Reads, a.Writes = 0, 0
	return reads, writes
}

// begin counts a call, which is one at a time, and returns why it fails.
func (a *Account) begin(writes int) (end func(), err error) {
	if a.busy.Swap(true) {
		panic("two calls at once: the core is no place for that")
	}
	a.mu.Lock()
	end = func() { a.mu.Unlock(); a.busy.Store(false) }
	a.Asked++
	if a.Reads++; writes > 0 {
		a.Reads--
		a.Writes += writes
	}
	switch {
	case a.Left < 0:
		err = new(onepassword.RateLimitExceededError)
	case a.Fail != nil:
		err = a.Fail
	}
	if a.Left > 0 {
		if a.Left--; a.Left == 0 {
			a.Left = -1
		}
	}
	if err != nil {
		end()
		return nil, err
	}
	return end, nil
}

func newID() string {
	b := make([]byte, 17)
	_, _ = rand.Read(b) // never fails
	return strings.ToLower(base32.StdEncoding.EncodeToString(b))[:26]
}

// messageLimit is the library's, in bytes.
const messageLimit = 50 * 1024 * 1024

// through is v after it has passed through JSON, as all does on its way into the
// core and out of it.
func through[T any](v T) (out T, err error) {
	b, err := json.Marshal(v)
	if err != nil {
		return out, err
	}
	if len(b) > messageLimit {
		return out, errors.New("message size exceeds the limit")
	}
	return out, json.Unmarshal(b, &out)
}

// resting is what is left of the fields when they rest: nobody says that space at the
// ends, the kind of an end of a line, or a field without anything in it is kept.
func resting(fields []onepassword.ItemField) (out []onepassword.ItemField) {
	for _, f := range fields {
		f.Value = strings.TrimSpace(strings.ReplaceAll(f.Value, "\r\n", "\n"))
		if f.Value != "" || f.SectionID == nil {
			out = append(out, f)
		}
	}
	return out
}

// check refuses what the documentation does.
func check(fields []onepassword.ItemField, sections []onepassword.ItemSection) error {
	ids := make(map[string]bool)
	for _, f := range fields {
		if f.ID == "" || ids[f.ID] {
			return errors.New("invalid item: field IDs must be there and unique")
		}
		ids[f.ID] = true
		builtIn := f.ID == "password" || f.ID == "username" || f.ID == "notesPlain"
		switch {
		case f.SectionID == nil && !builtIn:
			return errors.New("invalid item: a custom field needs a section")
		case f.SectionID != nil && !slices.ContainsFunc(sections, func(s onepassword.ItemSection) bool { return s.ID == *f.SectionID }):
			return errors.New("invalid item: no such section")
		case f.FieldType != onepassword.ItemFieldTypeConcealed && f.FieldType != onepassword.ItemFieldTypeText:
			return errors.New("invalid item: a field type the test does not know")
		}
	}
	return nil
}

type vaults struct {
	onepassword.VaultsAPI // what is not below panics
	a                     *Account
}

func (v vaults) List(context.Context, ...onepassword.VaultListParams) ([]onepassword.VaultOverview, error) {
	end, err := v.a.begin(0)
	if err != nil {
		return nil, err
	}
	defer end()
	return through([]onepassword.VaultOverview{
		{ID: "other00000000000000000other", Title: "Others", VaultType: onepassword.VaultTypeUserCreated},
		{ID: v.a.Vault, Title: VaultName, VaultType: onepassword.VaultTypeUserCreated},
	})
}

type items struct {
	onepassword.ItemsAPI // what is not below panics
	a                    *Account
}

func (i items) inVault(id string) error {
	if id != i.a.Vault {
		return errors.New("the vault was not found")
	}
	return nil
}

func (i items) List(_ context.Context, vault string, filters ...onepassword.ItemListFilter) (out []onepassword.ItemOverview, err error) {
	end, err := i.a.begin(0)
	if err != nil {
		return nil, err
	}
	defer end()
	if err := i.inVault(vault); err != nil {
		return nil, err
	}
	archived := slices.ContainsFunc(filters, func(f onepassword.ItemListFilter) bool { return f.ByState().Archived })
	for id, item := range i.a.Items {
		state := onepassword.ItemStateActive
		if i.a.Gone[id] {
			if state = onepassword.ItemStateArchived; !archived {
				continue
			}
		}
		out = append(out, onepassword.ItemOverview{
			ID: id, Title: item.Title, Category: item.Category, VaultID: vault, Tags: item.Tags, CreatedAt: item.CreatedAt, UpdatedAt: item.UpdatedAt, State: state,
		})
	}
	return through(out)
}

func (i items) GetAll(_ context.Context, vault string, ids []string) (out onepassword.ItemsGetAllResponse, err error) {
	end, err := i.a.begin(0)
	if err != nil {
		return out, err
	}
	defer end()
	if err := i.inVault(vault); err != nil {
		return out, err
	}
	for _, id := range ids {
		item := i.a.Items[id]
		if item == nil {
			e := onepassword.NewItemsGetAllErrorTypeVariantItemNotFound()
			out.IndividualResponses = append(out.IndividualResponses, onepassword.Response[onepassword.Item, onepassword.ItemsGetAllError]{Error: &e})
			continue
		}
		copied, err := through(*item)
		if err != nil {
			return out, err
		}
		out.IndividualResponses = append(out.IndividualResponses, onepassword.Response[onepassword.Item, onepassword.ItemsGetAllError]{Content: &copied})
	}
	return out, nil
}

func (i items) CreateAll(_ context.Context, vault string, params []onepassword.ItemCreateParams) (out onepassword.ItemsUpdateAllResponse, err error) {
	end, err := i.a.begin(len(params))
	if err != nil {
		return out, err
	}
	defer end()
	if err := i.inVault(vault); err != nil {
		return out, err
	}
	for _, p := range params {
		p, err := through(p)
		if err != nil {
			return out, err
		}
		if err := check(p.Fields, p.Sections); err != nil || p.VaultID != vault || p.Title == "" {
			e := onepassword.NewItemUpdateFailureReasonTypeVariantItemValidationError("invalid item")
			out.IndividualResponses = append(out.IndividualResponses, onepassword.Response[onepassword.Item, onepassword.ItemUpdateFailureReason]{Error: &e})
			continue
		}
		now := time.Now().UTC()
		item := &onepassword.Item{
			ID: newID(), Title: p.Title, Category: p.Category, VaultID: vault, Fields: resting(p.Fields), Sections: p.Sections, Tags: p.Tags,
			Version: 1, CreatedAt: now, UpdatedAt: now,
		}
		if p.Category == onepassword.ItemCategoryPassword && !slices.ContainsFunc(item.Fields, func(f onepassword.ItemField) bool { return f.ID == "password" }) {
			// The category's own field is there, empty.
			item.Fields = append([]onepassword.ItemField{{ID: "password", Title: "password", FieldType: onepassword.ItemFieldTypeConcealed}}, item.Fields...)
		}
		i.a.Items[item.ID] = item
		copied, err := through(*item)
		if err != nil {
			return out, err
		}
		out.IndividualResponses = append(out.IndividualResponses, onepassword.Response[onepassword.Item, onepassword.ItemUpdateFailureReason]{Content: &copied})
	}
	return out, i.a.save()
}

func (i items) Put(_ context.Context, item onepassword.Item) (onepassword.Item, error) {
	end, err := i.a.begin(1)
	if err != nil {
		return onepassword.Item{}, err
	}
	defer end()
	item, err = through(item)
	if err != nil {
		return item, err
	}
	was := i.a.Items[item.ID]
	switch err := check(item.Fields, item.Sections); {
	case i.inVault(item.VaultID) != nil || was == nil:
		return onepassword.Item{}, errors.New("the item was not found")
	case item.Version != was.Version:
		return onepassword.Item{}, errors.New("the item's version is not the last one")
	case err != nil:
		return onepassword.Item{}, err
	case item.Category != was.Category:
		return onepassword.Item{}, errors.New("invalid item: its category cannot be changed")
	}
	item.Version++
	item.Fields = resting(item.Fields)
	item.CreatedAt, item.UpdatedAt = was.CreatedAt, time.Now().UTC()
	i.a.Items[item.ID] = &item
	if err := i.a.save(); err != nil {
		return item, err
	}
	return through(item)
}

func (i items) DeleteAll(_ context.Context, vault string, ids []string) (out onepassword.ItemsDeleteAllResponse, err error) {
	end, err := i.a.begin(len(ids))
	if err != nil {
		return out, err
	}
	defer end()
	if err := i.inVault(vault); err != nil {
		return out, err
	}
	out.IndividualResponses = make(map[string]onepassword.Response[struct{}, onepassword.ItemUpdateFailureReason])
	for _, id := range ids {
		if i.a.Items[id] == nil {
			e := onepassword.NewItemUpdateFailureReasonTypeVariantItemNotFound()
			out.IndividualResponses[id] = onepassword.Response[struct{}, onepassword.ItemUpdateFailureReason]{Error: &e}
			continue
		}
		delete(i.a.Items, id)
		out.IndividualResponses[id] = onepassword.Response[struct{}, onepassword.ItemUpdateFailureReason]{Content: new(struct{})}
	}
	return out, i.a.save()
}
