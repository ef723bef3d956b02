package services_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/rotatortest"
	"secretctl/providers/services"
	"secretctl/providers/services/servicetest"
)

// gitea is a Gitea with the provider that calls it.
type gitea struct {
	*servicetest.Gitea
	providers.Rotator
}

func giteaOf(t *testing.T, service *servicetest.Gitea, scopes ...string) *gitea {
	return &gitea{service, servicetest.Open(t, services.Gitea(), map[string]any{
		"url": service.URL, "user": service.User, "admin": secret.Name("own/gitea"), "scopes": scopes,
	})}
}

func newGitea(t *testing.T, scopes ...string) *gitea {
	return giteaOf(t, servicetest.NewGitea(t), scopes...)
}

func (g *gitea) call() *providers.Call {
	return &providers.Call{
		Secret: "weather/api-key", Tag: tag,
		Own: servicetest.Opened(map[secret.Name]string{"own/gitea": g.Password}),
	}
}

// everyGitea runs a test on the fake and, where there is one, on a real Gitea:
// what the fake is like is thereby shown as well. open returns a service, of its
// own only from the fake.
func everyGitea(t *testing.T, test func(t *testing.T, open func(*testing.T) *servicetest.Gitea)) {
	t.Run("fake", func(t *testing.T) {
		test(t, func(t *testing.T) *servicetest.Gitea { return servicetest.NewGitea(t) })
	})
	if os.Getenv(servicetest.GiteaProgram) == "" {
		t.Logf("%s names no Gitea, which is no package of any system: the fake alone was tried", servicetest.GiteaProgram)
		return
	}
	t.Run("real", func(t *testing.T) { test(t, servicetest.RealGitea) })
}

func TestGiteaContract(t *testing.T) {
	everyGitea(t, func(t *testing.T, open func(*testing.T) *servicetest.Gitea) {
		rotatortest.Run(t, func(t *testing.T) *rotatortest.Service {
			g := giteaOf(t, open(t), "write:repository", "read:user")
			n := 0
			return &rotatortest.Service{
				Kind: services.Gitea(), Rotator: g.Rotator, Down: func(t *testing.T) { g.Down(t) }, Leaks: g.Leaks,
				Call: func(t *testing.T) *providers.Call {
					n++
					id, value := g.Add(t, fmt.Sprintf("by hand %d", n), "write:repository", "read:user")
					c := g.call()
					c.Tag, c.Old = fmt.Sprintf("%s%d", tag, n), &providers.Credential{ID: id, Value: servicetest.Value(t, value)}
					return c
				},
			}
		})
	})
}

