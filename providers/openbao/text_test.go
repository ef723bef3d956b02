package openbao

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzText: what a JSON string means here is what it means to encoding/json,
// unless that had to make up something.
func FuzzText(f *testing.F) {
	for _, s := range []string{`""`, `"a"`, `"\"\\\/\b\f\n\r\t"`, `"\u00e9\ud83d\ude00"`, `"\ud83d"`, `"\ud83dx"`, `"\ud83d\u0041"`, `"\u12"`, `"\x"`, `"a\u003cb\u2028"`, "\"\xff\"", `5`, `null`, `"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var want string
		if json.Unmarshal(b, &want) != nil || b[0] != '"' && bytes.TrimSpace(b)[0] != '"' {
			return
		}
		var got text
		if err := json.Unmarshal(b, &got); err != nil {
			require.Contains(t, want, "�", "of half a character there is no byte")
			return
		}
		defer got.Clear()
		require.NoError(t, got.Use(func(v []byte) error {
			require.Equal(t, known([]byte(want)), known(v), "%q", b)
			return nil
		}))
	})
}

// known returns b without the bytes that are no character, and without what
// encoding/json has in their place.
func known(b []byte) string {
	return string(bytes.ReplaceAll(bytes.ToValidUTF8(b, nil), []byte("�"), nil))
}

// FuzzBased: anything but base64 is no value.
func FuzzBased(f *testing.F) {
	for _, s := range []string{`""`, `"AA=="`, `"AAA="`, `"AAAA"`, `"AB=="`, `"A"`, `"===="`, `"AA=A"`, `"AA\n=="`, `"\u0041A=="`, `"AAAA="`, `"AA==="`, "\"AA\xff=\"", `"AAAAAA=="`, `"AA==AAAA"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var want []byte
		wrong := json.Unmarshal(b, &want) != nil
		var got based
		if err := json.Unmarshal(b, &got); err != nil {
			return
		}
		defer got.Clear()
		require.False(t, wrong)
		require.NoError(t, got.Use(func(v []byte) error {
			require.Equal(t, len(want), len(v))
			require.True(t, bytes.Equal(want, v))
			return nil
		}))
	})
}
