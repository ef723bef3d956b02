package openclaw_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/cmd/secretctl/openclaw"
)

// variables are an Environment.
type variables map[string]string

func (v variables) Lookup(key string) ([]byte, string, bool) {
	value, ok := v[key]
	return []byte(value), ".env", ok
}

// directory makes a directory of OpenClaw's with these files.
func directory(t testing.TB, files map[string]string) *os.Root {
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o640))
	}
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { root.Close() })
	return root
}

// look finds what is in a directory.
func look(t testing.TB, root *os.Root, env variables, gatewayAuth bool) (*openclaw.Config, *openclaw.Found) {
	config, err := openclaw.ReadConfig(root)
	require.NoError(t, err)
	var found openclaw.Found
	t.Cleanup(found.Clear)
	require.NoError(t, found.AddConfig(config, env, gatewayAuth))
	require.NoError(t, found.AssignNames("openclaw"))
	return config, &found
}

// moved lists what was found: path, name, file and variable.
func moved(f *openclaw.Found) map[string]string {
	all := map[string]string{}
	for _, c := range f.Credentials {
		all[strings.Join(c.Path, ".")] = strings.TrimSpace(c.Name + " " + c.File + " " + c.Env)
	}
	return all
}

func left(f *openclaw.Found) map[string]string {
	all := map[string]string{}
	for _, l := range f.Left {
		all[l.Path] = l.Why
	}
	return all
}

func TestFound(t *testing.T) {
	one, two, bot := canary.New(t, "one"), canary.New(t, "two"), canary.New(t, "bot")
	root := directory(t, map[string]string{"openclaw.json": `{
		// JSON5
		models: { providers: {
			openai: { apiKey: '` + one + `', headers: { 'X-Org': "$ORG", Authorization: "Bearer ${TOKEN}" } },
			"open.ai": { apiKey: ' ` + two + ` ' }, 'again': { apiKey: '` + one + `' },
			moved: { apiKey: { source: "exec", provider: "secretctl", id: "openclaw/moved" } },
			store: { apiKey: { source: "store", provider: "default", id: "KEY" } },
			gone: { apiKey: "__OPENCLAW_REDACTED__" }, empty: { apiKey: "" }, unset: { apiKey: "${UNSET}" },
		} },
		channels: { telegram: { accounts: { work: { botToken: { source: "env", provider: "default", id: "BOT" } } }, botToken: "${BOT}" } },
		env: { vars: { WEATHER_API_KEY: '` + two + `', LANG: "C" } },
		gateway: { auth: { token: '` + two + `' }, remote: { token: '` + two + `' } },
		skills: { entries: { "my-skill": { apiKey: 12 } } },
		hooks: { token: '` + two + `' },
	}`})
	env := variables{"BOT": bot, "ORG": "org-1"}
	config, found := look(t, root, env, false)
	require.Equal(t, map[string]string{
		"models.providers.openai.apiKey":           "openclaw/again-api-key openclaw.json",
		"models.providers.again.apiKey":            "openclaw/again-api-key openclaw.json",
		"models.providers.open.ai.apiKey":          "openclaw/gateway-remote-token openclaw.json",
		"models.providers.openai.headers.X-Org":    "openclaw/openai-headers-x-org .env ORG",
		"channels.telegram.accounts.work.botToken": "openclaw/telegram-work-bot-token .env BOT",
		"channels.telegram.botToken":               "openclaw/telegram-work-bot-token .env BOT",
		"gateway.remote.token":                     "openclaw/gateway-remote-token openclaw.json",
	}, moved(found))
	require.Equal(t, map[string]string{
		"gateway.auth.token":                            "stays unless --include-gateway-auth is given: with it, no gateway starts while the broker is down",
		"models.providers.openai.headers.Authorization": "is put together with a variable: OpenClaw's references are whole values",
		"models.providers.gone.apiKey":                  "is the word that OpenClaw shows in the place of a value: the value is lost",
		"models.providers.store.apiKey":                 "is in OpenClaw's own store, where it rests as plaintext: openclaw secrets store",
		"models.providers.unset.apiKey":                 "is the variable UNSET, which comes from somewhere else than OpenClaw's .env",
		"env.vars.WEATHER_API_KEY":                      "is a variable for OpenClaw's programs, where no reference can be",
	}, left(found))
	require.Equal(t, []string{"openclaw/moved"}, config.Uses("secretctl"))

	_, found = look(t, root, env, true)
	require.Equal(t, "openclaw/gateway-auth-token openclaw.json", moved(found)["gateway.auth.token"])
}

