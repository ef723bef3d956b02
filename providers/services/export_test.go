package services

import (
	"crypto/x509"
	"net/http"
	"testing"

	"secretctl/providers"
)

// Trust makes the providers that are opened from now on trust other certificates
// than the system's.
func Trust(t *testing.T, roots *x509.CertPool) {
	testOnlyRoots = roots
	t.Cleanup(func() { testOnlyRoots = nil })
}

// Through makes a provider of GitHub's send its requests through something else.
func Through(r providers.Rotator, transport http.RoundTripper) { r.(*github).transport = transport }

// Parts of a provider that have tests of their own.
var (
	Hinted  = hinted
	Allowed = allowed
)
