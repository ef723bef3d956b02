package lease

import (
	"encoding/json"
	"fmt"
	"time"

	"secretctl/broker/audit"
	"secretctl/broker/clock"
	"secretctl/broker/secret"
)

// Apply folds one durable record into the table. Records that are not about
// leases only move the time of the latest record.
func (t *Table) Apply(r *audit.Record) {
	t.mu.Lock()
	freed := t.applyLocked(r)
	t.mu.Unlock()
	t.tell(freed)
}

func (t *Table) applyLocked(r *audit.Record) (freed []held) {
	if r.Time.After(t.last.Wall) || r.Event == audit.EventClockStep {
		t.last.Wall = r.Time
	}
	switch r.Event {
	case audit.EventStart:
		// Deadlines count in the boot they were made in; those of another boot
		// are recomputed by Wake.
		t.bootID = r.BootID
	case audit.EventLease, audit.EventRenew:
		if r.Decision != audit.Allow {
			break
		}
		l, err := fromRecord(r)
		if err != nil || l.Epoch < t.epoch {
			break
		}
		t.last.Boot = max(t.last.Boot, l.BootDeadline-l.TTL)
		if _, held := t.leases[l.ID]; r.Event == audit.EventRenew && !held {
			break // ended while its renewal was on the way: it stays ended
		}
		freed = t.addLocked(l, freed)
		if r.Event == audit.EventLease {
			t.usageLocked(l.Rule).count(r.Time)
		}
	case audit.EventRelease, audit.EventRevoke, audit.EventUndelivered:
		if id, err := ParseID(r.Lease); err == nil {
			if l, ok := t.leases[id]; ok {
				freed = t.dropLocked(l, freed)
			}
			break
		}
		fallthrough // a revoke of everything names no lease but a new epoch
	case audit.EventKill, audit.EventRecover:
		_, freed = t.moveEpochLocked(r.Epoch)
	}
	return freed
}

// fromRecord reads the lease a record describes.
func fromRecord(r *audit.Record) (*Lease, error) {
	id, err := ParseID(r.Lease)
	if err != nil {
		return nil, err
	}
	return &Lease{
		ID: id, Agent: r.Agent, UID: r.UID, PID: r.PID,
		Secret: r.Secret, Version: r.Version, Door: r.Door, Pinned: r.Pinned, Rule: r.Grant,
		First: r.First, Issued: r.Issued, Expires: r.Expires,
		TTL: r.TTL, BootDeadline: r.BootDeadline, Epoch: r.Epoch,
	}, nil
}

// Describe fills the lease's part of a record: the inverse of what Apply reads.
func (l *Lease) Describe(r *audit.Record) {
	r.Lease, r.Agent, r.Secret, r.Version = l.ID.String(), l.Agent, l.Secret, l.Version
	r.Door, r.Pinned, r.Grant = l.Door, l.Pinned, l.Rule
	r.First, r.Issued, r.Expires = l.First, l.Issued, l.Expires
	r.TTL, r.BootDeadline, r.Epoch = l.TTL, l.BootDeadline, l.Epoch
}

// snapshot is the table's state at rest, in `audit/leases.snap`. Times are
// microseconds since 1970 and durations milliseconds, the resolution of the
// log, so that a lease restored from either is the same lease.
type snapshot struct {
	Format   int                      `json:"format"`
	Epoch    uint64                   `json:"epoch"`
	BootID   string                   `json:"boot_id"`
	LastWall int64                    `json:"last_wall_us"`
	LastBoot int64                    `json:"last_boot_ms"`
	Leases   []snapLease              `json:"leases"`
	Rules    map[string]map[int64]int `json:"issued"` // grant id → minute → leases issued
}

type snapLease struct {
	ID      string `json:"id"`
	Agent   string `json:"agent"`
	UID     uint32 `json:"uid"`
	PID     int32  `json:"pid"`
	Secret  string `json:"secret"`
	Version uint64 `json:"version"`
	Door    string `json:"door"`
	Pinned  bool   `json:"pinned,omitempty"`
	Rule    string `json:"grant"`
	First   int64  `json:"first_us"`
	Issued  int64  `json:"issued_us"`
	Expires int64  `json:"expires_us"`
	TTL     int64  `json:"ttl_ms"`
	Boot    int64  `json:"boot_deadline_ms"`
	Epoch   uint64 `json:"epoch"`
}

const snapshotFormat = 1

// Snapshot returns the table's state for [Table.Restore]. Reservations are
// left out: their records come after the snapshot or not at all.
func (t *Table) Snapshot() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := snapshot{
		Format: snapshotFormat, Epoch: t.epoch, BootID: t.bootID,
		LastWall: t.last.Wall.UnixMicro(), LastBoot: t.last.Boot.Milliseconds(),
		Leases: make([]snapLease, 0, len(t.leases)),
		Rules:  make(map[string]map[int64]int, len(t.rules)),
	}
	for _, l := range t.leases {
		s.Leases = append(s.Leases, snapLease{
			ID: l.ID.String(), Agent: l.Agent, UID: l.UID, PID: l.PID,
			Secret: string(l.Secret), Version: l.Version, Door: l.Door, Pinned: l.Pinned, Rule: l.Rule,
			First: l.First.UnixMicro(), Issued: l.Issued.UnixMicro(), Expires: l.Expires.UnixMicro(),
			TTL: l.TTL.Milliseconds(), Boot: l.BootDeadline.Milliseconds(), Epoch: l.Epoch,
		})
	}
	for rule, u := range t.rules {
		if m := u.byMinute(); len(m) > 0 {
			s.Rules[rule] = m
		}
	}
	b, err := json.Marshal(&s)
	if err != nil {
		panic("lease: a snapshot of plain numbers and strings always marshals: " + err.Error())
	}
	return b
}

// Restore replaces the table's state with a snapshot's. On an error the table
// is empty.
func (t *Table) Restore(b []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clearLocked()
	var s snapshot
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("reading the lease snapshot: %w", err)
	}
	if s.Format != snapshotFormat {
		return fmt.Errorf("reading the lease snapshot: format %d is not known to this version", s.Format)
	}
	t.epoch, t.bootID = s.Epoch, s.BootID
	t.last = clock.Reading{Wall: time.UnixMicro(s.LastWall).UTC(), Boot: time.Duration(s.LastBoot) * time.Millisecond}
	for i := range s.Leases {
		l, err := s.Leases[i].lease()
		if err != nil {
			t.clearLocked()
			return fmt.Errorf("reading the lease snapshot: lease %d: %w", i, err)
		}
		t.addLocked(l, nil)
	}
	for rule, m := range s.Rules {
		t.usageLocked(rule).restore(m)
	}
	return nil
}

func (s *snapLease) lease() (*Lease, error) {
	id, err := ParseID(s.ID)
	if err != nil {
		return nil, err
	}
	name, err := secret.ParseName(s.Secret)
	if err != nil {
		return nil, err
	}
	return &Lease{
		ID: id, Agent: s.Agent, UID: s.UID, PID: s.PID,
		Secret: name, Version: s.Version, Door: s.Door, Pinned: s.Pinned, Rule: s.Rule,
		First: time.UnixMicro(s.First).UTC(), Issued: time.UnixMicro(s.Issued).UTC(), Expires: time.UnixMicro(s.Expires).UTC(),
		TTL: time.Duration(s.TTL) * time.Millisecond, BootDeadline: time.Duration(s.Boot) * time.Millisecond, Epoch: s.Epoch,
	}, nil
}