// TestGitea has all that the provider does in one server's life, since a real one
// takes its time to start.
func TestGitea(t *testing.T) {
	everyGitea(t, func(t *testing.T, open func(*testing.T) *servicetest.Gitea) {
		g := giteaOf(t, open(t), "read:user", "write:repository")
		identify := func(cred *providers.Credential) error {
			return g.Rotator.(providers.Identifier).Identify(t.Context(), g.call(), cred)
		}
		for n := range 60 { // the list has pages
			g.Add(t, fmt.Sprintf("another %d", n), "all")
		}
		id, value := g.Add(t, "by hand", "all")
		old := credential(t, value)
		require.NoError(t, identify(old))
		require.Equal(t, id, old.ID)
		require.False(t, old.Created.IsZero())
		for n := range rounds() {
			c := g.call()
			c.Tag, c.Old = fmt.Sprintf("%s%d", tag, n), old
			who, err := g.Check(t.Context(), c)
			require.NoError(t, err)
			require.Equal(t, g.User, who.Account)
			next, err := g.Issue(t.Context(), c, nil)
			require.NoError(t, err)
			who, err = g.Verify(t.Context(), c, next)
			require.NoError(t, err)
			require.Equal(t, g.User, who.Account)
			require.NoError(t, g.Revoke(t.Context(), c, old))
			_, err = g.Verify(t.Context(), c, old)
			requireError(t, err, providers.DefinitelyNot, providers.CodeInvalid, g.Leaks)
			old = next
		}

		t.Run("name in use", func(t *testing.T) {
			c := g.call()
			lost, err := g.Issue(t.Context(), c, nil)
			require.NoError(t, err)
			_, err = g.Issue(t.Context(), c, nil)
			requireError(t, err, providers.Unknown, providers.CodeLimit, g.Leaks)
			found, err := g.Find(t.Context(), c)
			require.NoError(t, err)
			require.Len(t, found, 1)
			require.Equal(t, lost.ID, found[0].ID)
			require.False(t, found[0].Created.IsZero())
			require.NoError(t, g.Revoke(t.Context(), c, &found[0]))
		})
		t.Run("without read:user", func(t *testing.T) {
			narrow := giteaOf(t, g.Gitea, "read:repository")
			c := narrow.call()
			c.Tag += "n"
			next, err := narrow.Issue(t.Context(), c, nil)
			require.NoError(t, err)
			who, err := narrow.Verify(t.Context(), c, next)
			require.NoError(t, err)
			require.Empty(t, who.Account)
			require.NoError(t, narrow.Revoke(t.Context(), c, next))
			_, err = narrow.Verify(t.Context(), c, next)
			requireError(t, err, providers.DefinitelyNot, providers.CodeInvalid, g.Leaks)
		})
		t.Run("every scope", func(t *testing.T) {
			for n, scopes := range [][]string{
				{"all"}, {"public-only", "read:repository"}, {"read:user", "write:user"}, {"public-only", "all"},
				{"write:activitypub", "write:admin", "write:issue", "write:misc", "write:notification", "write:organization", "write:package", "write:repository", "write:user"},
				{"read:activitypub", "read:admin", "read:issue", "read:misc", "read:notification", "read:organization", "read:package", "read:repository", "read:user"},
			} {
				some := giteaOf(t, g.Gitea, scopes...)
				c := some.call()
				c.Tag += fmt.Sprintf("s%d", n)
				next, err := some.Issue(t.Context(), c, nil)
				require.NoError(t, err)
				require.NotEmpty(t, next.Facts["scopes"])
				_, err = some.Verify(t.Context(), c, next)
				require.NoError(t, err, "%v became %s", scopes, next.Facts["scopes"])
			}
		})
		t.Run("wrong password", func(t *testing.T) {
			c := g.call()
			c.Own = servicetest.Opened(map[secret.Name]string{"own/gitea": "wrong"})
			_, err := g.Check(t.Context(), c)
			requireError(t, err, providers.DefinitelyNot, providers.CodeDenied, g.Leaks)
			_, err = g.Issue(t.Context(), c, nil)
			requireError(t, err, providers.DefinitelyNot, providers.CodeDenied, g.Leaks)
			requireError(t, g.Revoke(t.Context(), c, old), providers.DefinitelyNot, providers.CodeDenied, g.Leaks)
			_, err = g.Verify(t.Context(), c, old)
			require.NoError(t, err)
		})
		t.Run("a token for a password", func(t *testing.T) {
			c := g.call()
			c.Own = servicetest.Opened(map[secret.Name]string{"own/gitea": value})
			_, err := g.Issue(t.Context(), c, nil)
			requireError(t, err, providers.DefinitelyNot, providers.CodeDenied, g.Leaks)
		})
		t.Run("not found", func(t *testing.T) {
			requireError(t, identify(credential(t, "0123456789abcdef0123456789abcdef01234567")), providers.DefinitelyNot, providers.CodeNotFound, g.Leaks)
			requireError(t, g.Revoke(t.Context(), g.call(), credential(t, value)), providers.DefinitelyNot, providers.CodeUnsupported, g.Leaks)
			require.Equal(t, providers.CodeUnsupported, providers.CodeOf(g.Disable(t.Context(), g.call(), old)))
		})
	})
}

// rounds is how often a credential is rotated in a row.
func rounds() int {
	if os.Getenv("SECRETCTL_LONG") != "" {
		return 100
	}
	return 5
}

