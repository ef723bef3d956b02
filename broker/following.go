package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"secretctl/broker/audit"
	"secretctl/broker/ledger"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// follow sees whether another host has given a secret another version, unless
// that was looked for lately. It fails when nothing has been heard of that for
// longer than a value may be given without asking its store.
func (b *Broker) follow(ctx context.Context, name secret.Name) error {
	store, err := b.sharedStore(name, "")
	if store == nil || err != nil {
		return err
	}
	now := b.now().Boot
	look, first := b.hosts.ask(name, now, store.spec.Fresh)
	if look == nil {
		return nil
	}
	if !first {
		select {
		case <-look.over:
			return look.err
		case <-ctx.Done():
			return providers.Unavailable(ctx.Err())
		}
	}
	// It is for all who wait, so it does not end with the first.
	err = b.hear(context.WithoutCancel(ctx), store, name)
	m := b.hosts.get(name)
	var failed *providers.StoreError
	if errors.As(err, &failed) && m.seen != 0 && now-m.seen < store.spec.Fresh+store.spec.MaxStale {
		err = nil
	}
	b.hosts.answered(name, look, now, err)
	return err
}

// hearAgain looks for what other hosts did to a secret of which a version was not
// where it should be: where it is replaced in place, it may be gone before anybody
// has heard of the next.
func (b *Broker) hearAgain(ctx context.Context, name secret.Name, why error) {
	var gone *Error
	if !errors.As(why, &gone) {
		return
	}
	if store, err := b.sharedStore(name, ""); err == nil && store != nil {
		_ = b.hear(ctx, store, name) // then it is as it was
	}
}

// hear is follow, whenever that was looked for before.
func (b *Broker) hear(ctx context.Context, store *placed, name secret.Name) error {
	r, err := store.Record(ctx, name)
	if err == nil {
		if b.hosts.same(name, &r, b.now().Boot) {
			return nil
		}
	} else if !errors.Is(err, providers.ErrAbsent) {
		return err
	}
	defer b.writing.lock(name)()
	_, err = b.catchUp(ctx, store, name)
	return err
}

// catchUp has the ledger say of a secret what the hosts agreed on. A secret that
// is here alone is made known to them. Its lock is held.
func (b *Broker) catchUp(ctx context.Context, store *placed, name secret.Name) (met, error) {
	for {
		m, err := b.catchUpOnce(ctx, store, name)
		if !errors.Is(err, providers.ErrChanged) {
			return m, err
		}
	}
}

func (b *Broker) catchUpOnce(ctx context.Context, store *placed, name secret.Name) (met, error) {
	e, err := b.ledger.Raw(name)
	if err != nil && !errors.Is(err, ledger.ErrNoEntry) {
		return met{}, err
	}
	now := b.now().Boot
	r, err := store.Record(ctx, name)
	if errors.Is(err, providers.ErrAbsent) {
		m := met{asked: now, seen: now}
		switch {
		case e.Store == store.spec.Name && e.Shared:
			m.gone = true
			b.hosts.put(name, m)
			return m, recordGone(&e)
		case e.Store == store.spec.Name && e.Next > 0:
			m.shared.of(&e)
			return b.introduce(ctx, store, &e, m)
		}
		m.shared.Next = 1
		b.hosts.put(name, m)
		return m, nil
	} else if err != nil {
		return met{}, err
	}
	m := met{revision: r.Revision, age: r.Age, asked: now, seen: now}
	if m.shared, err = readShared(&r, store, name); err != nil {
		return met{}, err
	}
	if host, err := b.host(); err != nil {
		return met{}, err
	} else if c := m.shared.Rotation; c != nil && c.Host == host {
		m.mine = b.hosts.get(name).mine
	}
	if entering := m.shared.Entering; entering != "" {
		return b.entering(store, &e, name, m)
	}
	if err := b.adoptShared(&e, store, name, &m.shared); err != nil {
		return met{}, err
	}
	b.hosts.put(name, m)
	for _, v := range e.Versions {
		if v.Untold {
			m.shared.of(&e)
			return b.introduce(ctx, store, &e, m)
		}
	}
	return m, nil
}

// introduce tells the others what an entry says, and has the ledger know that they
// were told.
func (b *Broker) introduce(ctx context.Context, store *placed, e *ledger.Entry, m met) (met, error) {
	m, err := b.changeRecord(ctx, store, e.Name, m)
	if err != nil {
		return m, err
	}
	told(e)
	return m, b.ledger.Note(e)
}

