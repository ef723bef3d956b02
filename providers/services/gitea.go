package services

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// Gitea describes the provider of access tokens of Gitea and Forgejo. Tokens are
// made and deleted by whoever knows the account's password: not even a token that
// may do everything can. An account with a second factor cannot be managed so.
//
// Read was, beside the page, the source of 1.26.0, and the tests run against that
// server where there is one. Forgejo was not tried.
func Gitea() providers.Kind {
	return providers.Kind{
		Name:    "gitea",
		Summary: "an access token of an account at a Gitea or Forgejo server",
		Shape:   providers.ShapeCreate,
		Options: []providers.Option{
			{Name: "url", Type: providers.Text, Required: true, Help: "the server", Example: `"https://git.example.org"`},
			{Name: "user", Type: providers.Text, Required: true, Help: "the account", Example: `"bot"`},
			{Name: "admin", Type: providers.Own, Required: true, Help: "the account's password", Example: `"own/gitea-bot"`},
			{Name: "scopes", Type: providers.List, Required: true, Help: "what a token may do", Example: `["write:repository", "read:user"]`},
		},
		Permission: "the password of the account, which must have no second factor",
		Docs:       "https://docs.gitea.com/1.26/development/api-usage",
		Read:       "2026-11-26",
		Schedule:   "0 4 * * 1",
		Overlap:    true,
		Proofs:     1,
		Open:       openGitea,
	}
}

func openGitea(o providers.Options) (providers.Rotator, error) {
	c, err := newClient("Gitea", "url", o.Text("url"))
	if err != nil {
		return nil, err
	}
	if !word(o.Text("user")) {
		return nil, &providers.OptionError{Option: "user", Problem: fmt.Sprintf("%q is not the name of an account", o.Text("user")), Remedy: `user = "bot", as in the address of the account's page`}
	}
	for _, s := range o.List("scopes") {
		if !giteaScope(s) {
			return nil, &providers.OptionError{Option: "scopes", Problem: fmt.Sprintf("there is no scope %q", s), Remedy: "all, public-only, or read: or write: and one of " + strings.Join(giteaCategories, ", ")}
		}
	}
	if !slices.ContainsFunc(o.List("scopes"), func(s string) bool { return s != publicOnly }) {
		return nil, &providers.OptionError{Option: "scopes", Problem: "a token must be allowed something", Remedy: `scopes = ["read:repository"]`}
	}
	c.base = c.base.JoinPath("api", "v1")
	c.denied = fmt.Sprintf("see that %s is the password of %s, and that the account has no second factor; then: secretctl set %s", o.Own("admin"), o.Text("user"), o.Own("admin"))
	return &gitea{c, o.Text("user"), o.Own("admin"), o.List("scopes")}, nil
}

type gitea struct {
	*client
	user   string
	admin  secret.Name
	scopes []string
}

// publicOnly narrows all other scopes.
const publicOnly = "public-only"

// giteaCategories are what scopes are about.
var giteaCategories = []string{"activitypub", "admin", "issue", "misc", "notification", "organization", "package", "repository", "user"}

func giteaScope(s string) bool {
	level, category, both := strings.Cut(s, ":")
	return s == "all" || s == publicOnly || both && (level == "read" || level == "write") && slices.Contains(giteaCategories, category)
}

// allowed reports whether a scope is one of those, or within one. Writing
// implies reading, and all is every writing.
func allowed(scope string, by []string) bool {
	if scope == publicOnly || slices.Contains(by, "all") || slices.Contains(by, scope) {
		return true
	}
	if scope == "all" {
		return !slices.ContainsFunc(giteaCategories, func(c string) bool { return !slices.Contains(by, "write:"+c) })
	}
	category, reads := strings.CutPrefix(scope, "read:")
	return reads && slices.Contains(by, "write:"+category)
}

// wider returns the first scope that was not asked for, or nothing.
func (g *gitea) wider(scopes []string) string {
	if slices.Contains(g.scopes, publicOnly) && !slices.Contains(scopes, publicOnly) {
		return "more than what is public"
	}
	for _, s := range scopes {
		if !allowed(s, g.scopes) {
			return s
		}
	}
	return ""
}

