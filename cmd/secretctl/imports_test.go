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
	"broker":                          "broker/audit broker/clock broker/config broker/durable broker/grant broker/halt broker/lease broker/ledger broker/mask broker/secret providers sock",
	"broker/audit":                    "broker/clock broker/durable broker/secret",
	"broker/clock":                    "",
	"broker/config":                   "broker/grant broker/secret providers",
	"broker/durable":                  "",
	"broker/durable/durabletest":      "broker/durable",
	"broker/grant":                    "broker/secret",
	"broker/halt":                     "broker/durable broker/lease",
	"broker/lease":                    "broker/audit broker/clock broker/grant broker/secret",
	"broker/ledger":                   "broker/durable broker/secret providers",
	"broker/mask":                     "broker/shape",
	"broker/secret":                   "",
	"broker/secret/canary":            "",
	"broker/shape":                    "",
	"cmd/canaries":                    "broker/secret/canary",
	"cmd/secretctl":                   "broker broker/audit broker/clock broker/config broker/durable broker/grant broker/mask broker/secret broker/shape cmd/secretctl/child cmd/secretctl/dotenv cmd/secretctl/hook cmd/secretctl/openclaw cmd/secretctl/scan cmd/secretctl/settings cmd/secretctl/sops providers providers/age providers/builtin providers/keychain rotation rotation/schedule sock",
	"cmd/secretctl-onepassword":       "providers/onepassword/source",
	"cmd/secretctl/child":             "",
	"cmd/secretctl/dotenv":            "",
	"cmd/secretctl/hook":              "broker/mask cmd/secretctl/json5",
	"cmd/secretctl/json5":             "",
	"cmd/secretctl/openclaw":          "broker/secret broker/shape cmd/secretctl/json5",
	"cmd/secretctl/scan":              "broker/shape",
	"cmd/secretctl/settings":          "cmd/secretctl/json5",
	"cmd/secretctl/sops":              "",
	"providers":                       "broker/secret sock", // sock: who can change a file that says which server is the right one
	"providers/age":                   "broker/durable broker/secret providers",
	"providers/builtin":               "providers providers/generate providers/keychain providers/onepassword providers/openbao providers/passage providers/postgres providers/redis providers/services providers/ssh",
	"providers/connurl":               "broker/secret",
	"providers/generate":              "broker/secret providers",
	"providers/keychain":              "broker/secret providers",
	"providers/keychain/keychaintest": "providers/servertest",
	"providers/onepassword":           "broker/secret providers providers/onepassword/wire",
	"providers/onepassword/optest":    "",
	"providers/onepassword/source":    "broker/secret providers providers/onepassword/wire", // providers: who can change the op program
	"providers/onepassword/wire":      "broker/secret",
	"providers/openbao":               "broker/secret providers",
	"providers/openbao/openbaotest":   "providers/servertest",
	"providers/passage":               "broker/durable broker/secret providers providers/age", // age: files that passage opens are sealed as the vault's are
	"providers/postgres":              "broker/secret providers providers/connurl providers/generate",
	"providers/postgres/postgrestest": "providers/servertest",
	"providers/redis":                 "broker/secret providers providers/connurl providers/generate",
	"providers/redis/redistest":       "providers/servertest",
	"providers/rotatortest":           "broker/secret providers providers/servertest",
	"providers/servertest":            "broker/secret/canary",
	"providers/services":              "broker/secret providers",
	"providers/services/servicetest":  "broker/secret broker/secret/canary providers",
	"providers/ssh":                   "broker/secret providers",
	"providers/ssh/sshtest":           "broker/secret broker/secret/canary providers/servertest",
	"providers/storetest":             "broker/secret broker/secret/canary providers",
	"rotation":                        "broker/durable broker/secret providers rotation/schedule",
	"rotation/schedule":               "",
	"sock":                            "",
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
