package grant_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"secretctl/broker/grant"
	"secretctl/broker/secret"
)

// held is a lease the machine has given out.
type held struct {
	rule            string
	issued, expires time.Time
}

// machine is a broker in small: rules come and go, time passes, leases are
// asked for, counted and given back.
type machine struct {
	rules  []grant.Rule
	policy *grant.Policy
	now    time.Time
	leases []held
}

func (m *machine) Live(rule string) (n int) {
	for _, l := range m.leases {
		if l.rule == rule && m.now.Before(l.expires) {
			n++
		}
	}
	return n
}

func (m *machine) LastHour(rule string) (n int) {
	for _, l := range m.leases {
		if l.rule == rule && m.now.Sub(l.issued) < time.Hour {
			n++
		}
	}
	return n
}

// names has the broker's own among those that agents ask for.
var names = []secret.Name{"x/1", "x/2", "x/private-1", "y", "own/token"}

func drawRule(t *rapid.T) grant.Rule {
	r := grant.Rule{
		Agent:   rapid.SampledFrom([]string{"a", "b"}).Draw(t, "agent"),
		Secrets: rapid.SliceOfN(rapid.SampledFrom([]grant.Pattern{"x/*", "x/1", "x/private-*", "y", "o*"}), 1, 2).Draw(t, "secrets"),
		Deny:    rapid.IntRange(0, 4).Draw(t, "deny") == 0,
	}
	if r.Deny {
		return r
	}
	r.Doors = rapid.SampledFrom([][]grant.Door{nil, {"value"}, {"sign"}, {"sign", "value"}}).Draw(t, "doors")
	r.TTL = time.Duration(rapid.IntRange(0, 60).Draw(t, "ttl")) * time.Minute
	r.MaxLeases = rapid.IntRange(0, 2).Draw(t, "max")
	r.LeasesPerHour = rapid.IntRange(0, 3).Draw(t, "hour")
	r.Hours = window(t, rapid.SampledFrom([]string{"00:00-24:00", "08:00-18:00", "20:00-04:00"}).Draw(t, "hours"))
	r.Weekdays = rapid.SampledFrom([]grant.Days{0, days(t, "Mon-Fri"), days(t, "Sat-Sun")}).Draw(t, "days")
	r.ReasonRequired = rapid.IntRange(0, 3).Draw(t, "reason") == 0
	return r
}

func drawRequest(t *rapid.T, m *machine) grant.Request {
	return grant.Request{
		Agent:  rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "who"),
		Secret: rapid.SampledFrom(names).Draw(t, "secret"),
		Door:   rapid.SampledFrom([]grant.Door{"value", "sign"}).Draw(t, "door"),
		Reason: rapid.SampledFrom([]string{"", "because"}).Draw(t, "why"),
		TTL:    time.Duration(rapid.IntRange(-1, 120).Draw(t, "asked")) * time.Minute,
		At:     m.now,
	}
}

// allows says whether one rule, taken alone, lets the request through.
func (m *machine) allows(r *grant.Rule, req grant.Request) bool {
	open := len(r.Doors) == 0 && req.Door == "value"
	for _, d := range r.Doors {
		open = open || d == req.Door
	}
	open = open && namedBy(r, req)
	switch r.Hours.String() {
	case "08:00-18:00":
		open = open && m.now.Hour() >= 8 && m.now.Hour() < 18
	case "20:00-04:00":
		open = open && (m.now.Hour() >= 20 || m.now.Hour() < 4)
	}
	weekend := m.now.Weekday() == time.Saturday || m.now.Weekday() == time.Sunday
	switch r.Weekdays.String() {
	case "Sat,Sun":
		open = open && weekend
	case "Mon,Tue,Wed,Thu,Fri":
		open = open && !weekend
	}
	return open && !(r.ReasonRequired && req.Reason == "") &&
		!(r.MaxLeases > 0 && m.Live(r.ID) >= r.MaxLeases) &&
		!(r.LeasesPerHour > 0 && m.LastHour(r.ID) >= r.LeasesPerHour)
}

