package config_test

import (
	"errors"
	"fmt"
	"os/user"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/config"
	"secretctl/broker/grant"
	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/generate"
)

// machine knows the users of an invented machine.
var machine = config.ParseOptions{Provider: provider, Stores: lockers, Schedule: fiveFields, Freeze: fiveFields, LookupUser: func(name string) (uint32, error) {
	uids := map[string]uint32{"joel": 501, "aiagent": 502, "other": 503, "twin": 502, "root": 0, "nobody": 65534}
	switch uid, ok := uids[name]; {
	case name == "broken":
		return 0, errors.New("the directory does not answer")
	case !ok:
		return 0, user.UnknownUserError(name)
	default:
		return uid, nil
	}
}}

// provider knows generate, and one with options of every type.
func provider(name string) (providers.Kind, bool) {
	switch name {
	case "generate":
		return generate.Kind(), true
	case "typed":
		return providers.Kind{Name: name, Shape: providers.ShapeCreate, Schedule: "0 4 * * 1", Options: []providers.Option{
			{Name: "hosts", Type: providers.List, Required: true, Example: `["web1"]`},
			{Name: "project", Type: providers.Text, Example: `"proj_x"`},
			{Name: "keep", Type: providers.Span, Example: `"1h"`},
			{Name: "quick", Type: providers.Switch, Example: "true"},
			{Name: "admin", Type: providers.Own, Example: `"own/admin"`},
			{Name: "ca", Type: providers.File, Example: `"/etc/ca.pem"`},
		}, Accounts: func(o providers.Options) []string {
			return []string{"the account " + o.Text("project")}[:min(len(o.Text("project")), 1)]
		}, Open: func(o providers.Options) (providers.Rotator, error) {
			if o.Text("project") == "bad" {
				return nil, &providers.OptionError{Option: "project", Problem: "there is no such project", Remedy: "another"}
			}
			return nil, nil
		}}, true
	case "manual":
		return providers.Kind{Name: name, Shape: providers.ShapeManual, Open: func(providers.Options) (providers.Rotator, error) { return nil, nil }}, true
	}
	return providers.Kind{}, false
}

// lockers are the kinds of stores there are.
var lockers = []providers.StoreKind{
	{Name: "drawer", Reference: func(text string) (problem, remedy string) {
		if !strings.HasPrefix(text, "the ") {
			return fmt.Sprintf("there is no box %q", text), `"the red box"`
		}
		return "", ""
	}, Open: func(providers.StoreSetup) (providers.Store, error) { return nil, nil }},
	{Name: "locker", Options: []providers.Option{
		{Name: "number", Type: providers.Number, Required: true, Example: "7"},
		{Name: "key", Type: providers.Own, Example: `"own/locker-key"`},
		{Name: "ca", Type: providers.File, Example: `"/etc/ca.pem"`},
	}, Open: func(s providers.StoreSetup) (providers.Store, error) {
		if s.Options.Number("number") == 13 {
			return nil, &providers.OptionError{Option: "number", Problem: "there is no locker 13", Remedy: "another"}
		}
		return nil, nil
	}},
}

// fiveFields takes anything for a schedule but the word "never".
func fiveFields(text string) (problem, remedy string) {
	if text == "never" {
		return "never does not come", "sometimes"
	}
	return "", ""
}

func parse(t testing.TB, file string) *config.Config {
	t.Helper()
	c, err := machine.Parse("secretctl.toml", []byte(file))
	require.NoError(t, err, "%s", file)
	return c
}

// contract is the example of cli.md without what this build does not have.
const contract = `
[broker]
owners = ["joel"]                      # besides root and the broker's own uid
max_ttl = "1h"                         # no lease lives longer between renewals
default_ttl = "10m"
max_connections = 128                  # for one uid
agent_socket = "/run/secretctl/agent.sock"   # when the home is not reachable by the agent user

[audit]
anchor = ["/usr/local/bin/ship-checkpoint"]  # gets each signed checkpoint on stdin
keep = "400d"

[store.age]                            # always there; the embedded default

[agent.openclaw]
user = "aiagent"                       # or uid = 502; one uid is one agent. Optional and narrowing: exe = ["/usr/local/bin/node"]

[secret."openai/api-key"]
store = "age"
env = "OPENAI_API_KEY"                 # the name run and the OpenClaw resolver offer it under
max_age = "30d"

[secret."github/token"]

[[grant]]
agent = "openclaw"
secrets = ["openai/*", "weather/api-key"]
doors = ["value"]
ttl = "15m"
max_leases = 20
leases_per_hour = 200
hours = "07:00-23:00"                  # local time; weekdays = "Mon-Fri"
reason = "required"

[[grant]]                              # deny always wins
agent = "openclaw"
secrets = ["openai/billing-*"]
deny = true
`