type giteaToken struct {
	ID        int64     `json:"id"`
	Name      string    `json:"name"`
	LastEight string    `json:"token_last_eight"`
	Scopes    []string  `json:"scopes"`
	Created   time.Time `json:"created_at"` // the zero time when it was just made
}

// scopesFact is what a token may do, as the service said when it was made.
const scopesFact = "scopes"

func (k giteaToken) credential() providers.Credential {
	c := providers.Credential{ID: strconv.FormatInt(k.ID, 10), Facts: map[string]string{scopesFact: strings.Join(k.Scopes, " ")}}
	if k.Created.Unix() > 0 {
		c.Created = k.Created.UTC()
	}
	return c
}

// newToken is the answer to making a token.
type newToken struct {
	giteaToken
	Value sealed `json:"sha1"`
}

func (k *newToken) usable() bool {
	return k.ID > 0 && !k.Value.IsZero() && len(k.Scopes) > 0 && fit(k.Scopes)
}
func (k *newToken) clear() { k.Value.Clear() }

// tokens is a page of a list of them.
type tokens []giteaToken

func (t *tokens) usable() bool {
	return *t != nil && !slices.ContainsFunc(*t, func(k giteaToken) bool { return !fit(k.Scopes) })
}

// manage calls, by the password, what is below the account's tokens.
func (g *gitea) manage(ctx context.Context, c *providers.Call, call func(request) error, path ...string) error {
	password, err := c.Open(ctx, g.admin)
	if err != nil {
		return err
	}
	defer password.Clear()
	return call(request{path: append([]string{"users", g.user, "tokens"}, path...), auth: basic(g.user, password)})
}

// all lists the account's tokens. How many come at a time is the server's
// decision, so the end is the page that has none.
func (g *gitea) all(ctx context.Context, c *providers.Call) (all tokens, err error) {
	err = g.manage(ctx, c, func(r request) error {
		r.method, r.want = http.MethodGet, http.StatusOK
		for n := range maxPages {
			var some tokens
			r.into, r.query = &some, url.Values{"page": {strconv.Itoa(n + 1)}, "limit": {strconv.Itoa(perPage)}}
			if _, err := g.do(ctx, r); err != nil {
				return err
			}
			if len(some) == 0 {
				return nil
			}
			all = append(all, some...)
		}
		return providers.Maybe(providers.CodeUnavailable, "the list of Gitea does not end")
	})
	return all, err
}

// Check lists the account's tokens.
func (g *gitea) Check(ctx context.Context, c *providers.Call) (providers.Identity, error) {
	if _, err := g.all(ctx, c); err != nil {
		return providers.Identity{}, err
	}
	return whose(ctx, c, g.whoami)
}

// Issue makes a token of the tag's name.
func (g *gitea) Issue(ctx context.Context, c *providers.Call, _ *providers.Credential) (*providers.Credential, error) {
	var made newToken
	err := g.manage(ctx, c, func(r request) error {
		r.method, r.want, r.into = http.MethodPost, http.StatusCreated, &made
		r.body = func(b []byte) ([]byte, error) {
			return fmt.Appendf(b, `{"name":"%s","scopes":["%s"]}`, secret.AppendJSON(nil, []byte(c.Tag)), strings.Join(g.scopes, `","`)), nil
		}
		_, err := g.do(ctx, r)
		return err
	})
	if providers.CodeOf(err) == providers.CodeOptions {
		err = g.refused(ctx, c, err)
	}
	if err != nil {
		return nil, err
	}
	cred := made.credential()
	cred.Value = made.Value.Value
	return &cred, nil
}

// refused says why a token was not made. The server refuses a name that is in
// use, which is what an earlier attempt leaves whose answer was lost: that one is
// to be found, so that nothing is said to be undone.
func (g *gitea) refused(ctx context.Context, c *providers.Call, refusal error) error {
	found, err := g.Find(ctx, c)
	switch {
	case err != nil:
		return providers.Maybe(providers.CodeOf(err), "%v, and then %v", refusal, err)
	case len(found) > 0:
		return providers.Maybe(providers.CodeLimit, "Gitea has a token of that name already, from an attempt whose answer was lost")
	}
	e := providers.Not(providers.CodeOptions, "Gitea does not accept the scopes %s", strings.Join(g.scopes, ", "))
	e.Remedy = "see which ones the server offers at /user/settings/applications"
	return e
}

