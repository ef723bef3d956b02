package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret/canary"
)

// TestFilesOfAgents: a file that says which server is the right one, and that an
// agent can write, is refused when the config is read.
func TestFilesOfAgents(t *testing.T) {
	needRoot(t)
	t.Parallel()
	for name, rotate := range map[string]string{
		"known_hosts": `provider = "ssh", hosts = ["me@host.example"], self = true, known_hosts = %q`,
		"tls_ca":      `provider = "redis", self = true, tls_ca = %q`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := trusted(t)
			path := filepath.Join(dir, name)
			require.NoError(t, os.WriteFile(path, nil, 0o644))
			h := newRotateHome(t, "10m", "", &target{name: "app/key", rotate: fmt.Sprintf(rotate, path), first: canary.New(t, "app/key")})
			for what, way := range map[string][2]func() error{
				"its mode":      {func() error { return os.Chmod(path, 0o666) }, func() error { return os.Chmod(path, 0o644) }},
				"its owner":     {func() error { return os.Chown(path, agentUID, agentUID) }, func() error { return os.Chown(path, 0, 0) }},
				"its directory": {func() error { return os.Chmod(dir, 0o777) }, func() error { return os.Chmod(dir, 0o755) }},
			} {
				require.NoError(t, way[0]())
				out, err := h.command("reload").CombinedOutput()
				require.Error(t, err, what)
				require.Contains(t, string(out), `[secret."app/key"] rotate: `, what)
				require.NoError(t, way[1]())
				h.run("", "reload")
			}
		})
	}
}
