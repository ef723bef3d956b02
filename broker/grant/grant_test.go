package grant_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/grant"
	"secretctl/broker/secret"
)

// noon is a Wednesday.
var noon = time.Date(2026, time.March, 4, 12, 0, 0, 0, time.UTC)

// used is a Counts that says the same of every rule.
type used struct{ live, hour int }

func (u used) Live(string) int     { return u.live }
func (u used) LastHour(string) int { return u.hour }

func policy(t testing.TB, rules ...grant.Rule) *grant.Policy {
	t.Helper()
	p, err := grant.NewPolicy(rules, time.Hour, 10*time.Minute)
	require.NoError(t, err)
	return p
}

func allow(agent string, secrets ...grant.Pattern) grant.Rule {
	return grant.Rule{Agent: agent, Secrets: secrets}
}

func deny(agent string, secrets ...grant.Pattern) grant.Rule {
	return grant.Rule{Agent: agent, Secrets: secrets, Deny: true}
}

// with changes a rule.
func with(r grant.Rule, change func(*grant.Rule)) grant.Rule {
	change(&r)
	return r
}

func ask(agent string, name secret.Name) grant.Request {
	return grant.Request{Agent: agent, Secret: name, Door: grant.DoorValue, At: noon}
}

func window(t require.TestingT, s string) grant.Window {
	w, err := grant.ParseWindow(s)
	require.NoError(t, err)
	return w
}

func days(t require.TestingT, s string) grant.Days {
	d, err := grant.ParseDays(s)
	require.NoError(t, err)
	return d
}

func TestDecide(t *testing.T) {
	p := policy(t,
		deny("openclaw", "openai/billing-*"),
		allow("openclaw", "openai/*", "weather/api-key"),
		allow("openclaw", "openai/billing-report"), // stands after the deny, and does not matter
		with(allow("nightly", "backup/key"), func(r *grant.Rule) { r.Hours = window(t, "22:00-06:00") }),
		with(allow("worker", "deploy/key"), func(r *grant.Rule) { r.Weekdays = days(t, "Sat-Sun") }),
		with(allow("careful", "prod/key"), func(r *grant.Rule) { r.ReasonRequired = true }),
		with(allow("busy", "queue/key"), func(r *grant.Rule) { r.MaxLeases, r.LeasesPerHour = 2, 5 }),
		with(allow("signer", "ssh/key"), func(r *grant.Rule) { r.Doors = []grant.Door{grant.DoorSign} }),
		allow("late", "openai/*"),
		deny("late", "openai/*"), // stands after the allow, and wins
	)
	for _, c := range []struct {
		what  string
		req   grant.Request
		used  used
		code  grant.Code
		wants int // index of the deciding rule, -1 for none
	}{
		{"a pattern", ask("openclaw", "openai/api-key"), used{}, grant.CodeGranted, 1},
		{"an exact name", ask("openclaw", "weather/api-key"), used{}, grant.CodeGranted, 1},
		{"longer than an exact name", ask("openclaw", "weather/api-key-2"), used{}, grant.CodeNoGrant, -1},
		{"a secret nobody granted", ask("openclaw", "stripe/key"), used{}, grant.CodeNoGrant, -1},
		{"an agent nobody declared", ask("stranger", "openai/api-key"), used{}, grant.CodeNoGrant, -1},
		{"no agent", ask("", "openai/api-key"), used{}, grant.CodeNoGrant, -1},
		{"no secret", ask("openclaw", ""), used{}, grant.CodeNoGrant, -1},
		{"another agent's secret", ask("openclaw", "backup/key"), used{}, grant.CodeNoGrant, -1},
		{"a deny over a wildcard and an exact allow", ask("openclaw", "openai/billing-report"), used{}, grant.CodeDenied, 0},
		{"a deny after the allow", ask("late", "openai/api-key"), used{}, grant.CodeDenied, 9},
		{"the broker's own", ask("openclaw", "own/openai-admin"), used{}, grant.CodeOwnSecret, -1},
		{"outside the hours", ask("nightly", "backup/key"), used{}, grant.CodeHours, 3},
		{"on another day", ask("worker", "deploy/key"), used{}, grant.CodeWeekday, 4},
		{"without a reason", ask("careful", "prod/key"), used{}, grant.CodeReason, 5},
		{"too many held", ask("busy", "queue/key"), used{live: 2}, grant.CodeMaxLeases, 6},
		{"one below the limits", ask("busy", "queue/key"), used{live: 1, hour: 4}, grant.CodeGranted, 6},
		{"too many an hour", ask("busy", "queue/key"), used{live: 1, hour: 5}, grant.CodeLeasesPerHour, 6},
		{"by another door", ask("signer", "ssh/key"), used{}, grant.CodeDoor, 7},
		{"by a door that a deny's rule does not name", grant.Request{Agent: "late", Secret: "openai/x", Door: grant.DoorSign, At: noon},
			used{}, grant.CodeDenied, 9},
	} {
		t.Run(c.what, func(t *testing.T) {
			d := p.Decide(c.req, c.used)
			require.Equal(t, c.code, d.Code)
			require.Equal(t, c.code == grant.CodeGranted, d.Allow)
			if c.wants < 0 {
				require.Nil(t, d.Rule)
			} else {
				require.Same(t, p.Rules()[c.wants], d.Rule)
			}
			if d.Allow {
				require.Equal(t, 10*time.Minute, d.TTL)
			} else {
				require.Zero(t, d.TTL)
			}
		})
	}
}

