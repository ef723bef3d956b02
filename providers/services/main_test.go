package services_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/stretchr/testify/require"

	"secretctl/providers"
	"secretctl/providers/services/servicetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tag is what each rotation of the tests is called.
const tag = "secretctl/weather/api-key/0123456789abcdef"

// requireError checks what is known after an error, and that it says neither a
// value nor nothing.
func requireError(t *testing.T, err error, outcome providers.Outcome, code providers.Code, leaks func(*testing.T, string)) {
	t.Helper()
	require.Error(t, err)
	e := (*providers.CallError)(nil)
	require.ErrorAs(t, err, &e)
	require.Equal(t, outcome, e.Outcome, err)
	require.Equal(t, code, e.Code, err)
	require.NotEmpty(t, e.Problem)
	leaks(t, e.Problem+e.Remedy)
}

// credential is one of which only the value is known.
func credential(t *testing.T, value string) *providers.Credential {
	return &providers.Credential{Value: servicetest.Value(t, value)}
}