func TestParseContract(t *testing.T) {
	c := parse(t, contract)
	require.Empty(t, c.Warnings)
	require.Equal(t, config.Broker{
		Owners:         []config.Owner{{Name: "joel", UID: 501}},
		MaxTTL:         time.Hour,
		DefaultTTL:     10 * time.Minute,
		MaxConnections: 128,
		AgentSocket:    "/run/secretctl/agent.sock",
	}, c.Broker)
	require.Equal(t, config.Audit{Anchor: []string{"/usr/local/bin/ship-checkpoint"}, Keep: 400 * 24 * time.Hour}, c.Audit)
	require.Equal(t, []config.Agent{{Name: "openclaw", User: "aiagent", UID: 502}}, c.Agents)
	require.Equal(t, map[secret.Name]config.Secret{
		"openai/api-key": {Store: "age", Env: "OPENAI_API_KEY", MaxAge: 30 * 24 * time.Hour},
		"github/token":   {},
	}, c.Secrets)
	require.Equal(t, []config.Store{{Name: "age", Type: "age"}}, c.Stores)
	require.Regexp(t, `^[0-9a-f]{16}$`, c.Hash)
	require.NotEqual(t, c.Hash, parse(t, contract+"\n").Hash)

	rules := c.Policy.Rules()
	require.Len(t, rules, 2)
	hours, err := grant.ParseWindow("07:00-23:00")
	require.NoError(t, err)
	require.Equal(t, &grant.Rule{
		Agent: "openclaw", Secrets: []grant.Pattern{"openai/*", "weather/api-key"}, Doors: []grant.Door{"value"},
		TTL: 15 * time.Minute, MaxLeases: 20, LeasesPerHour: 200, Hours: hours, ReasonRequired: true,
		Line: 25, ID: rules[0].ID,
	}, rules[0])
	require.True(t, c.Policy.Denies("openclaw", "openai/billing-key"))
	require.Equal(t, 35, rules[1].Line)
}

func TestParseDefaults(t *testing.T) {
	for _, file := range []string{"", "\n# nothing\n", "[broker]\n[audit]\n[store.age]\n"} {
		c := parse(t, file)
		require.Equal(t, config.Broker{MaxTTL: time.Hour, DefaultTTL: 10 * time.Minute, MaxConnections: 128}, c.Broker)
		require.Equal(t, config.Audit{Keep: 400 * 24 * time.Hour}, c.Audit)
		require.NotNil(t, c.Policy)
		d := c.Policy.Decide(grant.Request{Agent: "a", Secret: "s", Door: grant.DoorValue}, nil)
		require.Equal(t, grant.CodeNoGrant, d.Code)
	}
	require.Equal(t, 5*time.Minute, parse(t, "[broker]\nmax_ttl = '5m'").Broker.DefaultTTL, "the default is never above the largest")
}

// One meaning, however TOML lets it be written.
func TestParseSpellings(t *testing.T) {
	for _, file := range []string{
		"[agent.a]\nuid = 502\n[[grant]]\nagent = 'a'\nsecrets = ['x']\nmax_leases = 20\n[broker]\nowners = [501]\n",
		"agent.a.uid = 0x1F6\ngrant = [{agent = 'a', secrets = [\n  'x',\n], max_leases = 2_0}]\nbroker = {owners = [0o765, 'joel']}\n",
		"[agent]\na = {uid = +502}\n[broker]\n\"owners\" = [501]\n[[grant]]\n\"agent\" = \"\"\"a\"\"\"\nsecrets = [\"\\u0078\"]\nmax_leases = 0b10100\n",
	} {
		c := parse(t, file)
		require.Equal(t, []config.Agent{{Name: "a", UID: 502}}, c.Agents)
		require.Equal(t, []config.Owner{{Name: "501", UID: 501}}, c.Broker.Owners)
		require.Len(t, c.Policy.Rules(), 1)
		require.Equal(t, []grant.Pattern{"x"}, c.Policy.Rules()[0].Secrets)
		require.Equal(t, 20, c.Policy.Rules()[0].MaxLeases)
	}
}

