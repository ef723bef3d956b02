package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"secretctl/broker/audit"
	"secretctl/broker/clock"
	"secretctl/broker/durable"
	"secretctl/broker/ledger"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// Resealing is the passage of the embedded store to another identity. Until
// Finish has returned, whatever is in the store opens, whichever of the two it is
// sealed to.
type Resealing interface {
	// List is that of [providers.Store].
	List(ctx context.Context, fn func(secret.Name, uint64, providers.Sum) error) error
	// Stage seals a version to the new identity. It is there once Commit returns.
	// One that is so already has one sum. An error that is a [providers.StoreError]
	// is about the store, any other about this version.
	Stage(ctx context.Context, name secret.Name, version uint64) (before, after providers.Sum, err error)
	// Commit puts what is staged in its place, durably.
	Commit() error
	// Discard gives up what is staged.
	Discard() error
	// Finish has the new identity take the place of the old one.
	Finish() error
}

// Resealed is what [Reseal] did.
type Resealed struct {
	Versions int      `json:"versions"`       // that are sealed to the new identity
	Left     []string `json:"left,omitempty"` // those that do not open, and why: they are as they were, and so is the old identity
}

// resealBatch is how many versions are sealed anew together.
const resealBatch = 256

// Reseal has every version in the embedded store, and what journal seals anew in
// the ledger's file, sealed to another identity. A crash leaves a home that
// opens, and in which it can be done again. The ledger knows the sum of what is
// to be in a file before the file has it. step is told how many are done. The
// caller holds the home's lock.
func Reseal(ctx context.Context, d durable.Disk, clk clock.Clock, r Resealing, journal func(durable.DB) error, step func(done, of int)) (out Resealed, err error) {
	l, err := ledger.Open(d)
	if err != nil {
		return out, err
	}
	if err := out.reseal(ctx, l, r, journal, step); err != nil {
		return out, errors.Join(err, l.Close())
	}
	if err := l.Close(); err != nil || len(out.Left) > 0 {
		return out, err
	}
	if err := appendAlone(d, clk, &audit.Record{Event: audit.EventIdentity, Count: uint64(out.Versions), Decision: audit.Allow}); err != nil {
		return out, fmt.Errorf("recording it in the log: %w", err)
	}
	return out, r.Finish()
}

func (out *Resealed) reseal(ctx context.Context, l *ledger.Ledger, r Resealing, journal func(durable.DB) error, step func(done, of int)) error {
	var all []held
	err := r.List(ctx, func(name secret.Name, version uint64, _ providers.Sum) error {
		all = append(all, held{name, version})
		return nil
	})
	if err != nil {
		return fmt.Errorf("listing the vault: %w", err)
	}
	done := 0
	for batch := range slices.Chunk(all, resealBatch) {
		if err := out.batch(ctx, l, r, batch); err != nil {
			return errors.Join(err, r.Discard())
		}
		done += len(batch)
		step(done, len(all))
	}
	if err := journal(l.DB()); err != nil {
		return fmt.Errorf("sealing the rotation journal anew: %w", err)
	}
	return nil
}

// batch seals some versions anew.
func (out *Resealed) batch(ctx context.Context, l *ledger.Ledger, r Resealing, batch []held) error {
	entries := make(map[secret.Name]*ledger.Entry)
	after := make(map[held]providers.Sum)
	for _, h := range batch {
		if err := ctx.Err(); err != nil {
			return err
		}
		before, now, err := r.Stage(ctx, h.name, h.version)
		var failed *providers.StoreError
		if errors.As(err, &failed) {
			return err
		} else if err != nil {
			out.Left = append(out.Left, err.Error())
			continue
		}
		out.Versions++
		e := entries[h.name]
		if e == nil {
			raw, err := l.Raw(h.name)
			if err != nil && !errors.Is(err, ledger.ErrNoEntry) {
				return err
			}
			e = &raw
			entries[h.name] = e
		}
		// What nobody knows, or somebody changed outside, stays so.
		if v, ok := e.Versions[h.version]; ok && v.Has(before) {
			v.Sum, v.Resealed = before, now
			e.Versions[h.version], after[h] = v, now
		}
	}
	var known []*ledger.Entry
	for _, e := range entries {
		if e.Name != "" && len(e.Versions) > 0 {
			known = append(known, e)
		}
	}
	if err := l.Note(known...); err != nil {
		return err
	}
	if err := r.Commit(); err != nil {
		return err
	}
	for h, sum := range after {
		v := entries[h.name].Versions[h.version]
		v.Settle(sum)
		entries[h.name].Versions[h.version] = v
	}
	return l.Note(known...)
}
