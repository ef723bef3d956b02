package grant_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/grant"
	"secretctl/broker/secret"
)

func TestParsePattern(t *testing.T) {
	long := strings.Repeat("a", 128)
	for s, names := range map[string][2][]secret.Name{ // :: pattern -> names it matches, names it does not
		"openai/api-key": {{"openai/api-key"}, {"openai/api-key2", "openai", "", "openai/api-ke"}},
		"openai/*":       {{"openai/x", "openai/x/y"}, {"openai", "openai2/x", ""}},
		"openai*":        {{"openai", "openai-2", "openai/x"}, {"opena", "x/openai"}},
		"a.*":            {{"a.b", "a.-"}, {"a", "ab"}},
		"a-*":            {{"a-", "a-b"}, {"a", "a/b"}},
		"own*":           {{"own", "owner/x"}, {"own/x", "own/x/y"}},
		"ow*":            {{"owl"}, {"own/x"}},
		"own":            {{"own"}, {"own/x"}},
		long + "*":       {{secret.Name(long)}, {"a"}},
	} {
		p, err := grant.ParsePattern(s)
		require.NoError(t, err, "%q", s)
		for _, n := range names[0] {
			require.True(t, p.Match(n), "%q matches %q", s, n)
		}
		for _, n := range names[1] {
			require.False(t, p.Match(n), "%q matches %q", s, n)
		}
	}
}

func TestParsePatternRefuses(t *testing.T) {
	for s, want := range map[string]string{
		"":                             "can match no name",
		"*":                            "would grant every secret",
		"**":                           "before its end",
		"a*b":                          "before its end",
		"*/key":                        "before its end",
		"OpenAI/*":                     "can match no name",
		"openai//*":                    "can match no name",
		"/openai*":                     "can match no name",
		"../*":                         "can match no name",
		"a/./b":                        "can match no name",
		"a_b":                          "can match no name",
		"-*":                           "can match no name",
		"a b*":                         "can match no name",
		"openai/*\n":                   "before its end",
		"own/token":                    "the broker's own",
		"own/*":                        "the broker's own",
		"own/a*":                       "the broker's own",
		strings.Repeat("a", 129):       "can match no name",
		strings.Repeat("a", 129) + "*": "can match no name",
	} {
		_, err := grant.ParsePattern(s)
		var m *grant.Malformed
		require.ErrorAs(t, err, &m, "%q", s)
		require.Contains(t, m.Problem, want, "%q", s)
		require.NotEmpty(t, m.Remedy, "%q", s)
	}
}

// A pattern that did not come from ParsePattern fails closed.
func TestStrayPatternsMatchNothing(t *testing.T) {
	for _, p := range []grant.Pattern{"", "*", "own/*", "own/x"} {
		for _, n := range []secret.Name{"", "x", "own/x"} {
			require.False(t, p.Match(n), "%q matches %q", p, n)
		}
	}
}

func TestParseDoor(t *testing.T) {
	for _, s := range []string{"value", "mint", "inject", "sign"} {
		d, err := grant.ParseDoor(s)
		require.NoError(t, err)
		require.EqualValues(t, s, d)
	}
	for _, s := range []string{"", "Value", "value ", "door"} {
		_, err := grant.ParseDoor(s)
		require.Error(t, err, "%q", s)
	}
}

// FuzzPattern holds patterns against the grammar of names: a pattern is
// accepted exactly when it can match some name that may be handed out, and it
// matches a name exactly when comparing by hand says so.
func FuzzPattern(f *testing.F) {
	for _, s := range []string{"openai/*", "openai/api-key", "own/*", "own*", "*", "a.*", "a-*", "A*", "a*b", "a//*", strings.Repeat("a", 128) + "*"} {
		f.Add(s, "openai/api-key")
		f.Add(s, "own/token")
	}
	f.Fuzz(func(t *testing.T, s, n string) {
		p, err := grant.ParsePattern(s)
		name, nameErr := secret.ParseName(n)
		if nameErr == nil && name.Own() {
			require.False(t, grant.Pattern(s).Match(name), "%q matches the broker's own %q", s, name)
		}
		byHand := s == n
		if before, star, found := strings.Cut(s, "*"); found && star == "" {
			byHand = len(n) >= len(before) && n[:len(before)] == before
		}
		if nameErr == nil && byHand && !name.Own() && s != "*" {
			require.NoError(t, err, "%q would match %q", s, name)
		}
		if err != nil {
			require.Empty(t, p)
			return
		}
		require.EqualValues(t, s, p, "the one form is the form written")
		require.NotEqual(t, "*", s)
		if nameErr == nil {
			require.Equal(t, byHand && !name.Own(), p.Match(name), "%q against %q", s, name)
		}
		for _, end := range []string{"", "a"} {
			if some, err := secret.ParseName(strings.TrimSuffix(s, "*") + end); err == nil && p.Match(some) {
				return
			}
		}
		t.Fatalf("%q was accepted and matches no name", s)
	})
}
