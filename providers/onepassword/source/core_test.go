//go:build !race

// The library compiles 9 MB of WebAssembly, which takes minutes under the race
// detector; make core runs these without.

package source_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	onepassword "github.com/1password/onepassword-sdk-go"
	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers/onepassword/optest"
	"secretctl/providers/onepassword/source"
	"secretctl/providers/onepassword/wire"
)

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answers is a server that always says the same.
func answers(status int, header http.Header, body io.Reader) tripper {
	return func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(body), Request: r}, nil
	}
}

// over has the real core send its requests by this transport, while the test runs.
func over(t *testing.T, base http.RoundTripper) *source.Source {
	before := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = before })
	return source.Over(base)
}

// signIn says hello to a source and returns what it answers.
func signIn(t *testing.T, s *source.Source, token string, patience time.Duration) wire.Answers {
	t.Helper()
	ours, theirs := net.Pipe()
	over := make(chan error, 1)
	go func() { defer theirs.Close(); over <- s.Run(theirs) }()
	require.NoError(t, wire.Send(ours, wire.Hello{Vault: "Agents", Time: patience, Body: len(token)}))
	v, err := secret.New([]byte(token))
	require.NoError(t, err)
	defer v.Clear()
	require.NoError(t, wire.Write(ours, v))
	var a wire.Answers
	require.NoError(t, wire.Receive(ours, &a))
	require.NoError(t, ours.Close())
	require.NoError(t, <-over)
	return a
}

// requireError checks what is said, and that nothing else is: no trace, no token.
func requireError(t *testing.T, a wire.Answers, kind string, auth bool, problem, token string) {
	t.Helper()
	e := a.Answers[0].Error
	require.NotNil(t, e)
	require.Equal(t, kind, e.Kind, e.Problem)
	require.Equal(t, auth, e.Auth, e.Problem)
	require.Contains(t, e.Problem, problem)
	for _, never := range []string{"\n", "wasm", "panic", "recovered"} {
		require.NotContains(t, e.Problem+e.Remedy, never)
	}
	if token != "" {
		require.NotContains(t, e.Problem+e.Remedy, token)
	}
}

// requireHealthy checks that the core still does what needs no server, and tells a
// refusal from an accident.
func requireHealthy(t *testing.T) {
	t.Helper()
	require.NoError(t, onepassword.Secrets.ValidateSecretReference(context.Background(), "op://vault/item/field"))
	token := optest.ServiceToken("my.1password.com")
	a := signIn(t, over(t, answers(401, nil, strings.NewReader("{}"))), token, time.Minute)
	requireError(t, a, wire.Refused, true, "does not take the token", token)
	require.Equal(t, 1, a.Reads)
}

// TestCoreTokens: a token that is none is told from one that is refused, and costs
// no request.
func TestCoreTokens(t *testing.T) {
	s := over(t, tripper(func(r *http.Request) (*http.Response, error) { panic("a request was sent") }))
	for _, token := range []string{"", "garbage", "ops_", "ops_garbage", "ops_e30", "ops_eyJlbWFpbCI6IngifQ"} {
		a := signIn(t, s, token, time.Minute)
		requireError(t, a, wire.Refused, true, "is not that of a service account", token)
		require.Zero(t, a.Reads+a.Writes)
	}
	requireError(t, signIn(t, s, optest.ServiceToken("evil.example.com"), time.Minute), wire.Refused, true, "names a server that is not one of theirs", "evil")
	requireHealthy(t)
}

