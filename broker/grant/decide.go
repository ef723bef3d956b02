package grant

import (
	"slices"
	"strings"
	"time"

	"secretctl/broker/secret"
)

// Request is what an agent asks for.
type Request struct {
	Agent  string
	Secret secret.Name
	Door   Door
	Reason string        // the agent's words; never trusted, only required
	TTL    time.Duration // 0 or less: the default
	At     time.Time     // in the location whose clock and calendar count
}

// Counts tells how much of a rule's limits is used. Whoever renews a lease
// leaves that lease out of the counts.
type Counts interface {
	Live(ruleID string) int     // leases held under the rule
	LastHour(ruleID string) int // leases issued under it in the hour before
}

// Code says in one word why a decision came out as it did. Codes are written
// to the audit log and must not be renamed.
type Code string

// The codes. Those from CodeDoor on are the conditions of an allow rule, in the
// order they are looked at.
const (
	CodeGranted       Code = "granted"
	CodeOwner         Code = "owner"          // an owner asked, whom no rule binds; never of Decide
	CodeOwnSecret     Code = "own_secret"     // the broker's own, nobody's lease
	CodeDenied        Code = "denied_by_rule" // a deny rule names it
	CodeNoGrant       Code = "no_grant"       // no allow rule names it
	CodeDoor          Code = "door"
	CodeHours         Code = "hours"
	CodeWeekday       Code = "weekday"
	CodeReason        Code = "reason_required"
	CodeMaxLeases     Code = "max_leases"
	CodeLeasesPerHour Code = "leases_per_hour"
)

// Decision is the answer to a request. The zero value is a denial.
type Decision struct {
	Allow bool
	Code  Code
	Rule  *Rule         // the one that decided; nil when none named the secret. Not to be changed
	TTL   time.Duration // granted; 0 unless Allow
}

// Decide answers a request. Nothing is given that no rule allows; a deny rule
// that names the secret wins over everything; else the first allow rule of
// which every condition holds decides. When none does, the code is that of the
// rule that came nearest to holding, the first of those that came equally near.
func (p *Policy) Decide(r Request, c Counts) Decision {
	if r.Secret.Own() {
		return Decision{Code: CodeOwnSecret}
	}
	of := p.of(r.Agent)
	if deny := of.denying(r.Secret); deny != nil {
		return Decision{Code: CodeDenied, Rule: deny}
	}
	nearest, passed := Decision{Code: CodeNoGrant}, -1
	for _, rule := range of.allow {
		if !rule.covers(r.Secret) {
			continue
		}
		code, n := rule.failing(&r, c)
		if code == CodeGranted {
			return Decision{Allow: true, Code: code, Rule: rule, TTL: p.ttl(rule, r.TTL)}
		}
		if n > passed {
			nearest, passed = Decision{Code: code, Rule: rule}, n
		}
	}
	return nearest
}

// failing returns the first condition of an allow rule that the request does
// not meet and how many it met before, or CodeGranted. The limits come last: a
// request they stop would have been granted at another moment.
func (r *Rule) failing(req *Request, c Counts) (code Code, passed int) {
	switch {
	case !slices.Contains(r.Doors, req.Door):
		return CodeDoor, 0
	case !r.Hours.Contains(req.At):
		return CodeHours, 1
	case !r.Weekdays.Contains(req.At):
		return CodeWeekday, 2
	case r.ReasonRequired && strings.TrimSpace(req.Reason) == "":
		return CodeReason, 3
	case r.MaxLeases > 0 && (c == nil || c.Live(r.ID) >= r.MaxLeases):
		return CodeMaxLeases, 4
	case r.LeasesPerHour > 0 && (c == nil || c.LastHour(r.ID) >= r.LeasesPerHour):
		return CodeLeasesPerHour, 5
	}
	return CodeGranted, 6
}

// ttl returns how long a lease under the rule may live when asked is wanted.
// [NewPolicy] has seen to it that no rule's limit is above the policy's.
func (p *Policy) ttl(r *Rule, asked time.Duration) time.Duration {
	if asked <= 0 {
		asked = p.defaultTTL
	}
	return min(asked, p.limit(r))
}