func TestIncludes(t *testing.T) {
	a, b, c := canary.New(t, "a"), canary.New(t, "b"), canary.New(t, "c")
	root := directory(t, map[string]string{
		"openclaw.json": `{ models: { $include: "./parts/models.json5", providers: { own: { apiKey: "` + a + `" } } },
			channels: { $include: ["parts/one.json5", "parts/two.json5"] } }`,
		"parts/models.json5": `{ providers: { own: { apiKey: "` + b + `" }, $include: "more.json5" } }`,
		"parts/more.json5":   `{ deep: { apiKey: "` + c + `" } }`,
		"parts/one.json5":    `{ telegram: { botToken: "` + a + `" } }`,
		"parts/two.json5":    `{ telegram: { botToken: "` + b + `" } }`,
	})
	_, found := look(t, root, nil, false)
	where := map[string]string{}
	for _, c := range found.Credentials {
		where[strings.Join(c.Path, ".")] = c.File
	}
	require.Equal(t, map[string]string{
		"models.providers.own.apiKey":  "openclaw.json",
		"models.providers.deep.apiKey": "parts/more.json5",
		"channels.telegram.botToken":   "parts/two.json5",
	}, where)
}

func TestConfigRefused(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside.json")
	require.NoError(t, os.WriteFile(outside, []byte("{}"), 0o600))
	loop := map[string]string{"openclaw.json": `{ a: { $include: "openclaw.json" } }`}
	for name, c := range map[string]struct {
		files map[string]string
		wrong string
	}{
		"none":           {nil, "reading openclaw.json: no such file"},
		"no JSON5":       {map[string]string{"openclaw.json": "{ a: }"}, "reading openclaw.json: line 1: "},
		"no object":      {map[string]string{"openclaw.json": "[]"}, "it is not an object"},
		"a loop":         {loop, "nested too deep"},
		"outside":        {map[string]string{"openclaw.json": `{ $include: "` + outside + `" }`}, "escapes"},
		"above":          {map[string]string{"openclaw.json": `{ $include: "../x.json" }`}, "escapes"},
		"a missing part": {map[string]string{"openclaw.json": `{ $include: "x.json" }`}, "reading x.json: no such file"},
		"a directory":    {map[string]string{"openclaw.json/x": ""}, "it is not a file"},
	} {
		_, err := openclaw.ReadConfig(directory(t, c.files))
		require.ErrorContains(t, err, c.wrong, name)
	}
	root := directory(t, nil)
	require.NoError(t, syscall.Mkfifo(filepath.Join(root.Name(), "openclaw.json"), 0o600))
	_, err := openclaw.ReadConfig(root)
	require.ErrorContains(t, err, "it is not a file")
}

// TestNames: the names are the ones a person would give, and two values never have
// one.
func TestNames(t *testing.T) {
	long := strings.Repeat("x", 200)
	root := directory(t, map[string]string{"openclaw.json": `{ models: { providers: {
		aB: { apiKey: "1" }, "a-b": { apiKey: "2" }, "ÄÖ": { apiKey: "3" } } }, channels: { slack: { accounts: { "Team X": { signingSecret: "4" } } } } }`})
	_, found := look(t, root, nil, false)
	names := map[string]bool{}
	for _, c := range found.Credentials {
		_, err := secret.ParseName(c.Name)
		require.NoError(t, err)
		names[c.Name] = true
	}
	require.Len(t, names, 4)
	require.Contains(t, names, "openclaw/slack-team-x-signing-secret")
	require.Contains(t, names, "openclaw/api-key")
	require.Contains(t, names, "openclaw/a-b-api-key")
	require.Contains(t, names, "openclaw/models-providers-a-b-api-key")

	root = directory(t, map[string]string{"openclaw.json": `{ models: { providers: { "` + long + `": { apiKey: "1" } } } }`})
	config, err := openclaw.ReadConfig(root)
	require.NoError(t, err)
	var f openclaw.Found
	defer f.Clear()
	require.NoError(t, f.AddConfig(config, nil, false))
	require.ErrorContains(t, f.AssignNames("openclaw"), "rename its key")
}

