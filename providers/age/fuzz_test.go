package age_test

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"

	plain "filippo.io/age"
	"github.com/stretchr/testify/require"

	"secretctl/providers"
)

// Of any file, and of any file with a right MAC over a header that holds any
// stanza, the store makes what the age package makes of it; and what opens, opens
// only as the version that it is.
func FuzzVaultHeader(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.file, "X25519", "TEiF0ypqr+bpvcqXNyCVJpL7OuwPdVwPL7KQEbFDOCc", make([]byte, 32))
	}
	f.Add([]byte{}, "scrypt", "c2FsdHNhbHRzYWx0c2FsdA 10", make([]byte, 32))
	f.Add([]byte{}, "", "", []byte{})
	f.Fuzz(func(t *testing.T, file []byte, kind, args string, body []byte) {
		if len(file)+len(body) > 1<<20 {
			t.Skip("larger than what is read")
		}
		compare(t, file)
		others := stanzas{{Type: kind, Args: strings.Fields(args), Body: body}}
		for _, to := range [][]plain.Recipient{{others, ours.Recipient()}, {ours.Recipient(), others}} {
			var header bytes.Buffer
			w, err := plain.Encrypt(&header, to...)
			if err != nil {
				return // there is no such stanza
			}
			_, err = w.Write(horse)
			require.NoError(t, err)
			require.NoError(t, w.Close())
			compare(t, header.Bytes())
		}
	})
}

func compare(t *testing.T, file []byte) {
	b, ok := agreed(t, file)
	if !ok {
		return
	}
	s := newRaw(t, file)
	sum := providers.Sum(sha256.Sum256(file))
	v, err := s.Get(t.Context(), rawName, rawVersion, sum)
	require.NoError(t, err)
	require.Equal(t, len(b), v.Len())
	v.Clear()
	sum[0] ^= 1
	_, err = s.Get(t.Context(), rawName, rawVersion, sum)
	require.ErrorIs(t, err, providers.ErrChanged)
}
