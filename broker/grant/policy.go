package grant

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"secretctl/broker/secret"
)

// Rule is one grant, or one deny.
type Rule struct {
	Agent   string
	Secrets []Pattern
	Doors   []Door // none: DoorValue only. A deny closes them all

	TTL            time.Duration // longest lease; 0: the policy's DefaultTTL
	MaxLeases      int           // held at one moment; 0: no limit
	LeasesPerHour  int           // issued in any hour; 0: no limit
	Hours          Window        // local time; zero: the whole day
	Weekdays       Days          // day of the calendar at the moment asked; zero: every day
	ReasonRequired bool          // the request must say why

	Deny bool // forbids instead; wins over every allow, under no condition

	Line int    // where the config has it, 0: nowhere
	ID   string // 12 hex digits of what the rule means; set by NewPolicy
}

// covers reports whether one of the rule's patterns matches the name.
func (r *Rule) covers(name secret.Name) bool {
	return slices.ContainsFunc(r.Secrets, func(p Pattern) bool { return p.Match(name) })
}

// check says why the rule cannot be part of a policy.
func (r *Rule) check(maxTTL time.Duration) error {
	conditions := r.TTL != 0 || r.MaxLeases != 0 || r.LeasesPerHour != 0 || len(r.Doors) != 0 ||
		!r.Hours.IsZero() || r.Weekdays != 0 || r.ReasonRequired
	switch {
	case r.Agent == "":
		return errors.New("it names no agent")
	case len(r.Secrets) == 0:
		return errors.New("it names no secrets")
	case r.Deny && conditions:
		return errors.New("a deny has no conditions")
	case r.TTL < 0 || r.MaxLeases < 0 || r.LeasesPerHour < 0:
		return errors.New("a limit is negative")
	case r.TTL > maxTTL:
		return fmt.Errorf("its ttl %v is above the largest allowed, %v", r.TTL, maxTTL)
	}
	for _, p := range r.Secrets {
		if _, err := ParsePattern(string(p)); err != nil {
			return err
		}
	}
	for _, d := range r.Doors {
		if _, err := ParseDoor(string(d)); err != nil {
			return err
		}
	}
	return nil
}

// id returns the digest of what the rule means: not of where it stands in the
// file, nor of the order of its lists, so that counters kept under it survive
// an edit that changes nothing. Two rules that mean the same share it.
func (r *Rule) id() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q %q %q %d %d %d %q %q %t %t", r.Agent, canonical(r.Secrets), canonical(r.Doors),
		r.TTL, r.MaxLeases, r.LeasesPerHour, r.Hours, r.Weekdays, r.ReasonRequired, r.Deny)
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:6])
}

// canonical returns the list sorted and without repetitions, in new memory.
func canonical[S ~string](list []S) []S {
	return slices.Compact(slices.Sorted(slices.Values(list)))
}

// Policy is a set of rules, fixed once made and safe for any number of
// goroutines. A nil or zero Policy denies everything.
type Policy struct {
	maxTTL, defaultTTL time.Duration

	rules  []*Rule
	agents map[string]*agentRules // :: agent -> its rules
}

// agentRules are the rules of one agent, in the order of the file.
type agentRules struct {
	allow, deny []*Rule
}

// NewPolicy makes a policy of the rules, which it copies. No lease lives longer
// than maxTTL between renewals; defaultTTL is what a request gets that asks for
// none, and both must be positive. It fails on a rule that means nothing or
// that [ParsePattern] or [ParseDoor] would have refused.
func NewPolicy(rules []Rule, maxTTL, defaultTTL time.Duration) (*Policy, error) {
	if defaultTTL <= 0 || defaultTTL > maxTTL {
		return nil, fmt.Errorf("default ttl %v is not between 0 and the largest ttl, %v", defaultTTL, maxTTL)
	}
	p := &Policy{maxTTL: maxTTL, defaultTTL: defaultTTL, agents: make(map[string]*agentRules)}
	for i, r := range rules {
		if err := r.check(maxTTL); err != nil {
			return nil, fmt.Errorf("grant %d (line %d): %w", i+1, r.Line, err)
		}
		if len(r.Doors) == 0 && !r.Deny {
			r.Doors = []Door{DoorValue}
		}
		r.Secrets, r.Doors = slices.Clone(r.Secrets), slices.Clone(r.Doors)
		r.ID = r.id()
		p.add(&r)
	}
	return p, nil
}

// add files the rule under its agent.
func (p *Policy) add(r *Rule) {
	p.rules = append(p.rules, r)
	of := p.agents[r.Agent]
	if of == nil {
		of = new(agentRules)
		p.agents[r.Agent] = of
	}
	if r.Deny {
		of.deny = append(of.deny, r)
	} else {
		of.allow = append(of.allow, r)
	}
}

// of returns the rules of one agent, which may be none but is never nil.
func (p *Policy) of(agent string) *agentRules {
	if p != nil && p.agents[agent] != nil {
		return p.agents[agent]
	}
	return new(agentRules)
}

// Rules returns every rule in the order of the file. They are the policy's own
// and must not be changed.
func (p *Policy) Rules() []*Rule {
	if p == nil {
		return nil
	}
	return slices.Clone(p.rules)
}

// MaxTTL returns the longest any lease may live between renewals.
func (p *Policy) MaxTTL() time.Duration {
	if p == nil {
		return 0
	}
	return p.maxTTL
}

// DefaultTTL returns how long a lease lives when neither rule nor request says.
func (p *Policy) DefaultTTL() time.Duration {
	if p == nil {
		return 0
	}
	return p.defaultTTL
}

// limit returns the longest lease the rule gives.
func (p *Policy) limit(r *Rule) time.Duration {
	if r.TTL == 0 {
		return p.defaultTTL
	}
	return r.TTL
}

// Patterns returns the allow rules of one agent in the order of the file. A
// secret they cover may still be denied: ask [Policy.Denies], or
// [Policy.Granted] for both at once. The rules are the policy's own and must
// not be changed.
func (p *Policy) Patterns(agent string) []*Rule {
	return slices.Clone(p.of(agent).allow)
}

// denying returns the first rule that forbids the secret to the agent, or nil.
func (a *agentRules) denying(name secret.Name) *Rule {
	for _, r := range a.deny {
		if r.covers(name) {
			return r
		}
	}
	return nil
}

// Denies reports whether a deny rule forbids the secret to the agent.
func (p *Policy) Denies(agent string, name secret.Name) bool {
	return p.of(agent).denying(name) != nil
}

// Granted returns what the agent's rules give it of one secret when all their
// conditions hold: the doors, sorted, and the longest ttl. ok is false when it
// is never given, which is what [Policy.Decide] then says at any time.
func (p *Policy) Granted(agent string, name secret.Name) (doors []Door, ttl time.Duration, ok bool) {
	of := p.of(agent)
	if of.denying(name) != nil {
		return nil, 0, false
	}
	for _, r := range of.allow {
		if r.covers(name) {
			doors = append(doors, r.Doors...)
			ttl = max(ttl, p.limit(r))
		}
	}
	return canonical(doors), ttl, len(doors) > 0
}

// MaxTTLFor returns the largest ttl any grant gives the secret to any agent, 0
// when none does. A version that was replaced is held by someone for at most
// that long without a renewal.
func (p *Policy) MaxTTLFor(name secret.Name) time.Duration {
	var longest time.Duration
	if p == nil {
		return longest
	}
	for agent := range p.agents {
		if _, ttl, ok := p.Granted(agent, name); ok {
			longest = max(longest, ttl)
		}
	}
	return longest
}
