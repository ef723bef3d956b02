package openbao_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/openbao"
	"secretctl/providers/openbao/openbaotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// own are the broker's own secrets, which a test may change.
type own struct {
	mu  sync.Mutex
	all map[secret.Name]string
}

func (o *own) set(name secret.Name, value string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all[name] = value
}

func (o *own) open(_ context.Context, name secret.Name) (secret.Value, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	v, ok := o.all[name]
	if !ok {
		return secret.Value{}, errors.New("there is no secret " + string(name))
	}
	return secret.New([]byte(v))
}

// ownOf are the secrets of a role.
func ownOf(r openbaotest.Role) *own {
	return &own{all: map[secret.Name]string{"own/bao-role-id": r.ID, "own/bao-secret-id": r.SecretID}}
}

// byRole are the options of a store that logs in with a role.
func byRole(url string, more map[string]any) map[string]any {
	o := map[string]any{"address": url, "mount": "secret", "role_id": secret.Name("own/bao-role-id"), "secret_id": secret.Name("own/bao-secret-id")}
	maps.Copy(o, more)
	return o
}

// open opens a store, which is closed when the test ends.
func open(t testing.TB, o *own, set map[string]any) providers.Store {
	t.Helper()
	kind := openbao.Kind()
	options, err := kind.NewOptions(set)
	require.NoError(t, err)
	s, err := kind.Open(providers.StoreSetup{Name: "bao", Options: options, Own: o.open})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.(io.Closer).Close()) })
	return s
}

// value makes one.
func value(t testing.TB, text string) secret.Value {
	t.Helper()
	v, err := secret.New([]byte(text))
	require.NoError(t, err)
	t.Cleanup(v.Clear)
	return v
}

// put stores a version, which must work.
func put(t testing.TB, s providers.Store, name secret.Name, version uint64, text string) providers.Sum {
	t.Helper()
	sum, err := s.Put(t.Context(), name, version, value(t, text))
	require.NoError(t, err)
	return sum
}

// requireHas checks what a version is.
func requireHas(t testing.TB, s providers.Store, name secret.Name, version uint64, text string) {
	t.Helper()
	v, err := s.Get(t.Context(), name, version, providers.Sum{})
	require.NoError(t, err)
	defer v.Clear()
	require.NoError(t, v.Use(func(b []byte) error { require.Equal(t, text, string(b)); return nil }))
}

// requireError checks the kind of an error, and that it says what to type.
func requireError(t testing.TB, err, kind error, problem, remedy string) {
	t.Helper()
	var e *providers.StoreError
	require.ErrorAs(t, err, &e)
	require.Equal(t, kind, e.Kind, err)
	require.Contains(t, e.Error(), problem)
	require.Contains(t, e.Remedy, remedy)
	require.NotEmpty(t, e.Remedy)
}

// contextOf is the test's, with a deadline.
func contextOf(t testing.TB, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}
