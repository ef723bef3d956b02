// Package servicetest has services for the tests of the providers of package
// services, and for whoever rotates credentials in a test: fakes of those that
// nobody can run, and a real Gitea where there is one.
//
// It guards against a provider that only a friendly service understands. A fake
// keeps state, and fails the test of whoever calls what is not in the vendor's
// specification: a path, a method, a parameter, a field, a header. Its errors
// repeat the credential, as those of some services do.
package servicetest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
)

// Fake is what the fakes have in common.
type Fake struct {
	URL    string // where its API is
	t      testing.TB
	server *httptest.Server
	mux    *http.ServeMux

	mu        sync.Mutex
	values    []string
	requests  []string
	interfere []func(http.ResponseWriter, *http.Request, http.Handler)
}

// start starts the service, which ends with the test.
func (f *Fake) start(t testing.TB) {
	f.t, f.mux = t, http.NewServeMux()
	f.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		f.wrong(w, "%s %s is not in the specification", r.Method, r.URL.Path)
	})
	f.server = httptest.NewServer(f)
	f.URL = f.server.URL
	t.Cleanup(f.server.Close)
}

// Down ends the service: nothing answers any more.
func (f *Fake) Down(testing.TB) { f.server.Close() }

// Next lets a function answer the next request that nothing else was to answer.
// It may have the service answer, or do what was asked without telling.
func (f *Fake) Next(with func(w http.ResponseWriter, r *http.Request, service http.Handler)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.interfere = append(f.interfere, with)
}

// Lose does what is asked next and answers with a server's error.
func (f *Fake) Lose() {
	f.Next(func(w http.ResponseWriter, r *http.Request, service http.Handler) {
		service.ServeHTTP(httptest.NewRecorder(), r)
		w.WriteHeader(http.StatusInternalServerError)
	})
}

// Requests returns the methods and paths of what was asked so far.
func (f *Fake) Requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

// ServeHTTP answers a request.
func (f *Fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests = append(f.requests, r.Method+" "+r.URL.Path)
	var with func(http.ResponseWriter, *http.Request, http.Handler)
	if len(f.interfere) > 0 {
		with, f.interfere = f.interfere[0], f.interfere[1:]
	}
	f.mu.Unlock()
	if with != nil {
		with(w, r, f.mux)
		return
	}
	f.mux.ServeHTTP(w, r)
}

// Leaks fails the test where a text has one of the service's values in it.
func (f *Fake) Leaks(t *testing.T, text string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, v := range f.values {
		require.False(t, strings.Contains(text, v), "a value is in a text")
	}
}

// mint makes a value. All canaries of a run begin and end alike, which real
// values do not, so that each has an end of its own.
func (f *Fake) mint(name string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mintLocked(name)
}

func (f *Fake) mintLocked(name string) string {
	v := fmt.Sprintf("%s-k%04d", canary.New(f.t, name), len(f.values))
	f.values = append(f.values, v)
	return v
}

// wrong fails the test of whoever calls against the specification.
func (f *Fake) wrong(w http.ResponseWriter, format string, args ...any) {
	f.t.Errorf(format, args...)
	w.WriteHeader(http.StatusNotImplemented)
}

// endpoint is one call of the specification.
type endpoint struct {
	query   []string          // parameters there are
	headers map[string]string // that must be there; "": with any value
	body    func() any        // makes what the body is read into; nil: there is none
	do      func(w http.ResponseWriter, r *http.Request, body any)
}

// on adds a call.
func (f *Fake) on(pattern string, e endpoint) {
	f.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		for name := range r.URL.Query() {
			if !slices.Contains(e.query, name) {
				f.wrong(w, "%s has no parameter %q", pattern, name)
				return
			}
		}
		for name, want := range e.headers {
			if got := r.Header.Get(name); got == "" || want != "" && got != want {
				f.wrong(w, "%s has the header %s: %q, not %q", pattern, name, got, want)
				return
			}
		}
		if e.body == nil {
			if r.ContentLength != 0 {
				f.wrong(w, "%s has no body", pattern)
				return
			}
			e.do(w, r, nil)
			return
		}
		body := e.body()
		in := json.NewDecoder(r.Body)
		in.DisallowUnknownFields()
		if err := in.Decode(body); err != nil || r.Header.Get("Content-Type") != "application/json" {
			f.wrong(w, "%s has another body: %v", pattern, err)
			return
		}
		e.do(w, r, body)
	})
}

// reply answers with JSON.
func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// Opened returns a function as [providers.Call] has it, which opens the values by
// their names.
func Opened(values map[secret.Name]string) func(context.Context, secret.Name) (secret.Value, error) {
	return func(_ context.Context, name secret.Name) (secret.Value, error) {
		v, ok := values[name]
		if !ok {
			return secret.Value{}, providers.Not(providers.CodeDenied, "there is no secret %q", name) // as the vault says it
		}
		return secret.New([]byte(v))
	}
}

// Value makes a value of a text.
func Value(t testing.TB, text string) secret.Value {
	t.Helper()
	v, err := secret.New([]byte(text))
	require.NoError(t, err)
	t.Cleanup(v.Clear)
	return v
}

// Open makes a provider with options.
func Open(t testing.TB, kind providers.Kind, set map[string]any) providers.Rotator {
	t.Helper()
	o, err := kind.NewOptions(set)
	require.NoError(t, err)
	r, err := kind.Open(o)
	require.NoError(t, err)
	return r
}
