package config_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"secretctl/broker/config"
	"secretctl/broker/grant"
)

// FuzzConfig holds every accepted file against a plain reading of the same
// TOML, which shares neither our tree nor our sections.
func FuzzConfig(f *testing.F) {
	archive, err := txtar.ParseFile(filepath.Join("testdata", "bad.txtar"))
	require.NoError(f, err)
	require.NotEmpty(f, archive.Files)
	for _, file := range archive.Files {
		f.Add(file.Data)
	}
	f.Add([]byte(contract))
	f.Add(config.Template())
	f.Add(uncommented(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		kept := bytes.Clone(data)
		c, err := machine.Parse("secretctl.toml", data)
		require.Equal(t, kept, data, "the file was written to")
		var plain map[string]any
		tomlErr := toml.Unmarshal(data, &plain)
		if err != nil {
			requireRefusal(t, data, err, tomlErr)
			return
		}
		require.NoError(t, tomlErr)
		requireAgrees(t, plain, c)

		again, err := machine.Parse("secretctl.toml", append(kept, "\n# the same\n"...))
		require.NoError(t, err)
		require.NotEqual(t, c.Hash, again.Hash)
		again.Hash = c.Hash
		require.Equal(t, c, again)
	})
}

// requireRefusal checks that errors are in order and point into the file.
func requireRefusal(t *testing.T, data []byte, err, tomlErr error) {
	var all config.Errors
	require.ErrorAs(t, err, &all)
	require.NotEmpty(t, all)
	if tomlErr != nil {
		require.Len(t, all, 1, "what is not TOML cannot be judged further")
	} else {
		require.NotContains(t, err.Error(), "both as a table and as a value", "our tree takes valid TOML for broken")
	}
	require.NotContains(t, err.Error(), "making the policy", "the policy refuses what was checked with places")
	lines, last := bytes.Count(data, []byte("\n"))+1, 0
	for _, e := range all {
		require.NotEmpty(t, e.Problem)
		require.LessOrEqual(t, last, e.Line)
		require.LessOrEqual(t, e.Line, lines)
		last = e.Line
	}
}

// requireAgrees checks what was read against a plain reading.
func requireAgrees(t *testing.T, plain map[string]any, c *config.Config) {
	grants, _ := plain["grant"].([]any)
	require.Len(t, c.Policy.Rules(), len(grants))
	for i, r := range c.Policy.Rules() {
		g := grants[i].(map[string]any)
		require.Equal(t, g["agent"], r.Agent)
		deny, _ := g["deny"].(bool)
		require.Equal(t, deny, r.Deny)
		require.Len(t, r.Secrets, len(g["secrets"].([]any)))
		for j, s := range g["secrets"].([]any) {
			require.EqualValues(t, s, r.Secrets[j])
		}
		_, declared := c.Agent(r.Agent)
		require.True(t, declared)
		require.LessOrEqual(t, r.TTL, c.Broker.MaxTTL)
	}
	agents, _ := plain["agent"].(map[string]any)
	require.Len(t, c.Agents, len(agents))
	secrets, _ := plain["secret"].(map[string]any)
	require.Len(t, c.Secrets, len(secrets))
	for _, a := range c.Agents {
		d := c.Policy.Decide(grant.Request{Agent: a.Name, Secret: "own/token", Door: grant.DoorValue}, nil)
		require.False(t, d.Allow)
	}
}

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "12h": 12 * time.Hour, "30d": 720 * time.Hour, "1d12h": 36 * time.Hour,
		"1h30m": 90 * time.Minute, "1.5h": 90 * time.Minute, "250ms": 250 * time.Millisecond, "0d1s": time.Second,
		"106751d": 106751 * 24 * time.Hour,
	} {
		d, err := config.ParseDuration(s)
		require.NoError(t, err, "%q", s)
		require.Equal(t, want, d, "%q", s)
	}
	for _, s := range []string{"", "0", "0s", "0d", "30", "d", "-1s", "-1d", "+1s", "+1d", "1d-1h", "1d+1h", "1.5d", "1h1d", "1d1d", " 1s", "1s ",
		"1 d", "1w", "1D", "1H", "0x1d", "1_0d", "106752d", "106751d24h", "999999999999999999999d", "9999999999h", "forever"} {
		_, err := config.ParseDuration(s)
		require.Error(t, err, "%q", s)
		require.Contains(t, err.Error(), `"`+s+`"`)
	}
}

func TestFormatDuration(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0s": 0, "90ms": 90 * time.Millisecond, "1s": time.Second, "1m30s": 90 * time.Second, "15m": 15 * time.Minute,
		"10h": 10 * time.Hour, "1h5m": 65 * time.Minute, "1h0m5s": time.Hour + 5*time.Second, "1d": 24 * time.Hour,
		"1d12h": 36 * time.Hour, "400d": 9600 * time.Hour, "1d1ns": 24*time.Hour + 1, "-1h0m0s": -time.Hour,
	} {
		require.Equal(t, want, config.FormatDuration(d))
	}
}

// FuzzDuration: what is written is read back, what is read is written in one
// form, and without days we read exactly what Go reads.
func FuzzDuration(f *testing.F) {
	for _, s := range []string{"90s", "30d", "1d12h", "0s", "1.5h", "106751d23h47m16.854775807s", "-1d", "1d1d", "d", ".5s", "1µs"} {
		f.Add(s, int64(len(s))*1_000_000_007)
	}
	f.Fuzz(func(t *testing.T, s string, n int64) {
		if n > 0 {
			d, err := config.ParseDuration(config.FormatDuration(time.Duration(n)))
			require.NoError(t, err, "%d", n)
			require.EqualValues(t, n, d)
		}
		d, err := config.ParseDuration(s)
		if err == nil {
			require.Positive(t, d, "%q", s)
			again, err := config.ParseDuration(config.FormatDuration(d))
			require.NoError(t, err, "%q", s)
			require.Equal(t, d, again, "%q", s)
		}
		if !strings.ContainsAny(s, "d+-") {
			std, stdErr := time.ParseDuration(s)
			if stdErr == nil && std == 0 {
				stdErr = errors.New("zero")
			}
			require.Equal(t, stdErr == nil, err == nil, "%q: %v and %v", s, stdErr, err)
			require.True(t, err != nil || std == d, "%q", s)
		}
	})
}
