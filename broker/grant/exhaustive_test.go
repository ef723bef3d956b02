package grant_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/grant"
	"secretctl/broker/secret"
)

// cell says what a policy has for one agent, secret and door.
type cell struct {
	agent  string
	secret secret.Name
	door   grant.Door
	effect string // "allow", "deny" or "absent"
}

// reference is the semantics in the fewest words: it knows neither patterns nor
// the order of rules. wild says that an allow covers both secrets.
func reference(cells []cell, wild bool, agent string, name secret.Name, door grant.Door) grant.Code {
	code := grant.CodeNoGrant
	for _, c := range cells {
		if c.agent != agent {
			continue
		}
		if c.effect == "deny" && c.secret == name {
			return grant.CodeDenied
		}
		if c.effect == "allow" && (wild || c.secret == name) {
			if c.door == door {
				code = grant.CodeGranted
			} else if code == grant.CodeNoGrant {
				code = grant.CodeDoor
			}
		}
	}
	return code
}

// rulesOf writes the cells as rules.
func rulesOf(cells []cell, wild bool) (rules []grant.Rule) {
	for _, c := range cells {
		r := grant.Rule{Agent: c.agent, Secrets: []grant.Pattern{grant.Pattern(c.secret)}}
		switch c.effect {
		case "absent":
			continue
		case "deny":
			r.Deny = true
		case "allow":
			r.Doors = []grant.Door{c.door}
			if wild {
				r.Secrets[0] = "x/*"
			}
		}
		rules = append(rules, r)
	}
	return rules
}

// cellsOf returns policy number n of 3^8.
func cellsOf(n int) (cells []cell) {
	for _, agent := range []string{"a", "b"} {
		for _, name := range []secret.Name{"x/1", "x/2"} {
			for _, door := range []grant.Door{grant.DoorValue, grant.DoorSign} {
				cells = append(cells, cell{agent, name, door, []string{"allow", "deny", "absent"}[n%3]})
				n /= 3
			}
		}
	}
	return cells
}

// TestPolicyExhaustive decides every request under every policy of two agents,
// two secrets and two doors, written with exact names and with a wildcard, in
// both orders.
func TestPolicyExhaustive(t *testing.T) {
	codes := map[grant.Code]int{}
	for n := range 3 * 3 * 3 * 3 * 3 * 3 * 3 * 3 {
		cells := cellsOf(n)
		for _, wild := range []bool{false, true} {
			rules := rulesOf(cells, wild)
			for range 2 {
				p := policy(t, rules...)
				for _, c := range cells {
					want := reference(cells, wild, c.agent, c.secret, c.door)
					req := grant.Request{Agent: c.agent, Secret: c.secret, Door: c.door, At: noon}
					if got := p.Decide(req, used{}).Code; got != want {
						t.Fatalf("policy %d, wildcard %t: %s asking for %s by %s: %s, want %s", n, wild, c.agent, c.secret, c.door, got, want)
					}
					doors, _, _ := p.Granted(c.agent, c.secret)
					if (want == grant.CodeGranted) != slices.Contains(doors, c.door) {
						t.Fatalf("policy %d, wildcard %t: listing for %s gives %s by %v, deciding says %s", n, wild, c.agent, c.secret, doors, want)
					}
					codes[want]++
				}
				slices.Reverse(rules)
			}
		}
	}
	require.Len(t, codes, 4, "every outcome must have come up: %v", codes)
}
