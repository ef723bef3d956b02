package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"secretctl/broker/audit"
	"secretctl/broker/ledger"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// MaxValue is the largest value, in bytes.
const MaxValue = 1 << 20

// defaultStore is where a secret goes that names no store.
const defaultStore = "age"

// openValue is what fills the cache: one version from its store, exactly as
// the ledger knows it. One that was moved meanwhile is looked for where it is now.
func (b *Broker) openValue(ctx context.Context, h held) (secret.Value, *placed, error) {
	var before ledger.Entry
	for {
		e, err := b.ledger.Get(h.name)
		if err != nil {
			return secret.Value{}, nil, err
		}
		if b.isReferred(&e) {
			return b.openReferred(ctx, h, &e)
		}
		v, ok := e.Versions[h.version]
		if !ok {
			return secret.Value{}, nil, errNoVersion
		}
		store, err := b.store(e.Store)
		if err != nil {
			return secret.Value{}, nil, err
		}
		value, err := store.Get(ctx, h.name, h.version, v.Sum)
		if errors.Is(err, providers.ErrChanged) && !v.Resealed.IsZero() {
			value, err = store.Get(ctx, h.name, h.version, v.Resealed)
		}
		missed := errors.Is(err, providers.ErrAbsent) || errors.Is(err, providers.ErrChanged)
		if missed && (before.Store != e.Store || before.Versions[h.version].Sum != v.Sum) {
			before = e
			continue
		}
		return value, store, notThere(h, err)
	}
}

// notThere says what to do about a version that its store has not as it was put.
func notThere(h held, err error) error {
	switch {
	case errors.Is(err, providers.ErrChanged):
		return changedOutside(h.name, h.version)
	case errors.Is(err, providers.ErrAbsent):
		return &Error{CodeStoreUnavailable,
			fmt.Sprintf("opening %q: version %d is gone from its store", h.name, h.version),
			"set it again, or go back: secretctl rollback " + string(h.name)}
	}
	return err
}

func changedOutside(name secret.Name, version uint64) error {
	return &Error{CodeStoreUnavailable,
		fmt.Sprintf("opening %q: version %d was changed outside secretctl and is not served", name, version),
		"if that was you: secretctl adopt " + string(name)}
}

// unavailable is what an owner is told of a store that failed.
func unavailable(doing string, name secret.Name, err error) error {
	var told *Error
	if errors.As(err, &told) {
		return told
	}
	hint := "secretctl status"
	if failed := (*providers.StoreError)(nil); errors.As(err, &failed) && failed.Remedy != "" {
		hint = failed.Remedy
	}
	return &Error{CodeStoreUnavailable, fmt.Sprintf("%s %q: %v", doing, name, err), hint}
}

// Set gives a secret a new version, which is current when it returns. The
// version before stays for [Broker.Rollback], the one before that goes.
func (b *Broker) Set(ctx context.Context, c *Caller, name secret.Name, storeName string, value secret.Value) (version uint64, err error) {
	if b.log == nil {
		return 0, b.notRecorded(b.logErr)
	}
	defer b.writing.lock(name)()
	if err := b.busy(ctx, "setting", name, storeName); err != nil {
		return 0, err
	}
	e, err := b.ledger.Raw(name)
	if err != nil && !errors.Is(err, ledger.ErrNoEntry) {
		return 0, err
	}
	if err := b.finishRemoval(ctx, &e); err != nil {
		return 0, err
	}
	e.Name = name
	if err := b.kept("setting", &e); err != nil {
		return 0, err
	}
	if err := b.place(&e, name, storeName); err != nil {
		return 0, err
	}
	store, err := b.store(e.Store)
	if err != nil {
		return 0, err
	}
	version = max(e.Next, 1)
	if err := b.reserve(ctx, &e, version); err != nil {
		return 0, unavailable("setting", name, err)
	}
	sum, err := putAnew(ctx, store, name, version, value)
	if err != nil {
		return 0, unavailable("setting", name, err)
	}
	r := b.record(c, audit.EventSet)
	r.Secret, r.Version, r.Decision = name, version, audit.Allow
	if err := b.log.Append(r); err != nil {
		return 0, errors.Join(b.notRecorded(err), store.Delete(ctx, name, version))
	}
	old := b.publish(&e, version, sum)
	if err := b.keep(ctx, &e); err != nil {
		b.takeBack(ctx, store, held{name, version}, err)
		return 0, fmt.Errorf("setting %q: %w", name, err)
	}
	b.changes.tell()
	b.discard(ctx, store, name, old)
	return version, nil
}

