package broker

import (
	"fmt"
	"slices"

	"secretctl/broker/audit"
	"secretctl/broker/halt"
	"secretctl/broker/lease"
	"secretctl/broker/secret"
)

// Kill turns the kill switch on: every lease ends and nothing is handed out
// until [Broker.Resume], across restarts. It is in force when it returns, and
// durable unless it returns [ErrNotDurable].
func (b *Broker) Kill(c *Caller) (ended int, err error) {
	return b.stopAll(c, audit.EventKill, true)
}

// RevokeAll ends every lease.
func (b *Broker) RevokeAll(c *Caller) (ended int, err error) {
	return b.stopAll(c, audit.EventRevoke, b.killed.Load())
}

// stopAll moves the epoch on: in memory first, so that it holds whatever the
// disk does; then in halt; then in the log, when that can take it.
func (b *Broker) stopAll(c *Caller, event audit.Event, kill bool) (ended int, err error) {
	b.stopping.Lock()
	defer b.stopping.Unlock()
	if kill {
		b.killed.Store(true)
	}
	ended = b.table.Len()
	err = b.moveEpochLocked(kill)
	r := b.record(c, event)
	r.Count = uint64(ended)
	b.recordStop(r)
	return ended, err
}

// moveEpochLocked ends every lease and clears every value before it returns.
// The error means only that it is not durable.
func (b *Broker) moveEpochLocked(killed bool) error {
	next := halt.State{Killed: killed, Epoch: b.epoch.Add(1)}
	b.table.MoveEpoch(next.Epoch)
	b.settleGate()
	b.values.clear()
	b.state = next
	clear(b.logged)
	return b.storeLocked()
}

// settleGate waits until no byte of a value is being written, so that none
// leaves after this.
func (b *Broker) settleGate() {
	b.gate.Lock()
	defer b.gate.Unlock()
}

// storeLocked makes the state durable.
func (b *Broker) storeLocked() error {
	if err := b.halt.Store(b.state); err != nil {
		return &Error{CodeNotDurable, fmt.Sprintf("in force, but not durable: do not restart the broker (%v)", err), "free space on the disk and repeat the command"}
	}
	return nil
}

// recordStop logs something that has already happened. A log that cannot take
// it does not undo it.
func (b *Broker) recordStop(r *audit.Record) {
	if b.log == nil {
		return
	}
	if err := b.log.Append(r); err != nil {
		b.Warn(fmt.Sprintf("recording %s: %v", r.Event, err))
		b.log.Defer(r)
	}
}

// Resume turns the kill switch off. Nothing that was ended comes back. Unlike
// Kill it gives power, so without a durable record it does not happen.
func (b *Broker) Resume(c *Caller) error {
	b.stopping.Lock()
	defer b.stopping.Unlock()
	if b.log == nil {
		return b.notRecorded(b.logErr)
	}
	if err := b.log.Append(b.record(c, audit.EventResume)); err != nil {
		return b.notRecorded(err)
	}
	before := b.state
	b.state.Killed = false
	if err := b.storeLocked(); err != nil {
		b.state = before
		return err
	}
	b.killed.Store(false)
	return nil
}

// Selection says which leases to end. Empty fields match everything; at least
// one must be given.
type Selection struct {
	IDs    []string `json:"ids,omitempty"`
	Agent  string   `json:"agent,omitempty"`
	Secret string   `json:"secret,omitempty"`
	All    bool     `json:"all,omitempty"`
}

// Revoke ends the selected leases and returns them. Ids that name no lease in
// force are an error, after the others have been ended.
func (b *Broker) Revoke(c *Caller, s Selection) (ended int, err error) {
	if s.All {
		return b.RevokeAll(c)
	}
	if len(s.IDs) == 0 && s.Agent == "" && s.Secret == "" {
		return 0, badRequest("nothing is selected", "name lease ids, --agent, --secret or --all")
	}
	leases := b.table.List(b.now(), func(l *lease.Lease) bool {
		return (s.Agent == "" || l.Agent == s.Agent) && (s.Secret == "" || string(l.Secret) == s.Secret) &&
			(len(s.IDs) == 0 || slices.Contains(s.IDs, l.ID.String()))
	})
	if len(leases) == 0 {
		if err := b.mistaken(s); err != nil {
			return 0, err
		}
	}
	err = b.end(c, "revoked", leases)
	if missing := len(s.IDs) - len(leases); err == nil && missing > 0 {
		err = &Error{CodeNotFound, fmt.Sprintf("%d of the ids name no lease in force", missing), "secretctl leases"}
	}
	return len(leases), err
}

