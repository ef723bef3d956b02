package rotation

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"secretctl/providers"
)

// machine is a world with an owner who does whatever an owner can do, at any
// time.
type machine struct {
	*world
	loose bool // something was given up, or made by hand: there may be others at the service
	ends  map[string]int
}

func (m *machine) begin(t *rapid.T) {
	if m.flight() != nil || m.vault.current == 0 || !m.service.accepts(m.vault.values[m.vault.current]) {
		t.Skip()
	}
	m.service.issues, m.service.answered, m.service.doubt, m.service.verified = 0, 0, false, false
	o := Order{Emergency: rapid.Bool().Draw(t, "emergency")}
	if m.spec.kind.Shape == providers.ShapeManual || rapid.IntRange(0, 5).Draw(t, "by hand") == 0 && m.spec.limit == 0 {
		o.Value, m.loose = m.value(m.service.byHand()), true
	}
	m.alive(func() { _, _ = m.order(o) })
}

// mend is an owner who makes another one at the service where it was lost.
func (m *machine) mend(t *rapid.T) {
	r := m.flight()
	if r == nil || !r.Lost {
		t.Skip()
	}
	for _, c := range m.service.creds { // some time ago
		m.service.end(c)
		c.ended = c.ended.Add(-time.Hour)
	}
	m.loose = true
	m.alive(func() { _, _ = m.order(Order{Value: m.value(m.service.add("").value)}) })
}

func (m *machine) owner(t *rapid.T, how func() (providers.Progress, error)) {
	if m.flight() == nil {
		t.Skip()
	}
	m.alive(func() { _, _ = how() })
}

// TestRotationMachine: whatever the owner, the config, the service and crashes do
// in any order, what is current works, and it ends when they stop.
func TestRotationMachine(t *testing.T) {
	ends := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SampledFrom(specs).Draw(t, "service")
		m := &machine{world: newWorld(s), ends: ends}
		if rapid.Bool().Draw(t, "no grace") {
			m.grace = 0
		}
		m.confirm = rapid.Bool().Draw(t, "confirm")
		m.vault.pinned = rapid.IntRange(0, 1).Draw(t, "pinned")
		onward := func(t *rapid.T) {
			if m.flight() == nil {
				t.Skip()
			}
			m.step()
		}
		t.Repeat(map[string]func(*rapid.T){
			"begin": m.begin, "go": onward, "go on": onward, "go on and on": onward, "on": onward,
			"fault": func(t *rapid.T) {
				f := rapid.SampledFrom([]fault{crashBefore, crashAfter, failBefore, failAfter, twice, late}).Draw(t, "fault")
				if r := (&Rotation{Shape: s.kind.Shape}); r.rolls() && (f == twice || f == late) {
					t.Skip() // it may come when the owner has made another one
				}
				m.next = f
			},
			"crash": func(*rapid.T) { m.alive(func() { m.dead = true }) },
			"again": func(t *rapid.T) {
				m.owner(t, func() (providers.Progress, error) { return m.engine.Start(Order{Secret: m.name}) })
			},
			"emergency": func(t *rapid.T) {
				m.owner(t, func() (providers.Progress, error) {
					return m.engine.Start(Order{Secret: m.name, Emergency: true})
				})
			},
			"roll back": func(t *rapid.T) {
				m.owner(t, func() (providers.Progress, error) { return m.engine.RollBack(m.name) })
			},
			"give up": func(t *rapid.T) {
				if m.flight() == nil || rapid.IntRange(0, 3).Draw(t, "really") > 0 {
					t.Skip()
				}
				m.loose = true
				m.owner(t, func() (providers.Progress, error) { return m.engine.GiveUp(m.name) })
			},
			"mend":   m.mend,
			"config": func(*rapid.T) { m.setup = !m.setup },
			"leases": func(t *rapid.T) { m.vault.pinned = rapid.IntRange(0, 2).Draw(t, "pinned") },
			"time": func(t *rapid.T) {
				m.advance(time.Duration(rapid.Int64Range(0, int64(20*time.Minute)).Draw(t, "passes")))
			},
			"clock": func(t *rapid.T) {
				m.skew = rapid.SampledFrom([]time.Duration{0, time.Hour, -time.Hour}).Draw(t, "skew")
			},
			"account": func(t *rapid.T) {
				m.service.newAccount = rapid.SampledFrom([]string{"joel", "joel", "mallory"}).Draw(t, "account")
			},
			"": func(t *rapid.T) { require.Empty(t, m.wrong) },
		})
		m.settle(t)
	})
	t.Logf("ends: %v", ends)
	require.Greater(t, ends[string(Done)], 50)
	require.Positive(t, ends[string(RolledBack)])
	require.Positive(t, ends[string(Failed)])
}

// settle has everything work, and looks at what is left.
func (m *machine) settle(t *rapid.T) {
	m.next, m.setup, m.vault.pinned, m.service.newAccount, m.skew = none, true, 0, "joel", 0
	m.run()
	m.ends[m.end()]++
	defer func() {
		for _, v := range m.clears {
			v.Clear()
		}
	}()
	if r := m.flight(); r != nil {
		require.True(t, r.Lost && r.rolls(), "%+v", r)
		return
	}
	require.Empty(t, m.wrong)
	all, err := m.engine.History(m.name)
	require.NoError(t, err)
	current, valid := m.vault.values[m.vault.current], m.service.valid()
	givenUp := slices.ContainsFunc(all, func(p providers.Progress) bool { return p.Reason == reasonOwner })
	if m.spec.kind.Overlap || !givenUp {
		require.Contains(t, valid, current, "%+v", all)
	}
	if !m.loose {
		require.Len(t, valid, 1, "%+v", all)
	}
	if len(all) > 0 && all[0].State == string(Done) && !givenUp {
		require.Len(t, m.vault.values, 1, "%+v", all)
	}
	for n := range m.vault.values {
		require.True(t, n <= m.vault.current || givenUp)
	}
}