// place settles which store a secret's next version goes to. What was decided
// before, or what the config says, is not changed in passing.
func (b *Broker) place(e *ledger.Entry, name secret.Name, asked string) error {
	configured := b.settings.Load().Secrets[name].Store
	fresh := e.Current == 0
	if fresh {
		*e = ledger.Entry{Next: e.Next, Change: e.Change, Left: e.Left, Created: b.Clock.Now().Wall}
	}
	e.Name = name
	for _, want := range []string{asked, configured} {
		if want == "" || want == e.Store {
			continue
		}
		if name.Own() && want != defaultStore {
			return ownStays(name)
		}
		if !fresh {
			return &Error{CodeConflict, fmt.Sprintf("%q is in store %q, not %q", name, e.Store, want),
				fmt.Sprintf("secretctl mv %s --store %s", name, want)}
		}
		if e.Store != "" {
			return &Error{CodeConflict, fmt.Sprintf("%q is to go to store %q by the config, not %q", name, configured, asked), "change secretctl.toml, or leave --store out"}
		}
		e.Store = want
	}
	if e.Store == "" {
		e.Store = defaultStore
	}
	return nil
}

func ownStays(name secret.Name) error {
	return &Error{CodeConflict, fmt.Sprintf("%q is one of the broker's own secrets, which stay in the %s store: what opens the others must be there when they are not", name, defaultStore), "leave --store out"}
}

// publish makes version current in e and returns the versions that go: all but
// the one before.
func (b *Broker) publish(e *ledger.Entry, version uint64, sum providers.Sum) (gone []uint64) {
	now := b.Clock.Now().Wall
	if e.Versions == nil {
		e.Versions = make(map[uint64]ledger.Version)
	}
	if e.Current != 0 {
		e.Rotated = now
	}
	e.Versions[version] = ledger.Version{Sum: sum, Created: now}
	e.Previous, e.Pending, e.Next = e.Current, 0, version+1
	e.Make(version)
	for n := range e.Versions {
		if n != e.Current && n != e.Previous {
			gone = append(gone, n)
			delete(e.Versions, n)
		}
	}
	return gone
}

// discard removes versions the ledger no longer knows. One that stays behind
// is served to nobody.
func (b *Broker) discard(ctx context.Context, store providers.Store, name secret.Name, versions []uint64) {
	for _, n := range versions {
		b.values.free(name, n)
		if err := store.Delete(ctx, name, n); err != nil {
			b.Warn(fmt.Sprintf("removing an old version of %s: %v", name, err))
		}
	}
}

// Remove removes a secret and ends every lease on it. What lies at a reference stays
// there.
func (b *Broker) Remove(ctx context.Context, c *Caller, name secret.Name) error {
	if b.log == nil {
		return b.notRecorded(b.logErr)
	}
	defer b.writing.lock(name)()
	if err := b.busy(ctx, "removing", name, ""); err != nil {
		return err
	}
	e, err := b.ledger.Get(name)
	if errors.Is(err, ledger.ErrNoEntry) {
		if where := b.referred(name); where.Ref != "" {
			return &Error{CodeConflict, fmt.Sprintf("removing %q: nothing of it is here: it lies at %s in store %q", name, where.Ref, where.Store), "take it out of secretctl.toml"}
		}
		return noSecret(name)
	} else if err != nil {
		return err
	}
	r := b.record(c, audit.EventRemove)
	r.Secret, r.Decision = name, audit.Allow
	if err := b.log.Append(r); err != nil {
		return b.notRecorded(err)
	}
	e.Removed, e.Current, e.Previous, e.Pending = true, 0, 0, 0
	if err := b.keep(ctx, &e); err != nil {
		return fmt.Errorf("removing %q: %w", name, err)
	}
	b.changes.tell()
	return errors.Join(b.revokeSecret(c, name), b.finishRemoval(ctx, &e))
}