func TestDecideReason(t *testing.T) {
	p := policy(t, with(allow("a", "s"), func(r *grant.Rule) { r.ReasonRequired = true }))
	req := ask("a", "s")
	for reason, want := range map[string]bool{"": false, " \t\n": false, "deploying": true} {
		req.Reason = reason
		require.Equal(t, want, p.Decide(req, used{}).Allow, "reason %q", reason)
	}
}

// The first rule that holds decides, a rule that does not hold is passed over,
// and when none holds the one that came nearest says why.
func TestDecideNearest(t *testing.T) {
	night := with(allow("a", "s"), func(r *grant.Rule) { r.Hours = window(t, "22:00-06:00") })
	full := with(allow("a", "s"), func(r *grant.Rule) { r.MaxLeases = 1 })
	sign := with(allow("a", "s"), func(r *grant.Rule) { r.Doors = []grant.Door{grant.DoorSign} })
	why := with(allow("a", "s"), func(r *grant.Rule) { r.ReasonRequired = true })
	open := allow("a", "s")
	for _, c := range []struct {
		what  string
		rules []grant.Rule
		code  grant.Code
		rule  int
	}{
		{"a later rule holds", []grant.Rule{night, full, open}, grant.CodeGranted, 2},
		{"limits are nearest", []grant.Rule{sign, night, full, why}, grant.CodeMaxLeases, 2},
		{"hours are nearer than the door", []grant.Rule{sign, night}, grant.CodeHours, 1},
		{"equally near: the first", []grant.Rule{night, sign, night}, grant.CodeHours, 0},
		{"a rule for something else is not near", []grant.Rule{allow("a", "other"), sign}, grant.CodeDoor, 1},
	} {
		t.Run(c.what, func(t *testing.T) {
			p := policy(t, c.rules...)
			d := p.Decide(ask("a", "s"), used{live: 1})
			require.Equal(t, c.code, d.Code)
			require.Same(t, p.Rules()[c.rule], d.Rule)
		})
	}
}

func TestDecideTTL(t *testing.T) {
	p := policy(t,
		with(allow("short", "s"), func(r *grant.Rule) { r.TTL = time.Minute }),
		with(allow("long", "s"), func(r *grant.Rule) { r.TTL = time.Hour }),
		allow("plain", "s"),
	)
	for _, c := range []struct {
		agent       string
		asked, want time.Duration
	}{
		{"plain", 0, 10 * time.Minute},
		{"plain", -time.Hour, 10 * time.Minute},
		{"plain", time.Second, time.Second},
		{"plain", time.Hour, 10 * time.Minute},
		{"short", 0, time.Minute},
		{"short", time.Hour, time.Minute},
		{"long", 0, 10 * time.Minute},
		{"long", 30 * time.Minute, 30 * time.Minute},
		{"long", 24 * time.Hour, time.Hour},
	} {
		req := ask(c.agent, "s")
		req.TTL = c.asked
		require.Equal(t, c.want, p.Decide(req, used{}).TTL, "%s asking for %v", c.agent, c.asked)
	}
}

// Without counters a limit counts as reached.
func TestDecideWithoutCounts(t *testing.T) {
	p := policy(t,
		with(allow("live", "s"), func(r *grant.Rule) { r.MaxLeases = 1 }),
		with(allow("hour", "s"), func(r *grant.Rule) { r.LeasesPerHour = 1 }),
		allow("free", "s"))
	require.Equal(t, grant.CodeMaxLeases, p.Decide(ask("live", "s"), nil).Code)
	require.Equal(t, grant.CodeLeasesPerHour, p.Decide(ask("hour", "s"), nil).Code)
	require.True(t, p.Decide(ask("free", "s"), nil).Allow)
}

