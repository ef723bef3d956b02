package servicetest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// OpenAI is a fake of OpenAI's API, with one organization that has one project.
type OpenAI struct {
	Fake
	Project  string
	AdminKey string
	Org      string
	// Restricted: no key may list models.
	Restricted bool

	accounts []openAIAccount
	keys     []openAIKey
	next     int
}

type openAIAccount struct {
	Object  string `json:"object"`
	ID      string `json:"id"`
	Name    string `json:"name"`
	Role    string `json:"role"`
	Created int64  `json:"created_at"`
}

type openAIKey struct {
	id, name, value string
	account         string // "": a person's
	created         int64
}

const openAIEpoch = 1711471533

// NewOpenAI starts the fake.
func NewOpenAI(t testing.TB) *OpenAI {
	o := &OpenAI{Project: "proj_abc", Org: "org-of-tests"}
	o.start(t)
	o.URL += "/v1"
	o.AdminKey = o.mint("admin key")
	accounts := "/v1/organization/projects/{project}/service_accounts"
	keys := "/v1/organization/projects/{project}/api_keys"
	o.on("GET /v1/models", endpoint{do: o.models})
	o.on("GET "+accounts, endpoint{query: []string{"limit", "after"}, do: o.admin(o.listAccounts)})
	o.on("POST "+accounts, endpoint{body: func() any { return new(openAINew) }, do: o.admin(o.create)})
	o.on("DELETE "+accounts+"/{id}", endpoint{do: o.admin(o.deleteAccount)})
	o.on("GET "+keys, endpoint{query: []string{"limit", "after", "owner_project_access"}, do: o.admin(o.listKeys)})
	o.on("DELETE "+keys+"/{id}", endpoint{do: o.admin(o.deleteKey)})
	return o
}

// AddAccount makes a service account with a key, as somebody else might have.
func (o *OpenAI) AddAccount(name string) (id, value string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	a, k := o.addAccountLocked(name)
	return a.ID, k.value
}

func (o *OpenAI) addAccountLocked(name string) (openAIAccount, openAIKey) {
	o.next++
	a := openAIAccount{"organization.project.service_account", fmt.Sprintf("svc_acct_%d", o.next), name, "member", openAIEpoch + int64(o.next)}
	o.accounts = append(o.accounts, a)
	return a, o.addKeyLocked(a.ID, o.mintLocked("key"))
}

// AddKey makes another key: of a service account, or of a person where that is "".
func (o *OpenAI) AddKey(account string) (id, value string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	k := o.addKeyLocked(account, o.mintLocked("key"))
	return k.id, k.value
}

// AddTwin makes a key that looks like another to the administrator.
func (o *OpenAI) AddTwin(value string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.addKeyLocked("", value[:6]+"-twin-"+value[len(value)-4:])
}

func (o *OpenAI) addKeyLocked(account, value string) openAIKey {
	o.next++
	k := openAIKey{fmt.Sprintf("key_%d", o.next), "Secret Key", value, account, openAIEpoch + int64(o.next)}
	o.keys = append(o.keys, k)
	return k
}

// Accounts returns the names of the service accounts.
func (o *OpenAI) Accounts() (names []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range o.accounts {
		names = append(names, a.Name)
	}
	return names
}

// refuse answers with an error in OpenAI's form.
func (o *OpenAI) refuse(w http.ResponseWriter, status int, kind, message string) {
	reply(w, status, map[string]any{"error": map[string]any{"message": message, "type": kind, "param": nil, "code": nil}})
}

func (o *OpenAI) models(w http.ResponseWriter, r *http.Request, _ any) {
	given := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	o.mu.Lock()
	known := slices.ContainsFunc(o.keys, func(k openAIKey) bool { return k.value == given })
	o.mu.Unlock()
	switch {
	case !known:
		o.refuse(w, http.StatusUnauthorized, "invalid_request_error", "Incorrect API key provided: "+given)
	case o.Restricted:
		o.refuse(w, http.StatusForbidden, "invalid_request_error", "You have insufficient permissions for this operation.")
	default:
		w.Header().Set("Openai-Organization", o.Org)
		reply(w, http.StatusOK, map[string]any{"object": "list", "data": []any{
			map[string]any{"id": "model-1", "object": "model", "created": openAIEpoch, "owned_by": "openai"},
		}})
	}
}

// admin lets only the administrator pass, to the one project.
func (o *OpenAI) admin(do func(http.ResponseWriter, *http.Request, any)) func(http.ResponseWriter, *http.Request, any) {
	return func(w http.ResponseWriter, r *http.Request, body any) {
		o.mu.Lock()
		defer o.mu.Unlock()
		given := r.Header.Get("Authorization")
		switch {
		case given != "Bearer "+o.AdminKey:
			o.refuse(w, http.StatusUnauthorized, "invalid_request_error", "Incorrect API key provided: "+given)
		case r.PathValue("project") != o.Project:
			o.refuse(w, http.StatusNotFound, "invalid_request_error", "No such project")
		default:
			do(w, r, body)
		}
	}
}

