package lease

import (
	"bytes"
	"container/heap"
	"slices"
	"sync"

	"secretctl/broker/clock"
	"secretctl/broker/grant"
	"secretctl/broker/secret"
)

// MaxPerAgent is how many leases one agent may hold whatever its grants say.
// A bound on the broker's memory (about 300 bytes a lease), not a policy.
const MaxPerAgent = 100_000

// held names one version of one secret.
type held struct {
	name    secret.Name
	version uint64
}

// Table is the leases in force. Make one with [NewTable]; it is safe for
// concurrent use.
type Table struct {
	mu       sync.Mutex
	epoch    uint64             // leases of an earlier one are dead
	bootID   string             // the boot that BootDeadline counts in
	leases   map[ID]*row        // id → lease
	reserved map[ID]reservation // decided, record not yet durable
	agents   map[string]int     // agent → leases held, reservations included
	rules    map[string]*usage  // grant id → what it has given
	versions map[held]int       // secret version → leases that hold it
	ends     ends               // the leases again, by when they end
	last     clock.Reading      // the latest readings the records carry; Boot of boot bootID
	free     func(secret.Name, uint64)
}

// row is a lease and what the table knows besides.
type row struct {
	Lease
	at      int  // place in Table.ends
	foreign bool // BootDeadline counts in an earlier boot than Table.bootID
	stepped bool // the wall clock has gone back since Expires was set
}

type reservation struct {
	agent string
	rule  string
}

// NewTable returns an empty table. free, when not nil, is called (without the
// table's lock) whenever the last lease on a version of a secret has ended.
func NewTable(free func(secret.Name, uint64)) *Table {
	if free == nil {
		free = func(secret.Name, uint64) {}
	}
	t := &Table{free: free}
	t.clearLocked()
	return t
}

func (t *Table) clearLocked() {
	t.epoch, t.bootID, t.last = 0, "", clock.Reading{}
	t.leases = make(map[ID]*row)
	t.reserved = make(map[ID]reservation)
	t.agents = make(map[string]int)
	t.rules = make(map[string]*usage)
	t.versions = make(map[held]int)
	t.ends = nil
}

// Reserve runs decide with the counts as they are at this moment and, when it
// allows, counts id as held, so that of two callers only one takes the last
// place. The reservation ends when the lease's record is applied, or with
// [Table.Cancel].
func (t *Table) Reserve(id ID, agent string, now clock.Reading, decide func(grant.Counts) grant.Decision) grant.Decision {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := decide(counts{t, now.Wall})
	if !d.Allow {
		return d
	}
	if t.agents[agent] >= MaxPerAgent {
		return grant.Decision{Code: grant.CodeMaxLeases, Rule: d.Rule}
	}
	rule := ruleID(d.Rule)
	t.reserved[id] = reservation{agent, rule}
	t.agents[agent]++
	u := t.usageLocked(rule)
	u.live++
	u.reserved++
	return d
}

func ruleID(r *grant.Rule) string {
	if r == nil {
		return ""
	}
	return r.ID
}

// Cancel takes a reservation back. Without one it does nothing.
func (t *Table) Cancel(id ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r, ok := t.reserved[id]; ok {
		t.unreserveLocked(id, r)
	}
}

func (t *Table) unreserveLocked(id ID, r reservation) {
	delete(t.reserved, id)
	t.usageLocked(r.rule).reserved--
	t.releaseCountsLocked(r.agent, r.rule)
}

func (t *Table) releaseCountsLocked(agent, rule string) {
	if t.agents[agent]--; t.agents[agent] == 0 {
		delete(t.agents, agent)
	}
	t.usageLocked(rule).live--
}

// Counts is a view of what each grant has given, for deciding without
// reserving.
func (t *Table) Counts(now clock.Reading) grant.Counts { return lockedCounts{t, now.Wall} }

// Get returns the lease with this id if it is in force: known, of the current
// epoch and not over.
func (t *Table) Get(id ID, now clock.Reading) (Lease, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, ok := t.leases[id]
	if !ok || r.Over(now) {
		return Lease{}, false
	}
	return r.Lease, true
}

// List returns the leases in force that keep accepts (nil: all), oldest
// first.
func (t *Table) List(now clock.Reading, keep func(*Lease) bool) []Lease {
	t.mu.Lock()
	var out []Lease
	for _, r := range t.leases {
		if !r.Over(now) && (keep == nil || keep(&r.Lease)) {
			out = append(out, r.Lease)
		}
	}
	t.mu.Unlock()
	slices.SortFunc(out, func(a, b Lease) int {
		if c := a.Issued.Compare(b.Issued); c != 0 {
			return c
		}
		return bytes.Compare(a.ID[:], b.ID[:])
	})
	return out
}

// Len returns how many leases are in the table. Those that have run out but
// not been swept yet are counted.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.leases)
}

// HeldBy returns how many leases are on this version.
func (t *Table) HeldBy(name secret.Name, version uint64) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.versions[held{name, version}]
}

// Drop ends these leases now. Unknown ids are skipped: ending a lease twice
// is not an error. It returns how many it ended.
func (t *Table) Drop(ids ...ID) int {
	t.mu.Lock()
	var freed []held
	n := 0
	for _, id := range ids {
		if r, ok := t.leases[id]; ok {
			freed = t.dropLocked(r, freed)
			n++
		}
	}
	t.mu.Unlock()
	t.tell(freed)
	return n
}

// Epoch returns the epoch the table is in: the latest that [Table.MoveEpoch] or
// a record has named. A lease of an earlier one never comes into force.
func (t *Table) Epoch() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.epoch
}

// MoveEpoch ends every lease of an epoch before this one. It returns how many
// it ended. Moving backwards does nothing.
func (t *Table) MoveEpoch(epoch uint64) int {
	t.mu.Lock()
	n, freed := t.moveEpochLocked(epoch)
	t.mu.Unlock()
	t.tell(freed)
	return n
}

func (t *Table) moveEpochLocked(epoch uint64) (n int, freed []held) {
	if epoch <= t.epoch {
		return 0, nil
	}
	t.epoch = epoch
	for _, r := range t.leases {
		if r.Epoch < epoch {
			freed = t.dropLocked(r, freed)
			n++
		}
	}
	return n, freed
}

// putLocked puts a lease in force, in place of an earlier state of it.
func (t *Table) putLocked(r *row) (freed []held) {
	if old, ok := t.leases[r.ID]; ok {
		freed = t.dropLocked(old, nil)
	}
	t.leases[r.ID] = r
	t.agents[r.Agent]++
	t.usageLocked(r.Rule).live++
	t.versions[held{r.Secret, r.Version}]++
	heap.Push(&t.ends, r)
	return freed
}

func (t *Table) dropLocked(r *row, freed []held) []held {
	delete(t.leases, r.ID)
	heap.Remove(&t.ends, r.at)
	t.releaseCountsLocked(r.Agent, r.Rule)
	h := held{r.Secret, r.Version}
	if t.versions[h]--; t.versions[h] == 0 {
		delete(t.versions, h)
		freed = append(freed, h)
	}
	return freed
}

// tell reports the versions no lease is on any more.
func (t *Table) tell(freed []held) {
	for _, h := range freed {
		if t.HeldBy(h.name, h.version) == 0 {
			t.free(h.name, h.version)
		}
	}
}