func TestNoPolicyDeniesAll(t *testing.T) {
	for what, p := range map[string]*grant.Policy{"nil": nil, "zero": new(grant.Policy), "empty": policy(t)} {
		t.Run(what, func(t *testing.T) {
			require.Equal(t, grant.Decision{Code: grant.CodeNoGrant}, p.Decide(ask("a", "s"), used{}))
			require.Empty(t, p.Patterns("a"))
			require.Empty(t, p.Rules())
			require.False(t, p.Denies("a", "s"))
			require.Zero(t, p.MaxTTLFor("s"))
			_, _, ok := p.Granted("a", "s")
			require.False(t, ok)
		})
	}
	require.Zero(t, (*grant.Policy)(nil).MaxTTL())
	require.Zero(t, (*grant.Policy)(nil).DefaultTTL())
}

func TestGranted(t *testing.T) {
	p := policy(t,
		with(allow("a", "x/*"), func(r *grant.Rule) { r.Doors, r.TTL = []grant.Door{"value", "sign"}, time.Minute }),
		with(allow("a", "x/key"), func(r *grant.Rule) { r.Doors, r.TTL = []grant.Door{"mint", "value"}, time.Hour }),
		with(allow("b", "x/other"), func(r *grant.Rule) { r.TTL = 30 * time.Minute }),
		allow("c", "plain"),
		with(allow("d", "x/other"), func(r *grant.Rule) { r.TTL = time.Hour }),
		deny("d", "x/*"),
	)
	doors, ttl, ok := p.Granted("a", "x/key")
	require.True(t, ok)
	require.Equal(t, []grant.Door{"mint", "sign", "value"}, doors)
	require.Equal(t, time.Hour, ttl)

	_, ttl, ok = p.Granted("c", "plain")
	require.True(t, ok)
	require.Equal(t, 10*time.Minute, ttl)

	_, _, ok = p.Granted("d", "x/other")
	require.False(t, ok, "listing must apply a deny")
	require.True(t, p.Denies("d", "x/other"))
	require.False(t, p.Denies("b", "x/other"))
	require.Len(t, p.Patterns("a"), 2)
	require.Empty(t, p.Rules()[5].Doors, "a deny closes all doors and names none")
	require.Len(t, p.Patterns("d"), 1, "denies are not among the allow rules")

	require.Equal(t, 30*time.Minute, p.MaxTTLFor("x/other"), "a denied agent's ttl does not count")
	require.Equal(t, time.Hour, p.MaxTTLFor("x/key"))
	require.Zero(t, p.MaxTTLFor("nowhere"))
	require.Equal(t, time.Hour, p.MaxTTL())
	require.Equal(t, 10*time.Minute, p.DefaultTTL())
}

func TestNewPolicyRefuses(t *testing.T) {
	for want, r := range map[string]grant.Rule{
		"it names no agent":          allow("", "s"),
		"it names no secrets":        allow("a"),
		"a deny has no conditions":   with(deny("a", "s"), func(r *grant.Rule) { r.TTL = time.Minute }),
		"a limit is negative":        with(allow("a", "s"), func(r *grant.Rule) { r.MaxLeases = -1 }),
		"its ttl 2h0m0s is above":    with(allow("a", "s"), func(r *grant.Rule) { r.TTL = 2 * time.Hour }),
		"would grant every secret":   allow("a", "*"),
		`unknown door "window"`:      with(allow("a", "s"), func(r *grant.Rule) { r.Doors = []grant.Door{"window"} }),
		"a secret of the broker's":   allow("a", "own/token"),
		"grant 1 (line 7): it names": {Line: 7},
	} {
		_, err := grant.NewPolicy([]grant.Rule{r}, time.Hour, time.Minute)
		require.ErrorContains(t, err, want)
	}
	for _, limits := range [][2]time.Duration{{0, 0}, {time.Hour, 0}, {time.Minute, time.Hour}, {-1, -2}} {
		_, err := grant.NewPolicy(nil, limits[0], limits[1])
		require.Error(t, err, "%v", limits)
	}
}

