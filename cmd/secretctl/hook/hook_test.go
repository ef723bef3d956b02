package hook_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret/canary"
	"secretctl/cmd/secretctl/hook"
)

// event is what Claude Code sends.
func event(t testing.TB, name, tool string, more map[string]any) *hook.Event {
	all := map[string]any{"session_id": "x", "hook_event_name": name, "tool_name": tool}
	for key, value := range more {
		all[key] = value
	}
	b, err := json.Marshal(all)
	require.NoError(t, err)
	e, err := hook.Parse(b)
	require.NoError(t, err)
	return e
}

func TestBlockedCommands(t *testing.T) {
	for command, why := range map[string]string{
		"secretctl get openai/api-key":                   "it prints a secret",
		"cd /x && /usr/local/bin/secretctl get a --json": "it prints a secret",
		"sudo secretctl get a | true; secretctl get b":   "it prints a secret",
		"{ secretctl get a; }":                           "it prints a secret",
		"if true; then secretctl get a; fi":              "it prints a secret",
		"secretctl get a 2>/dev/null":                    "it prints a secret",
		"secretctl get a >/dev/stderr":                   "it prints a secret",
		"cat .env":                                       "it reads .env, where credentials are",
		"cat ./config/.env.local | grep KEY":             "it reads .env.local, where credentials are",
		"head -n 3 ~/.ssh/id_ed25519":                    "it reads id_ed25519, where credentials are",
		`grep -r x "$HOME/.aws/credentials"`:             "it reads credentials, where credentials are",
		"less ~/.openclaw/openclaw.json.bak.1":           "it reads openclaw.json.bak.1, where credentials are",
		"cat <.env":                                      "it reads .env, where credentials are",
		"base64 'prod.env' >x":                           "it reads prod.env, where credentials are",
		"env":                                            "it prints the environment, where credentials are",
		"env -0":                                         "it prints the environment, where credentials are",
		"FOO=1 env A=b":                                  "it prints the environment, where credentials are",
		"printenv":                                       "it prints the environment, where credentials are",
		"printenv OPENAI_API_KEY":                        "it prints the environment, where credentials are",
		"export -p":                                      "it prints the environment, where credentials are",
		"declare -x":                                     "it prints the environment, where credentials are",
		"set":                                            "it prints the environment, where credentials are",
		"cat /proc/self/environ":                         "it prints the environment, where credentials are",
		"echo $OPENAI_API_KEY":                           "it prints the variable OPENAI_API_KEY",
		`echo "key: ${GITHUB_TOKEN:0:4}"`:                "it prints the variable GITHUB_TOKEN",
		`printf '%s\n' "$DB_PASSWORD"`:                   "it prints the variable DB_PASSWORD",
		"(echo $APIKEY)":                                 "it prints the variable APIKEY",
		"true && (cd /; cat .netrc)":                     "it reads .netrc, where credentials are",
		"ls; secretctl get a":                            "it prints a secret",

		`export K="$(secretctl get openai/api-key)"`:      "",
		"secretctl get a | docker login --password-stdin": "",
		"secretctl get a > /run/x/key":                    "",
		"curl -H @<(secretctl get a) https://x":           "",
		"(secretctl get a) | wc -c":                       "",
		"secretctl ls":                                    "",
		"cat .env.example":                                "",
		"cat README.md":                                   "",
		"cp .env /backup":                                 "",
		"cat ~/.ssh/id_rsa.pub":                           "",
		"env FOO=1 make":                                  "",
		"env | wc -l":                                     "",
		"printenv PATH":                                   "",
		"export A=1":                                      "",
		"set -e":                                          "",
		"echo $HOME $KEYBOARD ${#OPENAI_API_KEY}":         "",
		"echo 'cat .env'":                                 "",
		"echo $OPENAI_API_KEY | sha256sum":                "",
		"git commit -m 'read .env'":                       "",
		"((( not a command":                               "",
		"":                                                "",
	} {
		e := event(t, "PreToolUse", "Bash", map[string]any{"tool_input": map[string]any{"command": command}})
		require.Equal(t, why, e.Blocked(), command)
	}
}

