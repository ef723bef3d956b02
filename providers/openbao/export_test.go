package openbao

import "net/http"

// Via has all stores send their requests through rt, until undo.
func Via(rt http.RoundTripper) (undo func()) {
	testOnlyTransport = rt
	return func() { testOnlyTransport = nil }
}
