package config_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"secretctl/broker/config"
	"secretctl/broker/secret"
)

// refusal parses a file that must be refused and returns why.
func refusal(t *testing.T, file string) config.Errors {
	t.Helper()
	c, err := machine.Parse("secretctl.toml", []byte(file))
	require.Nil(t, c, "a refused file must leave nothing behind")
	var all config.Errors
	require.ErrorAs(t, err, &all)
	require.NotEmpty(t, all)
	return all
}

// TestPolicyStrict holds what is said of bad files against testdata/bad.txtar.
func TestPolicyStrict(t *testing.T) {
	archive, err := txtar.ParseFile(filepath.Join("testdata", "bad.txtar"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(archive.Files), 2*39, "fixtures are gone")
	for i := 0; i < len(archive.Files); i += 2 {
		file, want := archive.Files[i], archive.Files[i+1]
		name := strings.TrimSuffix(file.Name, ".toml")
		require.Equal(t, name+".want", want.Name)
		t.Run(name, func(t *testing.T) {
			all := refusal(t, string(file.Data))
			requireSame(t, strings.Split(strings.TrimSuffix(string(want.Data), "\n"), "\n"), all)
		})
	}
}

func TestBadSecretName(t *testing.T) {
	_, err := secret.ParseName("OpenAI/key")
	require.Error(t, err)
	requireSame(t, []string{"1:9: " + err.Error() + ` | for example: [secret."openai/api-key"]`},
		refusal(t, `[secret."OpenAI/key"]`))
}

func TestBounds(t *testing.T) {
	at := func(n int) string { return strings.Repeat("a.", n-1) + "a" }
	arrays := func(n int) string { return "x = " + strings.Repeat("[", n) + strings.Repeat("]", n) }
	tables := func(n int) string { return "x = " + strings.Repeat("{a=", n) + "1" + strings.Repeat("}", n) }
	for what, file := range map[string]string{
		"dotted key":    at(33) + " = 1",
		"header":        "[" + at(33) + "]",
		"arrays":        arrays(33),
		"inline tables": tables(33),
		"very deep":     arrays(9_999),
		"parser's own":  arrays(10_001),
	} {
		require.Contains(t, refusal(t, file)[0].Problem, "deep", what)
	}
	for _, file := range []string{at(32) + " = 1", "[" + at(32) + "]", arrays(31), tables(31)} {
		require.Contains(t, refusal(t, file)[0].Problem, "unknown key", "%s", file)
	}

	for what, file := range map[string]string{
		"keys":     strings.Repeat("a = 1\n", 10_001), // counted before they are found to be the same
		"elements": "x = [" + strings.Repeat("1,", 10_001) + "]",
		"tables":   strings.Repeat("[[grant]]\n", 10_001),
	} {
		all := refusal(t, file)
		require.Len(t, all, 1, what)
		require.Contains(t, all[0].Problem, "too many", what)
	}

	big := strings.Repeat("#", 1<<20)
	parse(t, big)
	all := refusal(t, big+"#")
	require.EqualError(t, all, "secretctl.toml: the file is larger than 1 MiB")
}

func TestErrors(t *testing.T) {
	all := refusal(t, "[broker]\nbad = 1\nworse = 2\n")
	require.EqualError(t, all, "secretctl.toml:2:1: unknown key \"bad\"\nsecretctl.toml:3:1: unknown key \"worse\"")
	var first *config.Error
	require.ErrorAs(t, all, &first)
	require.Equal(t, 2, first.Line)
}
