package wire_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/providers/onepassword/wire"
)

func TestReference(t *testing.T) {
	for text, want := range map[string]wire.Reference{
		"op://Agents/github/token":                    {Vault: "Agents", Item: "github", Field: "token"},
		"op://Agents/GitHub (none)/token":             {},
		"op://My Vault/a.b_c-d/one section/the field": {Vault: "My Vault", Item: "a.b_c-d", Section: "one section", Field: "the field"},
		"":                          {},
		"op://":                     {},
		"op:///":                    {},
		"op://Agents/github":        {},
		"op://a/b/c/d/e":            {},
		"op://a//c":                 {},
		"op://a/ b/c":               {},
		"op://a/b/c ":               {},
		"op://a/b/c\n":              {},
		"op://ä/b/c":                {},
		"OP://a/b/c":                {},
		"https://a/b/c":             {},
		"op://a/b/c?attribute=otp":  {},
		"op://a/b/c?attribute=type": {},
		"op://a/b/c?":               {},
	} {
		got, problem, remedy := wire.ParseReference(text)
		require.Equal(t, want == wire.Reference{}, problem != "", "%q: %s", text, problem)
		require.Equal(t, problem != "", remedy != "", text)
		require.Equal(t, want, got, text)
		require.NotContains(t, strings.TrimSuffix(problem, "\n"), "\n", text)
	}
	_, problem, _ := wire.ParseReference("op://a/b/c?attribute=otp")
	require.Contains(t, problem, "every 30 seconds")
}