func TestBlockedReads(t *testing.T) {
	for file, blocked := range map[string]bool{
		"/home/a/p/.env": true, "/home/a/p/.env.production": true, "/home/a/.secretctl/identity.txt": true, "/x/key.pem": true,
		"/home/a/p/.env.example": false, "/home/a/p/main.go": false, "/x/identity.txt": false, "": false, "/": false, ".kube/config": true,
	} {
		e := event(t, "PreToolUse", "Read", map[string]any{"tool_input": map[string]any{"file_path": file}})
		require.Equal(t, blocked, e.Blocked() != "", file)
	}
	grep := func(mode string) string {
		return event(t, "PreToolUse", "Grep", map[string]any{"tool_input": map[string]any{"path": "/x/.env", "output_mode": mode}}).Blocked()
	}
	require.NotEmpty(t, grep("content"))
	require.Empty(t, grep("files_with_matches"))
	require.Empty(t, event(t, "PreToolUse", "WebFetch", nil).Blocked())
}

// TestMask: whatever shape an output has, it keeps it, and loses what looks like a
// credential.
func TestMask(t *testing.T) {
	key := canary.New(t, "key")
	for name, response := range map[string]any{
		"Bash":   map[string]any{"stdout": "A=1\nOPENAI_API_KEY=" + key + "\nok", "stderr": key, "interrupted": false, "isImage": false},
		"Read":   map[string]any{"type": "text", "file": map[string]any{"content": "x " + key + "\n", "numLines": 1}},
		"list":   []any{"plain", map[string]any{"text": "Bearer " + key}, 1, nil},
		"string": "é\u0001 \"" + key + "\" é",
	} {
		e := event(t, "PostToolUse", name, map[string]any{"tool_response": response, "tool_input": map[string]any{"command": key}})
		masked, err := e.Mask()
		require.NoError(t, err)
		require.NotContains(t, string(masked), key)
		require.Contains(t, string(masked), "[secretctl:?")
		var is any
		require.NoError(t, json.Unmarshal(masked, &is), "%s", masked)
		require.Equal(t, shapeOf(response), shapeOf(is))

		var reply struct {
			HookSpecificOutput struct {
				HookEventName     string
				UpdatedToolOutput json.RawMessage
			}
		}
		require.NoError(t, json.Unmarshal(hook.Reply(masked), &reply))
		require.Equal(t, "PostToolUse", reply.HookSpecificOutput.HookEventName)
		require.JSONEq(t, string(masked), string(reply.HookSpecificOutput.UpdatedToolOutput))
	}
}

// shapeOf is a value with its strings and numbers left out.
func shapeOf(v any) string {
	switch v := v.(type) {
	case map[string]any:
		keys := []string{}
		for key, value := range v {
			keys = append(keys, key+shapeOf(value))
		}
		return fmt.Sprintf("%d{%d}", len(keys), len(strings.Join(keys, "")))
	case []any:
		all := []string{}
		for _, value := range v {
			all = append(all, shapeOf(value))
		}
		return fmt.Sprint(all)
	case int, float64:
		return "number"
	}
	return fmt.Sprintf("%T", v)
}

func TestNothingToMask(t *testing.T) {
	for _, response := range []any{nil, "plain", map[string]any{"stdout": "ok\n"}, []any{}} {
		masked, err := event(t, "PostToolUse", "Bash", map[string]any{"tool_response": response}).Mask()
		require.NoError(t, err)
		require.Nil(t, masked)
	}
	masked, err := event(t, "PostToolUse", "Bash", nil).Mask()
	require.NoError(t, err)
	require.Nil(t, masked)
}

func TestNoEvent(t *testing.T) {
	for _, text := range []string{``, `{}`, `[]`, `{"hook_event_name":1}`, `{`} {
		_, err := hook.Parse([]byte(text))
		require.Error(t, err, text)
	}
}

// FuzzBlocked: whatever is typed, the guard looks at it and ends.
func FuzzBlocked(f *testing.F) {
	for _, command := range []string{"cat .env", `echo "$(secretctl get a)" | x 2>&1`, "a <<E\nE", "for i in; do :; done", "x() { env; }"} {
		f.Add(command)
	}
	f.Fuzz(func(t *testing.T, command string) {
		event(t, "PreToolUse", "Bash", map[string]any{"tool_input": map[string]any{"command": command}}).Blocked()
	})
}

// FuzzMask: an answer is JSON whatever the output was.
func FuzzMask(f *testing.F) {
	key := canary.New(f, "key")
	f.Add([]byte(`{"a":["x` + key + `",{"b":"\u0000\ud800"}]}`))
	f.Fuzz(func(t *testing.T, response []byte) {
		if !json.Valid(response) {
			return
		}
		e, err := hook.Parse([]byte(`{"hook_event_name":"PostToolUse","tool_response":` + string(response) + `}`))
		if err != nil {
			return
		}
		masked, err := e.Mask()
		require.NoError(t, err)
		require.True(t, masked == nil || json.Valid(masked), "%q", bytes.ToValidUTF8(masked, nil))
	})
}