// What a real Gitea does not do by itself.
func TestGiteaFaults(t *testing.T) {
	t.Run("500 although processed", func(t *testing.T) {
		g := newGitea(t, "read:user")
		g.Fake.Lose()
		_, err := g.Issue(t.Context(), g.call(), nil)
		requireError(t, err, providers.Unknown, providers.CodeUnavailable, g.Leaks)
		found, err := g.Find(t.Context(), g.call())
		require.NoError(t, err)
		require.Len(t, found, 1)
	})
	t.Run("wider scope", func(t *testing.T) {
		g := newGitea(t, "read:user")
		g.Fake.Wider = "write:admin"
		next, err := g.Issue(t.Context(), g.call(), nil)
		require.NoError(t, err)
		_, err = g.Verify(t.Context(), g.call(), next)
		requireError(t, err, providers.DefinitelyNot, providers.CodeWiderScope, g.Leaks)
	})
	t.Run("scopes that are none", func(t *testing.T) {
		g := newGitea(t, "read:user")
		for _, scopes := range []string{`"read:user \u001b[2J"`, `"` + strings.Repeat("x", 201) + `"`, strings.Repeat(`"a",`, 100) + `"a"`} {
			g.Fake.Next(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
				answer(http.StatusCreated, `{"id":7,"name":"x","sha1":"0123456789012345678901234567890123456789","scopes":[`+scopes+`]}`)(w)
			})
			_, err := g.Issue(t.Context(), g.call(), nil)
			requireError(t, err, providers.Unknown, providers.CodeUnavailable, g.Leaks)
			g.Fake.Next(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
				answer(http.StatusOK, `[{"id":7,"name":"x","scopes":[`+scopes+`]}]`)(w)
			})
			_, err = g.Find(t.Context(), g.call())
			requireError(t, err, providers.Unknown, providers.CodeUnavailable, g.Leaks)
		}
	})
	t.Run("no longer public only", func(t *testing.T) {
		g := newGitea(t, "public-only", "read:user")
		_, value := g.Add(t, "by hand", "read:user")
		cred := credential(t, value)
		cred.Facts = map[string]string{"scopes": "read:user"}
		_, err := g.Verify(t.Context(), g.call(), cred)
		requireError(t, err, providers.DefinitelyNot, providers.CodeWiderScope, g.Leaks)
	})
	t.Run("wrong account", func(t *testing.T) {
		g := newGitea(t, "read:user")
		_, value := g.Add(t, "by hand", "read:user")
		g.Fake.Next(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			answer(http.StatusOK, `{"login":"somebody"}`)(w)
		})
		id, err := g.Verify(t.Context(), g.call(), credential(t, value))
		requireError(t, err, providers.DefinitelyNot, providers.CodeWrongAccount, g.Leaks)
		require.Equal(t, "somebody", id.Account)
	})
	t.Run("account not allowed to sign in", func(t *testing.T) {
		g := newGitea(t, "read:user")
		_, value := g.Add(t, "by hand", "read:user")
		for range 2 {
			g.Fake.Next(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(http.StatusForbidden) })
		}
		_, err := g.Verify(t.Context(), g.call(), credential(t, value))
		requireError(t, err, providers.Unknown, providers.CodeDenied, g.Leaks)
	})
	t.Run("several match", func(t *testing.T) {
		g := newGitea(t, "read:user")
		_, value := g.Add(t, "by hand", "read:user")
		g.Fake.AddTwin(value)
		err := g.Rotator.(providers.Identifier).Identify(t.Context(), g.call(), credential(t, value))
		requireError(t, err, providers.DefinitelyNot, providers.CodeNotFound, g.Leaks)
	})
	t.Run("refused, then unreadable", func(t *testing.T) {
		g := newGitea(t, "read:user")
		refuse := func(status int) {
			g.Fake.Next(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(status) })
		}
		refuse(http.StatusBadRequest)
		refuse(http.StatusBadGateway)
		_, err := g.Issue(t.Context(), g.call(), nil)
		requireError(t, err, providers.Unknown, providers.CodeUnavailable, g.Leaks)
		refuse(http.StatusBadRequest)
		_, err = g.Issue(t.Context(), g.call(), nil)
		requireError(t, err, providers.DefinitelyNot, providers.CodeOptions, g.Leaks)
	})
	t.Run("endless list", func(t *testing.T) {
		g := newGitea(t, "read:user")
		for range 1001 {
			g.Fake.Next(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
				answer(http.StatusOK, `[{"id":1,"name":"x"}]`)(w)
			})
		}
		_, err := g.Find(t.Context(), g.call())
		requireError(t, err, providers.Unknown, providers.CodeUnavailable, g.Leaks)
	})
}

func TestGiteaScopes(t *testing.T) {
	for scope, by := range map[string][]string{
		"all": {"all"}, "read:user": {"write:user"}, "write:user": {"all"}, "public-only": {"read:user"}, "read:issue": {"read:issue"},
	} {
		require.True(t, services.Allowed(scope, by), "%s by %v", scope, by)
	}
	for scope, by := range map[string][]string{
		"all": {"write:user"}, "write:user": {"read:user"}, "read:user": {"read:issue"}, "sudo": {"read:user"}, "read:": {"write:user"},
	} {
		require.False(t, services.Allowed(scope, by), "%s by %v", scope, by)
	}
}

func TestGiteaOptions(t *testing.T) {
	for option, set := range map[string]map[string]any{
		"scopes": {"scopes": []string{"write:everything"}},
		"Scopes": {"scopes": []string{"public-only"}},
		"SCOPES": {"scopes": []string(nil)},
		"quote":  {"scopes": []string{`read:user","all`}},
		"user":   {"user": "../admin"},
		"url":    {"url": "http://git.example.org"},
	} {
		t.Run(option, func(t *testing.T) {
			all := map[string]any{"url": "https://git.example.org", "user": "bot", "scopes": []string{"read:user"}}
			for name, v := range set {
				all[name] = v
			}
			all["admin"] = secret.Name("own/gitea")
			requireOptionError(t, services.Gitea(), all)
		})
	}
}
