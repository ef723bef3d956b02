package services_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/servertest"
	"secretctl/providers/services"
	"secretctl/providers/services/servicetest"
)

// answer returns what writes an answer.
func answer(status int, body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func panicAbort(http.ResponseWriter) { panic(http.ErrAbortHandler) }

// processedAnd does what is asked, and then something else than telling.
func processedAnd(then func(http.ResponseWriter)) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, service http.Handler) {
		service.ServeHTTP(httptest.NewRecorder(), r)
		then(w)
	}
}

// faulty is a service that answers in one way, and a provider that calls it: its
// Issue makes something there, and its Verify only reads.
func faulty(t *testing.T, do http.HandlerFunc) (providers.Rotator, *providers.Call) {
	server := httptest.NewServer(do)
	t.Cleanup(server.Close)
	return at(t, server.URL)
}

const adminKey = "admin-key-that-nobody-may-see"

func at(t *testing.T, url string) (providers.Rotator, *providers.Call) {
	r := servicetest.Open(t, services.OpenAI(), map[string]any{"project": "proj_x", "admin_key": secret.Name("own/openai"), "base_url": url})
	return r, &providers.Call{
		Secret: "weather/api-key", Tag: tag,
		Own: servicetest.Opened(map[secret.Name]string{"own/openai": adminKey}),
	}
}

const given = "sk-the-value-that-nobody-may-see"

// noValue fails where an error holds what was sent, or what was answered.
func noValue(t *testing.T, text string) {
	for _, s := range []string{adminKey, given, "echo"} {
		require.False(t, strings.Contains(text, s), "a value is in a text")
	}
}

// requireBoth calls to make something and to read something, and checks what is
// known after each.
func requireBoth(t *testing.T, do http.HandlerFunc, outcome providers.Outcome, code providers.Code) {
	t.Helper()
	r, c := faulty(t, do)
	_, err := r.Issue(t.Context(), c, nil)
	requireError(t, err, outcome, code, noValue)
	_, err = r.Verify(t.Context(), c, credential(t, given))
	requireError(t, err, outcome, code, noValue)
}

// echo answers with what was sent, as a service may.
func echo(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintf(w, "echo: %s", r.Header.Get("Authorization"))
	}
}

func TestClientStatus(t *testing.T) {
	for status, want := range map[int]struct {
		outcome providers.Outcome
		code    providers.Code
	}{
		http.StatusCreated:                 {providers.Unknown, providers.CodeUnavailable},
		http.StatusNoContent:               {providers.Unknown, providers.CodeUnavailable},
		http.StatusFound:                   {providers.DefinitelyNot, providers.CodeUnavailable},
		http.StatusSeeOther:                {providers.Unknown, providers.CodeUnavailable},
		http.StatusBadRequest:              {providers.DefinitelyNot, providers.CodeOptions},
		http.StatusNotFound:                {providers.DefinitelyNot, providers.CodeNotFound},
		http.StatusMethodNotAllowed:        {providers.DefinitelyNot, providers.CodeUnavailable},
		http.StatusRequestTimeout:          {providers.Unknown, providers.CodeUnavailable},
		http.StatusConflict:                {providers.DefinitelyNot, providers.CodeLimit},
		http.StatusGone:                    {providers.DefinitelyNot, providers.CodeNotFound},
		http.StatusUnprocessableEntity:     {providers.DefinitelyNot, providers.CodeOptions},
		http.StatusTooManyRequests:         {providers.DefinitelyNot, providers.CodeRateLimited},
		http.StatusInternalServerError:     {providers.Unknown, providers.CodeUnavailable},
		http.StatusBadGateway:              {providers.Unknown, providers.CodeUnavailable},
		http.StatusServiceUnavailable:      {providers.Unknown, providers.CodeUnavailable},
		http.StatusGatewayTimeout:          {providers.Unknown, providers.CodeUnavailable},
		http.StatusHTTPVersionNotSupported: {providers.Unknown, providers.CodeUnavailable},
	} {
		t.Run(http.StatusText(status), func(t *testing.T) { requireBoth(t, echo(status), want.outcome, want.code) })
	}
	// These say something of what authenticates, which differs.
	r, c := faulty(t, echo(http.StatusUnauthorized))
	_, err := r.Issue(t.Context(), c, nil)
	requireError(t, err, providers.DefinitelyNot, providers.CodeDenied, noValue)
	_, err = r.Verify(t.Context(), c, credential(t, given))
	requireError(t, err, providers.DefinitelyNot, providers.CodeInvalid, noValue)
	r, c = faulty(t, echo(http.StatusForbidden))
	_, err = r.Issue(t.Context(), c, nil)
	requireError(t, err, providers.DefinitelyNot, providers.CodeDenied, noValue)
	_, err = r.Verify(t.Context(), c, credential(t, given))
	requireError(t, err, providers.Unknown, providers.CodeDenied, noValue)
}

