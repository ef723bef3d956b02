package config

import (
	"slices"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"

	"secretctl/broker/grant"
)

// maxCount bounds max_leases and leases_per_hour. A sanity check.
const maxCount = 1_000_000_000

// grants reads [[grant]]. agents are those declared; maxTTL is what a ttl may
// not exceed, 0 when that is not known.
func (r *reader) grants(tree *table, agents []string, maxTTL time.Duration) (rules []grant.Rule) {
	e := tree.get("grant")
	if e == nil || !r.is(e, unstable.Array, "[[grant]], in double brackets, on a line of its own") {
		return nil
	}
	for _, item := range e.value.items {
		if item.kind != unstable.InlineTable {
			r.fail(item.pos, "for example: [[grant]] on a line of its own", `"grant" must hold tables, not %s`, kindNames[item.kind])
			continue
		}
		r.check(item.table, grantKeys)
		rules = append(rules, r.grant(item.table, agents, maxTTL))
	}
	return rules
}

// grant reads one rule. What is wrong with it was reported.
func (r *reader) grant(t *table, agents []string, maxTTL time.Duration) grant.Rule {
	rule := grant.Rule{
		Agent:   r.grantee(t, agents),
		Secrets: r.patterns(t),
		Deny:    r.boolean(t, "deny"),
		Line:    t.pos.line,
	}
	if rule.Deny {
		r.denyAlone(t)
		return rule
	}
	rule.Doors = r.doors(t)
	rule.TTL, _ = r.duration(t, "ttl", 0)
	if maxTTL > 0 && rule.TTL > maxTTL {
		r.fail(t.get("ttl").value.pos, "lower it, or raise max_ttl in [broker]", "ttl %s is above max_ttl, %s",
			FormatDuration(rule.TTL), FormatDuration(maxTTL))
	}
	rule.MaxLeases = r.number(t, "max_leases", 1, maxCount, 0)
	rule.LeasesPerHour = r.number(t, "leases_per_hour", 1, maxCount, 0)
	r.when(t, &rule)
	if s, at, ok := r.text(t, "reason", `reason = "required"`); ok {
		if rule.ReasonRequired = s == "required"; !rule.ReasonRequired {
			r.fail(at, `reason = "required", or no such line`, "reason %q cannot be read", s)
		}
	}
	return rule
}

// grantee reads whom the rule is for.
func (r *reader) grantee(t *table, agents []string) string {
	name, at, ok := r.text(t, "agent", `agent = "openclaw"`)
	switch {
	case t.get("agent") == nil:
		r.fail(t.pos, `say whom it is for: agent = "openclaw"`, "the grant names no agent")
	case ok && !slices.Contains(agents, name):
		remedy := "declare it: [agent." + name + "]"
		if meant, near := nearest(name, agents); near {
			remedy = `did you mean "` + meant + `"?`
		} else if name == "owner" {
			remedy = "remove the grant: an owner needs none"
		} else if !agentName().MatchString(name) {
			remedy = "declare it: [agent.openclaw]"
		}
		r.fail(at, remedy, "there is no agent %q", name)
	}
	return name
}

// patterns reads what the rule is about.
func (r *reader) patterns(t *table) (patterns []grant.Pattern) {
	const example = `secrets = ["openai/*", "weather/api-key"]`
	if t.get("secrets") == nil {
		r.fail(t.pos, "say which: "+example, "the grant names no secrets")
		return nil
	}
	items, _ := r.list(t, "secrets", example)
	for _, item := range items {
		p, err := grant.ParsePattern(item.text)
		if err != nil {
			r.failMalformed(item.pos, err)
			continue
		}
		patterns = append(patterns, p)
	}
	return patterns
}

// doors reads through which doors the rule lets.
func (r *reader) doors(t *table) (doors []grant.Door) {
	items, _ := r.list(t, "doors", `doors = ["value"]`)
	for _, item := range items {
		d, err := grant.ParseDoor(item.text)
		if err != nil {
			r.failMalformed(item.pos, err)
			continue
		}
		if d != grant.DoorValue {
			r.warn(item.pos, `this build has the door "value"`, "door %q is not in this build: nothing is handed out by it", d)
		}
		doors = append(doors, d)
	}
	return doors
}

// when reads the hours and weekdays of a rule.
func (r *reader) when(t *table, rule *grant.Rule) {
	var err error
	if s, at, ok := r.text(t, "hours", `hours = "07:00-23:00"`); ok {
		if rule.Hours, err = grant.ParseWindow(s); err != nil {
			r.failMalformed(at, err)
		}
	}
	if s, at, ok := r.text(t, "weekdays", `weekdays = "Mon-Fri"`); ok {
		if rule.Weekdays, err = grant.ParseDays(s); err != nil {
			r.failMalformed(at, err)
		}
		if rule.Hours.CrossesMidnight() && rule.Weekdays != 0 {
			r.warn(at, "to follow a night, write one grant up to 24:00 and one from 00:00",
				"weekdays count from midnight to midnight: hours %q end on a day that may not be among them", rule.Hours)
		}
	}
}

// denyAlone refuses conditions on a deny. They would read as if it were open
// outside them, and it never is.
func (r *reader) denyAlone(t *table) {
	for _, e := range t.entries {
		if !slices.Contains([]string{"agent", "secrets", "deny"}, e.key) && slices.Contains(grantKeys.known, e.key) {
			r.fail(e.pos, "remove the line, or deny = true", "a deny takes no %q: it holds always and at every door", e.key)
		}
	}
}

// warnIdle warns of agents that are declared and get nothing.
func (r *reader) warnIdle(tree *table, c *Config, rules []grant.Rule) {
	for _, a := range c.Agents {
		if !slices.ContainsFunc(rules, func(rule grant.Rule) bool { return rule.Agent == a.Name && !rule.Deny }) {
			r.warn(tree.get("agent").value.table.get(a.Name).pos, "add one: [[grant]]", "agent %q has no grant and gets nothing", a.Name)
		}
	}
}
