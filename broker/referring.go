package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"secretctl/broker/audit"
	"secretctl/broker/config"
	"secretctl/broker/grant"
	"secretctl/broker/ledger"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// A secret with a reference lies in its store where people keep it and change it. It
// has one value, the one that is there now; its versions are those that were seen,
// each known by a salted sum. One that is not there any more is given to nobody: who
// holds it is told so, and never gets another in its place without asking.

// referred is where a secret lies, as the config says; Ref is "" for one that does
// not.
func (b *Broker) referred(name secret.Name) config.Secret { return b.settings.Load().Secrets[name] }

// errReplaced means that another value lies where a version's did.
var errReplaced = errors.New("another value is there now")

// notReferred is the error of a version that is not where its secret lies.
type notReferred struct {
	told  *Error
	cause error // errReplaced or [providers.ErrAbsent]
}

func (e *notReferred) Error() string   { return e.told.Message }
func (e *notReferred) Unwrap() []error { return []error{e.told, e.cause} }

// read opens what lies at a secret's reference now.
func (b *Broker) read(ctx context.Context, name secret.Name) (secret.Value, *placed, error) {
	where := b.referred(name)
	store, err := b.store(where.Store)
	if err != nil {
		return secret.Value{}, nil, err
	}
	value, err := store.Refer(ctx, where.Ref)
	switch {
	case err == nil && value.Len() == 0:
		err = providers.ErrAbsent // a field that nobody has filled
	case err == nil && value.Len() > MaxValue:
		err = &Error{CodeTooLarge, fmt.Sprintf("what lies at %s is longer than 1 MiB", where.Ref), ""}
	}
	if errors.Is(err, providers.ErrAbsent) {
		err = &notReferred{&Error{CodeNotFound, fmt.Sprintf("opening %q: nothing lies at %s in store %q", name, where.Ref, where.Store),
			"is the reference right, and may the store's token read it? What was not there is not looked for again at once"}, err}
	}
	if err != nil {
		value.Clear()
		return secret.Value{}, nil, err
	}
	return value, store, nil
}

// openReferred opens a version of a secret with a reference: what lies there, if it
// is that version's value.
func (b *Broker) openReferred(ctx context.Context, h held, e *ledger.Entry) (secret.Value, *placed, error) {
	if err := b.mayRefer(e); err != nil {
		return secret.Value{}, nil, err
	}
	value, store, err := b.read(ctx, h.name)
	if err != nil {
		return secret.Value{}, nil, err
	}
	is, err := isValue(e.Versions[h.version], value)
	if err == nil && !is {
		err = &notReferred{&Error{CodeStoreUnavailable, fmt.Sprintf("version %d of %q is no longer where it lay: another value is there now", h.version, h.name),
			"ask for a new lease, which is on the new value"}, errReplaced}
	}
	if err != nil {
		value.Clear()
		return secret.Value{}, nil, err
	}
	return value, store, nil
}

// mayRefer says why an entry and what the config says of its secret do not go
// together.
func (b *Broker) mayRefer(e *ledger.Entry) error {
	ref := b.referred(e.Name).Ref
	switch {
	case e.Current == 0:
		return nil
	case ref != "" && e.Ref == "":
		return &Error{CodeConflict, fmt.Sprintf("%q has versions in store %q, and lies at %s by the config", e.Name, e.Store, ref),
			fmt.Sprintf("secretctl rm %s removes those; or remove ref from secretctl.toml", e.Name)}
	case ref == "" && e.Ref != "":
		return &Error{CodeConflict, fmt.Sprintf("%q lay at %s, and the config has no ref of it any more", e.Name, e.Ref),
			fmt.Sprintf("secretctl rm %s forgets it; or put its ref into secretctl.toml", e.Name)}
	}
	return nil
}

// isReferred reports whether an entry is of a secret that is not put anywhere from
// here.
func (b *Broker) isReferred(e *ledger.Entry) bool { return e.Ref != "" || b.referred(e.Name).Ref != "" }

// kept refuses to change a secret that is changed where it is kept.
func (b *Broker) kept(doing string, e *ledger.Entry) error {
	where := b.referred(e.Name)
	switch {
	case where.Ref != "":
		return &Error{CodeConflict, fmt.Sprintf("%s %q: it lies at %s in store %q, which is only read from here", doing, e.Name, where.Ref, where.Store),
			"change it there: the new value is taken over by itself"}
	case e.Ref != "":
		return b.mayRefer(e)
	}
	return nil
}

// isValue reports whether a value is that of a version that was seen.
func isValue(v ledger.Version, value secret.Value) (is bool, err error) {
	err = value.Use(func(b []byte) error { is = v.Has(providers.SaltedSum(v.Salt, b)); return nil })
	return is, err
}

// maxLooks is how often in a row a value may be another than was seen a moment ago.
const maxLooks = 3

// look takes note of what lies at a secret's reference, unless the value that is in
// memory is still believed. It is for when it has been decided who gets it, and
// before a version is chosen. For a secret without a reference it does nothing.
func (b *Broker) look(ctx context.Context, name secret.Name) error {
	if b.referred(name).Ref == "" {
		return nil
	}
	for range maxLooks {
		current, err := b.ledger.Current(name)
		if err == nil {
			_, err = b.values.get(ctx, held{name, current})
		}
		if !errors.Is(err, ledger.ErrNoEntry) && !errors.Is(err, errReplaced) {
			return err
		}
		if err := b.see(ctx, name); err != nil {
			return err
		}
	}
	return &Error{CodeStoreUnavailable, fmt.Sprintf("what lies at the reference of %q is another value each time it is read", name), "does it name the right field?"}
}