// A redirect is not followed, so that no credential goes where it points.
func TestClientRedirect(t *testing.T) {
	for _, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		var elsewhere atomic.Int32
		other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
		requireBoth(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, status) }, providers.DefinitelyNot, providers.CodeUnavailable)
		other.Close()
		require.Zero(t, elsewhere.Load())
	}
}

func TestClientHugeBody(t *testing.T) {
	long := strings.Repeat("echo ", 1<<18)
	requireBoth(t, func(w http.ResponseWriter, _ *http.Request) {
		answer(http.StatusOK, `{"object":"list","data":[],"id":"x","api_key":{"value":"x"},"more":"`+long+`"}`)(w)
	}, providers.Unknown, providers.CodeUnavailable)
	// What does not end is not read to its end.
	requireBoth(t, func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write([]byte(long)); err != nil {
				return
			}
		}
	}, providers.Unknown, providers.CodeUnavailable)
	requireBoth(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", long)
		answer(http.StatusOK, `{"object":"list","data":[],"id":"x","api_key":{"value":"x"}}`)(w)
	}, providers.Unknown, providers.CodeUnavailable)
}

// Until the context ends, and no longer, is waited for a service that does not
// answer, or begins to.
func TestClientSlow(t *testing.T) {
	for name, begin := range map[string]func(http.ResponseWriter){
		"no answer": func(http.ResponseWriter) {},
		"half a body": func(w http.ResponseWriter) {
			answer(http.StatusOK, `{"data":[`)(w)
			_ = http.NewResponseController(w).Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			asked, end := make(chan struct{}), make(chan struct{})
			r, c := faulty(t, func(w http.ResponseWriter, _ *http.Request) {
				begin(w)
				asked <- struct{}{}
				<-end
			})
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-asked; cancel() }()
			_, err := r.Issue(ctx, c, nil)
			requireError(t, err, providers.Unknown, providers.CodeUnavailable, noValue)
			ctx, cancel = context.WithCancel(t.Context())
			go func() { <-asked; cancel() }()
			_, err = r.Verify(ctx, c, credential(t, given))
			requireError(t, err, providers.Unknown, providers.CodeUnavailable, noValue)
			close(end)
		})
	}
	t.Run("deadline", func(t *testing.T) {
		ctx, late := servertest.Ending(t)
		end := make(chan struct{})
		r, c := faulty(t, func(http.ResponseWriter, *http.Request) { late(); <-end })
		defer close(end)
		_, err := r.Issue(ctx, c, nil)
		requireError(t, err, providers.Unknown, providers.CodeUnavailable, noValue)
		require.Contains(t, err.Error(), "in time")
	})
}

func TestClientCutBody(t *testing.T) {
	requireBoth(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		answer(http.StatusOK, `{"data":[],`)(w)
	}, providers.Unknown, providers.CodeUnavailable)
	requireBoth(t, func(w http.ResponseWriter, _ *http.Request) { panicAbort(w) }, providers.Unknown, providers.CodeUnavailable)
	// Accepted and closed, before a byte was read.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	r, c := at(t, "http://"+l.Addr().String())
	_, err = r.Issue(t.Context(), c, nil)
	requireError(t, err, providers.Unknown, providers.CodeUnavailable, noValue)
}

func TestClientGarbage(t *testing.T) {
	for _, body := range []string{
		``, `null`, `{}`, `[]`, `"echo"`, `echo`, `<html>echo</html>`, `{"data":[]}{"data":[]}`, `{"data":null}`,
		`{"id":"x","api_key":{}}`, `{"id":"x","api_key":{"value":""}}`, `{"id":"x","api_key":{"value":null}}`, `{"id":"x","api_key":{"value":7}}`,
		`{"id":"x","api_key":{"value":"a\nb"}}`, `{"id":"x","api_key":{"value":"é"}}`, `{"id":"x","api_key":{"value":"a","value":"b"}}`,
		`{"id":"../x","api_key":{"value":"a"}}`, `{"id":7,"api_key":{"value":"a"}}`, `{"api_key":{"value":"a"}}`,
	} {
		r, c := faulty(t, func(w http.ResponseWriter, _ *http.Request) { answer(http.StatusOK, body)(w) })
		_, err := r.Issue(t.Context(), c, nil)
		requireError(t, err, providers.Unknown, providers.CodeUnavailable, noValue)
		if body != `{"data":[]}` {
			_, err = r.Verify(t.Context(), c, credential(t, given))
			requireError(t, err, providers.Unknown, providers.CodeUnavailable, noValue)
		}
		_, err = r.Find(t.Context(), c)
		requireError(t, err, providers.Unknown, providers.CodeUnavailable, noValue)
	}
}

