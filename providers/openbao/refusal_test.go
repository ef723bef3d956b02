package openbao_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/openbao/openbaotest"
	"secretctl/providers/servertest"
)

// requireAll calls every method and checks what each says: the kind, a remedy,
// and nothing of what was sent.
func requireAll(t *testing.T, s providers.Store, kind error, problem, remedy string, secrets ...string) (last *providers.StoreError) {
	t.Helper()
	const sent = "the-value-that-nobody-may-see"
	for name, do := range map[string]func() error{
		"get":    func() error { _, err := s.Get(t.Context(), "a", 1, providers.Sum{}); return err },
		"sum":    func() error { _, err := s.Sum(t.Context(), "a", 1); return err },
		"put":    func() error { _, err := s.Put(t.Context(), "b", 1, value(t, sent)); return err },
		"delete": func() error { return s.Delete(t.Context(), "a", 1) },
		"list": func() error {
			return s.List(t.Context(), func(secret.Name, uint64, providers.Sum) error { return nil })
		},
		"health": func() error { return s.Health(t.Context()) },
	} {
		err := do()
		require.Error(t, err, name)
		requireError(t, err, kind, problem, remedy)
		for _, text := range append(secrets, sent, "echo") {
			require.NotContains(t, err.Error(), text, name)
		}
		require.ErrorAs(t, err, &last)
		for _, text := range append(secrets, sent, "echo") {
			require.NotContains(t, last.Remedy, text, name)
		}
	}
	return last
}

// TestStatus: of what a server answers every status is an error of a kind, with
// what to type, and none is taken for "there is none".
func TestStatus(t *testing.T) {
	server := openbaotest.New(time.Now)
	admin := server.Start(t)
	o := ownOf(admin.NewRole(t, "secret", "secretctl", nil))
	s := open(t, o, byRole(admin.URL, nil))
	put(t, s, "a", 1, "x")
	for status, want := range map[int]struct {
		kind            error
		problem, remedy string
	}{
		http.StatusCreated:               {providers.ErrUnavailable, "answers 201", "bao status"},
		http.StatusNoContent:             {providers.ErrUnavailable, "answers", "bao status"},
		http.StatusTemporaryRedirect:     {providers.ErrUnavailable, "is a standby that passes nothing on", "address"},
		http.StatusUnauthorized:          {providers.ErrUnavailable, "answers 401", "bao status"},
		http.StatusNotFound:              {providers.ErrUnavailable, "has no KV v2 engine", "bao secrets list"},
		http.StatusMethodNotAllowed:      {providers.ErrUnavailable, "answers 405", "bao status"},
		http.StatusPreconditionFailed:    {providers.ErrUnavailable, "answers 412", "bao status"},
		http.StatusRequestEntityTooLarge: {providers.ErrUnavailable, "does not take a request of this size", "max_request_size"},
		http.StatusInternalServerError:   {providers.ErrUnavailable, "answers 500", "bao status"},
		http.StatusNotImplemented:        {providers.ErrUnavailable, "is not initialized", "bao operator init"},
		http.StatusBadGateway:            {providers.ErrUnavailable, "answers 502", "bao status"},
		http.StatusServiceUnavailable:    {providers.ErrUnavailable, "answers 503", "bao status"},
		http.StatusGatewayTimeout:        {providers.ErrUnavailable, "answers 504", "bao status"},
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			mend := server.Answer(openbaotest.Echo(status, "Location", "http://127.0.0.1:1/"))
			defer mend()
			if status == http.StatusNoContent { // deleting is answered so
				_, err := s.Get(t.Context(), "a", 1, providers.Sum{})
				requireError(t, err, want.kind, want.problem, want.remedy)
				return
			}
			requireAll(t, s, want.kind, want.problem, want.remedy, o.all["own/bao-secret-id"], o.all["own/bao-role-id"])
		})
	}
	requireHas(t, s, "a", 1, "x")
}

func TestSealed(t *testing.T) {
	server := openbaotest.New(time.Now)
	admin := server.Start(t)
	s := open(t, ownOf(admin.NewRole(t, "secret", "secretctl", nil)), byRole(admin.URL, nil))
	unseal := server.Seal()
	requireAll(t, s, providers.ErrUnavailable, "is sealed", "bao operator unseal -address="+admin.URL)
	unseal()
	put(t, s, "a", 1, "x")
	defer server.Seal()()
	requireAll(t, s, providers.ErrUnavailable, "is sealed", "bao operator unseal")
}

