package config_test

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/config"
	"secretctl/broker/grant"
	"secretctl/providers/builtin"
)

// setting is a line of the template that is commented out and is not prose.
var setting = regexp.MustCompile(`(?m)^#([a-z_]+ =|\[)`)

// uncommented returns the template with every setting in force.
func uncommented(t testing.TB) []byte {
	t.Helper()
	all := setting.ReplaceAll(config.Template(), []byte("$1"))
	require.NotEqual(t, config.Template(), all)
	return all
}

// builtinMachine reads a config as the program does, which has these stores.
func builtinMachine() config.ParseOptions {
	options := machine
	options.Stores = builtin.Stores()
	return options
}

func TestTemplate(t *testing.T) {
	c := parse(t, string(config.Template()))
	require.Empty(t, c.Warnings)
	require.Empty(t, c.Agents)
	require.Empty(t, c.Policy.Rules())
	empty := parse(t, "")
	require.Equal(t, empty.Broker, c.Broker, "what it sets are the defaults")
	require.Equal(t, empty.Audit, c.Audit)
	require.Equal(t, empty.Rotation, c.Rotation)

	config.Template()[0] = 'x'
	require.EqualValues(t, '#', config.Template()[0], "each caller has its own")
}

// Uncommenting everything is valid too and sets all there is to set.
func TestTemplateUncommented(t *testing.T) {
	c, err := builtinMachine().Parse("secretctl.toml", uncommented(t))
	require.NoError(t, err)
	require.Empty(t, c.Warnings)
	require.Equal(t, "aiagent", c.Agents[0].User)
	require.NotEmpty(t, c.Secrets["github/token"].Ref)
	ours := c.Secrets["openai/api-key"]
	require.Empty(t, ours.Ref)
	ours.Ref = "which excludes rotate"
	for _, part := range []any{c.Broker, c.Broker.Owners[0], c.Audit, c.Rotation, c.Age, c.Agents[0], ours} {
		v := reflect.ValueOf(part)
		for i := range v.NumField() {
			require.False(t, v.Field(i).IsZero(), "%s.%s", v.Type(), v.Type().Field(i).Name)
		}
	}
	rule, rules := reflect.ValueOf(*c.Policy.Rules()[0]), c.Policy.Rules()
	require.Len(t, rules, 2)
	require.True(t, rules[1].Deny)
	days, err := grant.ParseDays("Mon-Fri")
	require.NoError(t, err)
	require.Equal(t, days, rules[0].Weekdays)
	for i := range rule.NumField() {
		if name := rule.Type().Field(i).Name; name != "Deny" {
			require.False(t, rule.Field(i).IsZero(), name)
		}
	}
}

// Every key that a file may hold is in the template: as a setting, or where two
// keys exclude each other, in the prose.
func TestTemplateNamesEveryKey(t *testing.T) {
	snake := regexp.MustCompile(`([a-z])([A-Z])`)
	for _, typ := range []reflect.Type{reflect.TypeFor[config.Broker](), reflect.TypeFor[config.Audit](), reflect.TypeFor[config.Rotation](), reflect.TypeFor[config.Age](), reflect.TypeFor[config.Agent](),
		reflect.TypeFor[config.Secret](), reflect.TypeFor[grant.Rule]()} {
		for i := range typ.NumField() {
			key := strings.ToLower(snake.ReplaceAllString(typ.Field(i).Name, "${1}_${2}"))
			switch key = strings.TrimSuffix(key, "_required"); key {
			case "name", "line", "id": // a table's header, and what no file sets
				continue
			}
			require.Regexp(t, `(?m)\b`+key+` = `, string(config.Template()), "%s.%s", typ, typ.Field(i).Name)
		}
	}
}

// And so is every option of every kind of store, those in the prose too that
// exclude others.
func TestTemplateNamesEveryStore(t *testing.T) {
	for _, kind := range builtin.Stores() {
		require.Contains(t, string(config.Template()), fmt.Sprintf("#type = %q", kind.Name))
		for _, o := range kind.Options {
			require.Contains(t, string(config.Template()), o.Name+" = "+o.Example)
		}
	}
}

// The keys in errors about unknown ones are the keys there are.
func TestTemplateHasNoOtherKeys(t *testing.T) {
	key := regexp.MustCompile(`(?m)^#?([a-z_]+) =`)
	found := key.FindAllSubmatch(config.Template(), -1)
	require.Greater(t, len(found), 20)
	known := ""
	for _, table := range []string{"[broker]", "[audit]", "[rotation]", "[store.age]", "[agent.a]", "[secret.a]", "[[grant]]"} {
		for _, e := range refusal(t, table+"\nxyzzyxyzzy = 1\n") {
			known += e.Remedy + ", "
		}
	}
	for _, kind := range builtin.Stores() {
		known += " type, max_stale, "
		for _, o := range kind.Options {
			known += " " + o.Name + ", "
		}
	}
	for _, k := range found {
		require.Regexp(t, `[ ]`+string(k[1])+`,`, known)
	}
}