// Rollback makes the previous version current again, and the current one
// previous. A rotation that is under way ends with the old version in force.
func (b *Broker) Rollback(ctx context.Context, c *Caller, name secret.Name) (version uint64, err error) {
	if b.log == nil {
		return 0, b.notRecorded(b.logErr)
	}
	if _, ok := b.flight(name); ok {
		return b.rollBackFlight(ctx, name)
	}
	defer b.writing.lock(name)()
	if err := b.busy(ctx, "rolling back", name, ""); err != nil {
		return 0, err
	}
	e, err := b.known(name)
	if err != nil {
		return 0, err
	}
	if err := b.kept("rolling back", &e); err != nil {
		return 0, err
	}
	switch {
	case e.Previous == 0:
		return 0, b.noPrevious(&e)
	case e.Versions[e.Previous].Ended:
		return 0, &Error{CodeConflict, fmt.Sprintf("rolling %q back: version %d was ended at its service", name, e.Previous), replacing(name)}
	}
	r := b.record(c, audit.EventRollback)
	r.Secret, r.Version, r.Decision = name, e.Previous, audit.Allow
	if err := b.log.Append(r); err != nil {
		return 0, b.notRecorded(err)
	}
	before := e.Current
	e.Make(e.Previous)
	e.Previous = before
	e.Rotated = b.Clock.Now().Wall
	if err := b.keep(ctx, &e); err != nil {
		return 0, fmt.Errorf("rolling %q back: %w", name, err)
	}
	b.changes.tell()
	return e.Current, nil
}

// rollBackFlight ends the rotation under way with the old version in force.
func (b *Broker) rollBackFlight(ctx context.Context, name secret.Name) (version uint64, err error) {
	p, err := b.rotations.RollBack(ctx, name)
	if err != nil {
		return 0, err
	}
	if version, err = b.ledger.Current(name); errors.Is(err, ledger.ErrEnded) {
		err = nil // the version before the rotation was dead by then
	} else if errors.Is(err, ledger.ErrNoEntry) && p.From == 0 {
		return 0, nil // the new one was to be the first
	}
	if err == nil && version != p.From {
		why := "it is " + p.State
		if p.Error != nil {
			why = *p.Error
		}
		err = &Error{CodeConflict, fmt.Sprintf("rolling %q back: version %d is not in force yet: %s", name, p.From, why), "secretctl versions " + string(name)}
	}
	return version, err
}

// noPrevious says why there is nothing to go back to.
func (b *Broker) noPrevious(e *ledger.Entry) error {
	name := e.Name
	if !e.Rotated.IsZero() && b.settings.Load().Secrets[name].Rotate != nil {
		return &Error{CodeConflict, fmt.Sprintf("%q has no previous version: a rotation ended it at its service", name), "secretctl rotate " + string(name)}
	}
	return &Error{CodeConflict, fmt.Sprintf("%q has no previous version", name), "secretctl versions " + string(name)}
}

func (b *Broker) known(name secret.Name) (ledger.Entry, error) {
	e, err := b.ledger.Get(name)
	if errors.Is(err, ledger.ErrNoEntry) {
		return e, noSecret(name)
	}
	return e, err
}