// TestRateLimited: how long the server wants to be left alone is passed on.
func TestRateLimited(t *testing.T) {
	server := openbaotest.New(time.Now)
	admin := server.Start(t)
	s := open(t, ownOf(admin.NewRole(t, "secret", "secretctl", nil)), byRole(admin.URL, nil))
	for says, want := range map[string]time.Duration{"7": 7 * time.Second, "": 0, "soon": 0, "999999999": 24 * time.Hour} {
		mend := server.Answer(openbaotest.Echo(http.StatusTooManyRequests, "Retry-After", says))
		told := requireAll(t, s, providers.ErrRateLimited, "was asked too often", "bao list")
		require.Equal(t, want, told.RetryAfter)
		mend()
	}
	put(t, s, "a", 1, "x")
}

// TestStandby: one that passes on what it is asked works, though it says what it
// is.
func TestStandby(t *testing.T) {
	server := openbaotest.New(time.Now)
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/sys/health" {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		server.ServeHTTP(w, r)
	}))
	t.Cleanup(listener.Close)
	admin := openbaotest.Admin{URL: listener.URL, Token: openbaotest.Root}
	s := open(t, ownOf(admin.NewRole(t, "secret", "secretctl", nil)), byRole(admin.URL, nil))
	require.NoError(t, s.Health(t.Context()))
}

// TestNoSense: an answer that is not what it should be is no value.
func TestNoSense(t *testing.T) {
	server := openbaotest.New(time.Now)
	admin := server.Start(t)
	s := open(t, ownOf(admin.NewRole(t, "secret", "secretctl", nil)), byRole(admin.URL, nil))
	put(t, s, "a", 1, "x")
	for name, body := range map[string]string{
		"empty": "", "no JSON": "<html>echo</html>", "cut short": `{"data":{"data":{"value":"echo`, "another": `{"data":{"data":{"value":["echo"]}}}`, "twice": `{"data":{"data":{"value":"a","value":"echo"}}}`,
		"no fields": `{"data":{"data":{}}}`, "no salt": `{"data":{"data":{"value":"echo"}}}`, "short salt": `{"data":{"data":{"value":"echo","salt":"AAAA"}}}`,
		"two values": `{"data":{"data":{"value":"echo","value_base64":"ZWNobw==","salt":"AAAAAAAAAAAAAAAAAAAAAA=="}}}`,
		"no base64":  `{"data":{"data":{"value_base64":"e*","salt":"AAAAAAAAAAAAAAAAAAAAAA=="}}}`,
		"half":       `{"data":{"data":{"value":"\ud83d","salt":"AAAAAAAAAAAAAAAAAAAAAA=="}}}`,
		"too long":   `{"data":{"data":{"value":"` + strings.Repeat("x", 2<<20) + `"}}}`,
	} {
		mend := server.Answer(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		_, err := s.Get(t.Context(), "a", 1, providers.Sum{})
		requireError(t, err, providers.ErrUnavailable, "", "bao")
		require.NotContains(t, err.Error(), "echo", name)
		mend()
	}
	mend := server.Answer(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	requireAll(t, s, providers.ErrUnavailable, "ended before it had answered", "bao status")
	mend()
	mend = server.Answer(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("x", 128<<10))
	})
	requireAll(t, s, providers.ErrUnavailable, "", "bao status")
	mend()
	requireHas(t, s, "a", 1, "x")
}

// overTLS starts the fake behind TLS.
func overTLS(t *testing.T, version uint16) (openbaotest.Admin, *own, string) {
	server := openbaotest.New(time.Now)
	ca, cert, key := servertest.Certificate(t, "127.0.0.1")
	pair, err := tls.X509KeyPair(cert, key)
	require.NoError(t, err)
	listener := httptest.NewUnstartedServer(server)
	listener.Config.ErrorLog = log.New(io.Discard, "", 0)
	listener.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS10, MaxVersion: version}
	listener.StartTLS()
	t.Cleanup(listener.Close)
	file := filepath.Join(canary.Dir(t), "ca.pem")
	require.NoError(t, os.WriteFile(file, ca, 0o600))
	return openbaotest.Admin{URL: listener.URL}, ownOf(openbaotest.Admin{URL: here, Token: openbaotest.Root, Via: server.Here()}.NewRole(t, "secret", "secretctl", nil)), file
}

