package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// TestEveryCommandExplainsItself: a line, a text and, where there is something
// to show, an example.
func TestEveryCommandExplainsItself(t *testing.T) {
	plain := []string{"secretctl", "secretctl help", "secretctl version", "secretctl service"}
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		require.NotEmpty(t, c.Short, c.CommandPath())
		require.False(t, strings.HasSuffix(c.Short, "."), c.CommandPath())
		require.NotNil(t, c.Args, "%s takes whatever it is given", c.CommandPath())
		if !slices.Contains(plain, c.CommandPath()) {
			require.NotEmpty(t, c.Long, c.CommandPath())
			require.NotEmpty(t, c.Example, c.CommandPath())
		}
		for _, line := range strings.Split(c.Long+"\n"+c.Example, "\n") {
			require.LessOrEqual(t, len([]rune(line)), 100, "%s: %s", c.CommandPath(), line)
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(rootCommand(&world{}))
}

// TestTheCommandAskedForIsMade: a run makes the command that it is asked for,
// under the name it is listed with, and all of them when it is asked for none.
func TestTheCommandAskedForIsMade(t *testing.T) {
	for _, c := range commands {
		made := rootCommand(&world{args: []string{c.name, "--help"}}).Commands()
		require.Len(t, made, 1, c.name)
		require.Equal(t, c.name, made[0].Name())
	}
	for _, args := range [][]string{nil, {"help", "get"}, {"--version"}, {"__complete", "ge"}, {"gett"}} {
		require.Len(t, rootCommand(&world{args: args}).Commands(), len(commands), "%q", args)
	}
}

// TestWhatListsHasJSON: every command that lists or reports prints JSON too.
func TestWhatListsHasJSON(t *testing.T) {
	root := rootCommand(&world{})
	for _, name := range []string{
		"adopt", "audit", "audit verify", "check", "get", "kill", "leases", "ls", "recover", "revoke", "rm", "rollback",
		"scan", "set", "status", "version", "versions",
	} {
		c, _, err := root.Find(strings.Fields(name))
		require.NoError(t, err)
		require.NotNil(t, c.Flag("json"), name)
	}
}

// TestEventsAreThoseOfTheLog: --event knows every event there is, and no other.
func TestEventsAreThoseOfTheLog(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../broker/audit/record.go", nil, 0)
	require.NoError(t, err)
	var known []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if ok && len(spec.Values) == 1 && strings.HasPrefix(spec.Names[0].Name, "Event") {
			word, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			require.NoError(t, err)
			known = append(known, word)
		}
		return true
	})
	require.NotEmpty(t, known)
	require.ElementsMatch(t, known, events)
	for _, event := range events {
		require.Regexp(t, `(?s)Events: .*\b`+event+`\b`, auditHelp)
	}
}

func TestPatterns(t *testing.T) {
	c := rootCommand(&world{})
	for arg, right := range map[string]bool{
		"*": true, "a": true, "a*": true, "openai/*": true, "openai/api-": true, "openai/api-*": true, "a.*": true,
		"": false, "A*": false, "a**": false, "../*": false, "/*": false, "a//*": false,
	} {
		_, err := patternArg(c, []string{arg})
		require.Equal(t, right, err == nil, "%q: %v", arg, err)
	}
	pattern, err := patternArg(c, nil)
	require.NoError(t, err)
	require.True(t, matches(pattern, "anything"))
	require.True(t, matches("openai/*", "openai/key"))
	require.False(t, matches("openai/*", "openai"))
	require.True(t, matches("a", "a"))
	require.False(t, matches("a", "a/b"))
}
