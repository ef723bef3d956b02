package broker_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
)

// The uids of TestPeerMatrix beside those of the agents.
const (
	ownerUID    = 61010
	strangerUID = 61020
	overflowUID = 65534
	lastUID     = 1<<32 - 2
)

// row says what one method answers to whom. Whoever is not in it is turned away
// before anything of the request is read.
type row struct {
	target string // what to put for the pattern's path; "" for the path itself
	body   string
	owner  int // status for root, the broker's uid, and owners of the config
	agent  int // status for the agent
}

// matrix has one row for each method of the API.
var matrix = map[string]row{
	"agent GET /v1/health":             {agent: 200},
	"agent GET /v1/secrets":            {agent: 200},
	"agent POST /v1/leases":            {body: `{"secret":"weather"}`, agent: 201},
	"agent GET /v1/leases":             {agent: 200},
	"agent POST /v1/leases/{id}/renew": {target: "/v1/leases/LEASE/renew", agent: 200},
	"agent DELETE /v1/leases/{id}":     {target: "/v1/leases/LEASE", agent: 204},
	"agent GET /v1/changes":            {agent: 200},
	"owner GET /v1/health":             {owner: 200},
	"owner GET /v1/status":             {owner: 200},
	"owner GET /v1/secrets":            {owner: 200},
	"owner PUT /v1/secret":             {target: "/v1/secret?name=fresh", body: "value", owner: 200},
	"owner POST /v1/import":            {body: "{\"name\":\"imported\",\"size\":5}\nvalue", owner: 200},
	"owner POST /v1/fingerprints":      {target: "/v1/fingerprints?salt=" + strings.Repeat("0f", 32), owner: 200},
	"owner DELETE /v1/secret":          {target: "/v1/secret?name=doomed", owner: 204},
	"owner GET /v1/versions":           {target: "/v1/versions?name=weather", owner: 200},
	"owner POST /v1/rollback":          {target: "/v1/rollback?name=twice", owner: 200},
	"owner POST /v1/move":              {target: "/v1/move?name=weather&store=age", owner: 200},
	// Nothing rotates in this broker, and only an owner is told so.
	"owner POST /v1/rotate":            {target: "/v1/rotate?name=weather", owner: 500},
	"owner GET /v1/plan":               {target: "/v1/plan?name=weather", owner: 500},
	"owner POST /v1/giveup":            {target: "/v1/giveup?name=weather", owner: 500},
	"owner POST /v1/upstream":          {owner: 500},
	"owner GET /v1/history":            {target: "/v1/history?name=weather", owner: 200},
	"owner POST /v1/adopt":             {target: "/v1/adopt?name=weather", owner: 200},
	"owner POST /v1/leases":            {body: `{"secret":"weather"}`, owner: 201},
	"owner GET /v1/leases":             {owner: 200},
	"owner POST /v1/leases/{id}/renew": {target: "/v1/leases/LEASE/renew", owner: 200},
	"owner DELETE /v1/leases/{id}":     {target: "/v1/leases/LEASE", owner: 204},
	"owner POST /v1/revoke":            {body: `{"secret":"twice"}`, owner: 200},
	"owner POST /v1/kill":              {owner: 200},
	"owner POST /v1/resume":            {owner: 200},
	"owner POST /v1/reload":            {owner: 200},
	"owner GET /v1/check":              {target: "/v1/check?agent=claw&name=weather", owner: 200},
	"owner GET /v1/audit":              {target: "/v1/audit?from=1", owner: 200},
	"owner GET /v1/audit/verify":       {owner: 200},
	"owner GET /v1/changes":            {owner: 200},
}

// TestPeerMatrix tries every method as everybody. Methods come from the API's
// own registry: one without a row fails.
func TestPeerMatrix(t *testing.T) {
	needRoot(t)
	callers := []struct {
		name         string
		uid          uint32
		agent, owner bool
	}{
		{"root", 0, false, true},
		{"owner of the config", ownerUID, false, true},
		{"agent", agentUID, true, false},
		{"stranger", strangerUID, false, false},
		{"overflow uid", overflowUID, false, false},
		{"last uid", lastUID, false, false},
	}
	methods := broker.Methods()
	require.Len(t, matrix, len(methods), "rows without a method")
	for _, c := range callers {
		t.Run(c.name, func(t *testing.T) {
			h := newHome(t, fmt.Sprintf("[broker]\nowners = [%d]\n%s", ownerUID, grants))
			b := h.broker()
			h.serve(b)
			for _, name := range []string{"weather", "doomed", "twice", "twice"} {
				mint(t, b, name, "sunny")
			}
			var questions []question
			for _, m := range methods {
				r, ok := matrix[string(m.Socket)+" "+m.Pattern]
				require.True(t, ok, "no row for %s on the %s socket", m.Pattern, m.Socket)
				questions = append(questions, h.question(t, b, m, r, c.uid))
			}
			for i, got := range askAs(t, c.uid, questions...) {
				m, want := methods[i], http.StatusForbidden
				r := matrix[string(m.Socket)+" "+m.Pattern]
				if m.Socket == broker.AgentSocket && c.agent {
					want = r.agent
				} else if m.Socket == broker.OwnerSocket && c.owner {
					want = r.owner
				}
				if c.uid == overflowUID {
					require.NotZero(t, got.Err, "uid %d is not even answered: %s", c.uid, m.Pattern)
					continue
				}
				require.Equal(t, want, got.Status, "%s on the %s socket: %s%s", m.Pattern, m.Socket, got.Body, got.Err)
				if want == http.StatusForbidden {
					require.Equal(t, broker.CodeDenied, got.code())
				}
			}
		})
	}
}

// question fills a row's method in, with a lease of the caller's own where one
// is needed.
func (h *home) question(t *testing.T, b *broker.Broker, m broker.Method, r row, uid uint32) question {
	method, target, _ := strings.Cut(m.Pattern, " ")
	if r.target != "" {
		target = r.target
	}
	if strings.Contains(target, "LEASE") {
		c := broker.Owner()
		c.Peer.UID = uid
		if uid == agentUID {
			c = b.Agent(agentUID)
		}
		issued, err := b.Lease(t.Context(), c, broker.LeaseRequest{Secret: "weather"})
		require.NoError(t, err)
		target = strings.Replace(target, "LEASE", issued.ID.String(), 1)
	}
	return question{h.path(m.Socket), method + " " + target, r.body}
}

// TestUnknownMethods: what is not in the registry does not exist, and the
// owner's methods do not exist on the agent's socket.
func TestUnknownMethods(t *testing.T) {
	h := newHome(t, strings.Replace(grants, "uid = 61001", fmt.Sprintf("uid = %d", os.Getuid()), 1))
	h.serve(h.broker())
	for _, method := range []string{"GET /", "GET /v1/status", "POST /v1/kill", "GET /v1/leases/x", "POST /v1/secrets", "PUT /v1/leases", "GET /v2/health"} {
		got := question{h.path(broker.AgentSocket), method, ""}.ask()
		require.Equal(t, broker.CodeBadRequest, got.code(), "%s: %d %s", method, got.Status, got.Body)
	}
}