// overlook clears what [Broker.look] opened for a lease that came to nothing.
func (b *Broker) overlook(name secret.Name) {
	if b.referred(name).Ref == "" {
		return
	}
	if current, err := b.ledger.Current(name); err == nil && b.table.HeldBy(name, current) == 0 {
		b.values.free(name, current)
	}
}

// see reads what lies at a secret's reference and, when that is another value than
// the current version's, makes it the next one.
func (b *Broker) see(ctx context.Context, name secret.Name) error {
	if b.log == nil {
		return b.notRecorded(b.logErr)
	}
	// With the lock, so that of two who read different values the later is believed.
	defer b.writing.lock(name)()
	e, err := b.ledger.Raw(name)
	if err != nil && !errors.Is(err, ledger.ErrNoEntry) {
		return err
	}
	e.Name = name
	if err := errors.Join(b.finishRemoval(ctx, &e), b.mayRefer(&e)); err != nil {
		return err
	}
	value, _, err := b.read(ctx, name)
	for errors.Is(err, secret.ErrFull) && b.values.evict() {
		value, _, err = b.read(ctx, name)
	}
	if err != nil {
		return err
	}
	defer value.Clear()
	if is, err := isValue(e.Versions[e.Current], value); err != nil || is && e.Current != 0 {
		return err
	}
	return b.seen(&e, value)
}

// seen makes a value the next version of e.
func (b *Broker) seen(e *ledger.Entry, value secret.Value) error {
	first := e.Current == 0
	if first {
		*e = ledger.Entry{Name: e.Name, Next: e.Next, Change: e.Change, Left: e.Left, Created: b.Clock.Now().Wall}
	}
	where := b.referred(e.Name)
	e.Store, e.Ref = where.Store, where.Ref
	known := ledger.Version{Salt: make([]byte, 16), AtLeast: first} // nobody knows how long it lay there
	_, _ = rand.Read(known.Salt)                                    // never fails
	if err := value.Use(func(v []byte) error { known.Sum = providers.SaltedSum(known.Salt, v); return nil }); err != nil {
		return err
	}
	version := max(e.Next, 1)
	r := b.record(nil, audit.EventAdopt)
	r.Secret, r.Version, r.Reason, r.Decision = e.Name, version, "reference", audit.Allow
	if err := b.log.Append(r); err != nil {
		return b.notRecorded(err)
	}
	gone := b.publish(e, version, known.Sum)
	known.Created = e.Versions[version].Created
	e.Versions[version] = known
	if err := b.ledger.Put(e); err != nil {
		return fmt.Errorf("taking over %q: %w", e.Name, err)
	}
	b.settleChoice()
	b.changes.tell()
	for _, n := range gone {
		b.values.free(e.Name, n)
	}
	return nil
}

// unseen answers a request that was granted, for a secret whose reference could not
// be read. That nothing lies there is for an agent the answer to what it was not
// granted.
func (b *Broker) unseen(c *Caller, name secret.Name, door grant.Door, req LeaseRequest, err error) error {
	if killed := b.serving(); killed != nil {
		return killed
	}
	if errors.Is(err, providers.ErrAbsent) && !c.owner {
		return b.denied(c, name, door, req.Reason, grant.Decision{Code: "no_such_secret"})
	}
	b.recordDenied(c, name, door, req.Reason, grant.Decision{Code: "store_unavailable"})
	b.Warn(fmt.Sprintf("opening %s: %v", name, err))
	if c.owner {
		return unavailable("opening", name, err)
	}
	return errNotGiven
}

// adoptReferred takes over what lies at a reference now, however long ago it was
// looked at.
func (b *Broker) adoptReferred(ctx context.Context, name secret.Name) (adopted []uint64, err error) {
	current := func() uint64 {
		n, currentErr := b.ledger.Current(name)
		if currentErr != nil && !errors.Is(currentErr, ledger.ErrNoEntry) {
			err = currentErr
		}
		return n
	}
	before := current()
	if seen := b.see(ctx, name); seen != nil {
		return nil, unavailable("adopting", name, seen)
	}
	if now := current(); now != before {
		adopted = []uint64{now}
	}
	return adopted, err
}

// reread clears what is in memory of secrets that lie elsewhere by the config now in
// force than by the one before.
func (b *Broker) reread(before, now *settings) {
	for _, of := range []*settings{before, now} {
		for name, s := range of.Secrets {
			if was, is := before.Secrets[name], now.Secrets[name]; s.Ref == "" || was.Ref == is.Ref && was.Store == is.Store {
				continue
			}
			e, err := b.ledger.Raw(name)
			if err != nil { // there is none, or it cannot be read when it is asked for either
				continue
			}
			for n := range e.Versions {
				b.values.free(name, n)
			}
		}
	}
}

// unopened returns the secrets with a reference that nobody has opened yet.
func (b *Broker) unopened() (out []secret.Name, err error) {
	for name, s := range b.settings.Load().Secrets {
		if s.Ref == "" {
			continue
		}
		if _, err := b.ledger.Current(name); errors.Is(err, ledger.ErrNoEntry) {
			out = append(out, name)
		} else if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Refer opens what lies at a reference, where the store has them.
func (s *placed) Refer(ctx context.Context, ref string) (secret.Value, error) {
	from, ok := s.inner.(providers.Referrer)
	if !ok {
		return secret.Value{}, &Error{CodeConflict, fmt.Sprintf("store %q has no references", s.spec.Name), "secretctl check"}
	}
	call, stop := context.WithTimeout(ctx, storeTime)
	defer stop()
	v, err := from.Refer(call, ref)
	return v, s.noted(ctx, err)
}