// mistaken reports that a selection names what there is not. Who ends leases must
// not take a mistyped name for an end.
func (b *Broker) mistaken(s Selection) error {
	if _, ok := b.settings.Load().Agent(s.Agent); s.Agent != "" && s.Agent != OwnerName && !ok {
		return &Error{CodeNotFound, fmt.Sprintf("the config names no agent %q, and none of that name holds a lease", s.Agent), "secretctl leases shows the agents; an agent is not called as its user is"}
	}
	if name, err := secret.ParseName(s.Secret); s.Secret != "" {
		if err == nil {
			_, err = b.ledger.Get(name)
		}
		if err != nil {
			return &Error{CodeNotFound, fmt.Sprintf("there is no secret %q", s.Secret), "secretctl ls"}
		}
	}
	return nil
}

// revokeSecret ends every lease on a secret that goes away.
func (b *Broker) revokeSecret(c *Caller, name secret.Name) error {
	return b.end(c, "removed", b.table.List(b.now(), func(l *lease.Lease) bool { return l.Secret == name }))
}

// end ends leases: in memory at once, then durably in halt as many as fit at a
// time, then in the log, which makes room in halt again. When the log cannot
// take them and halt is full, the epoch moves on and every lease dies.
func (b *Broker) end(c *Caller, why string, leases []lease.Lease) error {
	b.stopping.Lock()
	defer b.stopping.Unlock()
	ended := make(map[lease.ID]bool, len(leases))
	for _, l := range leases {
		b.table.Drop(l.ID)
		ended[l.ID] = true
	}
	b.reuse.end(ended) // what their consumers copied is waited for no more
	b.settleGate()
	for batch := range slices.Chunk(leases, halt.MaxRevoked) {
		if err := b.endBatchLocked(c, why, batch); err != nil {
			return err
		}
	}
	return nil
}

func (b *Broker) endBatchLocked(c *Caller, why string, batch []lease.Lease) error {
	b.state.Revoked = slices.DeleteFunc(b.state.Revoked, func(id lease.ID) bool { return b.logged[id] })
	clear(b.logged)
	if len(b.state.Revoked)+len(batch) > halt.MaxRevoked {
		return b.moveEpochLocked(b.state.Killed)
	}
	records := make([]*audit.Record, 0, len(batch))
	for _, l := range batch {
		b.state.Revoked = append(b.state.Revoked, l.ID)
		r := b.record(c, audit.EventRevoke)
		r.Lease, r.Secret, r.Version, r.Reason = l.ID.String(), l.Secret, l.Version, why
		records = append(records, r)
	}
	if err := b.storeLocked(); err != nil {
		return err
	}
	if b.log == nil {
		return nil
	}
	if err := b.log.AppendAll(records); err != nil {
		b.Warn(fmt.Sprintf("recording %d revoked leases: %v", len(records), err))
		for _, r := range records {
			b.log.Defer(r) // durable in halt all the while
		}
		return nil
	}
	for _, l := range batch {
		b.logged[l.ID] = true
	}
	return nil
}

// recordRevoked logs what was revoked while the log could not take it, so that
// its place in halt is free again.
func (b *Broker) recordRevoked() {
	var records []*audit.Record
	for _, id := range b.state.Revoked {
		r := b.record(nil, audit.EventRevoke)
		r.Lease, r.Reason = id.String(), "revoked"
		records = append(records, r)
	}
	if len(records) == 0 || b.log.AppendAll(records) != nil {
		return
	}
	for _, id := range b.state.Revoked {
		b.logged[id] = true
	}
}

// mayDeliver reports whether a value may leave under this lease now. The
// caller holds the gate.
func (b *Broker) mayDeliver(l *lease.Lease) error {
	if b.killed.Load() {
		return errKilled
	}
	if l.Epoch < b.epoch.Load() {
		return errNoSuchLease
	}
	if _, ok := b.table.Get(l.ID, b.Clock.Now()); !ok {
		return errNoSuchLease
	}
	return nil
}
