package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/providers/ssh/sshtest"
)

// TestHostTakenOut: a host that is taken out of the config while a key is replaced
// has the old one still. The rotation does not end, and says so, until the host is
// back or the owner gives up.
func TestHostTakenOut(t *testing.T) {
	needRoot(t)
	t.Parallel()
	for _, way := range []string{"put back", "given up"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			hosts := []*sshtest.Host{sshtest.Start(t), sshtest.Start(t)}
			x := sshTarget(t, hosts...)
			used := filepath.Join(notes(t), "used")
			x.lines = "grace = \"0s\"\nconfirm = " + shell("test -e "+used)
			h := newRotateHome(t, "10m", "", x)
			path := filepath.Join(h.dir, "home", "secretctl.toml")
			config, err := os.ReadFile(path)
			require.NoError(t, err)
			configure := func(text string) {
				require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
				h.run("", "reload")
			}
			h.run("", "rotate", x.name) // until the new key is in use
			require.Equal(t, 2, x.valid(t))
			gone := hosts[1].Target()
			configure(strings.Replace(string(config), `, "`+gone+`"`, "", 1))
			require.NoError(t, os.WriteFile(used, nil, 0o600))

			left := func() {
				var status struct {
					Rotations []struct{ Secret, State, Error, Hint string }
				}
				require.True(t, poll(func() bool {
					require.NoError(t, json.Unmarshal([]byte(h.run("", "status", "--json")), &status))
					return len(status.Rotations) == 1 && strings.Contains(status.Rotations[0].Error, "may still log in at "+gone)
				}), "it is not said: %v", status)
				require.Contains(t, status.Rotations[0].Hint, "secretctl rotate --give-up "+x.name)
			}
			left()
			require.ErrorIs(t, loginSSH(hosts[0], x.first), errRefused)
			require.NoError(t, loginSSH(hosts[1], x.first), "the old key is there")
			require.NoError(t, x.login(h.agentGets(x.name)))

			if way == "put back" {
				configure(string(config))
				h.run("", "rotate", "--wait", x.name)
				require.ErrorIs(t, loginSSH(hosts[1], x.first), errRefused)
				require.NoError(t, h.whole())
				return
			}
			// The key that took over was put there as well; the one after it was not.
			h.run("", "rotate", "--give-up", x.name)
			before := hosts[1].Authorized()
			h.run("", "rotate", x.name)
			left()
			h.run("", "rotate", "--give-up", x.name)
			h.run("", "rotate", "--wait", x.name)
			require.Equal(t, before, hosts[1].Authorized())
			require.Equal(t, 1, strings.Count(hosts[0].Authorized(), "ssh-ed25519 "))
			require.NoError(t, loginSSH(hosts[0], h.agentGets(x.name)))
		})
	}
}
