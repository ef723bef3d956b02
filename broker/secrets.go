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
// the ledger knows it.
func (b *Broker) openValue(ctx context.Context, h held) (secret.Value, error) {
	e, err := b.ledger.Get(h.name)
	if err != nil {
		return secret.Value{}, err
	}
	v, ok := e.Versions[h.version]
	if !ok {
		return secret.Value{}, errNoVersion
	}
	store, err := b.store(e.Store)
	if err != nil {
		return secret.Value{}, err
	}
	value, err := store.Get(ctx, h.name, h.version, v.Sum)
	switch {
	case errors.Is(err, providers.ErrChanged):
		return secret.Value{}, &Error{CodeStoreUnavailable,
			fmt.Sprintf("opening %q: version %d was changed outside secretctl and is not served", h.name, h.version),
			"if that was you: secretctl adopt " + string(h.name)}
	case errors.Is(err, providers.ErrAbsent):
		return secret.Value{}, &Error{CodeStoreUnavailable,
			fmt.Sprintf("opening %q: version %d is gone from its store", h.name, h.version),
			"set it again, or go back: secretctl rollback " + string(h.name)}
	}
	return value, err
}

// unavailable is what an owner is told of a store that failed.
func unavailable(doing string, name secret.Name, err error) error {
	var told *Error
	if errors.As(err, &told) {
		return told
	}
	return &Error{CodeStoreUnavailable, fmt.Sprintf("%s %q: %v", doing, name, err), "secretctl status"}
}

func (b *Broker) store(name string) (providers.Store, error) {
	s, ok := b.Stores[name]
	if !ok {
		return nil, &Error{CodeStoreUnavailable, fmt.Sprintf("there is no store %q", name), "secretctl status lists the stores"}
	}
	return s, nil
}

