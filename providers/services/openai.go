package services

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"secretctl/broker/secret"
	"secretctl/providers"
)

const (
	openAIKeysPage  = "https://platform.openai.com/api-keys"
	openAIAdminPage = "https://platform.openai.com/settings/organization/admin-keys"
)

// OpenAI describes the provider of API keys of OpenAI. A key is rotated together
// with its service account, since a key of a service account cannot be deleted
// alone. An account is named by the tag, in full: the specification knows no
// limit of a name.
//
// Read was the specification at f85dbe2. It is silent on how soon a new key is
// accepted everywhere, so that Proofs and ProofGap are a guess. Lag is what the
// vendor's API overview allows for changes of keys, read in a translation.
// According to Doppler, who rotate the same way, an admin key will do that is
// restricted to writing Organization Administration.
func OpenAI() providers.Kind {
	return providers.Kind{
		Name:    "openai",
		Summary: "an API key of an OpenAI project, each with a service account of its own",
		Shape:   providers.ShapeCreate,
		Options: []providers.Option{
			{Name: "project", Type: providers.Text, Required: true, Help: "the project's id", Example: `"proj_x"`},
			{Name: "admin_key", Type: providers.Own, Required: true, Help: "an admin key of the organization", Example: `"own/openai-admin"`},
			{Name: "base_url", Type: providers.Text, Default: "https://api.openai.com/v1", Help: "where the API is", Example: `"https://api.openai.com/v1"`},
		},
		Permission: "an Admin API key of the organization",
		Docs:       "https://github.com/openai/openai-openapi",
		Read:       "2026-11-26",
		Schedule:   "0 4 1 * *",
		Overlap:    true,
		Proofs:     2,
		ProofGap:   2 * time.Second,
		Lag:        15 * time.Minute,
		Open:       openOpenAI,
	}
}

func openOpenAI(o providers.Options) (providers.Rotator, error) {
	c, err := newClient("OpenAI", "base_url", o.Text("base_url"))
	if err != nil {
		return nil, err
	}
	if !word(o.Text("project")) {
		return nil, &providers.OptionError{Option: "project", Problem: fmt.Sprintf("%q is not the id of a project", o.Text("project")), Remedy: `project = "proj_x", from platform.openai.com/settings, General`}
	}
	c.denied = fmt.Sprintf("see at %s that %s is in use and may write; then: secretctl set %s", openAIAdminPage, o.Own("admin_key"), o.Own("admin_key"))
	return &openAI{c, o.Text("project"), o.Own("admin_key")}, nil
}

type openAI struct {
	*client
	project string
	admin   secret.Name
}

// manage calls, as the administrator, what is below the project.
func (o *openAI) manage(ctx context.Context, c *providers.Call, call func(request) error, method string, path ...string) error {
	admin, err := c.Open(ctx, o.admin)
	if err != nil {
		return err
	}
	defer admin.Clear()
	return call(request{
		method: method, path: append([]string{"organization", "projects", o.project}, path...),
		auth: bearer(admin), want: http.StatusOK,
	})
}

type serviceAccount struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Created int64  `json:"created_at"`
}

func (o *openAI) accounts(ctx context.Context, c *providers.Call) (all []serviceAccount, err error) {
	err = o.manage(ctx, c, func(r request) (err error) {
		all, err = list[serviceAccount](ctx, o.client, r, "after")
		return err
	}, http.MethodGet, "service_accounts")
	return all, err
}

// Check lists the service accounts: the admin key is accepted and the project is
// there.
func (o *openAI) Check(ctx context.Context, c *providers.Call) (providers.Identity, error) {
	if _, err := o.accounts(ctx, c); err != nil {
		return providers.Identity{}, o.explain(err)
	}
	return whose(ctx, c, o.Verify)
}

// explain adds what a refusal means in a call below a project.
func (o *openAI) explain(err error) error {
	e, ok := err.(*providers.CallError)
	if !ok {
		return err
	}
	switch e.Code {
	case providers.CodeNotFound:
		e.Problem, e.Remedy = fmt.Sprintf("OpenAI has no project %q that the admin key may see", o.project), "see the project's id at platform.openai.com/settings, General"
	case providers.CodeOptions:
		e.Remedy = fmt.Sprintf("see that the project %q is not archived", o.project)
	}
	return e
}

// newAccount is the answer to making a service account.
type newAccount struct {
	serviceAccount
	Key struct {
		ID      string `json:"id"`
		Value   sealed `json:"value"`
		Expires int64  `json:"expires_at"` // null: never
	} `json:"api_key"`
}

func (a *newAccount) usable() bool { return word(a.ID) && !a.Key.Value.IsZero() }
func (a *newAccount) clear()       { a.Key.Value.Clear() }