func TestCertificates(t *testing.T) {
	admin, o, ca := overTLS(t, tls.VersionTLS12)
	s := open(t, o, byRole(admin.URL, map[string]any{"ca": ca}))
	put(t, s, "a", 1, "x")

	strangers := open(t, o, byRole(admin.URL, nil))
	requireAll(t, strangers, providers.ErrUnavailable, "not one that is trusted for 127.0.0.1", `ca = "`)

	other, _, _ := servertest.Certificate(t, "127.0.0.1")
	right, err := os.ReadFile(ca)
	require.NoError(t, err)
	later := open(t, o, byRole(admin.URL, map[string]any{"ca": ca}))
	require.NoError(t, os.WriteFile(ca, other, 0o600))
	requireAll(t, later, providers.ErrUnavailable, "not one that is trusted for 127.0.0.1", `ca = "`)
	require.NoError(t, os.WriteFile(ca, []byte("none"), 0o600))
	requireAll(t, later, providers.ErrUnavailable, "holds no certificate", "openssl x509")
	require.NoError(t, os.WriteFile(ca, right, 0o600))
	require.NoError(t, os.Chmod(ca, 0o666))
	requireAll(t, later, providers.ErrUnavailable, "could be changed by others", "nobody else")
	require.NoError(t, os.Chmod(ca, 0o600))
	requireHas(t, later, "a", 1, "x")
}

func TestOldTLS(t *testing.T) {
	admin, o, ca := overTLS(t, tls.VersionTLS11)
	s := open(t, o, byRole(admin.URL, map[string]any{"ca": ca}))
	requireAll(t, s, providers.ErrUnavailable, "does not speak TLS 1.2 or newer", "see whether address is right")
}

func TestNoTLSAtAll(t *testing.T) {
	admin := openbaotest.New(time.Now).Start(t)
	s := open(t, ownOf(openbaotest.Role{ID: "r", SecretID: "s"}), byRole(strings.Replace(admin.URL, "http:", "https:", 1), nil))
	requireAll(t, s, providers.ErrUnavailable, "does not speak TLS 1.2 or newer", "see whether address is right")
}

func TestNobodyThere(t *testing.T) {
	const address = "http://127.0.0.1:1"
	s := open(t, ownOf(openbaotest.Role{ID: "r", SecretID: "s"}), byRole(address, nil))
	requireAll(t, s, providers.ErrUnavailable, "cannot be reached", "bao status -address="+address)
	s = open(t, ownOf(openbaotest.Role{ID: "r", SecretID: "s"}), byRole("https://bao.invalid:8200", nil))
	requireAll(t, s, providers.ErrUnavailable, "the name bao.invalid cannot be looked up", "bao status")
}

// TestEnvironment: what bao and curl obey is nothing to us.
func TestEnvironment(t *testing.T) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "VAULT_ADDR", "BAO_ADDR", "VAULT_HTTP_PROXY", "BAO_HTTP_PROXY", "VAULT_TOKEN", "BAO_TOKEN", "VAULT_NAMESPACE", "BAO_NAMESPACE", "VAULT_SKIP_VERIFY", "BAO_SKIP_VERIFY"} {
		t.Setenv(name, "http://127.0.0.1:1")
	}
	t.Setenv("VAULT_SKIP_VERIFY", "true")
	t.Setenv("BAO_SKIP_VERIFY", "true")
	admin, o, ca := overTLS(t, tls.VersionTLS13)
	s := open(t, o, byRole(admin.URL, map[string]any{"ca": ca}))
	put(t, s, "a", 1, "x")
	require.NoError(t, s.Health(t.Context()))
	requireAll(t, open(t, o, byRole(admin.URL, nil)), providers.ErrUnavailable, "not one that is trusted", "ca")
	requireAll(t, open(t, o, byRole("https://bao.invalid:8200", nil)), providers.ErrUnavailable, "the name bao.invalid cannot be looked up", "bao status")
}