func TestClientMissingField(t *testing.T) {
	for _, body := range []string{`{"data":[]}`, `{"has_more":false}`, `{"data":[],"has_more":true}`, `{"data":[{"id":"x"}],"has_more":true,"last_id":null}`} {
		r, c := faulty(t, func(w http.ResponseWriter, _ *http.Request) { answer(http.StatusOK, body)(w) })
		found, err := r.Find(t.Context(), c)
		requireError(t, err, providers.Unknown, providers.CodeUnavailable, noValue)
		require.Empty(t, found)
	}
}

func TestClientRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for says, want := range map[string]time.Duration{
		"":   0,
		"0":  0,
		"90": 90 * time.Second,
		now.Add(time.Minute).Format(http.TimeFormat):    time.Minute,
		now.Add(time.Minute).Format(time.RFC850):        time.Minute,
		now.Add(-time.Minute).Format(http.TimeFormat):   0,
		now.Add(99 * time.Hour).Format(http.TimeFormat): 24 * time.Hour,
		"4000000000":           24 * time.Hour,
		"99999999999999999999": 0,
		"-1":                   0,
		"soon":                 0,
	} {
		for status, outcome := range map[int]providers.Outcome{http.StatusTooManyRequests: providers.DefinitelyNot, http.StatusServiceUnavailable: providers.Unknown} {
			r, c := faulty(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Date", now.Format(http.TimeFormat))
				w.Header().Set("Retry-After", says)
				w.WriteHeader(status)
			})
			_, err := r.Issue(t.Context(), c, nil)
			e := err.(*providers.CallError)
			require.Equal(t, want, e.RetryAfter, says)
			require.Equal(t, outcome, e.Outcome)
		}
	}
	h := http.Header{"Retry-After": {now.Format(http.TimeFormat)}}
	require.Zero(t, providers.RetryAfter(h), "there is no clock to measure by")
}

// ambient is set, in the environment, in the process that TestClientNoFallback
// starts: net/http reads the variables of a proxy once in a process's life.
const ambient = "SERVICES_TEST_AMBIENT"

// TestClientNoFallback: the environment sends nothing elsewhere, nor makes up for
// a secret that is missing.
func TestClientNoFallback(t *testing.T) {
	if os.Getenv(ambient) != "" {
		r, c := at(t, "https://service.invalid/v1")
		_, err := r.Issue(t.Context(), c, nil)
		requireError(t, err, providers.DefinitelyNot, providers.CodeUnavailable, noValue)
		c.Own = servicetest.Opened(nil)
		_, err = r.Issue(t.Context(), c, nil)
		requireError(t, err, providers.DefinitelyNot, providers.CodeDenied, noValue)
		return
	}
	asked := make(chan string, 100)
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.Method + " " + r.Host }))
	defer proxy.Close()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestClientNoFallback$")
	cmd.Env = append(os.Environ(), ambient+"=1", "GORACE=atexit_sleep_ms=10")
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "OPENAI_BASE_URL"} {
		cmd.Env = append(cmd.Env, name+"="+proxy.URL)
	}
	cmd.Env = append(cmd.Env, "NO_PROXY=", "no_proxy=", "OPENAI_API_KEY="+given, "OPENAI_ADMIN_KEY="+given)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Empty(t, asked, "the proxy was asked")
}

func TestClientAddress(t *testing.T) {
	for _, url := range []string{
		"http://api.openai.com/v1", "http://10.0.0.1", "http://localhost.example.org", "http://127.0.0.1.example.org", "http://[fe80::1]",
		"ftp://127.0.0.1", "127.0.0.1", "https://", "https://:443", "", "//x", "unix:///x", "https://user:pass@x", "https://x?y=z", "https://x?", "https://x#y", "https://%zz",
	} {
		requireOptionError(t, services.OpenAI(), map[string]any{"project": "proj_x", "admin_key": secret.Name("own/x"), "base_url": url})
	}
	for _, url := range []string{"http://127.0.0.1:1/v1", "http://[::1]:1", "http://localhost:1", "https://x", "https://x:8443/v1/"} {
		at(t, url)
	}
}

