package dotenv_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	compose "github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/joho/godotenv"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"secretctl/cmd/secretctl/dotenv"
)

// reading is what a dialect reads of a file, nil when it refuses it.
type reading map[string]string

// readings is testdata/readings.json: what each dialect reads of each file. It was
// written by the real parsers, but docker's, which was written by ours.
type readings map[string]map[dotenv.Dialect]reading

const readingsPath = "testdata/readings.json"

// notText begins what stands for a value that JSON cannot hold: its base64. No value
// begins with it.
const notText = "\x00base64:"

// MarshalJSON writes text as it is, and anything else after notText.
func (r reading) MarshalJSON() ([]byte, error) {
	if r == nil {
		return []byte("null"), nil
	}
	out := map[string]string{}
	for k, v := range r {
		if strings.ToValidUTF8(v, "") != v {
			v = notText + base64.StdEncoding.EncodeToString([]byte(v))
		}
		out[k] = v
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(out)
	return b.Bytes(), err
}

func (r *reading) UnmarshalJSON(b []byte) error {
	var in map[string]string
	if err := json.Unmarshal(b, &in); err != nil || in == nil {
		return err
	}
	for k, v := range in {
		if text, ok := strings.CutPrefix(v, notText); ok {
			raw, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				return err
			}
			in[k] = string(raw)
		}
	}
	*r = in
	return nil
}

func loadReadings(t testing.TB) readings {
	b, err := os.ReadFile(readingsPath)
	require.NoError(t, err)
	var all readings
	require.NoError(t, json.Unmarshal(b, &all))
	return all
}

// TestOracles: what readings.json says is what the real parsers read today. With
// -update, and motdotla's dotenv at SECRETCTL_E2E_NODE, it is written anew.
func TestOracles(t *testing.T) {
	quietCompose()
	node := os.Getenv("SECRETCTL_E2E_NODE")
	if *update {
		require.NotEmpty(t, node, "a directory with node_modules/dotenv in it")
	}
	all := readings{}
	for _, f := range fixtures(t) {
		all[f.name] = map[dotenv.Dialect]reading{
			dotenv.Godotenv: realGodotenv(f.b), dotenv.Compose: realCompose(f.b), dotenv.Shell: realShells(t, f),
		}
	}
	if node != "" {
		for name, r := range realMotdotla(t, node, fixtures(t)) {
			all[name][dotenv.Motdotla] = r
		}
	}
	if *update {
		for _, f := range fixtures(t) {
			found, refused := dotenv.ReadDocker(f.b)
			all[f.name][dotenv.Docker] = nil
			if refused < 0 {
				all[f.name][dotenv.Docker] = found
			}
		}
		b, err := json.MarshalIndent(all, "", "\t")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(readingsPath, append(b, '\n'), 0o644))
	}
	want := loadReadings(t)
	require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(all)))
	for name, by := range all {
		for d, r := range by {
			require.Equal(t, want[name][d], r, "%s: %s", name, d)
		}
	}
	t.Logf("%d files", len(all))
}

func realGodotenv(b []byte) reading {
	r, err := godotenv.UnmarshalBytes(b)
	if err != nil {
		return nil
	}
	return r
}

func realCompose(b []byte) reading {
	r, err := compose.Parse(bytes.NewReader(b))
	if err != nil {
		return nil
	}
	return r
}

// realShells sources the file in dash and in bash. Where they differ the value is
// what no reader claims to know.
func realShells(t *testing.T, f fixture) reading {
	dir := t.TempDir()
	path := filepath.Join(dir, "file.env")
	require.NoError(t, os.WriteFile(path, f.b, 0o600))
	dash, bash := realShell(t, "dash", dir, path), realShell(t, "bash", dir, path)
	if dash == nil || bash == nil {
		return nil
	}
	both := reading{}
	for key, value := range dash {
		if other, ok := bash[key]; ok && other == value {
			both[key] = value
		}
	}
	return both
}

func realShell(t *testing.T, shell, dir, path string) reading {
	shell, err := exec.LookPath(shell)
	require.NoError(t, err, "the shells are the oracles of the shell's dialect")
	run := func(args ...string) ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), shell, args...)
		cmd.Dir, cmd.Env = dir, []string{"PATH=/nowhere", "HOME=/home/of"} // nothing that a file names is found
		return cmd.Output()
	}
	if _, err := run("-n", path); err != nil {
		return nil
	}
	out, err := run("-c", `set -a; . "$0" >/dev/null 2>&1; exec /usr/bin/env -0`, path)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	require.NoError(t, err)
	r := reading{}
	for line := range strings.SplitSeq(string(out), "\x00") {
		key, value, _ := strings.Cut(line, "=")
		if !slices.Contains([]string{"", "PATH", "HOME", "PWD", "OLDPWD", "SHLVL", "_"}, key) {
			r[key] = value
		}
	}
	return r
}

// realMotdotla asks the dotenv of a directory that npm has filled, once for all
// files.
func realMotdotla(t *testing.T, dir string, all []fixture) map[string]reading {
	in := map[string]string{}
	for _, f := range all {
		in[f.name] = base64.StdEncoding.EncodeToString(f.b)
	}
	b, err := json.Marshal(in)
	require.NoError(t, err)
	const program = `const {parse} = require("dotenv"), out = {}
		for (const [name, b] of Object.entries(JSON.parse(require("fs").readFileSync(0, "utf8"))))
			out[name] = parse(Buffer.from(b, "base64"))
		process.stdout.write(JSON.stringify(out))`
	cmd := exec.CommandContext(t.Context(), "node", "-e", program)
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(b)
	out, err := cmd.Output()
	require.NoError(t, err)
	var r map[string]reading
	require.NoError(t, json.Unmarshal(out, &r))
	return r
}

// quietCompose has compose-go not warn of each variable that is not set.
func quietCompose() { logrus.SetOutput(io.Discard) }
