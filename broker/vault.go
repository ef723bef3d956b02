package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"secretctl/broker/audit"
	"secretctl/broker/durable"
	"secretctl/broker/lease"
	"secretctl/broker/ledger"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// Vault is what whoever rotates secrets has of the broker. Each method may be
// called again after a crash: what is done already is no error.
type Vault struct{ b *Broker }

// Vault returns it.
func (b *Broker) Vault() *Vault { return &Vault{b} }

// DB is where the rotation journal is kept.
func (v *Vault) DB() durable.DB { return v.b.ledger.DB() }

// Current returns the version a lease gets now; its Number is 0 when there is no
// such secret.
func (v *Vault) Current(name secret.Name) (providers.Version, error) {
	e, err := v.b.ledger.Get(name)
	if errors.Is(err, ledger.ErrNoEntry) {
		return providers.Version{}, nil
	} else if err != nil {
		return providers.Version{}, err
	}
	return described(e.Current, e.Versions[e.Current]), nil
}

// Version returns one version; its Number is 0 when there is no such version.
func (v *Vault) Version(name secret.Name, number uint64) (providers.Version, error) {
	e, err := v.b.ledger.Get(name)
	if errors.Is(err, ledger.ErrNoEntry) {
		return providers.Version{}, nil
	} else if err != nil {
		return providers.Version{}, err
	}
	known, ok := e.Versions[number]
	if !ok {
		return providers.Version{}, nil
	}
	return described(number, known), nil
}

// Previous returns the version that goes when the next one is published; its
// Number is 0 when there is none.
func (v *Vault) Previous(name secret.Name) (providers.Version, error) {
	e, err := v.b.ledger.Get(name)
	if errors.Is(err, ledger.ErrNoEntry) {
		return providers.Version{}, nil
	} else if err != nil {
		return providers.Version{}, err
	}
	known, ok := e.Versions[e.Previous]
	if !ok {
		return providers.Version{}, nil
	}
	return described(e.Previous, known), nil
}

func described(number uint64, v ledger.Version) providers.Version {
	return providers.Version{Number: number, ID: v.ID, Facts: v.Facts, Created: v.Created, Expires: v.Expires, Ended: v.Ended}
}

// Value opens a version. It is not of the cache: the caller clears it.
func (v *Vault) Value(ctx context.Context, name secret.Name, version uint64) (secret.Value, error) {
	return v.b.values.openWithRoom(ctx, held{name, version})
}

// Own opens the current version of one of the broker's own secrets.
func (v *Vault) Own(ctx context.Context, name secret.Name) (secret.Value, error) {
	version, err := v.b.ledger.Current(name)
	if errors.Is(err, ledger.ErrNoEntry) {
		e := providers.Not(providers.CodeDenied, "there is no secret %q, which it takes", name)
		e.Remedy = "secretctl set " + string(name)
		return secret.Value{}, e
	} else if err != nil {
		return secret.Value{}, err
	}
	return v.Value(ctx, name, version)
}

// change rewrites a secret's entry. When fn returns false, nothing is written.
// What a lease gets has changed when the current version is another one after.
// Each call to a store that this takes ends by itself.
func (v *Vault) change(name secret.Name, fn func(*ledger.Entry) (bool, error)) error {
	return v.changeWhere(name, false, fn)
}

// changeWhere is change. here: whatever other hosts do, and whether or not they can
// be told, it is so here.
func (v *Vault) changeWhere(name secret.Name, here bool, fn func(*ledger.Entry) (bool, error)) error {
	b, ctx := v.b, context.Background()
	defer b.writing.lock(name)()
	if err := b.catchUpOwn(ctx, name, ""); err != nil && !here {
		return err
	}
	e, err := b.ledger.Raw(name)
	if err != nil && !errors.Is(err, ledger.ErrNoEntry) {
		return err
	}
	e.Name = name
	before := e.Current
	write, err := fn(&e)
	switch {
	case err != nil || !write:
		return err
	}
	if err := b.tellHosts(ctx, &e); err != nil { // what is not told stays untold, and is told later
		if !here {
			return err
		}
		b.Warn(fmt.Sprintf("telling other hosts of %s: %v", name, err))
		b.hosts.forget(name) // so that it is told when the record is read next
	}
	if e.Current == before {
		return b.ledger.Note(&e)
	}
	if err := b.ledger.Put(&e); err != nil {
		return err
	}
	b.settleChoice()
	b.changes.tell()
	return nil
}

// settleChoice waits for the leases that chose their version before a change of
// the current one, so that from then on the table shows all who have the old one.
func (b *Broker) settleChoice() {
	b.choosing.Lock()
	defer b.choosing.Unlock()
}