// Each condition on its own makes a deny meaningless.
func TestDenyTakesNoConditions(t *testing.T) {
	for what, change := range map[string]func(*grant.Rule){
		"ttl":             func(r *grant.Rule) { r.TTL = 1 },
		"max_leases":      func(r *grant.Rule) { r.MaxLeases = 1 },
		"leases_per_hour": func(r *grant.Rule) { r.LeasesPerHour = 1 },
		"doors":           func(r *grant.Rule) { r.Doors = []grant.Door{grant.DoorValue} },
		"hours":           func(r *grant.Rule) { r.Hours = window(t, "07:00-08:00") },
		"weekdays":        func(r *grant.Rule) { r.Weekdays = days(t, "Mon") },
		"reason":          func(r *grant.Rule) { r.ReasonRequired = true },
	} {
		_, err := grant.NewPolicy([]grant.Rule{with(deny("a", "s"), change)}, time.Hour, time.Minute)
		require.ErrorContains(t, err, "a deny has no conditions", what)
	}
}

// A policy is fixed once made, whatever happens to what it was made of or to
// the lists it gives out.
func TestPolicyIsACopy(t *testing.T) {
	rules := []grant.Rule{allow("a", "x"), allow("a", "y")}
	p := policy(t, rules...)
	rules[0].Secrets[0] = "everything"
	rules[1].Agent = "b"
	p.Rules()[0], p.Patterns("a")[0] = nil, nil
	require.NotNil(t, p.Rules()[0])
	require.True(t, p.Decide(ask("a", "x"), used{}).Allow)
	require.True(t, p.Decide(ask("a", "y"), used{}).Allow)
	require.Equal(t, grant.CodeNoGrant, p.Decide(ask("a", "everything"), used{}).Code)
}

func TestRuleID(t *testing.T) {
	base := grant.Rule{Agent: "a", Secrets: []grant.Pattern{"x", "y"}, Doors: []grant.Door{"value", "sign"}, Line: 3}
	id := func(r grant.Rule) string { return policy(t, r).Rules()[0].ID }
	require.Regexp(t, `^[0-9a-f]{12}$`, id(base))

	for what, change := range map[string]func(*grant.Rule){
		"the line":             func(r *grant.Rule) { r.Line = 99 },
		"the order of secrets": func(r *grant.Rule) { r.Secrets = []grant.Pattern{"y", "x"} },
		"the order of doors":   func(r *grant.Rule) { r.Doors = []grant.Door{"sign", "value"} },
		"a repetition":         func(r *grant.Rule) { r.Secrets = []grant.Pattern{"x", "y", "x"} },
		"an id that came along": func(r *grant.Rule) {
			r.ID = "0123456789ab"
		},
	} {
		require.Equal(t, id(base), id(with(base, change)), "changes with %s", what)
	}
	require.Equal(t, id(allow("a", "x")), id(with(allow("a", "x"), func(r *grant.Rule) { r.Doors = []grant.Door{"value"} })),
		"the default written out")

	seen := map[string]string{id(base): "the rule itself"}
	for what, change := range map[string]func(*grant.Rule){
		"agent":           func(r *grant.Rule) { r.Agent = "b" },
		"secrets":         func(r *grant.Rule) { r.Secrets = []grant.Pattern{"x"} },
		"doors":           func(r *grant.Rule) { r.Doors = nil },
		"ttl":             func(r *grant.Rule) { r.TTL = time.Minute },
		"max_leases":      func(r *grant.Rule) { r.MaxLeases = 1 },
		"leases_per_hour": func(r *grant.Rule) { r.LeasesPerHour = 1 },
		"hours":           func(r *grant.Rule) { r.Hours = window(t, "07:00-23:00") },
		"weekdays":        func(r *grant.Rule) { r.Weekdays = days(t, "Mon") },
		"reason":          func(r *grant.Rule) { r.ReasonRequired = true },
		"deny":            func(r *grant.Rule) { r.Doors, r.Deny = nil, true },
	} {
		got := id(with(base, change))
		require.Empty(t, seen[got], "%s has the id of another", what)
		seen[got] = what
	}
}

// Deciding for one agent must not cost more because others have rules, nor
// allocate: it happens on every request.
func TestDecideDoesNotAllocate(t *testing.T) {
	p := policy(t, deny("a", "x/private-*"), allow("a", "x/*"))
	var c grant.Counts = used{}
	req := ask("a", "x/key")
	require.Zero(t, testing.AllocsPerRun(100, func() { p.Decide(req, c) }))
	req.Agent = "stranger"
	require.Zero(t, testing.AllocsPerRun(100, func() { p.Decide(req, c) }))
}