// TestCoreAnswers: what the server says, and that it says nothing.
func TestCoreAnswers(t *testing.T) {
	nowhere := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no DNS here") }}
	for _, test := range []struct {
		name    string
		base    http.RoundTripper
		kind    string
		auth    bool
		problem string
	}{
		{"expired", answers(401, nil, strings.NewReader("{}")), wire.Refused, true, "does not take the token"},
		{"revoked", answers(200, nil, strings.NewReader("{}")), wire.Refused, true, "does not take the token"},
		{"forbidden", answers(403, nil, strings.NewReader("{}")), wire.Refused, true, "sign in from here"},
		{"too often", answers(429, http.Header{"Retry-After": {"900"}}, strings.NewReader("{}")), wire.RateLimited, false, "more often than"},
		{"trouble", answers(500, nil, strings.NewReader("oops")), wire.Unavailable, false, "trouble of its own (500)"},
		{"gateway", answers(502, nil, strings.NewReader("<html>")), wire.Unavailable, false, "trouble of its own (502)"},
		{"down", answers(503, nil, strings.NewReader("")), wire.Unavailable, false, "trouble of its own (503)"},
		{"elsewhere", answers(302, http.Header{"Location": {"https://evil.example.com/"}}, strings.NewReader("")), wire.Unavailable, false, "sent us elsewhere"},
		{"cut short", answers(200, nil, io.MultiReader(strings.NewReader("{"), broken{})), wire.Unavailable, false, "could not be reached"},
		{"no DNS", &http.Transport{DialContext: (&net.Dialer{Resolver: nowhere}).DialContext}, wire.Unavailable, false, "could not be looked up"},
		{"nobody", tripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }), wire.Unavailable, false, "could not be reached"},
		{"silence", tripper(func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }), wire.Unavailable, false, "did not answer in time"},
	} {
		t.Run(test.name, func(t *testing.T) {
			token := optest.ServiceToken("my.1password.com")
			require.NoError(t, onepassword.Secrets.ValidateSecretReference(context.Background(), "op://vault/item/field")) // it is loaded
			begin := time.Now()
			a := signIn(t, over(t, test.base), token, 300*time.Millisecond)
			require.Less(t, time.Since(begin), 5*time.Second)
			requireError(t, a, test.kind, test.auth, test.problem, token)
			require.Equal(t, 1, a.Reads)
			if test.name == "too often" {
				require.Equal(t, 900*time.Second, a.Answers[0].Error.Wait)
			}
			requireHealthy(t)
		})
	}
}

// broken fails when it is read.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestCoreOutlivesFailures: however often nobody could be reached, the core works
// when somebody can.
func TestCoreOutlivesFailures(t *testing.T) {
	rounds := 50
	if os.Getenv("SECRETCTL_LONG") != "" {
		rounds = 3000
	}
	s := over(t, tripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }))
	token := optest.ServiceToken("my.1password.com")
	for range rounds {
		requireError(t, signIn(t, s, token, time.Minute), wire.Unavailable, false, "could not be reached", token)
	}
	requireHealthy(t)
}

// TestCoreBreaks: without the Transport the core does not outlive them. When this
// fails the library may have been mended, and the Transport be of no more use.
func TestCoreBreaks(t *testing.T) {
	if os.Getenv("SECRETCTL_TEST_BREAK") != "" {
		http.DefaultTransport = tripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") })
		for range 60 {
			_, _ = onepassword.NewClient(context.Background(), onepassword.WithServiceAccountToken(optest.ServiceToken("my.1password.com")), onepassword.WithIntegrationInfo("secretctl", "test"))
		}
		fmt.Println("then:", onepassword.Secrets.ValidateSecretReference(context.Background(), "op://vault/item/field"))
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCoreBreaks$")
	cmd.Env = append(os.Environ(), "SECRETCTL_TEST_BREAK=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "then: wasm error: out of bounds memory access")
}

// TestCoreReferences: what we take for a reference the library does too.
func TestCoreReferences(t *testing.T) {
	for _, ref := range []string{
		"op://Agents/github/token", "op://My Vault/a.b_c-d/one section/the field", "op://a/b/c", "op://a/ b/c", "op://a/b/c ",
		"op://a/b", "op://a/b/c/d/e", "op://a//c", "op://ä/b/c", "op://a/b (x)/c", "op://", "", "https://a/b/c", "op://a/b/c?attribute=otp",
	} {
		_, problem, _ := wire.ParseReference(ref)
		if problem == "" {
			require.NoError(t, onepassword.Secrets.ValidateSecretReference(t.Context(), ref), ref)
		}
	}
}
