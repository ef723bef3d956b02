package services_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/services"
	"secretctl/providers/services/servicetest"
)

func openAnthropic(t *testing.T, a *servicetest.Anthropic, options map[string]any) providers.Rotator {
	options["base_url"] = a.URL
	return servicetest.Open(t, services.Anthropic(), options)
}

func anthropicCall(a *servicetest.Anthropic) *providers.Call {
	return &providers.Call{
		Secret: "claude/api-key", Tag: tag,
		Own: servicetest.Opened(map[secret.Name]string{"own/anthropic": a.AdminKey}),
	}
}

func TestAnthropicPassage(t *testing.T) {
	a := servicetest.NewAnthropic(t)
	r := openAnthropic(t, a, map[string]any{"admin_key": secret.Name("own/anthropic")})
	for range 150 {
		a.Add()
	}
	id, value := a.Add()
	old := credential(t, value)
	c := anthropicCall(a)
	c.Old = old
	who, err := r.Check(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, a.Org, who.Account)
	require.NoError(t, r.(providers.Identifier).Identify(t.Context(), c, old))
	require.Equal(t, id, old.ID)
	require.False(t, old.Created.IsZero())

	_, err = r.Issue(t.Context(), c, nil)
	requireError(t, err, providers.DefinitelyNot, providers.CodeUnsupported, a.Leaks)
	require.Contains(t, err.(*providers.CallError).Remedy, services.Anthropic().Page)
	_, err = r.Find(t.Context(), c)
	requireError(t, err, providers.DefinitelyNot, providers.CodeUnsupported, a.Leaks)

	_, made := a.Add()
	next := credential(t, made)
	who, err = r.Verify(t.Context(), c, next)
	require.NoError(t, err)
	require.Equal(t, a.Org, who.Account)
	for range 2 {
		require.NoError(t, r.Disable(t.Context(), c, old))
		require.Equal(t, "inactive", a.Status(id))
	}
	_, err = r.Verify(t.Context(), c, old)
	requireError(t, err, providers.DefinitelyNot, providers.CodeInvalid, a.Leaks)
	for range 2 {
		require.NoError(t, r.Revoke(t.Context(), c, old))
		require.NoError(t, r.Disable(t.Context(), c, old))
		require.Equal(t, "archived", a.Status(id))
	}
	require.NoError(t, r.Revoke(t.Context(), c, &providers.Credential{ID: "apikey_gone"}))
	_, err = r.Verify(t.Context(), c, next)
	require.NoError(t, err)
}

func TestAnthropicWithoutAdminKey(t *testing.T) {
	a := servicetest.NewAnthropic(t)
	r := openAnthropic(t, a, map[string]any{})
	id, value := a.Add()
	cred := &providers.Credential{ID: id, Value: servicetest.Value(t, value)}
	c := anthropicCall(a)
	c.Old = cred
	who, err := r.Check(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, a.Org, who.Account)
	for _, err := range []error{r.Disable(t.Context(), c, cred), r.Revoke(t.Context(), c, cred), r.(providers.Identifier).Identify(t.Context(), c, cred)} {
		requireError(t, err, providers.DefinitelyNot, providers.CodeUnsupported, a.Leaks)
		require.Contains(t, err.(*providers.CallError).Remedy, services.Anthropic().Page)
	}
	require.Equal(t, "active", a.Status(id))
}

func TestAnthropicFaults(t *testing.T) {
	a := servicetest.NewAnthropic(t)
	r := openAnthropic(t, a, map[string]any{"admin_key": secret.Name("own/anthropic")})
	id, value := a.Add()
	cred := &providers.Credential{ID: id, Value: servicetest.Value(t, value)}
	c := anthropicCall(a)

	// Archived, though the answer is lost; and then it is known to be.
	a.Next(func(w http.ResponseWriter, r *http.Request, service http.Handler) { service.ServeHTTP(w, r) })
	a.Lose()
	requireError(t, r.Revoke(t.Context(), c, cred), providers.Unknown, providers.CodeUnavailable, a.Leaks)
	require.NoError(t, r.Revoke(t.Context(), c, cred))

	a.AddTwin(value)
	requireError(t, r.(providers.Identifier).Identify(t.Context(), c, credential(t, value)), providers.DefinitelyNot, providers.CodeNotFound, a.Leaks)
	requireError(t, r.Revoke(t.Context(), c, credential(t, value)), providers.DefinitelyNot, providers.CodeUnsupported, a.Leaks)

	// A status that was not set is not taken for set.
	id, value = a.Add()
	for range 2 {
		a.Next(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			answer(http.StatusOK, `{"id":"`+id+`","status":"active"}`)(w)
		})
	}
	cred = &providers.Credential{ID: id, Value: servicetest.Value(t, value)}
	requireError(t, r.Disable(t.Context(), c, cred), providers.Unknown, providers.CodeUnavailable, a.Leaks)

	c.Own = servicetest.Opened(map[secret.Name]string{"own/anthropic": "wrong"})
	_, err := r.Check(t.Context(), c)
	requireError(t, err, providers.DefinitelyNot, providers.CodeDenied, a.Leaks)
	a.Down(t)
	_, err = r.Verify(t.Context(), c, cred)
	requireError(t, err, providers.DefinitelyNot, providers.CodeUnavailable, a.Leaks)
}