// Set gives a secret a new version, which is current when it returns. The
// version before stays for [Broker.Rollback], the one before that goes.
func (b *Broker) Set(ctx context.Context, c *Caller, name secret.Name, storeName string, value secret.Value) (version uint64, err error) {
	if b.log == nil {
		return 0, b.notRecorded(b.logErr)
	}
	b.writing.Lock()
	defer b.writing.Unlock()
	e, err := b.ledger.Raw(name)
	if err != nil && !errors.Is(err, ledger.ErrNoEntry) {
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
	// A crash between the store and the ledger leaves a version nobody knows.
	if err := store.Delete(ctx, name, version); err != nil {
		return 0, fmt.Errorf("setting %q: %w", name, err)
	}
	sum, err := store.Put(ctx, name, version, value)
	if err != nil {
		return 0, &Error{CodeStoreUnavailable, fmt.Sprintf("setting %q: %v", name, err), "secretctl status"}
	}
	r := b.record(c, audit.EventSet)
	r.Secret, r.Version, r.Decision = name, version, audit.Allow
	if err := b.log.Append(r); err != nil {
		return 0, errors.Join(b.notRecorded(err), store.Delete(ctx, name, version))
	}
	old := b.publish(&e, version, sum)
	if err := b.ledger.Put(&e); err != nil {
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
	fresh := e.Name == "" || e.Removed
	if e.Name == "" || e.Removed {
		*e = ledger.Entry{Name: name, Next: e.Next, Change: e.Change, Created: b.Clock.Now().Wall}
	}
	e.Name = name
	for _, want := range []string{asked, configured} {
		if want == "" || want == e.Store {
			continue
		}
		if !fresh && e.Store != "" {
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

// publish makes version current in e and returns the versions that go.
func (b *Broker) publish(e *ledger.Entry, version uint64, sum providers.Sum) (gone []uint64) {
	now := b.Clock.Now().Wall
	if e.Versions == nil {
		e.Versions = make(map[uint64]ledger.Version)
	}
	if e.Current != 0 {
		e.Rotated = now
	}
	e.Previous, e.Current, e.Next = e.Current, version, version+1
	e.Versions[version] = ledger.Version{Sum: sum, Created: now}
	e.Rotate = false
	for n := range e.Versions {
		if n != e.Current && n != e.Previous && n != e.Pending {
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

// Remove removes a secret and ends every lease on it.
func (b *Broker) Remove(ctx context.Context, c *Caller, name secret.Name) error {
	if b.log == nil {
		return b.notRecorded(b.logErr)
	}
	b.writing.Lock()
	defer b.writing.Unlock()
	e, err := b.ledger.Get(name)
	if errors.Is(err, ledger.ErrNoEntry) {
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
	if err := b.ledger.Put(&e); err != nil {
		return fmt.Errorf("removing %q: %w", name, err)
	}
	b.changes.tell()
	return errors.Join(b.revokeSecret(c, name), b.finishRemoval(ctx, &e))
}

// finishRemoval deletes the versions of a removed secret from its store, and
// only then forgets them.
func (b *Broker) finishRemoval(ctx context.Context, e *ledger.Entry) error {
	store, err := b.store(e.Store)
	if err != nil {
		return err
	}
	for n := range e.Versions {
		b.values.free(e.Name, n)
		if err := store.Delete(ctx, e.Name, n); err != nil {
			return fmt.Errorf("removing %q: %w", e.Name, err)
		}
	}
	e.Versions = nil
	return b.ledger.Put(e)
}

// finishRemovals goes on with removals that a crash cut short.
func (b *Broker) finishRemovals(ctx context.Context) error {
	names, err := b.ledger.Removed()
	if err != nil {
		return err
	}
	for _, name := range names {
		e, err := b.ledger.Raw(name)
		if err == nil {
			err = b.finishRemoval(ctx, &e)
		}
		if err != nil {
			b.Warn(err.Error())
		}
	}
	return nil
}

// Rollback makes the previous version current again, and the current one
// previous.
func (b *Broker) Rollback(c *Caller, name secret.Name) (version uint64, err error) {
	if b.log == nil {
		return 0, b.notRecorded(b.logErr)
	}
	b.writing.Lock()
	defer b.writing.Unlock()
	e, err := b.known(name)
	if err != nil {
		return 0, err
	}
	if e.Previous == 0 {
		return 0, &Error{CodeConflict, fmt.Sprintf("%q has no previous version", name), "secretctl versions " + string(name)}
	}
	r := b.record(c, audit.EventRollback)
	r.Secret, r.Version, r.Decision = name, e.Previous, audit.Allow
	if err := b.log.Append(r); err != nil {
		return 0, b.notRecorded(err)
	}
	e.Current, e.Previous = e.Previous, e.Current
	e.Rotated = b.Clock.Now().Wall
	if err := b.ledger.Put(&e); err != nil {
		return 0, fmt.Errorf("rolling %q back: %w", name, err)
	}
	b.changes.tell()
	return e.Current, nil
}

func (b *Broker) known(name secret.Name) (ledger.Entry, error) {
	e, err := b.ledger.Get(name)
	if errors.Is(err, ledger.ErrNoEntry) {
		return e, noSecret(name)
	}
	return e, err
}

// Adopt takes the versions of a secret as they lie in its store, after somebody
// changed them outside. Each must open.
func (b *Broker) Adopt(ctx context.Context, c *Caller, name secret.Name) (adopted []uint64, err error) {
	if b.log == nil {
		return nil, b.notRecorded(b.logErr)
	}
	b.writing.Lock()
	defer b.writing.Unlock()
	e, err := b.known(name)
	if err != nil {
		return nil, err
	}
	store, err := b.store(e.Store)
	if err != nil {
		return nil, err
	}
	for n, known := range e.Versions {
		sum, err := store.Sum(ctx, name, n)
		if err == nil && sum == known.Sum {
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
		e.Versions[n] = ledger.Version{Sum: sum, Created: b.Clock.Now().Wall}
		adopted = append(adopted, n)
	}
	if len(adopted) == 0 {
		return nil, nil
	}
	slices.Sort(adopted)
	r := b.record(c, audit.EventAdopt)
	r.Secret, r.Version, r.Count, r.Decision = name, e.Current, uint64(len(adopted)), audit.Allow
	if err := b.log.Append(r); err != nil {
		return nil, b.notRecorded(err)
	}
	if err := b.ledger.Put(&e); err != nil {
		return nil, fmt.Errorf("adopting %q: %w", name, err)
	}
	for _, n := range adopted {
		b.values.free(name, n)
	}
	b.changes.tell()
	return adopted, nil
}

// VersionInfo is one version of a secret, for the owner.
type VersionInfo struct {
	Version   uint64    `json:"version"`
	State     string    `json:"state"` // "current", "previous" or "pending"
	CreatedAt time.Time `json:"created_at"`
	Leases    int       `json:"leases"`
}

// Versions returns the versions there are, newest first.
func (b *Broker) Versions(name secret.Name) ([]VersionInfo, error) {
	e, err := b.known(name)
	if err != nil {
		return nil, err
	}
	var out []VersionInfo
	for n, v := range e.Versions {
		info := VersionInfo{Version: n, State: "pending", CreatedAt: v.Created, Leases: b.table.HeldBy(name, n)}
		switch n {
		case e.Current:
			info.State = "current"
		case e.Previous:
			info.State = "previous"
		}
		out = append(out, info)
	}
	slices.SortFunc(out, func(a, b VersionInfo) int { return int(int64(b.Version) - int64(a.Version)) })
	return out, nil
}