func TestAgents(t *testing.T) {
	c := parse(t, "[agent.z]\nuser='aiagent'\nexe=['/bin/z','/bin/y']\n[agent.b]\nuid=4294967294\n")
	require.Equal(t, []config.Agent{
		{Name: "b", UID: 1<<32 - 2},
		{Name: "z", User: "aiagent", UID: 502, Exe: []string{"/bin/z", "/bin/y"}},
	}, c.Agents)
	a, ok := c.AgentByUID(502)
	require.True(t, ok)
	require.Equal(t, "z", a.Name)
	a, ok = c.Agent("b")
	require.True(t, ok)
	require.Equal(t, uint32(1<<32-2), a.UID)
	_, ok = c.AgentByUID(0)
	require.False(t, ok, "a uid nobody declared")
	_, ok = c.Agent("c")
	require.False(t, ok)
}

func TestWarnings(t *testing.T) {
	c := parse(t, `[agent.super]
uid = 0
[agent.idle]
uid = 7
[[grant]]
agent = "super"
secrets = ["x"]
doors = ["value", "sign"]
hours = "22:00-06:00"
weekdays = "Mon-Fri"
`)
	requireSame(t, []string{
		`2:7: agent "super" is root: nothing is kept from it | give it a user of its own`,
		`3:8: agent "idle" has no grant and gets nothing | add one: [[grant]]`,
		`8:19: door "sign" is not in this build: nothing is handed out by it | this build has the door "value"`,
		`10:12: weekdays count from midnight to midnight: hours "22:00-06:00" end on a day that may not be among them | ` +
			`to follow a night, write one grant up to 24:00 and one from 00:00`,
	}, c.Warnings)
}

// requireSame compares errors with lines like "12:1: problem | remedy".
func requireSame(t *testing.T, want []string, got []*config.Error) {
	t.Helper()
	var lines []string
	for _, e := range got {
		require.Equal(t, "secretctl.toml", e.Path)
		require.True(t, strings.HasPrefix(e.Error(), "secretctl.toml:"), "%s", e)
		line := strings.TrimPrefix(e.Error(), "secretctl.toml:")
		if e.Remedy != "" {
			line += " | " + e.Remedy
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	require.Equal(t, want, lines)
}

// The operating system is asked when nobody else is named.
func TestSystemUsers(t *testing.T) {
	me, err := user.Current()
	require.NoError(t, err)
	c, err := config.ParseOptions{}.Parse("secretctl.toml", []byte("[broker]\nowners = ['"+me.Username+"']"))
	require.NoError(t, err)
	require.Equal(t, me.Username, c.Broker.Owners[0].Name)
	_, err = config.ParseOptions{}.Parse("secretctl.toml", []byte("[broker]\nowners = ['no such user']"))
	require.ErrorContains(t, err, `there is no user "no such user"`)
}

// TestStores: what a store is told, and that a secret may name it.
func TestStores(t *testing.T) {
	c, err := machine.Parse("secretctl.toml", []byte(`
[store.z]
type = "locker"
number = 7
key = "own/locker-key"
ca = "/etc/ca.pem"
[store.b]
type = "drawer"
[store.age]
[secret."a"]
store = "z"
`))
	require.NoError(t, err)
	require.Len(t, c.Stores, 3)
	for i, want := range []string{"age age", "b drawer", "z locker"} {
		require.Equal(t, want, c.Stores[i].Name+" "+c.Stores[i].Type)
	}
	z := c.Stores[2]
	require.EqualValues(t, 7, z.Options.Number("number"))
	require.EqualValues(t, "own/locker-key", z.Options.Own("key"))
	require.Equal(t, []string{"/etc/ca.pem"}, z.Files)
	require.Equal(t, "z", c.Secrets["a"].Store)
}
