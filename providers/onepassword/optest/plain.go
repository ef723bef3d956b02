package optest

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Plain is an account as it is behind a Connect server and behind the op program:
// items are JSON. It is as strict as their documentation, and stricter where that is
// silent.
type Plain struct {
	Path string // of the file that it is kept in; "": memory

	mu sync.Mutex
	plainState
}

type plainState struct {
	Vault string                    // its ID
	Items map[string]map[string]any // :: ID → item
}

// VaultOther is a vault that the token may not have.
const VaultOther = "othervaultothervaultotherv"

// use calls f with what there is, and keeps what there is after.
func (p *Plain) use(f func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Items == nil || p.Path != "" {
		p.plainState = plainState{}
		if b, err := os.ReadFile(p.Path); err == nil {
			if err := json.Unmarshal(b, &p.plainState); err != nil {
				return err
			}
		} else if p.Path != "" && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if p.Items == nil {
			p.plainState = plainState{newID(), make(map[string]map[string]any)}
		}
	}
	if err := f(); err != nil || p.Path == "" {
		return err
	}
	b, err := json.Marshal(p.plainState)
	if err != nil {
		return err
	}
	return os.WriteFile(p.Path, b, 0o600)
}

// Keep has a person keep a value in a field of an item, which is made where there is
// none; "" takes the item away. What else the item has is nothing of ours.
func (p *Plain) Keep(title, section, field, value string) error {
	return p.use(func() error {
		for id, item := range p.Items {
			if item["title"] != title {
				continue
			}
			if value == "" {
				delete(p.Items, id)
				return nil
			}
			for _, f := range list(item["fields"]) {
				if f["label"] == field {
					f["value"] = value
				}
			}
			item["version"] = number(item["version"]) + 1
			return nil
		}
		id := newID()
		p.Items[id] = map[string]any{
			"id": id, "title": title, "category": "LOGIN", "vault": map[string]any{"id": p.Vault}, "tags": []any{}, "version": float64(1), "favorite": true,
			"urls":     []any{map[string]any{"href": "https://example.com", "primary": true}},
			"sections": []any{map[string]any{"id": "of-" + section, "label": section}},
			"fields": []any{
				map[string]any{"id": "username", "type": "STRING", "purpose": "USERNAME", "label": "username", "value": "joel"},
				map[string]any{"id": newID(), "type": "CONCEALED", "label": field, "value": value, "entropy": 103.5, "section": map[string]any{"id": "of-" + section}},
			},
		}
		return nil
	})
}

// Touch has a person put something of their own into an item.
func (p *Plain) Touch(title string) error {
	return p.use(func() error {
		for _, item := range p.Items {
			if item["title"] != title {
				continue
			}
			sections, _ := item["sections"].([]any)
			fields, _ := item["fields"].([]any)
			item["favorite"] = true
			item["sections"] = append(sections, map[string]any{"id": "theirs", "label": "of theirs"})
			item["fields"] = append(fields, map[string]any{
				"id": "code", "type": "OTP", "label": "code", "value": "otpauth://theirs", "entropy": 7.5, "section": map[string]any{"id": "theirs"},
			})
			item["version"] = number(item["version"]) + 1
			return nil
		}
		return errPlain("there is no such item")
	})
}

// JSON returns an item as it is.
func (p *Plain) JSON(title string) (out map[string]any) {
	_ = p.use(func() error {
		for _, item := range p.Items {
			if item["title"] == title {
				out = maps.Clone(item)
			}
		}
		return nil
	})
	return out
}

func list(v any) (out []map[string]any) {
	all, _ := v.([]any)
	for _, one := range all {
		m, _ := one.(map[string]any)
		out = append(out, m)
	}
	return out
}

func number(v any) float64 { n, _ := v.(float64); return n }
func text(v any) string    { s, _ := v.(string); return s }

// errPlain is what is wrong with an item, in words that its value is not among.
type errPlain string

func (e errPlain) Error() string { return string(e) }

// checked is an item that may be kept, as it rests.
func (p *Plain) checked(b []byte) (map[string]any, error) {
	var item map[string]any
	if err := json.Unmarshal(b, &item); err != nil {
		return nil, errPlain("the body is not JSON")
	}
	vault, _ := item["vault"].(map[string]any)
	switch {
	case vault["id"] != p.Vault:
		return nil, errPlain("the item names another vault")
	case text(item["title"]) == "":
		return nil, errPlain("the item has no title")
	case !slices.Contains([]string{"LOGIN", "PASSWORD", "API_CREDENTIAL", "SECURE_NOTE"}, text(item["category"])):
		return nil, errPlain("the item is of no known category")
	}
	sections := make(map[string]bool)
	for _, s := range list(item["sections"]) {
		if text(s["id"]) == "" || sections[text(s["id"])] {
			return nil, errPlain("section IDs must be there and unique")
		}
		sections[text(s["id"])] = true
	}
	var fields []any
	seen := make(map[string]bool)
	for _, f := range list(item["fields"]) {
		section, has := f["section"].(map[string]any)
		switch {
		case text(f["id"]) == "" || seen[text(f["id"])]:
			return nil, errPlain("field IDs must be there and unique")
		case has && !sections[text(section["id"])]:
			return nil, errPlain("a field is in no section there is")
		case !has && text(f["purpose"]) == "":
			return nil, errPlain("a field without a purpose needs a section")
		case !slices.Contains([]string{"STRING", "CONCEALED", "URL", "EMAIL", "OTP", "DATE", "MONTH_YEAR", "MENU"}, text(f["type"])):
			return nil, errPlain("a field is of no known type")
		}
		seen[text(f["id"])] = true
		f["value"] = strings.TrimSpace(strings.ReplaceAll(text(f["value"]), "\r\n", "\n"))
		if f["value"] != "" || !has {
			fields = append(fields, f)
		}
	}
	if text(item["category"]) == "PASSWORD" && !seen["password"] {
		fields = append([]any{map[string]any{"id": "password", "type": "CONCEALED", "purpose": "PASSWORD", "label": "password", "value": ""}}, fields...)
	}
	item["fields"] = fields
	return item, nil
}

// create makes an item.
func (p *Plain) create(b []byte) (map[string]any, error) {
	item, err := p.checked(b)
	if err != nil {
		return nil, err
	}
	if item["id"] != nil || item["version"] != nil {
		return nil, errPlain("a new item has neither ID nor version")
	}
	id, now := newID(), time.Now().UTC().Format(time.RFC3339)
	item["id"], item["version"], item["createdAt"], item["updatedAt"] = id, float64(1), now, now
	p.Items[id] = item
	return item, nil
}

// put replaces an item, with nothing left of what it was.
func (p *Plain) put(id string, b []byte) (map[string]any, error) {
	item, err := p.checked(b)
	if err != nil {
		return nil, err
	}
	was := p.Items[id]
	switch {
	case item["id"] != id:
		return nil, errPlain("the item has another ID")
	case item["category"] != was["category"]:
		return nil, errPlain("the category cannot be changed")
	}
	item["version"], item["createdAt"] = number(was["version"])+1, was["createdAt"]
	p.Items[id] = item
	return item, nil
}

// shown is an item in a list: without its fields.
func shown(item map[string]any) map[string]any {
	out := maps.Clone(item)
	for _, key := range []string{"fields", "sections", "files"} {
		delete(out, key)
	}
	return out
}
