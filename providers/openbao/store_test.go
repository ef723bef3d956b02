package openbao_test

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/openbao"
	"secretctl/providers/openbao/openbaotest"
)

// TestLayout: where a value lies and as what, which people and other programs
// rely on.
func TestLayout(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		s := w.open(nil)
		long := strings.Repeat("x", 128<<10+1)
		for version, c := range []struct{ value, field, kept string }{
			{"sk-\"one\\ <&>\n", "value", "sk-\"one\\ <&>\n"},
			{"żółw 🐢", "value", "żółw 🐢"},
			{"", "value", ""},
			{"\x00\xff", "value_base64", "AP8="},
			{"\x01", "value_base64", "AQ=="},
			{long, "value_base64", base64.StdEncoding.EncodeToString([]byte(long))},
		} {
			put(w, s, "team/api-key", uint64(version+1), c.value)
			fields := w.server.Fields("secret", "secretctl/team/api-key/@"+string(rune('1'+version)))
			require.Len(w, fields, 2)
			require.Equal(w, c.kept, fields[c.field])
			salt, err := base64.StdEncoding.DecodeString(fields["salt"].(string))
			require.NoError(w, err)
			require.Len(w, salt, 16)
			requireHas(w, s, "team/api-key", uint64(version+1), c.value)
		}
		require.NoError(w, s.Delete(w.Context(), "team/api-key", 1))
		require.Nil(w, w.server.Fields("secret", "secretctl/team/api-key/@1"), "nothing of it is kept")
	})
}

const at = "secret/data/secretctl/a/@1"

// TestEditedThere: a person may give a version another value, which is not
// believed until it is adopted.
func TestEditedThere(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		s := w.open(nil)
		sum := put(w, s, "a", 1, "x")
		w.admin.Do(w, http.MethodPatch, at, map[string]any{"data": map[string]any{"value": "y"}}, "Content-Type", "application/merge-patch+json")
		_, err := s.Get(w.Context(), "a", 1, sum)
		require.ErrorIs(w, err, providers.ErrChanged)
		now, err := s.Sum(w.Context(), "a", 1)
		require.NoError(w, err)
		require.NotEqual(w, sum, now)
		requireHas(w, s, "a", 1, "y")

		w.admin.Do(w, http.MethodPut, at, map[string]any{"data": map[string]any{"value": "z"}})
		_, err = s.Get(w.Context(), "a", 1, providers.Sum{})
		requireError(w, err, providers.ErrUnavailable, `version 1 of "a" has not the fields`, "bao read -address="+here+" secret/metadata/secretctl/a/@1")
	})
}

// TestDeletedThere: what can be brought back is not absent, and nothing is put in
// its place; what cannot is.
func TestDeletedThere(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		s := w.open(nil)
		put(w, s, "a", 1, "x")
		w.admin.Do(w, http.MethodDelete, at, nil)
		_, err := s.Get(w.Context(), "a", 1, providers.Sum{})
		requireError(w, err, providers.ErrUnavailable, "was deleted by somebody", "bao write -address="+here+" secret/undelete/secretctl/a/@1 versions=1")
		_, err = s.Put(w.Context(), "a", 1, value(w, "y"))
		require.ErrorIs(w, err, providers.ErrUnavailable)
		require.ErrorIs(w, s.List(w.Context(), func(secret.Name, uint64, providers.Sum) error { return nil }), providers.ErrUnavailable)
		w.admin.Do(w, http.MethodPut, "secret/undelete/secretctl/a/@1", map[string]any{"versions": []int{1}})
		requireHas(w, s, "a", 1, "x")

		w.admin.Do(w, http.MethodPut, "secret/destroy/secretctl/a/@1", map[string]any{"versions": []int{1}})
		_, err = s.Get(w.Context(), "a", 1, providers.Sum{})
		require.ErrorIs(w, err, providers.ErrAbsent)
		require.NoError(w, s.List(w.Context(), nil))
		put(w, s, "a", 1, "z")
		requireHas(w, s, "a", 1, "z")
		_, err = s.Put(w.Context(), "a", 1, value(w, "y"))
		require.ErrorIs(w, err, providers.ErrExists)
		require.NoError(w, s.Delete(w.Context(), "a", 1))
	})
}

// TestForeignEntries: what is not ours is passed over.
func TestForeignEntries(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		s := w.open(nil)
		put(w, s, "a/b", 7, "x")
		for _, path := range []string{"secretctl/@1", "secretctl/a/@0", "secretctl/a/@01", "secretctl/a/@x", "secretctl/a/1", "secretctl/A/@1", "secretctl/a_b/@1", "secretctl/a/b/@7/@1", "other/a/@1"} {
			w.admin.Do(w, http.MethodPut, "secret/data/"+path, map[string]any{"data": map[string]any{"value": "y"}})
		}
		var found []string
		require.NoError(w, s.List(w.Context(), func(n secret.Name, v uint64, _ providers.Sum) error {
			require.Equal(w, uint64(7), v)
			found = append(found, string(n))
			return nil
		}))
		require.Equal(w, []string{"a/b"}, found)
	})
}

