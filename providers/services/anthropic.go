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

const anthropicPage = "https://console.anthropic.com/settings/keys"

// Anthropic describes the provider of API keys of Anthropic. Only a person can
// make one, in the console; with an admin key, the old one is stopped and
// archived.
func Anthropic() providers.Kind {
	return providers.Kind{
		Name:    "anthropic",
		Summary: "an API key of Anthropic, made by hand, and stopped by the API",
		Shape:   providers.ShapeManual,
		Options: []providers.Option{
			{Name: "admin_key", Type: providers.Own, Help: "an admin key of the organization, to stop old keys with", Example: `"own/anthropic-admin"`},
			{Name: "base_url", Type: providers.Text, Default: "https://api.anthropic.com", Help: "where the API is", Example: `"https://api.anthropic.com"`},
		},
		Permission: "an Admin API key of the organization, to stop old keys; none to verify new ones",
		Docs:       "https://platform.claude.com/docs/en/api/admin/api_keys/list",
		Read:       "2026-11-26",
		Page:       anthropicPage,
		Overlap:    true,
		Proofs:     1,
		Lag:        time.Minute, // the documentation does not say
		Open:       openAnthropic,
	}
}

func openAnthropic(o providers.Options) (providers.Rotator, error) {
	c, err := newClient("Anthropic", "base_url", o.Text("base_url"))
	if err != nil {
		return nil, err
	}
	c.headers = map[string]string{"Anthropic-Version": "2023-06-01"}
	c.denied = fmt.Sprintf("see at https://console.anthropic.com/settings/admin-keys that %s is in use; then: secretctl set %s", o.Own("admin_key"), o.Own("admin_key"))
	return &anthropic{byHand{"Anthropic", anthropicPage}, c, o.Own("admin_key")}, nil
}

type anthropic struct {
	byHand
	*client
	admin secret.Name // "": none
}

// anthropicKey is a key as the administrator sees it.
type anthropicKey struct {
	ID      string    `json:"id"`
	Hint    string    `json:"partial_key_hint"`
	Status  string    `json:"status"`
	Created time.Time `json:"created_at"`
}

func (k *anthropicKey) usable() bool { return word(k.ID) && k.Status != "" }

// The states of a key. An archived one never comes back; an expired one is only
// ever read.
const (
	keyActive   = "active"
	keyInactive = "inactive"
	keyArchived = "archived"
)

// manage calls, as the administrator, what is below the keys.
func (a *anthropic) manage(ctx context.Context, c *providers.Call, call func(request) error, path ...string) error {
	if a.admin == "" {
		return a.unsupported("without an admin key, only a person can stop keys of Anthropic",
			fmt.Sprintf(`stop the old key at %s, or set admin_key = "own/anthropic-admin"`, anthropicPage))
	}
	admin, err := c.Open(ctx, a.admin)
	if err != nil {
		return err
	}
	defer admin.Clear()
	return call(request{
		method: http.MethodGet, path: append([]string{"v1", "organizations", "api_keys"}, path...),
		auth: withHeader("X-Api-Key", "", admin), want: http.StatusOK,
	})
}

func (a *anthropic) keys(ctx context.Context, c *providers.Call) (all []anthropicKey, err error) {
	err = a.manage(ctx, c, func(r request) (err error) {
		all, err = list[anthropicKey](ctx, a.client, r, "after_id")
		return err
	})
	return all, err
}

// Check sees that the admin key, where there is one, is accepted.
func (a *anthropic) Check(ctx context.Context, c *providers.Call) (providers.Identity, error) {
	if a.admin != "" {
		if _, err := a.keys(ctx, c); err != nil {
			return providers.Identity{}, err
		}
	}
	return whose(ctx, c, a.Verify)
}

// Verify lists models, which costs nothing. The answer's headers name the
// organization.
func (a *anthropic) Verify(ctx context.Context, _ *providers.Call, cred *providers.Credential) (providers.Identity, error) {
	h, err := a.do(ctx, request{
		method: http.MethodGet, path: []string{"v1", "models"}, query: url.Values{"limit": {"1"}},
		auth: withHeader("X-Api-Key", "", cred.Value), self: true, want: http.StatusOK, into: &models{},
	})
	if err != nil {
		return providers.Identity{}, err
	}
	return providers.Identity{Account: seen(h.Get("Anthropic-Organization-Id"))}, nil
}

// Disable makes the key inactive, which the console can undo.
func (a *anthropic) Disable(ctx context.Context, c *providers.Call, cred *providers.Credential) error {
	return a.set(ctx, c, cred, keyInactive)
}

// Revoke archives the key.
func (a *anthropic) Revoke(ctx context.Context, c *providers.Call, cred *providers.Credential) error {
	return a.set(ctx, c, cred, keyArchived)
}

// set changes the status of a key, unless it is further on already: one that is
// archived must not become anything else again.
func (a *anthropic) set(ctx context.Context, c *providers.Call, cred *providers.Credential, status string) error {
	return gone(a.manage(ctx, c, func(r request) error {
		if !word(cred.ID) {
			return unnamed("Anthropic", "stop the old key at "+anthropicPage)
		}
		var key anthropicKey
		r.into = &key
		if _, err := a.do(ctx, r); err != nil {
			return err
		}
		if key.Status != keyActive && (status == keyInactive || key.Status != keyInactive) {
			return nil
		}
		r.method = http.MethodPost
		r.body = func(b []byte) ([]byte, error) { return fmt.Appendf(b, `{"status":"%s"}`, status), nil }
		if _, err := a.do(ctx, r); err != nil {
			return err
		}
		if key.Status != status {
			return providers.Maybe(providers.CodeUnavailable, "Anthropic says that the key is %q, not %q", seen(key.Status), status)
		}
		return nil
	}, cred.ID))
}

// Identify looks for the one key that ends, and begins, as the value does.
func (a *anthropic) Identify(ctx context.Context, c *providers.Call, cred *providers.Credential) error {
	all, err := a.keys(ctx, c)
	if err != nil {
		return err
	}
	var found []anthropicKey
	for _, k := range all {
		if word(k.ID) && hinted(cred.Value, k.Hint) {
			found = append(found, k)
		}
	}
	if len(found) != 1 {
		e := providers.Not(providers.CodeNotFound, "the organization has %d keys that look like this one", len(found))
		e.Remedy = "once it is replaced, stop the old key at " + anthropicPage
		return e
	}
	cred.ID, cred.Created = found[0].ID, found[0].Created
	return nil
}
