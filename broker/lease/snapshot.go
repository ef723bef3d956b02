package lease

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"secretctl/broker/clock"
	"secretctl/broker/secret"
)

// snapshot is the table's state at rest, in `audit/leases.snap`. Times are
// microseconds since 1970 and durations milliseconds, the resolution of the
// log, so that a lease restored from either is the same lease.
type snapshot struct {
	Format   int                         `json:"format"`
	Epoch    uint64                      `json:"epoch"`
	BootID   string                      `json:"boot_id"`
	LastWall int64                       `json:"last_wall_us"`
	LastBoot int64                       `json:"last_boot_ms"`
	Leases   []snapLease                 `json:"leases"`
	Rules    map[string]map[int64]uint32 `json:"issued"` // grant id → minute → leases issued
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
	Foreign bool   `json:"other_boot,omitempty"` // boot_deadline_ms counts in an earlier boot than boot_id
	Stepped bool   `json:"clock_step,omitempty"` // the wall clock has gone back since expires_us was set
}

const snapshotFormat = 1

// Snapshot returns the table's state for [Table.Restore]. Reservations are
// left out: their records come after the snapshot or not at all.
func (t *Table) Snapshot() []byte {
	s := t.snapshot()
	b, err := json.Marshal(&s)
	if err != nil {
		panic("lease: a snapshot of plain numbers and strings always marshals: " + err.Error())
	}
	return b
}

func (t *Table) snapshot() snapshot {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := snapshot{
		Format: snapshotFormat, Epoch: t.epoch, BootID: t.bootID,
		LastWall: t.last.Wall.UnixMicro(), LastBoot: t.last.Boot.Milliseconds(),
		Leases: make([]snapLease, 0, len(t.leases)),
		Rules:  make(map[string]map[int64]uint32, len(t.rules)),
	}
	for _, r := range t.leases {
		s.Leases = append(s.Leases, snapLease{
			ID: r.ID.String(), Agent: r.Agent, UID: r.UID, PID: r.PID,
			Secret: string(r.Secret), Version: r.Version, Door: r.Door, Pinned: r.Pinned, Rule: r.Rule,
			First: r.First.UnixMicro(), Issued: r.Issued.UnixMicro(), Expires: r.Expires.UnixMicro(),
			TTL: r.TTL.Milliseconds(), Boot: r.BootDeadline.Milliseconds(), Epoch: r.Epoch,
			Foreign: r.foreign, Stepped: r.stepped,
		})
	}
	for rule, u := range t.rules {
		if m := u.byMinute(); len(m) > 0 {
			s.Rules[rule] = m
		}
	}
	return s
}

// Restore replaces the table's state with a snapshot's. On an error the table
// is empty.
func (t *Table) Restore(b []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clearLocked()
	if err := t.restoreLocked(b); err != nil {
		t.clearLocked()
		return fmt.Errorf("reading the lease snapshot: %w", err)
	}
	return nil
}

func (t *Table) restoreLocked(b []byte) error {
	var s snapshot
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	if s.Format != snapshotFormat {
		return fmt.Errorf("format %d is not known to this version", s.Format)
	}
	boot, ok := milliseconds(s.LastBoot)
	if !ok {
		return errors.New("the boot clock cannot have shown that")
	}
	t.epoch, t.bootID = s.Epoch, s.BootID
	t.last = clock.Reading{Wall: time.UnixMicro(s.LastWall).UTC(), Boot: boot}
	for i := range s.Leases {
		if err := t.restoreLeaseLocked(&s.Leases[i]); err != nil {
			return fmt.Errorf("lease %d: %w", i, err)
		}
	}
	for rule, m := range s.Rules {
		if !t.usageLocked(rule).restore(m, t.last.Wall) {
			return fmt.Errorf("what grant %q has given was not given in one hour before the last record", rule)
		}
	}
	return nil
}

// restoreLeaseLocked takes a lease that a table can have held, and no other.
func (t *Table) restoreLeaseLocked(s *snapLease) error {
	r, err := s.row()
	if err != nil {
		return err
	}
	switch _, held := t.leases[r.ID]; {
	case held:
		return errors.New("its id is that of another")
	case r.Epoch < t.epoch:
		return errors.New("it is of an earlier epoch")
	case !r.foreign && r.BootDeadline-t.last.Boot > r.TTL+time.Second:
		return errors.New("it ends later than its ttl after the last record")
	}
	t.putLocked(r)
	return nil
}

func (s *snapLease) row() (*row, error) {
	id, err := ParseID(s.ID)
	if err != nil {
		return nil, err
	}
	name, err := secret.ParseName(s.Secret)
	if err != nil {
		return nil, err
	}
	ttl, okTTL := milliseconds(s.TTL)
	deadline, okDeadline := milliseconds(s.Boot)
	if !okTTL || !okDeadline {
		return nil, errors.New("a duration of it cannot be one")
	}
	return &row{Lease: Lease{
		ID: id, Agent: s.Agent, UID: s.UID, PID: s.PID,
		Secret: name, Version: s.Version, Door: s.Door, Pinned: s.Pinned, Rule: s.Rule,
		First: time.UnixMicro(s.First).UTC(), Issued: time.UnixMicro(s.Issued).UTC(), Expires: time.UnixMicro(s.Expires).UTC(),
		TTL: ttl, BootDeadline: deadline, Epoch: s.Epoch,
	}, foreign: s.Foreign, stepped: s.Stepped}, nil
}

// milliseconds returns a duration that is not negative and can be added to
// another.
func milliseconds(n int64) (d time.Duration, ok bool) {
	return time.Duration(n) * time.Millisecond, 0 <= n && n <= math.MaxInt64/2/int64(time.Millisecond)
}
