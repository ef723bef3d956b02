package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret/canary"
)

// The real tools are large, so the tests with them run only where a variable says
// which directory they were installed in with npm: doors.md, sections 1 and 2.

// installed returns that directory, or skips the test.
func installed(t *testing.T, variable string) string {
	dir := os.Getenv(variable)
	if dir == "" {
		t.Skip("needs " + variable + ", the directory of an npm install")
	}
	return dir
}

// e2eHome is a broker, and beside it the home of a user of the tools, who is an
// agent of it.
type e2eHome struct {
	*testHome
	user    string // its home
	userEnv []string
}

func newE2EHome(t *testing.T, pattern string) *e2eHome {
	h := &e2eHome{testHome: newTestHome(t)}
	h.declare(strconv.Itoa(os.Getuid()), pattern)
	h.user = filepath.Join(h.dir, "user")
	require.NoError(t, os.MkdirAll(filepath.Join(h.user, "work"), 0o700))
	h.userEnv = []string{
		"HOME=" + h.user, "PATH=" + stageDir + ":" + os.Getenv("PATH"), "TERM=dumb", "SECRETCTL_HOME=" + filepath.Join(h.dir, "home"),
		"GORACE=atexit_sleep_ms=10",
	}
	return h
}

// declare makes a uid an agent that may have what a pattern says.
func (h *testHome) declare(uid, pattern string) {
	config := filepath.Join(h.dir, "home", "secretctl.toml")
	text := "[agent.tester]\nuid = " + uid + "\n"
	if pattern != "" {
		text += "[[grant]]\nagent = \"tester\"\nsecrets = [\"" + pattern + "\"]\n"
	}
	require.NoError(h.t, os.WriteFile(config, []byte(text), 0o600))
	require.NoError(h.t, h.broker.stop(15))
	require.NoError(h.t, h.broker.start(filepath.Join(h.dir, "serve.log"), h.env))
}

// tool runs a tool that must succeed, and returns what it printed.
func (h *e2eHome) tool(env []string, program string, args ...string) string {
	cmd := exec.CommandContext(h.t.Context(), program, args...)
	cmd.Env, cmd.Dir = append(env, h.userEnv...), filepath.Join(h.user, "work")
	out, err := cmd.CombinedOutput()
	require.NoError(h.t, err, "%s %v", program, args)
	return string(out)
}

// TestE2EClaude: Claude Code gets its key from the helper, and what its tools print
// is masked before the model and the transcript have it.
func TestE2EClaude(t *testing.T) {
	claude := filepath.Join(installed(t, "SECRETCTL_E2E_CLAUDE"), "node_modules/@anthropic-ai/claude-code-linux-x64/claude")
	h := newE2EHome(t, "anthropic/*")
	key, leaked := canary.New(t, "key"), canary.New(t, "leaked")
	h.run(key, "set", "anthropic/api-key")
	notes := filepath.Join(h.user, "work", "notes"+canary.Channel)
	require.NoError(t, os.WriteFile(notes, []byte("OPENAI_API_KEY="+leaked+"\n"), 0o600))
	api := newModelAPI(t, "cat notes"+canary.Channel, "cat .env", "secretctl get anthropic/api-key")
	env := []string{
		"ANTHROPIC_BASE_URL=" + api.URL, "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "DISABLE_AUTOUPDATER=1",
	}
	secretctl := filepath.Join(stageDir, "secretctl")
	h.tool(nil, secretctl, "helper", "claude", "anthropic/api-key", "--install")
	h.tool(nil, secretctl, "hook", "claude", "--install")

	out := h.tool(env, claude, "-p", "read my notes", "--allowedTools", "Bash")
	require.Contains(t, out, "pong")
	require.Positive(t, api.took(key), "the key did not reach the API")
	told := api.told()
	require.Equal(t, 2, strings.Count(told, "this is not run, because it reads .env")) // in the requests after it
	require.Contains(t, told, "this is not run, because it prints a secret")
	require.Contains(t, told, "OPENAI_API_KEY=[secretctl:?")
	require.NotContains(t, told, leaked)
	require.NotContains(t, told, key)
	transcripts, err := filepath.Glob(filepath.Join(h.user, ".claude/projects/*/*.jsonl"))
	require.NoError(t, err)
	require.NotEmpty(t, transcripts)
	for _, path := range transcripts {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NotContains(t, string(text), leaked)
		require.Contains(t, string(text), "[secretctl:?")
	}
	canary.NoneIn(t, filepath.Join(h.user, ".claude"))

	// The control: without the hooks it is in both.
	h.tool(nil, secretctl, "hook", "claude", "--uninstall")
	control := newModelAPI(t, "cat notes"+canary.Channel)
	h.tool([]string{"ANTHROPIC_BASE_URL=" + control.URL, "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "DISABLE_AUTOUPDATER=1"},
		claude, "-p", "read my notes", "--allowedTools", "Bash")
	require.Contains(t, control.told(), leaked)
	require.NoError(t, os.RemoveAll(filepath.Join(h.user, ".claude")))
}

// TestE2ECodex: Codex gets its key from the helper.
func TestE2ECodex(t *testing.T) {
	codex := filepath.Join(installed(t, "SECRETCTL_E2E_CODEX"), "node_modules/.bin/codex")
	h := newE2EHome(t, "openai/*")
	key := canary.New(t, "key")
	h.run(key, "set", "openai/api-key")
	api := newModelAPI(t)
	secretctl := filepath.Join(stageDir, "secretctl")
	h.tool(nil, secretctl, "helper", "codex", "openai/api-key", "--install", "--base-url", api.URL+"/v1")
	out := h.tool(nil, codex, "exec", "--skip-git-repo-check", "say pong")
	require.Contains(t, out, "pong")
	require.Positive(t, api.took(key), "the key did not reach the API")
	canary.NoneIn(t, h.user)

	config := filepath.Join(h.user, ".codex", "config.toml")
	h.tool(nil, secretctl, "helper", "codex", "--uninstall")
	if text, err := os.ReadFile(config); err == nil { // Codex may have put something of its own there
		require.NotContains(t, string(text), "secretctl")
	}
}
