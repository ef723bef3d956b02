package lease_test

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/audit"
	"secretctl/broker/clock"
	"secretctl/broker/grant"
	"secretctl/broker/lease"
	"secretctl/broker/secret"
)

// start is a whole second, so that nothing is lost to the log's resolution.
var start = time.Date(2026, time.March, 4, 12, 0, 0, 0, time.UTC)

// world is what surrounds a table: clocks, the log, and what halt holds.
type world struct {
	clk     *clock.Fake
	table   *lease.Table
	records []*audit.Record
	last    time.Time // of the last record

	epoch   uint64 // as in halt
	revoked []lease.ID
}

// newWorld returns a world in which the broker has just started.
func newWorld(t require.TestingT) *world {
	w := &world{clk: clock.NewFake(start), table: lease.NewTable(nil)}
	w.wake(t)
	return w
}

// wake does what the broker does before its first request.
func (w *world) wake(t require.TestingT) {
	require.NoError(t, w.table.Wake(w.clk.Now(), w.clk.BootID()))
	w.append(&audit.Record{Event: audit.EventStart, BootID: w.clk.BootID()})
}

// append is the audit log in small: it gives a record its time, notes a wall
// clock that went back by more than 2 s, and has the record applied.
func (w *world) append(r *audit.Record) {
	now := w.clk.Now().Wall.Truncate(time.Microsecond)
	switch back := w.last.Sub(now); {
	case back > 2*time.Second:
		w.put(&audit.Record{Event: audit.EventClockStep}, now)
	case back > 0:
		now = w.last
	}
	w.put(r, now)
}

func (w *world) put(r *audit.Record, now time.Time) {
	r.Seq, r.Time = uint64(len(w.records)+1), now
	w.records = append(w.records, r)
	w.last = now
	w.table.Apply(r)
}

// note appends a record that is about no lease.
func (w *world) note() { w.append(&audit.Record{Event: audit.EventReload}) }

// restart opens the table again from the records, as a broker does that was
// killed. It returns Wake's error.
func (w *world) restart() error {
	w.table = replay(w.records)
	return w.resume()
}

// resume does what follows the log in a start.
func (w *world) resume() error {
	w.table.MoveEpoch(w.epoch)
	w.table.Drop(w.revoked...)
	err := w.table.Wake(w.clk.Now(), w.clk.BootID())
	if err != nil {
		w.moveEpoch()
	}
	w.append(&audit.Record{Event: audit.EventStart, BootID: w.clk.BootID()})
	return err
}

// moveEpoch ends every lease, durably.
func (w *world) moveEpoch() {
	w.epoch++
	w.table.MoveEpoch(w.epoch)
	w.revoked = nil
}

func replay(records []*audit.Record) *lease.Table {
	table := lease.NewTable(nil)
	for _, r := range records {
		table.Apply(r)
	}
	return table
}

// leaseOf returns a lease decided at this moment. It is in no table.
func (w *world) leaseOf(ttl time.Duration) lease.Lease {
	now := w.clk.Now()
	return lease.Lease{
		ID: lease.NewID(), Agent: "openclaw", UID: 502, PID: 4711,
		Secret: "openai/api-key", Version: 3, Door: "value", Rule: "rule-1",
		First: now.Wall, Issued: now.Wall, Expires: now.Wall.Add(ttl),
		TTL: ttl, BootDeadline: now.Boot + ttl, Epoch: w.epoch,
	}
}

// allow lets everything through under a rule.
func allow(rule string) func(grant.Counts) grant.Decision {
	return func(grant.Counts) grant.Decision {
		return grant.Decision{Allow: true, Code: grant.CodeGranted, Rule: &grant.Rule{ID: rule}}
	}
}

// reserve is the first half of issuing a lease.
func (w *world) reserve(l lease.Lease) {
	w.table.Reserve(l.ID, l.Agent, w.clk.Now(), allow(l.Rule))
}

// issue reserves and records a lease.
func (w *world) issue(ttl time.Duration) lease.Lease {
	l := w.leaseOf(ttl)
	w.reserve(l)
	w.append(recordOf(audit.EventLease, l))
	return l
}

// renewed returns the lease as a renewal decided at this moment makes it.
func (w *world) renewed(l lease.Lease, ttl time.Duration) lease.Lease {
	now := w.clk.Now()
	l.Issued, l.Expires, l.TTL, l.BootDeadline = now.Wall, now.Wall.Add(ttl), ttl, now.Boot+ttl
	return l
}

// recordOf returns the record of a lease that was allowed.
func recordOf(event audit.Event, l lease.Lease) *audit.Record {
	r := &audit.Record{Event: event, Decision: audit.Allow, Peer: true, UID: l.UID, PID: l.PID}
	l.Describe(r)
	return r
}

// endOf returns the record of a lease's end.
func endOf(event audit.Event, id lease.ID) *audit.Record {
	return &audit.Record{Event: event, Lease: id.String()}
}

// usable reports whether the lease can be used at this moment.
func (w *world) usable(id lease.ID) bool {
	_, ok := w.table.Get(id, w.clk.Now())
	return ok
}

// live is how many leases the table counts under a rule.
func (w *world) live(rule string) int { return w.table.Counts(w.clk.Now()).Live(rule) }

// lastHour is how many the table counts as issued under a rule in the hour.
func (w *world) lastHour(rule string) int { return w.table.Counts(w.clk.Now()).LastHour(rule) }

// state is a snapshot in a form that can be compared.
type state struct {
	Epoch    uint64                      `json:"epoch"`
	BootID   string                      `json:"boot_id"`
	LastBoot int64                       `json:"last_boot_ms"`
	LastWall int64                       `json:"last_wall_us"`
	Leases   []stateLease                `json:"leases"`
	Issued   map[string]map[int64]uint32 `json:"issued"`
}

type stateLease struct {
	ID       string      `json:"id"`
	Agent    string      `json:"agent"`
	UID      uint32      `json:"uid"`
	PID      int32       `json:"pid"`
	Secret   secret.Name `json:"secret"`
	Version  uint64      `json:"version"`
	Door     string      `json:"door"`
	Pinned   bool        `json:"pinned"`
	Rule     string      `json:"grant"`
	First    int64       `json:"first_us"`
	Issued   int64       `json:"issued_us"`
	Expires  int64       `json:"expires_us"`
	TTL      int64       `json:"ttl_ms"`
	Deadline int64       `json:"boot_deadline_ms"`
	Epoch    uint64      `json:"epoch"`
	Foreign  bool        `json:"other_boot"`
	Stepped  bool        `json:"clock_step"`
}

func stateOf(t require.TestingT, table *lease.Table) (s state) {
	require.NoError(t, json.Unmarshal(table.Snapshot(), &s))
	slices.SortFunc(s.Leases, func(a, b stateLease) int { return strings.Compare(a.ID, b.ID) })
	return s
}
