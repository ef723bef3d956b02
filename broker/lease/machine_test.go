package lease_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"secretctl/broker/audit"
	"secretctl/broker/lease"
)

// known is what the machine knows of a lease that has a record.
type known struct {
	lease.Lease
	born    time.Duration // when it was decided, in time that really passes
	boot    string        // which boot that was in
	hidden  time.Duration // how far the wall clock has been set back since
	stepped bool          // and a record shows it

	deadline time.Duration // by the clock of this boot
	ended    bool          // by somebody
	swept    bool
	lost     bool // ended without a record: starting again undoes it
}

// machine is a broker in small beside a naive model of its leases.
type machine struct {
	*world
	real    time.Duration // how much time has really passed
	leases  []*known
	issued  map[string]*hour
	pending []pending
	shot    shot // the last snapshot; of nothing where there is none
}

// pending is a record on its way to the log.
type pending struct {
	record *audit.Record
	lease  lease.Lease   // of a lease or renew record
	born   time.Duration // of that
}

// shot is a snapshot, how many records it covers, and the leases that had a
// record by then and are not in it.
type shot struct {
	state   []byte
	records int
	gone    map[lease.ID]bool

	boot     string // and the deadlines in it, which count in this one
	deadline map[lease.ID]time.Duration
}

var rules = []string{"rule-1", "rule-2"}

func (m *machine) pass(d time.Duration) {
	m.real += d
	m.clk.Advance(d)
}

// commit has a record written, and the model know it.
func (m *machine) commit(p pending) {
	n := len(m.records)
	m.append(p.record)
	if m.records[n].Event == audit.EventClockStep {
		m.stepped()
	}
	switch p.record.Event {
	case audit.EventLease:
		m.issued[p.lease.Rule].give(m.last)
		k := &known{Lease: p.lease, ended: p.lease.Epoch < m.epoch}
		m.leases = append(m.leases, k)
		m.born(k, p)
	case audit.EventRenew:
		if k := m.find(p.lease.ID); !k.ended && !k.swept {
			k.Lease = p.lease
			m.born(k, p)
			return
		}
		// What the broker answers with an error, the log must not call a lease.
		m.commit(pending{record: endOf(audit.EventUndelivered, p.lease.ID)})
	case audit.EventRelease, audit.EventUndelivered, audit.EventRevoke:
		id, _ := lease.ParseID(p.record.Lease)
		k := m.find(id)
		k.ended, k.lost = true, false
	}
}

func (m *machine) born(k *known, p pending) {
	k.born, k.boot, k.hidden, k.deadline = p.born, m.clk.BootID(), 0, p.lease.BootDeadline
	k.stepped = p.lease.Issued.After(m.last)
}

// stepped is what a clock-step record means.
func (m *machine) stepped() {
	for _, k := range m.leases {
		k.stepped = true
	}
	for _, given := range m.issued {
		given.back(m.last)
	}
}

func (m *machine) find(id lease.ID) *known {
	i := slices.IndexFunc(m.leases, func(k *known) bool { return k.ID == id })
	return m.leases[i]
}

// drawLease picks a lease in force.
func (m *machine) drawLease(t *rapid.T) *known {
	list := slices.DeleteFunc(slices.Clone(m.leases), func(k *known) bool { return !m.usable(k.ID) })
	if len(list) == 0 {
		t.Skip("no leases")
	}
	return rapid.SampledFrom(list).Draw(t, "lease")
}

func (m *machine) drawPending(t *rapid.T) pending {
	if len(m.pending) == 0 {
		t.Skip("nothing pending")
	}
	i := rapid.IntRange(0, len(m.pending)-1).Draw(t, "pending")
	p := m.pending[i]
	m.pending = slices.Delete(m.pending, i, i+1)
	return p
}

func drawTTL(t *rapid.T) time.Duration {
	return rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 10 * time.Minute, time.Hour}).Draw(t, "ttl")
}

func (m *machine) reserveOne(t *rapid.T) {
	l := m.leaseOf(drawTTL(t))
	l.Rule = rapid.SampledFrom(rules).Draw(t, "rule")
	l.Agent = rapid.SampledFrom([]string{"openclaw", "nightly"}).Draw(t, "agent")
	l.Version = rapid.Uint64Range(1, 2).Draw(t, "version")
	m.reserve(l)
	m.pending = append(m.pending, pending{recordOf(audit.EventLease, l), l, m.real})
}

func (m *machine) issueOne(t *rapid.T) {
	m.reserveOne(t)
	p := m.pending[len(m.pending)-1]
	m.pending = m.pending[:len(m.pending)-1]
	m.commit(p)
}

func (m *machine) renewOne(t *rapid.T) {
	l := m.renewed(m.drawLease(t).Lease, drawTTL(t))
	l.Version = rapid.Uint64Range(1, 2).Draw(t, "version")
	p := pending{recordOf(audit.EventRenew, l), l, m.real}
	if rapid.Bool().Draw(t, "at once") {
		m.commit(p)
	} else {
		m.pending = append(m.pending, p)
	}
}

