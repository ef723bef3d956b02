package dotenv

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestForeign(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "",
		"A=b\nC=d\n":                           "",
		"A = b\nexport C=d: e\nURL=http://x\n": "",
		"# a: b\nA=b\nC: d\n":                  "",
		"{\"a\": \"b\"}\n":                     "JSON",
		" \n{\n  \"A\": \"b\", // c\n}\n":      "JSON",
		"\ufeff[{\"A\": 1}]":                   "JSON",
		"[default]\nkey=value\n":               "",
		"key: v\n":                             "YAML",
		"---\napi:\n  key: \"v\"\n  list:\n":   "YAML",
		"services:\n  a:\n    image: b\n    environment:\n      - KEY=v\n": "YAML",
		"A: b\nC: d\nE=f\n": "YAML",
	} {
		f, err := Parse([]byte(text))
		require.NoError(t, err)
		require.Equal(t, want, f.Foreign(), "%q", text)
	}
}
