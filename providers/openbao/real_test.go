package openbao_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/openbao/openbaotest"
	"secretctl/providers/servertest"
	"secretctl/providers/storetest"
)

// TestReal: a real server, in development mode, where there is one.
func TestReal(t *testing.T) {
	server := openbaotest.StartReal(t)
	server.Do(t, http.MethodPost, "sys/auth/approle", map[string]any{"type": "approle"})
	prefix := 0
	fresh := func(t *testing.T) (providers.Store, string) { // the suite wants an empty store each time
		prefix++
		folder := "t" + strings.Repeat("x", prefix)
		return open(t, ownOf(server.RoleCalled(t, folder, "secret", folder, nil)), byRole(server.URL, map[string]any{"prefix": folder})), folder
	}
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		line := servertest.NewProxy(t, "tcp", strings.TrimPrefix(server.URL, "http://"))
		_, folder := fresh(t)
		s := open(t, ownOf(server.RoleCalled(t, folder, "secret", folder, nil)), byRole("http://"+line.Addr(), map[string]any{"prefix": folder, "shared": true}))
		breaks := []func() func(){
			func() func() { return server.Seal(t) },
			func() func() { line.Hang(); return line.Pass },
		}
		next := 0
		return storetest.Subject{Store: s, Break: func() func() {
			next++
			return breaks[(next-1)%len(breaks)]()
		}}
	})
	t.Run("frozen", func(t *testing.T) {
		s, _ := fresh(t)
		put(t, s, "a", 1, "x")
		thaw := server.Freeze(t)
		ctx, stop := contextOf(t, time.Second)
		defer stop()
		_, err := s.Get(ctx, "a", 1, providers.Sum{})
		requireError(t, err, providers.ErrUnavailable, "did not answer in time", "bao status")
		thaw()
		requireHas(t, s, "a", 1, "x")
	})
	t.Run("revoked", func(t *testing.T) {
		s, _ := fresh(t)
		put(t, s, "a", 1, "x")
		server.RevokeTokens(t)
		requireHas(t, s, "a", 1, "x")
	})
	t.Run("kept alive", func(t *testing.T) {
		o := ownOf(server.RoleCalled(t, "alive", "secret", "alive", map[string]any{"token_ttl": "2s", "token_max_ttl": "5s"}))
		s := open(t, o, byRole(server.URL, map[string]any{"prefix": "alive"}))
		put(t, s, "a", 1, "x")
		for deadline := time.Now().Add(12 * time.Second); time.Now().Before(deadline); {
			requireHas(t, s, "a", 1, "x")
		}
	})
	t.Run("wrapped", func(t *testing.T) {
		o := ownOf(server.RoleCalled(t, "wrapped", "secret", "wrapped", nil))
		o.set("own/bao-secret-id", server.Wrapped(t, "wrapped"))
		s := open(t, o, byRole(server.URL, map[string]any{"prefix": "wrapped", "wrapped": true}))
		put(t, s, "a", 1, "x")
		again := open(t, o, byRole(server.URL, map[string]any{"prefix": "wrapped", "wrapped": true}))
		_, err := again.Get(t.Context(), "a", 1, providers.Sum{})
		requireError(t, err, providers.ErrRefused, "somebody else has the secret_id", "bao")
	})
	t.Run("deleted there", func(t *testing.T) {
		// A folder that begins as the mount does.
		const folder = "secretctl"
		s := open(t, ownOf(server.RoleCalled(t, folder, "secret", folder, nil)), byRole(server.URL, map[string]any{"prefix": folder}))
		put(t, s, "a", 1, "x")
		server.Do(t, http.MethodDelete, "secret/data/"+folder+"/a/@1", nil)
		_, err := s.Get(t.Context(), "a", 1, providers.Sum{})
		requireError(t, err, providers.ErrUnavailable, "was deleted by somebody", "bao write")
		typeRemedy(t, server, err)
		requireHas(t, s, "a", 1, "x")
		server.Do(t, http.MethodPut, "secret/destroy/"+folder+"/a/@1", map[string]any{"versions": []int{1}})
		_, err = s.Get(t.Context(), "a", 1, providers.Sum{})
		require.ErrorIs(t, err, providers.ErrAbsent)
		put(t, s, "a", 1, "y")
		requireHas(t, s, "a", 1, "y")
	})
	t.Run("not allowed", func(t *testing.T) {
		s := open(t, ownOf(server.RoleCalled(t, "mine", "secret", "mine", nil)), byRole(server.URL, map[string]any{"prefix": "theirs"}))
		_, err := s.Get(t.Context(), "a", 1, providers.Sum{})
		requireError(t, err, providers.ErrRefused, "the policy of the login is not enough", "bao policy write")
	})
	t.Run("engines", func(t *testing.T) {
		server.Do(t, http.MethodPost, "sys/mounts/old", map[string]any{"type": "kv", "options": map[string]any{"version": "1"}})
		server.Do(t, http.MethodPut, "sys/policies/acl/old", map[string]any{"policy": openbaotest.Policy("old", "secretctl")})
		o := ownOf(server.RoleCalled(t, "none", "secret", "none", map[string]any{"token_policies": []string{"old"}}))
		_, err := open(t, o, byRole(server.URL, map[string]any{"mount": "old"})).Get(t.Context(), "a", 1, providers.Sum{})
		requireError(t, err, providers.ErrUnavailable, `has no KV v2 engine at "old"`, "bao secrets enable")
		server.Do(t, http.MethodDelete, "sys/mounts/old", nil)
		typeRemedy(t, server, err)
		s := open(t, o, byRole(server.URL, map[string]any{"mount": "old"}))
		require.Eventually(t, func() bool { return s.Health(t.Context()) == nil }, 10*time.Second, 50*time.Millisecond, "a new engine takes its time")
		_, err = open(t, o, byRole(server.URL, map[string]any{"mount": "none"})).Get(t.Context(), "a", 1, providers.Sum{})
		require.Error(t, err)
		require.NotErrorIs(t, err, providers.ErrAbsent)
	})
	t.Run("token", func(t *testing.T) {
		server.Do(t, http.MethodPut, "sys/policies/acl/token", map[string]any{"policy": openbaotest.Policy("secret", "token")})
		made := server.Do(t, http.MethodPost, "auth/token/create", map[string]any{"policies": []string{"token"}, "period": "2s"})
		o := ownOf(openbaotest.Role{})
		o.set("own/bao-token", made["auth"].(map[string]any)["client_token"].(string))
		s := open(t, o, map[string]any{"address": server.URL, "mount": "secret", "prefix": "token", "token": secret.Name("own/bao-token")})
		put(t, s, "a", 1, "x")
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
			requireHas(t, s, "a", 1, "x")
		}
	})
}

// typeRemedy does what an error says to type.
func typeRemedy(t *testing.T, server *openbaotest.Real, err error) {
	var told *providers.StoreError
	require.ErrorAs(t, err, &told)
	server.Type(t, told.Remedy)
}
