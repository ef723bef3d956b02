package openbao_test

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"secretctl/providers/openbao/openbaotest"
	"secretctl/providers/storetest"
)

// TestContract: what is asked is done, or is said not to be, whatever way the
// server does not work.
func TestContract(t *testing.T) {
	fails := func(status int) func(*openbaotest.Server) func() {
		return func(s *openbaotest.Server) func() { return s.Answer(openbaotest.Echo(status)) }
	}
	for name, breaks := range map[string][]func(*openbaotest.Server) func(){
		"sealed, then something else": {(*openbaotest.Server).Seal, fails(http.StatusNotFound)},
		"hanging, then failing":       {(*openbaotest.Server).Hang, fails(http.StatusInternalServerError)},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) storetest.Subject {
				server := openbaotest.New(time.Now)
				admin := server.Start(t)
				role := admin.NewRole(t, "secret", "secretctl", nil)
				next := 0
				return storetest.Subject{Store: open(t, ownOf(role), byRole(admin.URL, map[string]any{"shared": true})), Break: func() func() {
					next++
					return breaks[(next-1)%len(breaks)](server)
				}}
			})
		})
	}
}

// TestContractForgetful: a server that forgets all tokens now and then is one
// that works.
func TestContractForgetful(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		server := openbaotest.New(time.Now)
		var n atomic.Uint64
		listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1)%211 == 0 {
				server.RevokeTokens()
			}
			server.ServeHTTP(w, r)
		}))
		t.Cleanup(listener.Close)
		admin := openbaotest.Admin{URL: listener.URL, Token: openbaotest.Root}
		role := admin.NewRole(t, "secret", "team/secretctl", nil)
		return storetest.Subject{Store: open(t, ownOf(role), byRole(admin.URL, map[string]any{"prefix": "team/secretctl"}))}
	})
}
