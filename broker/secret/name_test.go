package secret_test

import (
	"path"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
)

func TestParseName(t *testing.T) {
	for _, s := range []string{
		"a", "0", "openai/api-key", "own/openai-admin", "a.b", "a.b.c", "a-", "a--b", "a.-b", "weather/api.v2/key",
		strings.Repeat("a", secret.MaxName), strings.Repeat("a/", 63) + "ab",
	} {
		n, err := secret.ParseName(s)
		require.NoError(t, err, s)
		require.Equal(t, secret.Name(s), n)
	}
	for s, why := range map[string]string{
		"":                                    "a name is needed",
		"/":                                   "an empty part",
		"/a":                                  "an empty part",
		"a/":                                  "an empty part",
		"a//b":                                "an empty part",
		".":                                   `begins with "."`,
		"..":                                  `begins with "."`,
		"a/../b":                              `begins with "."`,
		"a/.b":                                `begins with "."`,
		"-a":                                  `begins with "-"`,
		"a.":                                  "a dot that nothing follows",
		"a..b":                                "a dot that nothing follows",
		"a./b":                                "a dot that nothing follows",
		"A":                                   `it has 'A'`,
		"a_b":                                 `it has '_'`,
		"a b":                                 `it has ' '`,
		"a\\b":                                `it has '\\'`,
		"@1":                                  `it has '@'`,
		"a/@1.age":                            `it has '@'`,
		"a\x00":                               `it has '\x00'`,
		"a\x1b[31m":                           `it has '\x1b'`,
		"clé":                                 `it has 'é'`,
		"a\u202eb":                            `it has '\u202e'`,
		"a\xff":                               `it has '�'`,
		"*":                                   `it has '*'`,
		strings.Repeat("a", secret.MaxName+1): "at most 128",
	} {
		n, err := secret.ParseName(s)
		require.ErrorContains(t, err, why, "%q", s)
		require.Empty(t, n)
	}
}

func TestOwn(t *testing.T) {
	for s, own := range map[secret.Name]bool{"own/a": true, "own/a/b": true, "own": false, "owner/a": false, "a/own/b": false} {
		require.Equal(t, own, s.Own(), s)
	}
}

// wellFormed is the rule as design.md states it.
var wellFormed = regexp.MustCompile(`\A[a-z0-9][a-z0-9-]*([.][a-z0-9-]+)*(/[a-z0-9][a-z0-9-]*([.][a-z0-9-]+)*)*\z`)

// A name is what the rule says, its own only spelling, and safe as a path.
func FuzzName(f *testing.F) {
	for _, s := range []string{
		"", "a", "openai/api-key", "a.b/c-d", "a..b", "a.", ".a", "a/./b", "a/../b", "/a", "a/", "a//b", "-a", "a.-", "A", "a_b", "@1",
		"a/@1.age", "é", "a\x00", "a\n", "a\u202e", "con", "a:b", `a\b`, strings.Repeat("a", 129), strings.Repeat("a/", 64) + "a",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := secret.ParseName(s)
		if want := wellFormed.MatchString(s) && len(s) <= 128; want != (err == nil) {
			t.Fatalf("ParseName(%q): %v", s, err)
		}
		if err != nil {
			require.Empty(t, n)
			require.Negative(t, strings.IndexFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }), "%q", err)
			return
		}
		require.Equal(t, s, string(n))
		require.Equal(t, s, path.Clean(s))
		require.Equal(t, strings.ToLower(s), s)
		for segment := range strings.SplitSeq(s, "/") {
			require.NotContains(t, []string{"", ".", ".."}, segment)
			require.False(t, strings.HasPrefix(segment, "@"), "it could be taken for a version's file")
			require.False(t, strings.HasSuffix(segment, "."))
		}
	})
}
