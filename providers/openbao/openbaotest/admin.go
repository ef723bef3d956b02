package openbaotest

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Admin is a server, fake or real, as its administrator sees it.
type Admin struct {
	URL, Token string
	Via        http.RoundTripper // nil: the network
}

// Start starts the fake on a port of this machine, until the test ends.
func (s *Server) Start(t testing.TB) Admin {
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return Admin{URL: server.URL, Token: Root}
}

// Here returns what sends requests to the fake without a network.
func (s *Server) Here() http.RoundTripper { return here{s} }

type here struct{ server *Server }

func (h here) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	defer func() {
		if recover() != nil { // as a connection that ends
			if err = r.Context().Err(); err == nil {
				err = http.ErrServerClosed
			}
		}
	}()
	w := httptest.NewRecorder()
	h.server.ServeHTTP(w, r)
	return w.Result(), nil
}

// Do asks something, which must work, and returns what is said.
func (a Admin) Do(t testing.TB, method, path string, body any, headers ...string) map[string]any {
	t.Helper()
	text, err := json.Marshal(body)
	require.NoError(t, err)
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	r, err := http.NewRequestWithContext(ctx, method, a.URL+"/v1/"+path, bytes.NewReader(text))
	require.NoError(t, err)
	r.Header.Set("X-Vault-Request", "true")
	r.Header.Set("X-Vault-Token", a.Token)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	via := a.Via
	if via == nil {
		own := &http.Transport{DisableKeepAlives: true}
		via = own
	}
	resp, err := via.RoundTrip(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Less(t, resp.StatusCode, 300, "%s %s", method, path)
	var out map[string]any
	if resp.StatusCode != http.StatusNoContent {
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&out))
	}
	return out
}

// Role is an AppRole that the store logs in with.
type Role struct{ ID, SecretID string }

// NewRole makes one called secretctl, that may do what the store needs below a
// prefix of a mount, with what else it is to be. The headers are those of a
// namespace.
func (a Admin) NewRole(t testing.TB, mount, prefix string, more map[string]any, headers ...string) Role {
	t.Helper()
	a.Do(t, http.MethodPost, "sys/auth/approle", map[string]any{"type": "approle"}, headers...)
	return a.RoleCalled(t, "secretctl", mount, prefix, more, headers...)
}

// RoleCalled makes one of another name, where there are roles already. Its policy
// is called as the role is.
func (a Admin) RoleCalled(t testing.TB, name, mount, prefix string, more map[string]any, headers ...string) Role {
	t.Helper()
	a.Do(t, http.MethodPut, "sys/policies/acl/"+name, map[string]any{"policy": Policy(mount, prefix)}, headers...)
	role := map[string]any{"token_policies": []string{name}, "token_ttl": "1h", "token_max_ttl": "24h"}
	maps.Copy(role, more)
	a.Do(t, http.MethodPost, "auth/approle/role/"+name, role, headers...)
	id := a.Do(t, http.MethodGet, "auth/approle/role/"+name+"/role-id", nil, headers...)
	return Role{data(id, "role_id"), a.SecretID(t, name, headers...)}
}

// SecretID makes another secret_id of a role.
func (a Admin) SecretID(t testing.TB, role string, headers ...string) string {
	t.Helper()
	return data(a.Do(t, http.MethodPost, "auth/approle/role/"+role+"/secret-id", map[string]any{}, headers...), "secret_id")
}

// Wrapped makes one and wraps it.
func (a Admin) Wrapped(t testing.TB, role string) string {
	t.Helper()
	out := a.Do(t, http.MethodPost, "auth/approle/role/"+role+"/secret-id", map[string]any{}, "X-Vault-Wrap-TTL", "60s")
	return out["wrap_info"].(map[string]any)["token"].(string)
}

func data(answer map[string]any, key string) string {
	return answer["data"].(map[string]any)[key].(string)
}