// endOne ends a lease in memory; its record comes at once or later.
func (m *machine) endOne(t *rapid.T) {
	k := m.drawLease(t)
	m.table.Drop(k.ID)
	k.ended, k.lost = true, true
	event := rapid.SampledFrom([]audit.Event{audit.EventRelease, audit.EventUndelivered}).Draw(t, "event")
	p := pending{record: endOf(event, k.ID)}
	if rapid.Bool().Draw(t, "at once") {
		m.commit(p)
	} else {
		m.pending = append(m.pending, p)
	}
}

// revokeOne ends a lease durably, the log being unable to take it.
func (m *machine) revokeOne(t *rapid.T) {
	k := m.drawLease(t)
	m.revoked = append(m.revoked, k.ID)
	m.table.Drop(k.ID)
	k.ended, k.lost = true, false
}

func (m *machine) killAll(t *rapid.T) {
	m.moveEpoch()
	for _, k := range m.leases {
		k.ended, k.lost = true, false
	}
	if rapid.Bool().Draw(t, "logged") {
		m.commit(pending{record: &audit.Record{Event: audit.EventKill, Epoch: m.epoch}})
	}
}

func (m *machine) stepWall(t *rapid.T) {
	d := rapid.SampledFrom([]time.Duration{-10 * 8760 * time.Hour, -time.Hour, -30 * time.Minute, -90 * time.Second, -2 * time.Second, -time.Second,
		time.Second, 90 * time.Second, time.Hour, 10 * 8760 * time.Hour}).Draw(t, "by")
	m.clk.StepWall(d)
	for _, k := range m.leases {
		k.hidden += max(-d, 0)
	}
	if rapid.Bool().Draw(t, "noted") {
		m.commit(pending{record: &audit.Record{Event: audit.EventReload}})
	}
}

// crash loses what is only in memory; the broker is started again in the same
// boot or the next, from a snapshot or from the log's beginning.
func (m *machine) crash(t *rapid.T) {
	if rapid.Bool().Draw(t, "reboot") {
		m.clk.Reboot()
	}
	m.pass(time.Duration(rapid.SampledFrom([]int{0, 1, 60, 1800, 28800}).Draw(t, "seconds down")) * time.Second)
	m.pending = nil
	if rapid.Bool().Draw(t, "without snapshot") {
		m.shot = shot{}
	}
	m.table = m.replay(t, m.shot)
	behind := m.last.Sub(m.clk.Now().Wall)
	stepped := behind > 2*time.Second
	m.wakeModel()
	if err := m.resume(); (err != nil) != stepped {
		t.Fatalf("the wall clock is %v behind: waking says %v", behind, err)
	}
	if stepped {
		m.stepped() // the start record was behind a clock-step
		for _, k := range m.leases {
			k.ended, k.lost = true, false
		}
	}
	m.sweep()
}

// wakeModel says what a start finds: the leases that were not ended by a record or for good, each with the
// deadline it has in this boot.
func (m *machine) wakeModel() {
	now := m.clk.Now()
	if now.Wall.Before(m.last) {
		now.Wall = m.last
	}
	for _, k := range m.leases {
		k.swept = m.shot.gone[k.ID]
		if k.lost {
			k.ended = false
		}
		if in, ok := m.shot.deadline[k.ID]; ok && m.shot.boot == m.clk.BootID() && k.boot != m.shot.boot {
			k.deadline = in
		} else if k.boot != m.clk.BootID() {
			k.deadline = now.Boot + max(min(k.Expires.Sub(now.Wall), k.TTL), 0)
			if k.stepped {
				k.deadline = 0
			}
		}
	}
}

func (m *machine) replay(t *rapid.T, from shot) *lease.Table {
	table := lease.NewTable(nil)
	if from.state != nil {
		require.NoError(t, table.Restore(from.state))
	}
	for _, r := range m.records[from.records:] {
		table.Apply(r)
	}
	return table
}

func (m *machine) snapshot() {
	gone, deadline := map[lease.ID]bool{}, map[lease.ID]time.Duration{}
	for _, k := range m.leases {
		gone[k.ID], deadline[k.ID] = k.ended || k.swept, k.deadline
	}
	m.shot = shot{m.table.Snapshot(), len(m.records), gone, m.clk.BootID(), deadline}
}

func (m *machine) sweep() {
	m.table.Sweep(m.clk.Now())
	for _, k := range m.leases {
		k.swept = k.swept || k.deadline <= m.clk.Now().Boot
	}
}

