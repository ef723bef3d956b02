package services

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"secretctl/broker/secret"
	"secretctl/providers"
)

const githubPage = "https://github.com/settings/personal-access-tokens"

// GitHub describes the provider of personal access tokens of GitHub. Only a
// person can make one. The old one is revoked by whoever has it, without any
// other credential, and for ever.
//
// On GitHub Enterprise Server that call wants a credential, of which its
// documentation does not say which: there, revoking is left to a person.
func GitHub() providers.Kind {
	return providers.Kind{
		Name:    "github-pat",
		Summary: "a personal access token of GitHub, made by hand, and revoked by the API",
		Shape:   providers.ShapeManual,
		Options: []providers.Option{
			{Name: "scopes", Type: providers.List, Help: "all that a classic token may be allowed; fine-grained ones do not say", Example: `["repo", "read:org"]`},
			{Name: "base_url", Type: providers.Text, Default: "https://api.github.com", Help: "where the API is", Example: `"https://github.example.org/api/v3"`},
		},
		Docs:    "https://docs.github.com/en/rest/credentials/revoke",
		Read:    "2026-11-26",
		Page:    githubPage,
		Overlap: true,
		Proofs:  1,
		Lag:     5 * time.Minute, // revoking is accepted, and done later; when, the documentation does not say
		Open:    openGitHub,
	}
}

func openGitHub(o providers.Options) (providers.Rotator, error) {
	c, err := newClient("GitHub", "base_url", o.Text("base_url"))
	if err != nil {
		return nil, err
	}
	c.headers = map[string]string{"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
	return &github{byHand{"GitHub", githubPage}, c, o.IsSet("scopes"), o.List("scopes")}, nil
}

type github struct {
	byHand
	*client
	limited bool // to the scopes
	scopes  []string
}

// Check asks whose the old token is.
func (g *github) Check(ctx context.Context, c *providers.Call) (providers.Identity, error) {
	return whose(ctx, c, g.whoami)
}

// Verify asks whose the token is. What it may do and when it ends come with the
// answer.
func (g *github) Verify(ctx context.Context, c *providers.Call, cred *providers.Credential) (providers.Identity, error) {
	id, err := g.whoami(ctx, c, cred)
	if err != nil || !g.limited {
		return id, err
	}
	for s := range strings.FieldsSeq(cred.Facts[scopesFact]) {
		if !slices.Contains(g.scopes, s) {
			return id, &providers.CallError{
				Outcome: providers.DefinitelyNot, Code: providers.CodeWiderScope,
				Problem: fmt.Sprintf("the token is allowed %s, which is not in scopes", s), Remedy: "make one without it at " + githubPage,
			}
		}
	}
	return id, nil
}

func (g *github) whoami(ctx context.Context, _ *providers.Call, cred *providers.Credential) (providers.Identity, error) {
	var a account
	h, err := g.do(ctx, request{method: http.MethodGet, path: []string{"user"}, auth: bearer(cred.Value), self: true, want: http.StatusOK, into: &a})
	if err != nil {
		return providers.Identity{}, limited(h, err)
	}
	scopes := strings.Fields(strings.ReplaceAll(h.Get("X-Oauth-Scopes"), ",", " "))
	if !fit(scopes) {
		return providers.Identity{}, providers.Maybe(providers.CodeUnavailable, "GitHub names scopes that are none")
	}
	cred.Facts = map[string]string{scopesFact: strings.Join(scopes, " ")}
	cred.Expires = expiry(h.Get("Github-Authentication-Token-Expiration"))
	return providers.Identity{Account: a.Login}, nil
}

// expiry reads when a token ends, the zero time of one that never does.
func expiry(s string) time.Time {
	for _, layout := range []string{"2006-01-02 15:04:05 MST", "2006-01-02 15:04:05 -0700"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

// limited sees that a refusal is only for now: GitHub says 403 as well to whoever
// asks too often.
func limited(h http.Header, err error) error {
	e, ok := err.(*providers.CallError)
	if !ok || e.Code != providers.CodeDenied || h.Get("X-Ratelimit-Remaining") != "0" && e.RetryAfter == 0 {
		return err
	}
	*e = providers.CallError{Outcome: providers.DefinitelyNot, Code: providers.CodeRateLimited, RetryAfter: e.RetryAfter, Problem: "GitHub was asked too often"}
	reset, noReset := strconv.ParseInt(h.Get("X-Ratelimit-Reset"), 10, 64)
	now, noDate := http.ParseTime(h.Get("Date"))
	if e.RetryAfter == 0 && noReset == nil && noDate == nil {
		e.RetryAfter = min(max(time.Unix(reset, 0).Sub(now), 0), providers.LongestWait)
	}
	return e
}

// Disable is not offered by GitHub.
func (g *github) Disable(context.Context, *providers.Call, *providers.Credential) error {
	return g.unsupported("GitHub can revoke a token, not stop it", "")
}

// Revoke tells GitHub the token as one that is known to others: whoever has it
// may. It is accepted whether or not there is such a token.
func (g *github) Revoke(ctx context.Context, _ *providers.Call, cred *providers.Credential) error {
	h, err := g.do(ctx, request{
		method: http.MethodPost, path: []string{"credentials", "revoke"}, want: http.StatusAccepted,
		body: func(b []byte) ([]byte, error) {
			b = append(b, `{"credentials":["`...)
			err := cred.Value.Use(func(v []byte) error {
				if !secret.Text(v) {
					return errNotSent
				}
				b = secret.AppendJSON(b, v)
				return nil
			})
			return append(b, `"]}`...), err
		},
	})
	switch err = limited(h, err); providers.CodeOf(err) {
	case providers.CodeOptions, providers.CodeDenied, providers.CodeNotFound:
		return g.unsupported("GitHub does not revoke the token for whoever has it", "revoke the old token at "+githubPage)
	}
	return err
}
