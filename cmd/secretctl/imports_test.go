package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// imports is which package may know which: all of them, on every system we
// build for. A new edge is typed in here, where a reader sees it.
var imports = map[string]string{
	"broker":                     "broker/audit broker/clock broker/config broker/durable broker/grant broker/halt broker/lease broker/ledger broker/mask broker/secret providers sock",
	"broker/audit":               "broker/clock broker/durable broker/secret",
	"broker/clock":               "",
	"broker/config":              "broker/grant broker/secret",
	"broker/durable":             "",
	"broker/durable/durabletest": "broker/durable",
	"broker/grant":               "broker/secret",
	"broker/halt":                "broker/durable broker/lease",
	"broker/lease":               "broker/audit broker/clock broker/grant broker/secret",
	"broker/ledger":              "broker/durable broker/secret providers",
	"broker/mask":                "broker/shape",
	"broker/secret":              "",
	"broker/secret/canary":       "",
	"broker/shape":               "",
	"cmd/canaries":               "broker/secret/canary",
	"cmd/secretctl":              "broker broker/audit broker/clock broker/config broker/durable broker/grant broker/mask broker/secret broker/shape cmd/secretctl/child cmd/secretctl/dotenv cmd/secretctl/hook cmd/secretctl/openclaw cmd/secretctl/scan cmd/secretctl/settings providers providers/age sock",
	"cmd/secretctl/child":        "",
	"cmd/secretctl/dotenv":       "",
	"cmd/secretctl/scan":         "broker/shape",
	"cmd/secretctl/hook":         "broker/mask cmd/secretctl/json5",
	"cmd/secretctl/json5":        "",
	"cmd/secretctl/openclaw":     "broker/secret broker/shape cmd/secretctl/json5",
	"cmd/secretctl/settings":     "cmd/secretctl/json5",
	"providers":                  "broker/secret",
	"providers/age":              "broker/durable broker/secret providers",
	"providers/storetest":        "broker/secret broker/secret/canary providers",
	"sock":                       "",
}

// TestImports holds the table against the code.
func TestImports(t *testing.T) {
	for _, goos := range []string{"linux", "darwin"} {
		cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "secretctl/...")
		cmd.Env = append(cmd.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
		out, err := cmd.Output()
		require.NoError(t, err)
		found := 0
		for in := json.NewDecoder(bytes.NewReader(out)); ; found++ {
			var p struct {
				ImportPath string
				Imports    []string
			}
			if err := in.Decode(&p); errors.Is(err, io.EOF) {
				break
			} else {
				require.NoError(t, err)
			}
			var ours []string
			for _, i := range p.Imports {
				if name, ok := strings.CutPrefix(i, "secretctl/"); ok {
					ours = append(ours, name)
				}
			}
			name := strings.TrimPrefix(p.ImportPath, "secretctl/")
			allowed, ok := imports[name]
			require.True(t, ok, "package %s is not in the table", name)
			for _, i := range ours {
				require.True(t, slices.Contains(strings.Fields(allowed), i), "%s imports %s on %s", name, i, goos)
			}
			if goos == "linux" {
				require.Equal(t, allowed, strings.Join(ours, " "), "%s no longer imports all that the table says", name)
			}
		}
		require.GreaterOrEqual(t, found, 12)
	}
}
