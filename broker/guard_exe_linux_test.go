package broker_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/audit"
)

// An agent that is narrowed to a program is served when it runs that file and
// nobody otherwise. What it ran instead is in the log, where its name cannot
// break a line or move a cursor.
func TestOnlyTheNamedProgram(t *testing.T) {
	paths := programs(t, "allowed", "other\n\x1b[2J")
	allowed, other := paths[0], paths[1]
	h := newHome(t, strings.Replace(grants, "uid = 61001\n", fmt.Sprintf("uid = 61001\nexe = [%q]\n", allowed), 1))
	b := h.broker()
	h.serve(b)
	mint(t, b, "weather", "sunny")
	lease := func(path string) int {
		cmd := as(t, agentUID, "ask")
		cmd.Path, cmd.Args[0] = path, path
		in, err := json.Marshal([]question{{h.path(broker.AgentSocket), "POST /v1/leases", `{"secret":"weather"}`}})
		require.NoError(t, err)
		cmd.Stdin = strings.NewReader(string(in))
		out, err := cmd.Output()
		require.NoError(t, err)
		var replies []reply
		require.NoError(t, json.Unmarshal(out, &replies))
		return replies[0].Status
	}
	require.Equal(t, http.StatusCreated, lease(allowed))
	require.Equal(t, http.StatusForbidden, lease(other))
	require.NoError(t, b.Reload()) // what was deferred is written before what is waited for
	var turnedAway []*audit.Record
	for _, r := range h.records() {
		if r.Event == audit.EventConnect {
			turnedAway = append(turnedAway, r)
		}
	}
	require.NotEmpty(t, turnedAway)
	r := turnedAway[0]
	require.Equal(t, audit.Deny, r.Decision)
	require.Equal(t, "executable", r.Reason)
	require.Equal(t, "claw", r.Agent)
	require.Equal(t, strings.NewReplacer("\n", "<U+000A>", "\x1b", "<U+001B>").Replace(other), r.Exe)
}
