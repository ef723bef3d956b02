package services_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/providers"
	"secretctl/providers/services"
	"secretctl/providers/services/servicetest"
)

func openGitHub(t *testing.T, g *servicetest.GitHub, scopes ...string) providers.Rotator {
	set := map[string]any{"base_url": g.URL}
	if scopes != nil {
		set["scopes"] = scopes
	}
	return servicetest.Open(t, services.GitHub(), set)
}

func TestGitHubPassage(t *testing.T) {
	g := servicetest.NewGitHub(t)
	r := openGitHub(t, g)
	old := credential(t, g.Add(servicetest.GitHubToken{Login: "octocat", Scopes: "repo, read:org", Expires: "2027-01-02 03:04:05 UTC"}))
	c := &providers.Call{Secret: "github/token", Tag: tag, Old: old}
	who, err := r.Check(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, "octocat", who.Account)
	require.Equal(t, time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC), old.Expires)

	_, err = r.Issue(t.Context(), c, nil)
	requireError(t, err, providers.DefinitelyNot, providers.CodeUnsupported, g.Leaks)
	require.Contains(t, err.(*providers.CallError).Remedy, services.GitHub().Page)
	_, err = r.Find(t.Context(), c)
	requireError(t, err, providers.DefinitelyNot, providers.CodeUnsupported, g.Leaks)

	next := credential(t, g.Add(servicetest.GitHubToken{Login: "octocat", Expires: "2027-01-02 03:04:05 -0700"}))
	who, err = r.Verify(t.Context(), c, next)
	require.NoError(t, err)
	require.Equal(t, "octocat", who.Account)
	require.Equal(t, time.Date(2027, 1, 2, 10, 4, 5, 0, time.UTC), next.Expires)
	requireError(t, r.Disable(t.Context(), c, old), providers.DefinitelyNot, providers.CodeUnsupported, g.Leaks)
	for range 2 {
		require.NoError(t, r.Revoke(t.Context(), c, old))
		_, err = r.Verify(t.Context(), c, old)
		requireError(t, err, providers.DefinitelyNot, providers.CodeInvalid, g.Leaks)
	}
	_, err = r.Verify(t.Context(), c, next)
	require.NoError(t, err)
	who, err = r.Check(t.Context(), c)
	require.NoError(t, err, "a dead old one keeps no new one from being made")
	require.Empty(t, who.Account)
}

func TestGitHubScopes(t *testing.T) {
	g := servicetest.NewGitHub(t)
	c := &providers.Call{Secret: "github/token", Tag: tag}
	verify := func(token servicetest.GitHubToken, scopes ...string) error {
		_, err := openGitHub(t, g, scopes...).Verify(t.Context(), c, credential(t, g.Add(token)))
		return err
	}
	require.NoError(t, verify(servicetest.GitHubToken{Login: "o", Scopes: "repo, read:org"}, "read:org", "repo"))
	require.NoError(t, verify(servicetest.GitHubToken{Login: "o", Scopes: "repo, read:org"}))
	require.NoError(t, verify(servicetest.GitHubToken{Login: "o"}, "repo"))
	requireError(t, verify(servicetest.GitHubToken{Login: "o", Scopes: "repo, admin:org"}, "repo"), providers.DefinitelyNot, providers.CodeWiderScope, g.Leaks)
	many := strings.Repeat("repo, ", 60)
	requireError(t, verify(servicetest.GitHubToken{Login: "o", Scopes: many + "admin:org"}, "repo"), providers.DefinitelyNot, providers.CodeWiderScope, g.Leaks)
	long := strings.Repeat("x", 201)
	err := verify(servicetest.GitHubToken{Login: "o", Scopes: long}, "repo")
	requireError(t, err, providers.Unknown, providers.CodeUnavailable, g.Leaks)
	require.NotContains(t, err.Error(), "xxx")
	nothing := []string{}
	requireError(t, verify(servicetest.GitHubToken{Login: "o", Scopes: "repo"}, nothing...), providers.DefinitelyNot, providers.CodeWiderScope, g.Leaks)
}

func TestGitHubRefusals(t *testing.T) {
	g := servicetest.NewGitHub(t)
	r := openGitHub(t, g)
	c := &providers.Call{Secret: "github/token", Tag: tag}
	requireError(t, r.Revoke(t.Context(), c, credential(t, "no token")), providers.DefinitelyNot, providers.CodeUnsupported, g.Leaks)
	requireError(t, r.Revoke(t.Context(), c, credential(t, "no\x00token")), providers.DefinitelyNot, providers.CodeBadValue, g.Leaks)
	require.NoError(t, r.Revoke(t.Context(), c, credential(t, `ghp_a"],"x":["b`)), "as one token, which there is not")
	// As on a server that wants a credential, or has no such call.
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound} {
		g.Next(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(status) })
		err := r.Revoke(t.Context(), c, credential(t, "ghp_x"))
		requireError(t, err, providers.DefinitelyNot, providers.CodeUnsupported, g.Leaks)
		require.Contains(t, err.(*providers.CallError).Remedy, services.GitHub().Page)
	}
}

// GitHub says 403 both to who may not and to who asks too often.
func TestGitHubRateLimits(t *testing.T) {
	g := servicetest.NewGitHub(t)
	r := openGitHub(t, g)
	c := &providers.Call{Secret: "github/token", Tag: tag}
	cred := credential(t, g.Add(servicetest.GitHubToken{Login: "octocat"}))
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	say := func(headers map[string]string) {
		g.Next(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Date", now.Format(http.TimeFormat))
			for name, v := range headers {
				w.Header().Set(name, v)
			}
			w.WriteHeader(http.StatusForbidden)
		})
	}
	reset := strconv.FormatInt(now.Add(20*time.Minute).Unix(), 10)
	for otherwise, try := range map[providers.Code]func() error{
		providers.CodeDenied:      func() error { _, err := r.Verify(t.Context(), c, cred); return err },
		providers.CodeUnsupported: func() error { return r.Revoke(t.Context(), c, cred) },
	} {
		say(map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset})
		err := try()
		requireError(t, err, providers.DefinitelyNot, providers.CodeRateLimited, g.Leaks)
		require.Equal(t, 20*time.Minute, err.(*providers.CallError).RetryAfter)
		say(map[string]string{"Retry-After": "60"})
		err = try()
		requireError(t, err, providers.DefinitelyNot, providers.CodeRateLimited, g.Leaks)
		require.Equal(t, time.Minute, err.(*providers.CallError).RetryAfter)
		say(nil)
		require.Equal(t, otherwise, providers.CodeOf(try()))
	}
}