// Reserve returns the number that the next version is to have, and shows it as
// pending.
func (v *Vault) Reserve(name secret.Name) (version uint64, err error) {
	err = v.change(name, func(e *ledger.Entry) (bool, error) {
		if err := v.b.kept("rotating", e); err != nil {
			return false, err
		}
		// Whoever set it saw no rotation then, and the rotation not that.
		if p, ok := v.b.flight(name); ok && p.From != e.Current {
			return false, fmt.Errorf("keeping a number for %q: the secret has got version %d meanwhile", name, e.Current)
		}
		if e.Current == 0 {
			if err := v.b.finishRemoval(context.Background(), e); err != nil {
				return false, err
			}
			if err := v.b.place(e, name, ""); err != nil {
				return false, err
			}
		}
		version = max(e.Next, 1)
		e.Pending, e.Next = version, version+1
		return true, nil
	})
	return version, err
}

// Publish makes a reserved version current: put into its store, recorded, and
// then what a lease gets. One that is current already, and gone from its store,
// is put there again: the old one is ended on the strength of it.
func (v *Vault) Publish(ctx context.Context, name secret.Name, ver providers.Version, value secret.Value) error {
	b := v.b
	var store *placed
	var gone []uint64
	err := v.change(name, func(e *ledger.Entry) (_ bool, err error) {
		if e.Removed || ver.Number < e.Current {
			return false, fmt.Errorf("publishing version %d of %q: the secret has changed since", ver.Number, name)
		}
		if store, err = b.store(e.Store); err != nil {
			return false, err
		}
		if e.Current == ver.Number {
			return v.putAgain(ctx, store, e, value)
		}
		sum, err := b.putReserved(ctx, store, name, ver.Number, value)
		if err != nil {
			return false, fmt.Errorf("publishing version %d of %q: %w", ver.Number, name, err)
		}
		if err := v.record(name, ver.Number, "published", ""); err != nil {
			return false, err
		}
		next := e.Next
		gone = b.publish(e, ver.Number, sum)
		e.Next = max(next, e.Next)
		known := e.Versions[ver.Number]
		known.ID, known.Facts, known.Expires = ver.ID, ver.Facts, ver.Expires
		if made := ver.Created; !made.IsZero() && made.Before(known.Created) { // a service's clock may be wrong
			known.Created = made
		}
		e.Versions[ver.Number] = known
		return true, nil
	})
	if err == nil {
		b.discard(ctx, store, name, gone)
	}
	return err
}

// putAgain puts the current version into its store if it is gone from there.
func (v *Vault) putAgain(ctx context.Context, store providers.Store, e *ledger.Entry, value secret.Value) (changed bool, err error) {
	known := e.Versions[e.Current]
	switch sum, err := store.Sum(ctx, e.Name, e.Current); {
	case err == nil && known.Has(sum):
		return false, nil
	case err == nil:
		return false, changedOutside(e.Name, e.Current)
	case !errors.Is(err, providers.ErrAbsent):
		return false, err
	}
	sum, err := putAnew(ctx, store, e.Name, e.Current, value)
	if err != nil {
		return false, err
	}
	known.Settle(sum)
	if err := v.record(e.Name, e.Current, "published", "it was gone from its store"); err != nil {
		return false, err
	}
	e.Versions[e.Current] = known
	return true, nil
}

// putAnew puts a version. A crash between the store and the ledger leaves one
// that nobody knows, which goes.
func putAnew(ctx context.Context, store providers.Store, name secret.Name, version uint64, value secret.Value) (providers.Sum, error) {
	if err := store.Delete(ctx, name, version); err != nil {
		return providers.Sum{}, err
	}
	return store.Put(ctx, name, version, value)
}

// putReserved puts a version under a number that was kept for it. Where other
// hosts look, it is there already.
func (b *Broker) putReserved(ctx context.Context, store *placed, name secret.Name, version uint64, value secret.Value) (providers.Sum, error) {
	if !store.spec.Shared {
		return putAnew(ctx, store, name, version, value)
	}
	if err := b.stage(ctx, store, held{name, version}, value); err != nil {
		return providers.Sum{}, err
	}
	return store.Sum(ctx, name, version)
}

// Restore makes version to, which was current before from, current again.
func (v *Vault) Restore(_ context.Context, name secret.Name, from, to uint64) error {
	return v.change(name, func(e *ledger.Entry) (bool, error) {
		if e.Current == to && to != 0 {
			return false, nil
		}
		if _, ok := e.Versions[to]; !ok || e.Current != from {
			return false, fmt.Errorf("going back to version %d of %q: the secret has changed since", to, name)
		}
		if err := v.record(name, to, "restored", ""); err != nil {
			return false, err
		}
		e.Make(to)
		e.Previous, e.Pending, e.Rotated = 0, from, v.b.Clock.Now().Wall
		return true, nil
	})
}

