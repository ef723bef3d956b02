package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"secretctl/broker/ledger"
	"secretctl/broker/secret"
)

// finishing finishes what is unfinished, every minute, until ctx is done. A store
// may be down for long: what is in the way is said once.
func (b *Broker) finishing(ctx context.Context) {
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-minute.C:
		}
		text := ""
		if err := b.finish(ctx, true); err != nil {
			text = err.Error()
		}
		if text != "" && text != said && ctx.Err() == nil {
			b.Warn(text)
		}
		said = text
	}
}

// finish goes on with removals and moves that a crash, or a store that did not
// work, cut short: those of the stores that are always there, or of all.
func (b *Broker) finish(ctx context.Context, all bool) error {
	removed, err := b.ledger.Removed()
	if err != nil {
		return err
	}
	left, err := b.ledger.Left()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range slices.Concat(removed, left) {
		errs = append(errs, b.finishOne(ctx, name, all))
	}
	return errors.Join(errs...)
}

func (b *Broker) finishOne(ctx context.Context, name secret.Name, all bool) error {
	defer b.writing.lock(name)()
	if all {
		if err := b.catchUpOwn(ctx, name, ""); err != nil {
			return err
		}
	}
	e, err := b.ledger.Raw(name)
	if err != nil {
		return err
	}
	here := func(store string) bool { return all || b.Stores[store] != nil }
	if here(e.Store) {
		err = b.finishRemoval(ctx, &e)
	}
	if e.Left != nil && here(e.Left.Store) {
		err = errors.Join(err, b.finishMove(ctx, &e))
	}
	return err
}

// finishRemoval deletes the versions of a removed secret from its store, and
// only then forgets them. For another it does nothing.
func (b *Broker) finishRemoval(ctx context.Context, e *ledger.Entry) error {
	if !e.Removed || len(e.Versions) == 0 {
		return nil
	}
	for n := range e.Versions {
		b.values.free(e.Name, n)
		if e.Ref != "" { // it is not ours there
			continue
		}
		store, err := b.store(e.Store)
		if err != nil {
			return err
		}
		if err := store.Delete(ctx, e.Name, n); err != nil {
			return fmt.Errorf("removing %q: %w", e.Name, err)
		}
	}
	e.Versions = nil
	return b.keep(ctx, e)
}

// finishMove removes what a secret that was moved has left in the store before.
func (b *Broker) finishMove(ctx context.Context, e *ledger.Entry) error {
	if e.Left == nil {
		return nil
	}
	store, err := b.store(e.Left.Store)
	if err != nil {
		return err
	}
	if store.spec.Shared && e.Store != e.Left.Store {
		there, err := b.arrived(ctx, store, e.Name, e.Left.Versions)
		if err != nil {
			return unavailable("moving", e.Name, err)
		}
		if there { // a crash kept it from being known here
			return b.finishArrived(ctx, store, e)
		}
	}
	for _, n := range e.Left.Versions {
		if err := store.Delete(ctx, e.Name, n); err != nil {
			return &Error{CodeStoreUnavailable, fmt.Sprintf("%q is in store %q, and what it left in store %q is not removed yet: %v", e.Name, e.Store, e.Left.Store, err),
				"it is tried again every minute; secretctl status shows what does not work"}
		}
	}
	e.Left = nil
	return b.ledger.Note(e)
}

// finishArrived finishes the move of a secret into a store that other hosts look at,
// and of which they were told.
func (b *Broker) finishArrived(ctx context.Context, store *placed, e *ledger.Entry) error {
	e.Left = &ledger.Leftover{Store: e.Store, Versions: slices.Clone(e.Left.Versions)}
	e.Store, e.Current = store.spec.Name, 0
	if err := b.ledger.Note(e); err != nil {
		return err
	}
	if _, err := b.catchUp(ctx, store, e.Name); err != nil {
		return err
	}
	moved, err := b.ledger.Raw(e.Name)
	if err != nil {
		return err
	}
	*e = moved
	return b.finishMove(ctx, e)
}