// checkTable holds the table against the model.
func (m *machine) checkTable(t *rapid.T) {
	now := m.clk.Now()
	var inTable int
	var usable []lease.Lease
	live, held := map[string]int{}, map[uint64]int{}
	for _, k := range m.leases {
		if k.ended || k.swept {
			continue
		}
		inTable++
		live[k.Rule]++
		held[k.Version]++
		if k.deadline > now.Boot && k.Expires.After(now.Wall) {
			usable = append(usable, k.Lease)
		}
	}
	reserved := map[string]int{}
	for _, p := range m.pending {
		if p.record.Event == audit.EventLease {
			reserved[p.lease.Rule]++
		}
	}
	require.Equal(t, inTable, m.table.Len())
	require.Equal(t, held[1], m.table.HeldBy("openai/api-key", 1))
	require.Equal(t, held[2], m.table.HeldBy("openai/api-key", 2))
	for _, rule := range rules {
		require.Equal(t, live[rule]+reserved[rule], m.live(rule), "held under %s", rule)
		require.Equal(t, m.issued[rule].count(now.Wall)+reserved[rule], m.lastHour(rule), "given by %s", rule)
	}
	m.checkUsable(t, usable)
}

// checkUsable holds the leases in force against the model, and each against
// the time that has really passed.
func (m *machine) checkUsable(t *rapid.T, want []lease.Lease) {
	list := m.table.List(m.clk.Now(), nil)
	got := map[lease.ID]lease.Lease{}
	for _, l := range list {
		got[l.ID] = l
	}
	require.Len(t, got, len(want))
	for _, l := range want {
		in := got[l.ID]
		in.BootDeadline = l.BootDeadline // of another boot, perhaps; the model has its own
		require.Equal(t, l, in)
	}
	for _, l := range list {
		k := m.find(l.ID)
		bound := l.TTL
		if k.boot != m.clk.BootID() {
			// A step back that no record shows gives what it hides, through a reboot.
			bound += k.hidden + 2*time.Second
		}
		require.Less(t, m.real-k.born, bound, "a lease outlived its time")
		require.False(t, k.ended)
		require.GreaterOrEqual(t, l.Epoch, m.epoch)
	}
}

// checkReplay holds the table against one made from the log's beginning, and
// one from a snapshot. Deadlines that another boot has left are made anew by
// whoever wakes, so those leases are left out.
func (m *machine) checkReplay(t *rapid.T) {
	m.commit(pending{record: &audit.Record{Event: audit.EventReload}}) // the log knows what the clock shows
	m.sweep()
	want := m.comparable(t, m.table)
	for _, from := range []shot{{}, m.shot} {
		table := m.replay(t, from)
		table.MoveEpoch(m.epoch)
		table.Drop(m.revoked...)
		for _, k := range m.leases {
			if k.lost && (k.ended || k.swept) {
				table.Drop(k.ID)
			}
		}
		require.NoError(t, table.Wake(m.clk.Now(), m.clk.BootID()))
		table.Sweep(m.clk.Now())
		require.Equal(t, want, m.comparable(t, table), "from record %d", from.records)
	}
}

func (m *machine) comparable(t *rapid.T, table *lease.Table) state {
	s := stateOf(t, table)
	s.LastBoot = 0 // whoever wakes has read it
	s.Leases = slices.DeleteFunc(s.Leases, func(l stateLease) bool {
		return m.find(parseID(t, l.ID)).boot != m.clk.BootID()
	})
	return s
}

func parseID(t require.TestingT, s string) lease.ID {
	id, err := lease.ParseID(s)
	require.NoError(t, err)
	return id
}

// TestLeaseMachine walks through random lives of a broker: leases come, are
// renewed and ended while records are on their way, clocks pass and are set,
// it crashes, the machine reboots. After each step the table is what a naive
// model says, and no lease outlives its time.
func TestLeaseMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{world: newWorld(t), issued: map[string]*hour{}}
		for _, rule := range rules {
			m.issued[rule] = new(hour)
		}
		t.Repeat(map[string]func(*rapid.T){
			"issue": m.issueOne, "issue again": m.issueOne, "and again": m.issueOne,
			"reserve": m.reserveOne,
			"commit":  func(t *rapid.T) { m.commit(m.drawPending(t)) },
			"cancel": func(t *rapid.T) {
				p := m.drawPending(t)
				if p.record.Event == audit.EventLease {
					m.table.Cancel(p.lease.ID)
				} else if p.record.Event != audit.EventRenew {
					m.commit(p) // what ends a lease is not given up
				}
			},
			"renew": m.renewOne, "renew again": m.renewOne,
			"end":    m.endOne,
			"revoke": m.revokeOne,
			"kill":   m.killAll,
			"pass": func(t *rapid.T) {
				m.pass(time.Duration(rapid.IntRange(1, 5_000_000).Draw(t, "ms")) * time.Millisecond)
			},
			"moment": func(t *rapid.T) {
				m.pass(time.Duration(rapid.IntRange(1, 2_000_000).Draw(t, "µs")) * time.Microsecond)
			},
			"step": m.stepWall,
			"skip": func(t *rapid.T) {
				m.clk.StepBoot(time.Duration(rapid.IntRange(1, 3600).Draw(t, "s")) * time.Second)
			},
			"sweep":    func(t *rapid.T) { m.sweep() },
			"snapshot": func(*rapid.T) { m.snapshot() },
			"crash":    m.crash,
			"replay":   m.checkReplay,
			"":         m.checkTable,
		})
	})
}
