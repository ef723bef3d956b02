package settings_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"github.com/stretchr/testify/require"

	"secretctl/cmd/secretctl/settings"
)

func ours(command string) bool { return strings.HasPrefix(command, "secretctl ") }

const (
	hook   = "secretctl hook claude"
	helper = "secretctl helper claude anthropic/api-key"
)

// files are settings as people have them; nil is none.
var files = [][]byte{
	nil, []byte(`{}`), []byte("{}\n"), []byte("{\n}\n"), []byte("{ }"), []byte(`{"a":1}`), []byte(`{"a":1,"b":[2]}` + "\n"),
	[]byte("{\n  \"model\": \"opus\"\n}\n"), []byte("{\r\n\t\"model\" : \"opus\",\r\n\t\"env\" : { \"A\":\"b\" }\r\n}"),
	[]byte(`{"hooks":{}}`), []byte(`{"hooks":{ }, "a": "\u00e9"}`), []byte("{\n    \"hooks\": {\n    }\n}"),
	[]byte(`{"hooks":{"PreToolUse":[]}}`), []byte(`{"hooks":{"PostToolUse":["Stop"],"Stop":[{"matcher":5}]}}`), []byte(`{"hooks":{"PostToolUse":[ ],"Stop":[]}}`),
	[]byte("{\n  \"hooks\": {\n    \"PreToolUse\": [\n      {\n        \"matcher\": \"Bash\",\n        \"hooks\": [\n          { \"type\": \"command\", \"command\": \"lint\" }\n        ]\n      }\n    ]\n  },\n  \"z\": null\n}\n"),
}

// TestClaudeThereAndBack: what is put in is there for Claude Code, twice is once,
// and taking it out gives back every byte.
func TestClaudeThereAndBack(t *testing.T) {
	for _, before := range files {
		checkThereAndBack(t, before)
	}
}

func checkThereAndBack(t *testing.T, before []byte) {
	withHelper, err := settings.AddClaudeHelper(before, helper, ours)
	require.NoError(t, err, "%q", before)
	both, err := settings.AddClaudeHooks(withHelper, hook, ours)
	require.NoError(t, err, "%q", before)

	var is struct {
		APIKeyHelper string
		Hooks        map[string]json.RawMessage
	}
	require.NoError(t, json.Unmarshal(both, &is), "%q", both)
	require.Equal(t, helper, is.APIKeyHelper)
	for _, event := range []string{"PreToolUse", "PostToolUse"} {
		var groups []json.RawMessage // the others are whatever they were
		require.NoError(t, json.Unmarshal(is.Hooks[event], &groups), "%q", both)
		var last struct {
			Matcher string
			Hooks   []struct{ Type, Command string }
		}
		require.NoError(t, json.Unmarshal(groups[len(groups)-1], &last), "%q", both)
		require.Equal(t, "*", last.Matcher)
		require.Equal(t, []struct{ Type, Command string }{{"command", hook}}, last.Hooks)
	}

	again, err := settings.AddClaudeHooks(both, hook, ours)
	require.NoError(t, err)
	again, err = settings.AddClaudeHelper(again, helper, ours)
	require.NoError(t, err)
	require.Equal(t, string(both), string(again))

	noHelper, err := settings.RemoveClaudeHelper(both, ours)
	require.NoError(t, err)
	after, err := settings.RemoveClaudeHooks(noHelper, ours)
	require.NoError(t, err)
	require.Equal(t, before == nil, after == nil, "%q became %q", before, after)
	require.Equal(t, string(before), string(after))

	noHooks, err := settings.RemoveClaudeHooks(both, ours)
	require.NoError(t, err)
	require.Equal(t, string(withHelper), string(noHooks))
}

func TestClaudeLooksRight(t *testing.T) {
	b, err := settings.AddClaudeHooks([]byte("{\n    \"model\": \"opus\"\n}\n"), hook, ours)
	require.NoError(t, err)
	group := strings.ReplaceAll(`[
            {
                "matcher": "*",
                "hooks": [
                    {
                        "type": "command",
                        "command": "secretctl hook claude"
                    }
                ]
            }
        ]`, "\t", "    ")
	require.Equal(t, "{\n    \"model\": \"opus\",\n    \"hooks\": {\n        \"PreToolUse\": "+group+",\n        \"PostToolUse\": "+group+"\n    }\n}\n", string(b))
}

// TestClaudeMoved: after an upgrade to another path there is one hook, not two.
func TestClaudeMoved(t *testing.T) {
	b, err := settings.AddClaudeHooks(nil, "secretctl old hook", ours)
	require.NoError(t, err)
	b, err = settings.AddClaudeHooks(b, hook, ours)
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(string(b), hook))
	require.NotContains(t, string(b), "old")
}

// TestClaudeJoined: a hook of somebody else's that has joined ours stays.
func TestClaudeJoined(t *testing.T) {
	b, err := settings.RemoveClaudeHooks([]byte(`{"hooks":{"PreToolUse":[{"hooks":[{"command":"secretctl x"},{"command":"lint"}]}]}}`), ours)
	require.NoError(t, err)
	require.Equal(t, `{"hooks":{"PreToolUse":[{"hooks":[{"command":"lint"}]}]}}`, string(b))
}