// Adopt takes the versions of a secret as they lie in its store, after somebody
// changed them outside. Each must open. A secret that nobody knows here, and that
// the config has in a store which others write too, is taken in from there.
func (b *Broker) Adopt(ctx context.Context, c *Caller, name secret.Name) (adopted []uint64, err error) {
	if b.log == nil {
		return nil, b.notRecorded(b.logErr)
	}
	if b.referred(name).Ref != "" {
		return b.adoptReferred(ctx, name)
	}
	defer b.writing.lock(name)()
	busy := b.elsewhereBusy(ctx, "adopting", name, "")
	anew := errors.Is(busy, errNotShared) || errors.Is(busy, errRecordGone)
	if busy != nil && !anew {
		return nil, busy
	}
	e, err := b.known(name)
	if err == nil {
		err = b.mayRefer(&e)
	}
	if errors.Is(err, ErrNotFound) {
		e, err = b.elsewhere(ctx, name)
	}
	if err != nil {
		return nil, err
	}
	store, err := b.store(e.Store)
	if err != nil {
		return nil, err
	}
	for n, known := range e.Versions {
		sum, err := store.Sum(ctx, name, n)
		if err == nil && known.Has(sum) {
			continue
		}
		value, err := store.Get(ctx, name, n, providers.Sum{})
		if err != nil {
			return nil, &Error{CodeStoreUnavailable, fmt.Sprintf("adopting %q: version %d: %v", name, n, err), "secretctl set " + string(name)}
		}
		value.Clear()
		if sum, err = store.Sum(ctx, name, n); err != nil {
			return nil, fmt.Errorf("adopting %q: %w", name, err)
		}
		// What the service calls it stays: mostly it is the same one, sealed anew. How
		// old it is nobody knows.
		known.Settle(sum)
		known.Created, known.AtLeast = b.Clock.Now().Wall, true
		e.Versions[n] = known
		adopted = append(adopted, n)
	}
	if len(adopted) == 0 && !anew {
		return nil, nil
	}
	if anew { // what is known here is what is so
		e.Shared = false
		b.hosts.put(name, met{})
	}
	slices.Sort(adopted)
	r := b.record(c, audit.EventAdopt)
	r.Secret, r.Version, r.Count, r.Decision = name, e.Current, uint64(len(adopted)), audit.Allow
	if err := b.log.Append(r); err != nil {
		return nil, b.notRecorded(err)
	}
	if err := b.keep(ctx, &e); err != nil {
		return nil, fmt.Errorf("adopting %q: %w", name, err)
	}
	for _, n := range adopted {
		b.values.free(name, n)
	}
	b.changes.tell()
	return adopted, nil
}

// elsewhere is an entry for what lies in the store that the config has a secret
// in, though no version was ever put here: its first version is what is there.
func (b *Broker) elsewhere(ctx context.Context, name secret.Name) (e ledger.Entry, err error) {
	at := b.settings.Load().Secrets[name].Store
	if _, err := b.ledger.Raw(name); at == "" || at == defaultStore || !errors.Is(err, ledger.ErrNoEntry) {
		return e, noSecret(name)
	}
	store, err := b.store(at)
	if err != nil {
		return e, err
	}
	if _, err := store.Sum(ctx, name, 1); errors.Is(err, providers.ErrAbsent) {
		return e, noSecret(name)
	} else if err != nil {
		return e, unavailable("adopting", name, err)
	}
	return ledger.Entry{
		Name: name, Store: at, Created: b.Clock.Now().Wall, Current: 1, Next: 2, Versions: map[uint64]ledger.Version{1: {}},
	}, nil
}

// VersionInfo is one version of a secret, for the owner.
type VersionInfo struct {
	Version   uint64    `json:"version"`
	State     string    `json:"state"` // "current", "previous" or "pending"
	CreatedAt time.Time `json:"created_at"`
	Leases    int       `json:"leases"`
	Ended     bool      `json:"ended"` // at its service: no lease is on it
}

// Versions returns the versions there are, newest first.
func (b *Broker) Versions(name secret.Name) ([]VersionInfo, error) {
	e, err := b.known(name)
	if errors.Is(err, ErrNotFound) && b.referred(name).Ref != "" {
		return []VersionInfo{}, nil // nobody has opened it yet
	}
	if err != nil {
		return nil, err
	}
	var out []VersionInfo
	for n, v := range e.Versions {
		info := VersionInfo{Version: n, State: "pending", CreatedAt: v.Created, Leases: b.table.HeldBy(name, n), Ended: v.Ended}
		switch n {
		case e.Current:
			info.State = "current"
		case e.Previous:
			info.State = "previous"
		}
		out = append(out, info)
	}
	if _, ok := e.Versions[e.Pending]; !ok && e.Pending != 0 {
		out = append(out, VersionInfo{Version: e.Pending, State: "pending", CreatedAt: b.Clock.Now().Wall})
	}
	slices.SortFunc(out, func(a, b VersionInfo) int { return int(int64(b.Version) - int64(a.Version)) })
	return out, nil
}
