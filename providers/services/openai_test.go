package services_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/rotatortest"
	"secretctl/providers/services"
	"secretctl/providers/services/servicetest"
)

// openAI is the fake with the provider that calls it.
type openAI struct {
	*servicetest.OpenAI
	providers.Rotator
}

func newOpenAI(t *testing.T) *openAI {
	fake := servicetest.NewOpenAI(t)
	return &openAI{fake, servicetest.Open(t, services.OpenAI(), map[string]any{
		"project": fake.Project, "admin_key": secret.Name("own/openai"), "base_url": fake.URL,
	})}
}

// call is a call with no old credential.
func (o *openAI) call() *providers.Call {
	return &providers.Call{
		Secret: "weather/api-key", Tag: tag,
		Own: servicetest.Opened(map[secret.Name]string{"own/openai": o.AdminKey}),
	}
}

func TestOpenAIContract(t *testing.T) {
	rotatortest.Run(t, func(t *testing.T) *rotatortest.Service {
		o := newOpenAI(t)
		return &rotatortest.Service{
			Kind: services.OpenAI(), Rotator: o.Rotator, Down: func(t *testing.T) { o.Down(t) }, Leaks: o.Leaks,
			Call: func(t *testing.T) *providers.Call {
				id, value := o.AddAccount("by hand")
				c := o.call()
				c.Old = &providers.Credential{ID: id, Value: servicetest.Value(t, value)}
				return c
			},
		}
	})
}

func TestOpenAIPassage(t *testing.T) {
	o := newOpenAI(t)
	for range 250 {
		o.AddAccount("another") // the list has pages
	}
	_, value := o.AddAccount("by hand")
	old := credential(t, value)
	for n := range rounds() {
		c := o.call()
		c.Tag, c.Old = fmt.Sprintf("%s%d", tag, n), old
		id, err := o.Check(t.Context(), c)
		require.NoError(t, err)
		require.Equal(t, o.Org, id.Account)
		if old.ID == "" {
			require.NoError(t, o.Rotator.(providers.Identifier).Identify(t.Context(), c, old))
		}
		next, err := o.Issue(t.Context(), c, nil)
		require.NoError(t, err)
		require.Equal(t, c.Tag, o.Accounts()[250+1])
		require.False(t, next.Created.IsZero())
		require.True(t, next.Expires.IsZero())
		found, err := o.Find(t.Context(), c)
		require.NoError(t, err)
		require.Equal(t, next.ID, found[0].ID)
		require.NoError(t, o.Revoke(t.Context(), c, old))
		_, err = o.Verify(t.Context(), c, old)
		requireError(t, err, providers.DefinitelyNot, providers.CodeInvalid, o.Leaks)
		old = next
	}
	require.Len(t, o.Accounts(), 251)
}

// A service account that was made and whose key nobody saw is found and deleted.
func TestOpenAILostAnswer(t *testing.T) {
	for name, lose := range map[string]func(*openAI){
		"500 although processed": func(o *openAI) { o.Lose() },
		"cut":                    func(o *openAI) { o.Next(processedAnd(panicAbort)) },
		"garbage":                func(o *openAI) { o.Next(processedAnd(answer(http.StatusOK, `{"id":"svc_acct_1","api_key":{"va`))) },
		"without the key": func(o *openAI) {
			o.Next(processedAnd(answer(http.StatusOK, `{"id":"svc_acct_1","name":"x","api_key":null}`)))
		},
		"another success": func(o *openAI) { o.Next(processedAnd(answer(http.StatusAccepted, ``))) },
	} {
		t.Run(name, func(t *testing.T) {
			o := newOpenAI(t)
			c := o.call()
			lose(o)
			_, err := o.Issue(t.Context(), c, nil)
			requireError(t, err, providers.Unknown, providers.CodeUnavailable, o.Leaks)
			found, err := o.Find(t.Context(), c)
			require.NoError(t, err)
			require.Len(t, found, 1)
			require.NoError(t, o.Revoke(t.Context(), c, &found[0]))
			require.Empty(t, o.Accounts())
		})
	}
}