func TestPlanHoldsNoValue(t *testing.T) {
	key := canary.New(t, "key")
	root := directory(t, map[string]string{"openclaw.json": `{ models: { providers: { openai: { apiKey: "` + key + `" } } } }`})
	_, found := look(t, root, nil, false)
	text, err := json.Marshal(openclaw.NewPlan(openclaw.NewProvider("/home/a/x", "/run/s.sock"), found.Credentials))
	require.NoError(t, err)
	require.JSONEq(t, `{"version":1,"protocolVersion":1,
		"providerUpserts":{"secretctl":{"source":"exec","command":"/home/a/x","args":["openclaw","resolve"],"passEnv":["HOME"],
			"env":{"SECRETCTL_SOCKET":"/run/s.sock"},"timeoutMs":10000,"jsonOnly":true}},
		"targets":[{"type":"models.providers.*.apiKey","path":"models.providers.openai.apiKey","pathSegments":["models","providers","openai","apiKey"],
			"ref":{"source":"exec","provider":"secretctl","id":"openclaw/openai-api-key"}}],
		"options":{"scrubEnv":true,"scrubAuthProfilesForProviderTargets":false}}`, string(text))
}

// TestScrubBackup: a copy of the config loses the credentials that are references
// now, keeps everything else to the byte, and can still be put back.
func TestScrubBackup(t *testing.T) {
	old, other := canary.New(t, "old"), canary.New(t, "other")
	const now = `{ models: { providers: { openai: { apiKey: { source: "exec", provider: "secretctl", id: "openclaw/openai-api-key" } },
		x: { apiKey: { source: "exec", provider: "vault", id: "x" } } } } }`
	backup := func(key, x string) string {
		return "{ // mine\n  models: { providers: { openai: { apiKey: " + key + " , n: 0x1F }, x: { apiKey: '" + x + "' } } }, $include: 'gone.json' }\n"
	}
	root := directory(t, map[string]string{
		"openclaw.json": now, "openclaw.json.bak": backup("'"+old+"'", other), "openclaw.json.bak.1": backup("'${KEY}'", other),
		"openclaw.json.bak.2": "no JSON5", "other.json.bak": "{}",
	})
	config, err := openclaw.ReadConfig(root)
	require.NoError(t, err)
	names, err := openclaw.Backups(root)
	require.NoError(t, err)
	require.Equal(t, []string{"openclaw.json.bak", "openclaw.json.bak.1", "openclaw.json.bak.2"}, names)

	n, err := config.ScrubBackup(root, names[0])
	require.NoError(t, err)
	require.Equal(t, 1, n)
	text, err := root.ReadFile(names[0])
	require.NoError(t, err)
	require.Equal(t, backup(`{"source":"exec","provider":"secretctl","id":"openclaw/openai-api-key"}`, other), string(text))
	info, err := root.Stat(names[0])
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode())

	n, err = config.ScrubBackup(root, names[1])
	require.NoError(t, err)
	require.Zero(t, n)
	_, err = config.ScrubBackup(root, names[2])
	require.ErrorContains(t, err, "reading openclaw.json.bak.2: line 1: ")
}

func TestReplaceFile(t *testing.T) {
	root := directory(t, map[string]string{"a": "old"})
	require.ErrorIs(t, openclaw.ReplaceFile(root, "a", []byte("other"), []byte("new")), openclaw.ErrChanged)
	require.NoError(t, os.Symlink("a", filepath.Join(root.Name(), "link")))
	require.ErrorContains(t, openclaw.ReplaceFile(root, "link", []byte("old"), []byte("new")), "it is not a file")
	require.NoError(t, openclaw.ReplaceFile(root, "a", []byte("old"), []byte("new")))
	text, err := root.ReadFile("a")
	require.NoError(t, err)
	require.Equal(t, "new", string(text))
	left, err := os.ReadDir(root.Name())
	require.NoError(t, err)
	require.Len(t, left, 2, "a temporary file is left")
}

// TestSearch finds a value wherever it lies, as it is and as JSON writes it.
func TestSearch(t *testing.T) {
	key := canary.New(t, "key")
	value := key + `"quoted\`
	quoted, err := json.Marshal(value)
	require.NoError(t, err)
	env := variables{"KEY": value}
	root := directory(t, map[string]string{
		"openclaw.json":                `{ models: { providers: { openai: { apiKey: "$KEY" } } } }`,
		"agents/main/sessions/1.jsonl": `{"text":` + string(quoted) + `}`, "x.sqlite-wal": "\x00\x01" + value, "empty": "", "clean": key[:20],
	})
	_, found := look(t, root, env, false)
	residue, err := openclaw.Search(root, found.Credentials)
	require.NoError(t, err)
	require.Equal(t, []openclaw.Residue{{"agents/main/sessions/1.jsonl", "openclaw/openai-api-key"}, {"x.sqlite-wal", "openclaw/openai-api-key"}}, residue)
}
