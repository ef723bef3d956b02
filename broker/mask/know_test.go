package mask_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/mask"
	"secretctl/broker/secret/canary"
)

// TestKnow: a value of which a part was written before the known values were
// replaced is masked all the same, at whatever place that happens.
func TestKnow(t *testing.T) {
	value, other := canary.New(t, "value"), canary.New(t, "other")
	salt := mask.NewSalt()
	prints, err := salt.Fingerprints(nil, "a", []byte(value))
	require.NoError(t, err)
	before := mask.New(salt, prints)
	prints, err = salt.Fingerprints(prints, "b", []byte(other))
	require.NoError(t, err)
	after := mask.New(salt, prints)
	text := "one " + value + " two " + other + " three"
	for at := range len(text) {
		var out bytes.Buffer
		w := mask.NewWriter(&out, before, mask.Options{})
		_, err := w.Write([]byte(text[:at]))
		require.NoError(t, err)
		w.Know(after)
		_, err = w.Write([]byte(text[at:]))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		require.NotContains(t, out.String(), value, at)
		if at < len("one "+value+" two ") {
			require.Equal(t, "one [secretctl:a] two [secretctl:b] three", out.String(), at)
		}
	}
}
