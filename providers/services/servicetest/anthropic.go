package servicetest

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
)

// Anthropic is a fake of Anthropic's API, with one organization.
type Anthropic struct {
	Fake
	AdminKey string
	Org      string

	keys []anthropicKey
	next int
}

type anthropicKey struct {
	id, value, hint, status string
}

// NewAnthropic starts the fake.
func NewAnthropic(t testing.TB) *Anthropic {
	a := &Anthropic{Org: "11111111-2222-3333-4444-555555555555"}
	a.start(t)
	a.AdminKey = a.mint("admin key")
	keys := "/v1/organizations/api_keys"
	headers := map[string]string{"Anthropic-Version": "2023-06-01", "X-Api-Key": ""}
	a.on("GET /v1/models", endpoint{headers: headers, query: []string{"limit", "after_id", "before_id"}, do: a.models})
	a.on("GET "+keys, endpoint{headers: headers, query: []string{"limit", "after_id", "before_id", "created_by_user_id", "workspace_id", "status"}, do: a.admin(a.list)})
	a.on("GET "+keys+"/{id}", endpoint{headers: headers, do: a.admin(a.get)})
	a.on("POST "+keys+"/{id}", endpoint{headers: headers, body: func() any { return new(anthropicUpdate) }, do: a.admin(a.update)})
	return a
}

// Add makes a key, as a person does at the console.
func (a *Anthropic) Add() (id, value string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v := a.mintLocked("key")
	k := a.addLocked(v, v[:20]+"..."+v[len(v)-4:])
	return k.id, k.value
}

// AddTwin makes a key that looks like another to the administrator.
func (a *Anthropic) AddTwin(value string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.addLocked(a.mintLocked("key"), value[:20]+"..."+value[len(value)-4:])
}

func (a *Anthropic) addLocked(value, hint string) anthropicKey {
	a.next++
	k := anthropicKey{fmt.Sprintf("apikey_%d", a.next), value, hint, "active"}
	a.keys = append(a.keys, k)
	return k
}

// Status returns a key's.
func (a *Anthropic) Status(id string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.keys[a.find(id)].status
}

func (a *Anthropic) find(id string) int {
	return slices.IndexFunc(a.keys, func(k anthropicKey) bool { return k.id == id })
}

func (a *Anthropic) refuse(w http.ResponseWriter, status int, kind, message string) {
	reply(w, status, map[string]any{"type": "error", "error": map[string]any{"type": kind, "message": message}, "request_id": "req_1"})
}

func (a *Anthropic) models(w http.ResponseWriter, r *http.Request, _ any) {
	given := r.Header.Get("X-Api-Key")
	a.mu.Lock()
	known := slices.ContainsFunc(a.keys, func(k anthropicKey) bool { return k.value == given && k.status == "active" })
	a.mu.Unlock()
	if !known {
		a.refuse(w, http.StatusUnauthorized, "authentication_error", "invalid x-api-key "+given)
		return
	}
	w.Header().Set("Anthropic-Organization-Id", a.Org)
	reply(w, http.StatusOK, map[string]any{"data": []any{
		map[string]any{"type": "model", "id": "claude-1", "display_name": "Claude", "created_at": "2024-10-30T23:58:27Z"},
	}, "has_more": false, "first_id": "claude-1", "last_id": "claude-1"})
}

func (a *Anthropic) admin(do func(http.ResponseWriter, *http.Request, any)) func(http.ResponseWriter, *http.Request, any) {
	return func(w http.ResponseWriter, r *http.Request, body any) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if given := r.Header.Get("X-Api-Key"); given != a.AdminKey {
			a.refuse(w, http.StatusUnauthorized, "authentication_error", "invalid x-api-key "+given)
			return
		}
		do(w, r, body)
	}
}

func (k anthropicKey) show() map[string]any {
	return map[string]any{
		"type": "api_key", "id": k.id, "name": "Developer Key", "partial_key_hint": k.hint, "status": k.status,
		"created_at": "2024-10-30T23:58:27.427722Z", "created_by": map[string]any{"id": "user_1", "type": "user"}, "workspace_id": nil,
	}
}

func (a *Anthropic) list(w http.ResponseWriter, r *http.Request, _ any) {
	var all []entry
	for _, k := range a.keys {
		all = append(all, entry{k.id, k.show()})
	}
	p, ok := cut(all, r.URL.Query().Get("limit"), 20, 1000, r.URL.Query().Get("after_id"))
	if !ok {
		a.refuse(w, http.StatusBadRequest, "invalid_request_error", "limit, or after_id")
		return
	}
	reply(w, http.StatusOK, p)
}

func (a *Anthropic) get(w http.ResponseWriter, r *http.Request, _ any) {
	i := a.find(r.PathValue("id"))
	if i < 0 {
		a.refuse(w, http.StatusNotFound, "not_found_error", "no such key")
		return
	}
	reply(w, http.StatusOK, a.keys[i].show())
}

type anthropicUpdate struct {
	Name   *string `json:"name"`
	Status string  `json:"status"`
}

func (a *Anthropic) update(w http.ResponseWriter, r *http.Request, body any) {
	i, in := a.find(r.PathValue("id")), body.(*anthropicUpdate)
	switch {
	case i < 0:
		a.refuse(w, http.StatusNotFound, "not_found_error", "no such key")
	case !slices.Contains([]string{"active", "inactive", "archived"}, in.Status):
		a.refuse(w, http.StatusBadRequest, "invalid_request_error", "status")
	case a.keys[i].status == "archived":
		a.refuse(w, http.StatusBadRequest, "invalid_request_error", "the key is archived")
	default:
		a.keys[i].status = in.Status
		reply(w, http.StatusOK, a.keys[i].show())
	}
}