func namedBy(r *grant.Rule, req grant.Request) bool {
	return r.Agent == req.Agent && slices.ContainsFunc(r.Secrets, func(p grant.Pattern) bool {
		before, wild := strings.CutSuffix(string(p), "*")
		return string(p) == string(req.Secret) || wild && strings.HasPrefix(string(req.Secret), before)
	})
}

// expected is what the rules, read one by one, make of the request.
func (m *machine) expected(req grant.Request) (allow bool, ttl time.Duration) {
	if strings.HasPrefix(string(req.Secret), "own/") {
		return false, 0
	}
	for _, r := range m.policy.Rules() {
		if r.Deny && namedBy(r, req) {
			return false, 0
		}
	}
	for _, r := range m.policy.Rules() {
		if !r.Deny && m.allows(r, req) {
			ttl = 10 * time.Minute
			if req.TTL > 0 {
				ttl = req.TTL
			}
			if r.TTL == 0 {
				return true, min(ttl, 10*time.Minute)
			}
			return true, min(ttl, r.TTL)
		}
	}
	return false, 0
}

func (m *machine) remake(t *rapid.T) {
	p, err := grant.NewPolicy(m.rules, time.Hour, 10*time.Minute)
	if err != nil {
		t.Fatalf("making a policy: %v", err)
	}
	m.policy = p
}

// ask checks one decision and keeps the lease it gives.
func (m *machine) ask(t *rapid.T) {
	req := drawRequest(t, m)
	d := m.policy.Decide(req, m)
	allow, ttl := m.expected(req)
	switch {
	case d.Allow != allow || d.TTL != ttl:
		t.Fatalf("%+v: %+v, want allow %t for %v", req, d, allow, ttl)
	case d.Allow != (d.Code == grant.CodeGranted):
		t.Fatalf("%+v: allow %t with code %s", req, d.Allow, d.Code)
	case d.Rule != nil && (d.Rule.Deny != (d.Code == grant.CodeDenied) || !namedBy(d.Rule, req)):
		t.Fatalf("%+v: decided by %+v with code %s", req, d.Rule, d.Code)
	case !d.Allow:
		return
	}
	if _, longest, ok := m.policy.Granted(req.Agent, req.Secret); !ok || d.TTL > longest || d.TTL > m.policy.MaxTTLFor(req.Secret) {
		t.Fatalf("%+v: granted for %v, listed as %t for %v", req, d.TTL, ok, longest)
	}
	m.leases = append(m.leases, held{d.Rule.ID, m.now, m.now.Add(d.TTL)})
}

// TestPolicyMachine walks through random lives of a policy and holds every
// decision against the rules read one by one.
func TestPolicyMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{now: noon}
		m.remake(t)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				at := rapid.IntRange(0, len(m.rules)).Draw(t, "at")
				m.rules = slices.Insert(m.rules, at, drawRule(t))
				m.remake(t)
			},
			"remove": func(t *rapid.T) {
				if len(m.rules) == 0 {
					t.Skip("no rules")
				}
				at := rapid.IntRange(0, len(m.rules)-1).Draw(t, "at")
				m.rules = slices.Delete(m.rules, at, at+1)
				m.remake(t)
			},
			"pass": func(t *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.IntRange(1, 600).Draw(t, "minutes")) * time.Minute)
			},
			"give back": func(t *rapid.T) {
				if len(m.leases) == 0 {
					t.Skip("no leases")
				}
				i := rapid.IntRange(0, len(m.leases)-1).Draw(t, "which")
				m.leases[i].expires = m.now
			},
			"ask": m.ask, "ask again": m.ask, "and again": m.ask,
			"": func(t *rapid.T) {
				for _, r := range m.policy.Rules() {
					if r.MaxLeases > 0 && m.Live(r.ID) > r.MaxLeases || r.LeasesPerHour > 0 && m.LastHour(r.ID) > r.LeasesPerHour {
						t.Fatalf("over the limits of %+v: %d held, %d in the last hour", r, m.Live(r.ID), m.LastHour(r.ID))
					}
				}
			},
		})
	})
}
