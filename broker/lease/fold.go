package lease

import (
	"time"

	"secretctl/broker/audit"
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
	if r.Time.After(t.last.Wall) {
		t.last.Wall = r.Time
	}
	switch r.Event {
	case audit.EventClockStep:
		t.stepBackLocked(r.Time)
	case audit.EventStart:
		t.startLocked(r.BootID)
	case audit.EventLease, audit.EventRenew:
		if r.Decision == audit.Allow {
			freed = t.grantedLocked(r)
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

// stepBackLocked notes that the wall clock has gone back to now. What it says
// of the leases there are is too late from here on: the boot clock bounds them,
// and a reboot, which that does not survive, ends them ([Table.Wake]).
func (t *Table) stepBackLocked(now time.Time) {
	t.last.Wall = now
	for _, l := range t.leases {
		l.stepped = true
	}
	for _, u := range t.rules {
		u.back(now)
	}
}

// startLocked notes that the records from here on are of this boot. The
// deadlines of another boot mean nothing in it; Wake makes new ones.
func (t *Table) startLocked(bootID string) {
	if sameBoot(t.bootID, bootID) {
		return
	}
	t.bootID, t.last.Boot = bootID, 0
	for _, l := range t.leases {
		l.foreign = true
	}
}

// sameBoot reports whether readings of two boots can be compared. What has no
// name is no boot in particular.
func sameBoot(a, b string) bool { return a == b && a != "" }

// grantedLocked puts the lease of a durable record in force, unless it ended
// while the record was on its way: that counts as issued all the same, since a
// replay of the log may find the record before what ended it.
func (t *Table) grantedLocked(r *audit.Record) []held {
	l, err := fromRecord(r)
	if err != nil {
		return nil
	}
	t.last.Boot = max(t.last.Boot, l.BootDeadline-l.Expires.Sub(l.Issued))
	_, inForce := t.leases[l.ID]
	if r.Event == audit.EventLease {
		if reserved, ok := t.reserved[l.ID]; ok {
			t.unreserveLocked(l.ID, reserved)
		}
		t.usageLocked(l.Rule).count(r.Time)
	} else if !inForce {
		return nil
	}
	if l.Epoch < t.epoch {
		return nil
	}
	return t.putLocked(&row{Lease: l, stepped: l.Issued.After(r.Time)})
}

// fromRecord reads the lease a record describes.
func fromRecord(r *audit.Record) (Lease, error) {
	id, err := ParseID(r.Lease)
	if err != nil {
		return Lease{}, err
	}
	return Lease{
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