func TestOpenAIIdentify(t *testing.T) {
	o := newOpenAI(t)
	c := o.call()
	identify := func(cred *providers.Credential) error {
		return o.Rotator.(providers.Identifier).Identify(t.Context(), c, cred)
	}
	for range 150 {
		o.AddKey("")
	}
	account, value := o.AddAccount("by hand")
	cred := credential(t, value)
	require.NoError(t, identify(cred))
	require.Equal(t, account, cred.ID)
	require.False(t, cred.Created.IsZero())

	// With a second key of the account, deleting the account ends that one as well.
	o.AddKey(account)
	requireError(t, identify(credential(t, value)), providers.DefinitelyNot, providers.CodeNotFound, o.Leaks)

	// A person's key is deleted as a key.
	id, value := o.AddKey("")
	cred = credential(t, value)
	require.NoError(t, identify(cred))
	require.Equal(t, id, cred.ID)
	require.NoError(t, o.Revoke(t.Context(), c, cred))
	_, err := o.Verify(t.Context(), c, cred)
	requireError(t, err, providers.DefinitelyNot, providers.CodeInvalid, o.Leaks)
	require.NoError(t, o.Revoke(t.Context(), c, cred), "gone")

	_, value = o.AddKey("")
	o.AddTwin(value)
	requireError(t, identify(credential(t, value)), providers.DefinitelyNot, providers.CodeNotFound, o.Leaks)
	requireError(t, identify(credential(t, "sk-another-one-entirely")), providers.DefinitelyNot, providers.CodeNotFound, o.Leaks)
	requireError(t, o.Revoke(t.Context(), c, credential(t, value)), providers.DefinitelyNot, providers.CodeUnsupported, o.Leaks)
}

func TestOpenAIRefusals(t *testing.T) {
	o := newOpenAI(t)
	_, value := o.AddAccount("by hand")
	cred := credential(t, value)

	c := o.call()
	c.Own = servicetest.Opened(map[secret.Name]string{"own/openai": o.AdminKey + "x"})
	_, err := o.Check(t.Context(), c)
	requireError(t, err, providers.DefinitelyNot, providers.CodeDenied, o.Leaks)
	_, err = o.Issue(t.Context(), c, nil)
	requireError(t, err, providers.DefinitelyNot, providers.CodeDenied, o.Leaks)
	requireError(t, o.Revoke(t.Context(), c, &providers.Credential{ID: "svc_acct_1"}), providers.DefinitelyNot, providers.CodeDenied, o.Leaks)

	c.Own = servicetest.Opened(nil)
	_, err = o.Issue(t.Context(), c, nil)
	requireError(t, err, providers.DefinitelyNot, providers.CodeDenied, o.Leaks)

	other := servicetest.Open(t, services.OpenAI(), map[string]any{"project": "proj_other", "admin_key": secret.Name("own/openai"), "base_url": o.URL})
	_, err = other.Check(t.Context(), o.call())
	requireError(t, err, providers.DefinitelyNot, providers.CodeNotFound, o.Leaks)
	require.Contains(t, err.Error(), "proj_other")

	// A restricted key is not refused, and does not keep a better one from being made.
	o.Restricted = true
	_, err = o.Verify(t.Context(), o.call(), cred)
	requireError(t, err, providers.Unknown, providers.CodeDenied, o.Leaks)
	c = o.call()
	c.Old = cred
	id, err := o.Check(t.Context(), c)
	require.NoError(t, err)
	require.Empty(t, id.Account)
	require.Equal(t, providers.CodeUnsupported, providers.CodeOf(o.Disable(t.Context(), c, cred)))
}

func TestOpenAIOptions(t *testing.T) {
	kind := services.OpenAI()
	for _, set := range []map[string]any{
		{"project": "proj/../x"},
		{"project": "proj_x", "base_url": "ftp://x"},
	} {
		set["admin_key"] = secret.Name("own/openai")
		requireOptionError(t, kind, set)
	}
}

// requireOptionError checks that a kind is not opened with options, and says
// which is wrong.
func requireOptionError(t *testing.T, kind providers.Kind, set map[string]any) {
	t.Helper()
	o, err := kind.NewOptions(set)
	require.NoError(t, err)
	_, err = kind.Open(o)
	wrong := (*providers.OptionError)(nil)
	require.ErrorAs(t, err, &wrong, "%v", set)
	require.Contains(t, set, wrong.Option)
	require.NotEmpty(t, wrong.Problem)
	require.NotEmpty(t, wrong.Remedy)
}