// told has an entry say that the others know what it says.
func told(e *ledger.Entry) {
	e.Shared = true
	for n, v := range e.Versions {
		v.Untold = false
		e.Versions[n] = v
	}
}

// errRecordGone means that what the hosts agreed on is not there any more.
var errRecordGone = errors.New("the record is gone")

func recordGone(e *ledger.Entry) error {
	return &unshared{&Error{CodeStoreUnavailable, fmt.Sprintf("%q: its record in store %q, which all hosts go by, is gone", e.Name, e.Store),
		fmt.Sprintf("on the host that knows best (secretctl versions %[1]s): secretctl adopt %[1]s", e.Name)}, errRecordGone}
}

// adoptShared takes what the hosts agreed on into the ledger.
func (b *Broker) adoptShared(e *ledger.Entry, store *placed, name secret.Name, s *shared) error {
	before := *e
	e.Name, e.Store, e.Shared = name, store.spec.Name, true
	gone := s.into(e)
	if len(e.Versions) == 0 && len(before.Versions) == 0 {
		e.Versions = before.Versions // none, however that is written
	}
	if len(gone) == 0 && reflect.DeepEqual(before, *e) {
		return nil
	}
	if e.Current == before.Current {
		if err := b.ledger.Note(e); err != nil {
			return err
		}
	} else {
		if err := b.ledger.Put(e); err != nil {
			return err
		}
		b.settleChoice()
		b.changes.tell()
		b.recordElsewhere(e, s.Host)
	}
	for _, n := range gone {
		if slices.Contains(e.Ended, n) {
			b.Vault().tell(name, n, versionEnded)
		}
	}
	for n, v := range e.Versions {
		if v.Ended && !before.Versions[n].Ended || e.Removed && !before.Removed {
			gone = append(gone, n)
		}
	}
	var failed error
	for _, n := range gone { // each, since what is in the ledger by now is not gone through again
		b.values.free(name, n)
		failed = errors.Join(failed, b.Vault().endLeases(name, n, "retired"))
	}
	return failed
}

// recordElsewhere puts into the log that another host gave a secret the version
// that a lease gets from now on, or removed it.
func (b *Broker) recordElsewhere(e *ledger.Entry, host string) {
	if b.log == nil {
		return
	}
	r := b.record(nil, audit.EventRotate)
	r.Secret, r.Version, r.Reason, r.Stated = e.Name, e.Current, "published", audit.Sanitise("by host "+host, 200)
	if e.Removed {
		r.Reason = "removed"
	}
	b.log.Defer(r)
}

// meet follows, every minute, the secrets that leases are on or that somebody
// waits for, and says of rotations of this host that it is there.
func (b *Broker) meet(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() {
		each(ctx, time.Minute, b.followed, func(name secret.Name) {
			_ = b.follow(ctx, name) // status says since when a store does not work
		})
	})
	// Beside it, since others act on not hearing of a rotation.
	both.Go(func() {
		each(ctx, claimBeat, b.hosts.mine, func(name secret.Name) {
			if err := b.beat(ctx, name); err != nil {
				b.Warn(fmt.Sprintf("telling other hosts that this one rotates %s: %v", name, err))
			}
		})
	})
	both.Wait()
}

// each does something every so often for all names that there are then, until ctx is
// done.
func each(ctx context.Context, every time.Duration, names func() []secret.Name, do func(secret.Name)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, name := range names() {
			do(name)
		}
	}
}

func (b *Broker) followed() []secret.Name {
	if !b.settings.Load().shared {
		return nil
	}
	names := make(map[secret.Name]bool)
	for _, l := range b.table.List(b.now(), nil) {
		names[l.Secret] = true
	}
	if b.changes.awaited() {
		err := b.ledger.Each("", func(e *ledger.Entry) bool {
			names[e.Name] = names[e.Name] || e.Shared
			return true
		})
		if err != nil {
			b.Warn(err.Error())
		}
	}
	maps.DeleteFunc(names, func(_ secret.Name, wanted bool) bool { return !wanted })
	return slices.Collect(maps.Keys(names))
}

func (b *Broker) beat(ctx context.Context, name secret.Name) error {
	defer b.writing.lock(name)()
	store, err := b.sharedStore(name, "")
	if store == nil || err != nil {
		return err
	}
	m, err := b.catchUp(ctx, store, name)
	if err == nil && m.mine {
		_, err = b.changeRecord(ctx, store, name, m)
	}
	if errors.Is(err, providers.ErrChanged) {
		return nil // then it is for the next one
	}
	return err
}