// Issue makes a service account, and a key comes with it.
func (o *openAI) Issue(ctx context.Context, c *providers.Call, _ *providers.Credential) (*providers.Credential, error) {
	var made newAccount
	err := o.manage(ctx, c, func(r request) error {
		r.into = &made
		r.body = func(b []byte) ([]byte, error) {
			return fmt.Appendf(b, `{"name":"%s"}`, secret.AppendJSON(nil, []byte(c.Tag))), nil
		}
		_, err := o.do(ctx, r)
		return err
	}, http.MethodPost, "service_accounts")
	if err != nil {
		return nil, o.explain(err)
	}
	return &providers.Credential{
		ID: made.ID, Value: made.Key.Value.Value, Facts: map[string]string{"key": seen(made.Key.ID)},
		Created: instant(made.Created), Expires: instant(made.Key.Expires),
	}, nil
}

// instant is a time as OpenAI writes it, in seconds; 0 is none.
func instant(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// Find looks for service accounts of the name.
func (o *openAI) Find(ctx context.Context, c *providers.Call) (found []providers.Credential, err error) {
	all, err := o.accounts(ctx, c)
	for _, a := range all {
		if a.Name == c.Tag {
			found = append(found, providers.Credential{ID: a.ID, Created: instant(a.Created)})
		}
	}
	return found, err
}

// models is a list of what a key may use. Only that it is one matters.
type models struct {
	Data []struct{} `json:"data"`
}

func (m *models) usable() bool { return m.Data != nil }

// Verify lists the models, which costs nothing. The answer's headers name the
// organization; which project the key is of, no call says. A key that was
// restricted until it may not list models is known by that to be accepted, but
// the same is answered to whoever calls from a country that is not served.
func (o *openAI) Verify(ctx context.Context, _ *providers.Call, cred *providers.Credential) (providers.Identity, error) {
	h, err := o.do(ctx, request{
		method: http.MethodGet, path: []string{"models"}, auth: bearer(cred.Value), self: true,
		want: http.StatusOK, into: &models{},
	})
	if err != nil {
		return providers.Identity{}, err
	}
	return providers.Identity{Account: seen(h.Get("Openai-Organization"))}, nil
}

// Disable is not offered by OpenAI.
func (o *openAI) Disable(context.Context, *providers.Call, *providers.Credential) error {
	return providers.Not(providers.CodeUnsupported, "OpenAI can delete a key, not stop it")
}

// deleted is the answer to deleting anything.
type deleted struct {
	Deleted bool `json:"deleted"`
}

func (d *deleted) usable() bool { return d.Deleted }

// ownerFact tells a key that a person made from a service account's: it is
// deleted as a key.
const ownerFact, personOwns = "owner", "user"

// Revoke deletes the service account, or a key that a person made.
func (o *openAI) Revoke(ctx context.Context, c *providers.Call, cred *providers.Credential) error {
	if !word(cred.ID) {
		return unnamed("OpenAI", "delete the old key at "+openAIKeysPage)
	}
	path := []string{"service_accounts", cred.ID}
	if cred.Facts[ownerFact] == personOwns {
		path[0] = "api_keys"
	}
	return gone(o.manage(ctx, c, func(r request) error {
		r.into = &deleted{}
		_, err := o.do(ctx, r)
		return err
	}, http.MethodDelete, path...))
}

// projectKey is a key as the administrator sees it.
type projectKey struct {
	ID       string `json:"id"`
	Redacted string `json:"redacted_value"`
	Created  int64  `json:"created_at"`
	Owner    struct {
		Type    string         `json:"type"`
		Account serviceAccount `json:"service_account"`
	} `json:"owner"`
}

// Identify looks for the one key of the project that ends, and begins, as the
// value does. A service account with other keys is not taken: it would be deleted
// with all of them.
func (o *openAI) Identify(ctx context.Context, c *providers.Call, cred *providers.Credential) error {
	var all []projectKey
	err := o.manage(ctx, c, func(r request) (err error) {
		r.query = url.Values{"owner_project_access": {"any"}}
		all, err = list[projectKey](ctx, o.client, r, "after")
		return err
	}, http.MethodGet, "api_keys")
	if err != nil {
		return o.explain(err)
	}
	var found []projectKey
	keys := make(map[string]int) // of a service account
	for _, k := range all {
		keys[k.Owner.Account.ID]++
		if hinted(cred.Value, k.Redacted) {
			found = append(found, k)
		}
	}
	none := func(format string, args ...any) error {
		e := providers.Not(providers.CodeNotFound, format, args...)
		e.Remedy = "once it is replaced, delete the old key at " + openAIKeysPage
		return e
	}
	switch {
	case len(found) == 0:
		return none("the project %q has no key that looks like this one", o.project)
	case len(found) > 1:
		return none("the project %q has %d keys that look like this one", o.project, len(found))
	}
	k := found[0]
	switch k.Owner.Type {
	case "service_account":
		if n := keys[k.Owner.Account.ID]; n > 1 {
			return none("the service account of this key has %d keys, which would be deleted with it", n)
		}
		cred.ID, cred.Facts = k.Owner.Account.ID, map[string]string{"key": seen(k.ID)}
	case personOwns:
		cred.ID, cred.Facts = k.ID, map[string]string{ownerFact: personOwns}
	default:
		return none("the key is owned by something that is neither a person nor a service account")
	}
	cred.Created = instant(k.Created)
	return nil
}