type openAINew struct {
	Name string `json:"name"`
	Only *bool  `json:"create_service_account_only"`
}

func (o *OpenAI) create(w http.ResponseWriter, _ *http.Request, body any) {
	in := body.(*openAINew)
	if in.Name == "" || in.Only != nil {
		o.refuse(w, http.StatusBadRequest, "invalid_request_error", "name")
		return
	}
	a, key := o.addAccountLocked(in.Name)
	reply(w, http.StatusOK, map[string]any{
		"object": a.Object, "id": a.ID, "name": a.Name, "role": a.Role, "created_at": a.Created,
		"api_key": map[string]any{
			"object": "organization.project.service_account.api_key", "value": key.value, "name": key.name,
			"created_at": key.created, "id": key.id, "expires_at": nil,
		},
	})
}

func (o *OpenAI) deleteAccount(w http.ResponseWriter, r *http.Request, _ any) {
	id := r.PathValue("id")
	n := len(o.accounts)
	o.accounts = slices.DeleteFunc(o.accounts, func(a openAIAccount) bool { return a.ID == id })
	if len(o.accounts) == n {
		o.refuse(w, http.StatusNotFound, "invalid_request_error", "No such service account")
		return
	}
	o.keys = slices.DeleteFunc(o.keys, func(k openAIKey) bool { return k.account == id })
	reply(w, http.StatusOK, map[string]any{"object": "organization.project.service_account.deleted", "id": id, "deleted": true})
}

func (o *OpenAI) deleteKey(w http.ResponseWriter, r *http.Request, _ any) {
	i := slices.IndexFunc(o.keys, func(k openAIKey) bool { return k.id == r.PathValue("id") })
	switch {
	case i < 0:
		o.refuse(w, http.StatusNotFound, "invalid_request_error", "No such key")
	case o.keys[i].account != "":
		o.refuse(w, http.StatusBadRequest, "invalid_request_error", "The key belongs to a service account")
	default:
		id := o.keys[i].id
		o.keys = slices.Delete(o.keys, i, i+1)
		reply(w, http.StatusOK, map[string]any{"object": "organization.project.api_key.deleted", "id": id, "deleted": true})
	}
}

func (o *OpenAI) listAccounts(w http.ResponseWriter, r *http.Request, _ any) {
	var all []entry
	for _, a := range o.accounts {
		all = append(all, entry{a.ID, a})
	}
	o.list(w, r, all)
}

func (o *OpenAI) listKeys(w http.ResponseWriter, r *http.Request, _ any) {
	var all []entry
	for _, k := range o.keys {
		owner := map[string]any{"type": "user", "user": map[string]any{"id": "user_1", "name": "Owner", "role": "owner", "created_at": openAIEpoch}}
		if k.account != "" {
			i := slices.IndexFunc(o.accounts, func(a openAIAccount) bool { return a.ID == k.account })
			owner = map[string]any{"type": "service_account", "service_account": o.accounts[i]}
		}
		all = append(all, entry{k.id, map[string]any{
			"object": "organization.project.api_key", "redacted_value": k.value[:6] + "..." + k.value[len(k.value)-4:],
			"name": k.name, "created_at": k.created, "last_used_at": nil, "id": k.id,
			"owner_project_access": "active", "owner": owner,
		}})
	}
	o.list(w, r, all)
}

func (o *OpenAI) list(w http.ResponseWriter, r *http.Request, all []entry) {
	p, ok := cut(all, r.URL.Query().Get("limit"), 20, 100, r.URL.Query().Get("after"))
	if !ok {
		o.refuse(w, http.StatusBadRequest, "invalid_request_error", "limit, or after")
		return
	}
	p["object"] = "list"
	reply(w, http.StatusOK, p)
}

// entry is an entry of a list.
type entry struct {
	id   string
	show any
}

// cut makes a page of a list, in the form that OpenAI and Anthropic share.
func cut(all []entry, limit string, otherwise, most int, after string) (map[string]any, bool) {
	n := otherwise
	if limit != "" {
		var err error
		if n, err = strconv.Atoi(limit); err != nil || n < 1 || n > most {
			return nil, false
		}
	}
	if after != "" {
		i := slices.IndexFunc(all, func(e entry) bool { return e.id == after })
		if i < 0 {
			return nil, false
		}
		all = all[i+1:]
	}
	more := len(all) > n
	all = all[:min(n, len(all))]
	p := map[string]any{"data": []any{}, "has_more": more, "first_id": nil, "last_id": nil}
	for _, e := range all {
		p["data"] = append(p["data"].([]any), e.show)
		p["last_id"] = e.id
	}
	if len(all) > 0 {
		p["first_id"] = all[0].id
	}
	return p, true
}