// TestEngines: where there is no KV v2 engine nothing is absent, and nothing is
// put.
func TestEngines(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		w.admin.Do(w, http.MethodPost, "sys/mounts/old", map[string]any{"type": "kv", "options": map[string]any{"version": "1"}})
		for _, mount := range []string{"old", "none"} {
			w.admin.Do(w, http.MethodPut, "sys/policies/acl/secretctl", map[string]any{"policy": openbaotest.Policy(mount, "secretctl")})
			s := w.open(map[string]any{"mount": mount})
			for range 2 {
				_, err := s.Get(w.Context(), "a", 1, providers.Sum{})
				require.Error(w, err)
				require.NotErrorIs(w, err, providers.ErrAbsent)
				_, err = s.Put(w.Context(), "a", 1, value(w, "y"))
				require.Error(w, err)
				require.Error(w, s.Health(w.Context()))
			}
		}
		w.admin.Do(w, http.MethodPut, "sys/policies/acl/secretctl", map[string]any{"policy": openbaotest.Policy("old", "secretctl")})
		_, err := w.open(map[string]any{"mount": "old"}).Get(w.Context(), "a", 1, providers.Sum{})
		requireError(w, err, providers.ErrUnavailable, `has no KV v2 engine at "old"`, "bao secrets enable -address="+here+" -path=old -version=2 kv")
	})
}

func TestNamespace(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		w.admin.Do(w, http.MethodPut, "sys/namespaces/team", map[string]any{})
		w.admin.Do(w, http.MethodPost, "sys/mounts/kv", map[string]any{"type": "kv", "options": map[string]any{"version": "2"}}, "X-Vault-Namespace", "team")
		role := w.admin.NewRole(w, "kv", "secretctl", nil, "X-Vault-Namespace", "team")
		w.own.set("own/bao-role-id", role.ID)
		w.own.set("own/bao-secret-id", role.SecretID)
		s := w.open(map[string]any{"mount": "kv", "namespace": "team"})
		put(w, s, "a", 1, "x")
		require.NoError(w, s.Health(w.Context()))
		_, err := w.open(map[string]any{"mount": "kv", "namespace": "none"}).Get(w.Context(), "a", 1, providers.Sum{})
		requireError(w, err, providers.ErrUnavailable, "", "-namespace=none")
	})
}

func TestOptions(t *testing.T) {
	kind := openbao.Kind()
	require.Equal(t, time.Minute, kind.Fresh)
	const address = "https://bao.internal:8200"
	for name, c := range map[string]struct {
		set     map[string]any
		problem string
	}{
		"by role":          {byRole(address, nil), ""},
		"all":              {byRole(address, map[string]any{"mount": "team/kv", "prefix": "a/b.c", "namespace": "x/y", "ca": "/etc/ca.pem", "wrapped": true}), ""},
		"loopback":         {byRole("http://127.0.0.1:8200", nil), ""},
		"below a path":     {byRole("https://proxy/bao", nil), ""},
		"no address":       {byRole("bao.internal", nil), `"address" is not the address of a server`},
		"a password in it": {byRole("https://u:p@bao.internal", nil), "has a password"},
		"in the clear":     {byRole("http://bao.internal:8200", nil), "would send secrets in the clear"},
		"another scheme":   {byRole("ldap://bao.internal", nil), "must begin with https://"},
		"mount":            {byRole(address, map[string]any{"mount": "/secret"}), `"mount" is not a path`},
		"mount up":         {byRole(address, map[string]any{"mount": "a/../sys"}), `"mount" is not a path`},
		"prefix":           {byRole(address, map[string]any{"prefix": ""}), `"prefix" is not a path`},
		"namespace":        {byRole(address, map[string]any{"namespace": "a b"}), `"namespace" is not a path`},
		"ca in the clear":  {byRole("http://127.0.0.1:8200", map[string]any{"ca": "/etc/ca.pem"}), `"ca" is for an address with https`},
		"no login":         {map[string]any{"address": address, "mount": "secret"}, "does not say how to log in"},
		"two logins":       {byRole(address, map[string]any{"token": secret.Name("own/t")}), "more than one way"},
		"two tokens":       {map[string]any{"address": address, "mount": "secret", "token": secret.Name("own/t"), "token_file": "/t"}, "more than one way"},
		"no secret_id":     {map[string]any{"address": address, "mount": "secret", "role_id": secret.Name("own/r")}, "role_id is nothing without"},
		"no role_id":       {map[string]any{"address": address, "mount": "secret", "secret_id": secret.Name("own/s")}, "secret_id is nothing without"},
		"wrapped nothing":  {map[string]any{"address": address, "mount": "secret", "token": secret.Name("own/t"), "wrapped": true}, "wrapped is for a secret_id"},
	} {
		t.Run(name, func(t *testing.T) {
			options, err := kind.NewOptions(c.set)
			require.NoError(t, err)
			_, err = kind.Open(providers.StoreSetup{Name: "bao", Options: options})
			if c.problem == "" {
				require.NoError(t, err)
				return
			}
			var wrong *providers.OptionError
			require.ErrorAs(t, err, &wrong)
			require.Contains(t, wrong.Problem, c.problem)
			require.NotEmpty(t, wrong.Remedy)
		})
	}
}

// TestRecordRefused: a server that does not take a record is trouble, and not another
// host that was faster: else it would be tried again for ever.
func TestRecordRefused(t *testing.T) {
	server := openbaotest.New(time.Now)
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/@record") {
			openbaotest.Echo(http.StatusBadRequest)(w, r)
			return
		}
		server.ServeHTTP(w, r)
	}))
	t.Cleanup(listener.Close)
	admin := openbaotest.Admin{URL: listener.URL, Token: openbaotest.Root}
	s := open(t, ownOf(admin.NewRole(t, "secret", "secretctl", nil)), byRole(admin.URL, map[string]any{"shared": true})).(providers.Shared)
	_, err := s.Change(t.Context(), "a", 0, []byte(`{}`))
	requireError(t, err, providers.ErrUnavailable, `does not accept the record of "a"`, "bao")
	_, err = s.Change(t.Context(), "a", 1, []byte(`{}`))
	require.ErrorIs(t, err, providers.ErrChanged, "it is not there any more")
}