// Withdraw forgets a reserved version that is not current.
func (v *Vault) Withdraw(ctx context.Context, name secret.Name, version uint64) error {
	return v.drop(ctx, name, version, "withdrawn")
}

// Forget removes a version that is not current, and ends the leases on it.
func (v *Vault) Forget(ctx context.Context, name secret.Name, version uint64) error {
	return v.drop(ctx, name, version, "retired")
}

// What the log says of a version, here and by who rotates, for [Broker.handedOut]
// when nothing else knows of it any more.
const (
	versionEnded = "ended"          // its service ended it
	versionLives = "still_accepted" // and that turned out not to be so
)

// Mark keeps whether a version was ended at its service and what it is called
// there. No lease is on one that was, and the secret must be replaced. That it is
// so is kept whether or not the log can take it: it takes power away.
func (v *Vault) Mark(name secret.Name, ver providers.Version) error {
	err := v.changeWhere(name, true, func(e *ledger.Entry) (bool, error) {
		known, ok := e.Versions[ver.Number]
		if !ok || known.Ended == ver.Ended {
			return false, nil
		}
		known.Ended, known.ID, known.Facts, known.Untold = ver.Ended, ver.ID, ver.Facts, v.b.sharedAt(e.Store) != nil
		known.Rotate = known.Rotate || ver.Ended
		e.Versions[ver.Number] = known
		if e.Current == ver.Number {
			e.Rotate = known.Rotate
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("keeping that version %d of %q was ended: %w", ver.Number, name, err)
	}
	if !ver.Ended {
		v.tell(name, ver.Number, versionLives)
		return nil
	}
	v.tell(name, ver.Number, versionEnded)
	v.b.settleChoice()
	v.b.values.free(name, ver.Number)
	return v.endLeases(name, ver.Number, versionEnded)
}

// tell puts into the log what has happened whether or not it can take it.
func (v *Vault) tell(name secret.Name, version uint64, state string) {
	if err := v.Record(name, version, state, ""); err != nil {
		v.b.Warn(fmt.Sprintf("recording that version %d of %s is %s: %v", version, name, state, err))
	}
}

// maxEnded is how many versions that were ended are remembered for the other hosts,
// which may not have looked for a while.
const maxEnded = 16

// drop forgets a version and only then removes it: what the ledger knows is
// there. Whoever drops it does so again after a crash between the two.
func (v *Vault) drop(ctx context.Context, name secret.Name, version uint64, why string) error {
	var store *placed
	err := v.change(name, func(e *ledger.Entry) (had bool, err error) {
		if e.Current == version {
			return false, fmt.Errorf("removing version %d of %q: it is the current one", version, name)
		}
		if e.Store == "" { // no such secret any more
			return false, nil
		}
		if store, err = v.b.store(e.Store); err != nil {
			return false, err
		}
		var known ledger.Version
		known, had = e.Versions[version]
		if known.Ended && store.spec.Shared { // what others were given of it is dead
			e.Ended = append(slices.Clone(e.Ended), version)
			e.Ended = e.Ended[max(0, len(e.Ended)-maxEnded):]
		}
		delete(e.Versions, version)
		if e.Previous == version {
			e.Previous, had = 0, true
		}
		if e.Pending == version {
			e.Pending, had = 0, true
		}
		return had, nil
	})
	if err != nil || store == nil {
		return err
	}
	v.b.values.free(name, version)
	// Now that nobody can be given it any more.
	if err := v.endLeases(name, version, why); err != nil {
		return err
	}
	if err := store.Delete(ctx, name, version); err != nil {
		return fmt.Errorf("removing version %d of %q: %w", version, name, err)
	}
	return nil
}

// Holders returns how many leases are on a version: those that a renewal moves
// to the current one, and those that keep it; and how many copied it with a
// lease that is over: whoever takes the new one when told to is waited for, and
// nobody for ever.
func (v *Vault) Holders(name secret.Name, version uint64) (moving, copied, pinned int) {
	copied = v.copies(name, version)
	if v.b.table.HeldBy(name, version) == 0 {
		return 0, copied, 0
	}
	for _, l := range v.on(name, version) {
		if l.Pinned {
			pinned++
		} else {
			moving++
		}
	}
	return moving, copied, pinned
}

// copies returns how many consumers were last given a version, by a lease for
// reuse that is over.
func (v *Vault) copies(name secret.Name, version uint64) (n int) {
	now := v.b.now()
	for _, id := range v.b.reuse.on(name, version) {
		if _, lives := v.b.table.Get(id, now); !lives {
			n++
		}
	}
	if n == 0 && v.older(name, version) {
		n = 1
	}
	return n
}

// older reports whether a version may have been copied before this broker
// started, which nothing tells.
func (v *Vault) older(name secret.Name, version uint64) bool {
	e, err := v.b.ledger.Get(name)
	if err != nil || !e.Versions[version].Created.Before(v.b.started) {
		return false
	}
	at, err := v.b.lastLeased(string(name))
	return err != nil || !at[name].IsZero()
}

func (v *Vault) on(name secret.Name, version uint64) []lease.Lease {
	return v.b.table.List(v.b.now(), func(l *lease.Lease) bool { return l.Secret == name && l.Version == version })
}

// EndLeases ends the leases on a version.
func (v *Vault) EndLeases(name secret.Name, version uint64) error {
	return v.endLeases(name, version, "rotated")
}

func (v *Vault) endLeases(name secret.Name, version uint64, why string) error {
	leases := v.on(name, version)
	if len(leases) == 0 {
		return nil
	}
	err := v.b.end(nil, why, leases)
	if errors.Is(err, ErrNotDurable) {
		v.b.Warn(err.Error())
		return nil // in force all the same
	}
	return err
}

// MustRotate marks a secret for replacement: its credential is dead.
func (v *Vault) MustRotate(name secret.Name) error {
	return v.change(name, func(e *ledger.Entry) (bool, error) {
		if e.Rotate || e.Current == 0 {
			return false, nil
		}
		e.Rotate = true
		return true, nil
	})
}

// Announce runs the owner's commands for a new version.
func (v *Vault) Announce(ctx context.Context, name secret.Name, version uint64) error {
	var errs []error
	for _, argv := range v.b.settings.Load().Secrets[name].Announce {
		errs = append(errs, v.run(ctx, "announce", argv, name, version))
	}
	return errors.Join(errs...)
}

// Confirm runs the owner's command that says whether the new version is used.
func (v *Vault) Confirm(ctx context.Context, name secret.Name, version uint64) error {
	argv := v.b.settings.Load().Secrets[name].Confirm
	if len(argv) == 0 {
		return nil
	}
	return v.run(ctx, "confirm", argv, name, version)
}

func (v *Vault) run(ctx context.Context, what string, argv []string, name secret.Name, version uint64) error {
	stdin, err := json.Marshal(versionReply{string(name), version})
	if err != nil {
		return err
	}
	return v.b.command(ctx, fmt.Sprintf("[secret.%q] %s", name, what), argv, append(stdin, '\n'), v.b.CommandTime)
}

// Record puts a state of a rotation in the audit log.
func (v *Vault) Record(name secret.Name, version uint64, state, reason string) error {
	if v.b.log == nil {
		return v.b.logErr
	}
	v.b.log.Defer(v.rotated(name, version, state, reason))
	return nil
}

// record is Record for what must not happen without.
func (v *Vault) record(name secret.Name, version uint64, state, reason string) error {
	if v.b.log == nil {
		return v.b.notRecorded(v.b.logErr)
	}
	if err := v.b.log.Append(v.rotated(name, version, state, reason)); err != nil {
		return v.b.notRecorded(err)
	}
	return nil
}

func (v *Vault) rotated(name secret.Name, version uint64, state, reason string) *audit.Record {
	r := v.b.record(nil, audit.EventRotate)
	r.Secret, r.Version, r.Reason = name, version, code(state)
	if reason != "" {
		r.Stated = audit.Sanitise(reason, 200)
	}
	return r
}

// code is a word as the log has reasons.
func code(word string) string {
	return string(slices.DeleteFunc([]byte(strings.ReplaceAll(word, "-", "_")), func(c byte) bool { return c != '_' && (c < 'a' || c > 'z') }))
}

// LargestTTL is the longest that a lease on the secret lives without being
// renewed.
func (v *Vault) LargestTTL(name secret.Name) time.Duration {
	return v.b.settings.Load().LargestTTL(name)
}

// SharedGrace returns the least time for which a version of a secret that other
// hosts keep too is still needed by them when there is another: a lease lives
// without being renewed for at most so long, and so old may be what they know of
// it. ok is false for a secret of this host alone.
func (v *Vault) SharedGrace(name secret.Name) (least time.Duration, ok bool) {
	store, err := v.b.sharedStore(name, "")
	if err != nil || store == nil {
		return 0, false
	}
	return v.LargestTTL(name) + store.spec.Lag(), true
}
