package postgres

import (
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
)

// TestScram is against the example of RFC 7677, as a verifier.
func TestScram(t *testing.T) {
	v, err := secret.New([]byte("pencil"))
	require.NoError(t, err)
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	require.NoError(t, err)
	got, err := scramWith(v, salt, 4096)
	require.NoError(t, err)
	require.Equal(t, "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=", got)
	a, err := scram(v)
	require.NoError(t, err)
	b, err := scram(v)
	require.NoError(t, err)
	require.NotEqual(t, a, b, "each has a salt of its own")
}