func TestClaudeRefused(t *testing.T) {
	for text, wrong := range map[string]string{
		`{"apiKeyHelper":"theirs"}`:                        "somebody else's",
		`{"apiKeyHelper":1}`:                               "somebody else's",
		`{"apiKeyHelper":"secretctl ","apiKeyHelper":"x"}`: "twice",
		"{\n// a comment\n}":                               "not plain JSON",
		`{"a":1,}`:                                         "not plain JSON",
		`[]`:                                               "not a JSON object",
		``:                                                 "a value is expected",
		`{"hooks":[]}`:                                     "",
		`{"hooks":{"PreToolUse":{}}}`:                      "",
		`{"hooks":{"PreToolUse":[]},"hooks":{}}`:           "",
		`{"hooks":{"PreToolUse":[],"PreToolUse":[]},"a":{}}`: "",
	} {
		_, err := settings.AddClaudeHelper([]byte(text), helper, ours)
		if wrong != "" {
			require.ErrorContains(t, err, wrong, text)
			continue
		}
		_, err = settings.AddClaudeHooks([]byte(text), hook, ours)
		require.Error(t, err, text)
	}
	same := `{"apiKeyHelper":"theirs"}`
	b, err := settings.RemoveClaudeHelper([]byte(same), ours)
	require.NoError(t, err)
	require.Equal(t, same, string(b))
}

var codex = settings.CodexHelper{Command: "/bin/secretctl", Args: []string{"helper", "codex", "openai/api-key"}, BaseURL: "https://api.openai.com/v1"}

func TestCodexThereAndBack(t *testing.T) {
	for _, before := range [][]byte{
		nil, {}, []byte("\n"), []byte("model = 'x'"), []byte("model = 'x'\n\n[projects.'/a']\ntrust_level = 'trusted'\n"), []byte("# only\r\n"),
	} {
		there, err := settings.AddCodexHelper(before, codex)
		require.NoError(t, err, "%q", before)
		var is struct {
			ModelProvider  string `toml:"model_provider"`
			ModelProviders map[string]struct {
				BaseURL string `toml:"base_url"`
				Auth    struct {
					Command string
					Args    []string
				}
			} `toml:"model_providers"`
		}
		require.NoError(t, toml.Unmarshal(there, &is), "%s", there)
		p := is.ModelProviders[is.ModelProvider]
		require.Equal(t, codex, settings.CodexHelper{Command: p.Auth.Command, Args: p.Auth.Args, BaseURL: p.BaseURL})

		again, err := settings.AddCodexHelper(there, codex)
		require.NoError(t, err)
		require.Equal(t, string(there), string(again))
		after, err := settings.RemoveCodexHelper(there)
		require.NoError(t, err)
		require.Equal(t, before == nil, after == nil)
		require.Equal(t, string(before), string(after))

		// Codex adds tables of its own at the end.
		after, err = settings.RemoveCodexHelper(append(there, "[tui]\na = 1\n"...))
		require.NoError(t, err)
		require.Equal(t, string(before)+"[tui]\na = 1\n", string(after))
	}
}

func TestCodexRefused(t *testing.T) {
	for text, wrong := range map[string]string{
		"model_provider = 'azure'":                "somebody else's",
		"[model_providers.secretctl]\nname = 'x'": "somebody else's",
		"a = ":                                  "not TOML",
		"# secretctl helper codex: from here\n": "by hand",
		"x = 1\n# secretctl helper codex: to here\n":    "by hand",
		"model_providers = { x = { name = 'closed' } }": "by hand",
		"\ufeffmodel = 1": "",
	} {
		_, err := settings.AddCodexHelper([]byte(text), codex)
		if wrong == "" {
			require.Error(t, err, text)
		} else {
			require.ErrorContains(t, err, wrong, text)
		}
	}
}

// FuzzClaude: what can be put into a file comes out of it again, to the byte.
func FuzzClaude(f *testing.F) {
	for _, b := range files {
		if b != nil {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, before []byte) {
		if strings.Contains(string(before), "secretctl") || strings.Contains(string(before), `\`) {
			return // it may be ours already
		}
		there, err := settings.AddClaudeHelper(before, helper, ours)
		if err != nil || before == nil {
			return
		}
		if _, err = settings.AddClaudeHooks(there, hook, ours); err != nil {
			return
		}
		var keys map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(before, &keys))
		for key := range keys { // encoding/json takes keys whatever their case
			if k := strings.ToLower(key); (k == "hooks" || k == "apikeyhelper") && key != "hooks" {
				return
			}
		}
		checkThereAndBack(t, before)
	})
}

// FuzzCodex is FuzzClaude for Codex.
func FuzzCodex(f *testing.F) {
	f.Add([]byte("model = 'x'\n\n[a]\nb = 1"))
	f.Fuzz(func(t *testing.T, before []byte) {
		if strings.Contains(string(before), "# secretctl helper codex") {
			return
		}
		there, err := settings.AddCodexHelper(before, codex)
		if err != nil {
			return
		}
		after, err := settings.RemoveCodexHelper(there)
		require.NoError(t, err)
		require.Equal(t, string(before), string(after))
	})
}