// Find looks for tokens of the name.
func (g *gitea) Find(ctx context.Context, c *providers.Call) (found []providers.Credential, err error) {
	all, err := g.all(ctx, c)
	for _, k := range all {
		if k.Name == c.Tag {
			found = append(found, k.credential())
		}
	}
	return found, err
}

// Verify asks who the token is, and compares that, and what the token was said to
// be allowed when it was made, with the options.
func (g *gitea) Verify(ctx context.Context, c *providers.Call, cred *providers.Credential) (providers.Identity, error) {
	id, err := g.whoami(ctx, c, cred)
	switch {
	case err != nil:
		return id, err
	case id.Account != "" && !strings.EqualFold(id.Account, g.user):
		return id, &providers.CallError{
			Outcome: providers.DefinitelyNot, Code: providers.CodeWrongAccount,
			Problem: fmt.Sprintf("the token is of %s, not of %s", id.Account, g.user), Remedy: fmt.Sprintf("user = %q", id.Account),
		}
	}
	if wider := g.wider(strings.Fields(cred.Facts[scopesFact])); cred.Facts[scopesFact] != "" && wider != "" {
		return id, providers.Not(providers.CodeWiderScope, "the token is allowed %s, which is not in scopes", wider)
	}
	return id, nil
}

// account is the answer to asking who one is.
type account struct {
	Login string `json:"login"`
}

func (a *account) usable() bool { return seen(a.Login) != "" }

// version is the answer to asking for the server's version.
type version struct {
	Version string `json:"version"`
}

func (v *version) usable() bool { return v.Version != "" }

// whoami asks whose a token is. One without the scope read:user is not told, but
// is accepted elsewhere, where one that is no token is refused as well.
func (g *gitea) whoami(ctx context.Context, _ *providers.Call, cred *providers.Credential) (providers.Identity, error) {
	var a account
	r := request{method: http.MethodGet, path: []string{"user"}, auth: bearer(cred.Value), self: true, want: http.StatusOK, into: &a}
	_, err := g.do(ctx, r)
	if providers.CodeOf(err) == providers.CodeDenied {
		r.path, r.into = []string{"version"}, &version{}
		_, err = g.do(ctx, r)
	}
	return providers.Identity{Account: a.Login}, err
}

// Disable is not offered by Gitea.
func (g *gitea) Disable(context.Context, *providers.Call, *providers.Credential) error {
	return providers.Not(providers.CodeUnsupported, "Gitea can delete a token, not stop it")
}

// Revoke deletes the token. It must be called by its number: a name that looks
// like one would be taken for it.
func (g *gitea) Revoke(ctx context.Context, c *providers.Call, cred *providers.Credential) error {
	if n, err := strconv.ParseInt(cred.ID, 10, 64); err != nil || n <= 0 {
		return unnamed("Gitea", "delete the old token at "+g.base.JoinPath("..", "..", "user", "settings", "applications").String())
	}
	return gone(g.manage(ctx, c, func(r request) error {
		r.method, r.want = http.MethodDelete, http.StatusNoContent
		_, err := g.do(ctx, r)
		return err
	}, cred.ID))
}

// Identify looks for the one token with the same last eight characters.
func (g *gitea) Identify(ctx context.Context, c *providers.Call, cred *providers.Credential) error {
	all, err := g.all(ctx, c)
	if err != nil {
		return err
	}
	found := slices.DeleteFunc(all, func(k giteaToken) bool { return len(k.LastEight) != 8 || !hinted(cred.Value, "…"+k.LastEight) })
	if len(found) != 1 {
		e := providers.Not(providers.CodeNotFound, "the account %s has %d tokens that end like this one", g.user, len(found))
		e.Remedy = "once it is replaced, delete the old token at " + g.base.JoinPath("..", "..", "user", "settings", "applications").String()
		return e
	}
	known := found[0].credential()
	cred.ID, cred.Facts, cred.Created = known.ID, known.Facts, known.Created
	return nil
}
