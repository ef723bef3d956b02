package source

import "net/http"

// Over returns the source that asks 1Password by this transport.
func Over(base http.RoundTripper) *Source {
	s := SDK("test")
	s.Transport.Base = base
	return s
}