func TestClientUnreachable(t *testing.T) {
	r, c := at(t, "http://127.0.0.1:1")
	_, err := r.Issue(t.Context(), c, nil)
	requireError(t, err, providers.DefinitelyNot, providers.CodeUnavailable, noValue)
	_, err = r.Verify(t.Context(), c, credential(t, given))
	requireError(t, err, providers.DefinitelyNot, providers.CodeUnavailable, noValue)

	// A context that was done before anything was sent.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, c = faulty(t, func(http.ResponseWriter, *http.Request) { t.Error("it was asked") })
	_, err = r.Issue(ctx, c, nil)
	requireError(t, err, providers.DefinitelyNot, providers.CodeUnavailable, noValue)
}

// secured starts a service that speaks TLS, whose certificate is trusted if so.
func secured(t *testing.T, config *tls.Config, trusted bool) string {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answer(http.StatusOK, `{"object":"list","data":[]}`)(w)
	}))
	server.TLS, server.Config.ErrorLog = config, log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	if trusted {
		roots.AddCert(server.Certificate())
	}
	services.Trust(t, roots)
	return server.URL
}

func TestClientTLS(t *testing.T) {
	verify := func(url string) error {
		r, c := at(t, url)
		_, err := r.Verify(t.Context(), c, credential(t, given))
		return err
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		require.NoError(t, verify(secured(t, &tls.Config{MinVersion: version, MaxVersion: version}, true)))
	}
	old := verify(secured(t, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, true))
	requireError(t, old, providers.DefinitelyNot, providers.CodeUnavailable, noValue)
	require.Contains(t, old.Error(), "TLS 1.2")
	unknown := verify(secured(t, &tls.Config{}, false))
	requireError(t, unknown, providers.DefinitelyNot, providers.CodeUnavailable, noValue)
	require.Contains(t, unknown.Error(), "certificate")
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	requireError(t, verify(strings.Replace(plain.URL, "http:", "https:", 1)), providers.DefinitelyNot, providers.CodeUnavailable, noValue)
}

// A value that no header can hold is not sent.
func TestClientHeader(t *testing.T) {
	r, c := faulty(t, func(http.ResponseWriter, *http.Request) { t.Error("it was asked") })
	for _, value := range []string{"a\r\nX-Other: b", "a b", "é", "\x00"} {
		_, err := r.Verify(t.Context(), c, credential(t, value))
		requireError(t, err, providers.DefinitelyNot, providers.CodeBadValue, noValue)
	}
}

// One request is one request, also when the connection breaks.
func TestClientAsksOnce(t *testing.T) {
	var asked atomic.Int32
	r, c := faulty(t, func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) > 1 {
			panicAbort(w)
		}
		answer(http.StatusOK, `{"object":"list","data":[]}`)(w)
	})
	cred := credential(t, given)
	_, err := r.Verify(t.Context(), c, cred)
	require.NoError(t, err)
	_, err = r.Verify(t.Context(), c, cred)
	requireError(t, err, providers.Unknown, providers.CodeUnavailable, noValue)
	require.EqualValues(t, 2, asked.Load())
}

// late answers before it has read what it was sent, as a transport may.
type late struct{ read chan []byte }

func (l *late) RoundTrip(r *http.Request) (*http.Response, error) {
	go func() {
		<-r.Context().Done()
		all, _ := io.ReadAll(r.Body)
		l.read <- all
		_ = r.Body.Close()
	}()
	return &http.Response{StatusCode: http.StatusAccepted, Body: http.NoBody}, nil
}

// The memory of a body is not cleared, or used for something else, while it is
// being sent.
func TestClientBodyStays(t *testing.T) {
	l := &late{read: make(chan []byte, 1)}
	r := openGitHub(t, servicetest.NewGitHub(t))
	services.Through(r, l)
	require.NoError(t, r.Revoke(t.Context(), &providers.Call{}, credential(t, given)))
	require.JSONEq(t, `{"credentials":["`+given+`"]}`, string(<-l.read))
}

func TestHinted(t *testing.T) {
	value := servicetest.Value(t, "sk-proj-0123456789abcXYZ")
	for _, hint := range []string{"sk-proj-...XYZ", "sk-...cXYZ", "sk-****************XYZ", "…abcXYZ", "sk-p…XYZ"} {
		require.True(t, services.Hinted(value, hint), hint)
	}
	for _, hint := range []string{"", "...", "sk-...YZ", "sk-...aYZ", "sx-...XYZ", "sk-proj-0123456789abcXYZ", "sk-proj-0123456789abc...abcXYZ", "***"} {
		require.False(t, services.Hinted(value, hint), hint)
	}
	require.False(t, services.Hinted(servicetest.Value(t, "abc-and-abc"), "abc"), "nothing of it is hidden: it is another one")
}
