package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"secretctl/broker/audit"
	"secretctl/broker/ledger"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// Moved is what came of moving a secret.
type Moved struct {
	Secret   string `json:"secret"`
	From     string `json:"from"` // as To when it was there already
	To       string `json:"to"`
	Versions int    `json:"versions"`
}

// Move moves a secret's versions to another store: each is copied, read back and
// compared; then the ledger says where they are, and only then do the old copies
// go. A crash leaves the secret in one of the two, whole; moving it again, or the
// next start, removes what is left in the other. Leases are not touched.
func (b *Broker) Move(ctx context.Context, c *Caller, name secret.Name, to string) (out Moved, err error) {
	if b.log == nil {
		return out, b.notRecorded(b.logErr)
	}
	defer b.writing.lock(name)()
	if err := b.busy(ctx, "moving", name, ""); err != nil {
		return out, err
	}
	e, err := b.known(name)
	if err != nil {
		return out, err
	}
	out = Moved{Secret: string(name), From: e.Store, To: to, Versions: len(e.Versions)}
	if err := b.mayMove(&e, to); err != nil {
		return out, err
	}
	if e.Store == to {
		return out, b.finishMove(ctx, &e)
	}
	if err := b.finishMove(ctx, &e); err != nil { // of the move before: only one store is remembered
		return out, err
	}
	if e.Store == to { // which had come so far
		return out, nil
	}
	shared := b.sharedAt(to)
	if shared != nil {
		if err := b.enter(ctx, shared, &e); err != nil {
			return out, err
		}
	}
	// Whatever cuts this short, what was copied is known, and goes.
	before := e
	before.Left = &ledger.Leftover{Store: to, Versions: slices.Sorted(maps.Keys(e.Versions))}
	if err := b.ledger.Note(&before); err != nil {
		return out, fmt.Errorf("moving %q: %w", name, err)
	}
	if err := b.copyVersions(ctx, &e, to); err != nil {
		err = errors.Join(err, b.finishMove(ctx, &before))
		if shared != nil {
			err = errors.Join(err, b.leave(ctx, shared, name))
		}
		return out, err
	}
	r := b.record(c, audit.EventMove)
	r.Secret, r.Version, r.Decision, r.Stated = name, e.Current, audit.Allow, audit.Sanitise(e.Store+" to "+to, 200)
	if err := b.log.Append(r); err != nil {
		return out, b.notRecorded(err)
	}
	e.Store, e.Left = to, &ledger.Leftover{Store: e.Store, Versions: slices.Sorted(maps.Keys(e.Versions))}
	// Whoever finds the move cut short after this sees that it has been told.
	if err := b.tellHosts(ctx, &e); err != nil {
		if conflict := (*Error)(nil); errors.As(err, &conflict) { // another host was faster
			err = errors.Join(err, b.finishMove(ctx, &before))
		}
		return out, err
	}
	if err := b.ledger.Note(&e); err != nil {
		return out, fmt.Errorf("moving %q: %w", name, err)
	}
	return out, b.finishMove(ctx, &e)
}

// mayMove says why a secret cannot be moved to a store.
func (b *Broker) mayMove(e *ledger.Entry, to string) error {
	if _, err := b.store(to); err != nil {
		return err
	}
	if err := b.kept("moving", e); err != nil {
		return err
	}
	configured := b.settings.Load().Secrets[e.Name].Store
	switch {
	case b.sharedAt(e.Store) != nil && to != e.Store:
		return &Error{CodeConflict, fmt.Sprintf("moving %q: other hosts keep it in store %q too, and would lose it", e.Name, e.Store),
			fmt.Sprintf("a copy under another name: secretctl get %s | secretctl set NAME --store %s", e.Name, to)}
	case e.Name.Own() && to != defaultStore:
		return ownStays(e.Name)
	case configured != "" && configured != to:
		return &Error{CodeConflict, fmt.Sprintf("moving %q: the config has it in store %q", e.Name, configured),
			fmt.Sprintf(`in secretctl.toml: [secret."%s"] store = "%s"; then: secretctl reload, and again`, e.Name, to)}
	}
	return nil
}

// copyVersions puts every version of e into another store, and takes the sums it
// has there into e.
func (b *Broker) copyVersions(ctx context.Context, e *ledger.Entry, to string) error {
	from, err := b.store(e.Store)
	if err != nil {
		return err
	}
	into, err := b.store(to)
	if err != nil {
		return err
	}
	e.Versions = maps.Clone(e.Versions)
	for _, n := range slices.Sorted(maps.Keys(e.Versions)) {
		known := e.Versions[n]
		want := known.Sum
		if now, err := from.Sum(ctx, e.Name, n); err == nil && known.Has(now) {
			want = now
		}
		sum, err := b.copyVersion(ctx, from, into, held{e.Name, n}, want)
		if err != nil {
			return unavailable("moving", e.Name, err)
		}
		known.Settle(sum)
		e.Versions[n] = known
	}
	return nil
}

func (b *Broker) copyVersion(ctx context.Context, from, into *placed, h held, want providers.Sum) (sum providers.Sum, err error) {
	value, err := b.getWithRoom(ctx, from, h, want)
	if errors.Is(err, providers.ErrChanged) {
		return sum, changedOutside(h.name, h.version)
	} else if err != nil {
		return sum, err
	}
	defer value.Clear()
	if sum, err = putAnew(ctx, into, h.name, h.version, value); err != nil {
		return sum, err
	}
	back, err := b.getWithRoom(ctx, into, h, sum)
	if err != nil {
		return sum, fmt.Errorf("reading version %d back: %w", h.version, err)
	}
	defer back.Clear()
	if !back.Equal(value) {
		return sum, fmt.Errorf("reading version %d back: it is another value than was put", h.version)
	}
	return sum, nil
}

// getWithRoom gets a version, making room in the locked memory if needed.
func (b *Broker) getWithRoom(ctx context.Context, s *placed, h held, want providers.Sum) (secret.Value, error) {
	value, err := s.Get(ctx, h.name, h.version, want)
	for errors.Is(err, secret.ErrFull) && b.values.evict() {
		value, err = s.Get(ctx, h.name, h.version, want)
	}
	return value, err
}

func postMove(r *request) error {
	name, err := r.named()
	if err != nil {
		return err
	}
	out, err := r.b.Move(r.Context(), r.c, name, r.URL.Query().Get("store"))
	if err != nil {
		return err
	}
	return r.reply(http.StatusOK, out)
}

// Move moves a secret's versions to another store.
func (c *Client) Move(ctx context.Context, name secret.Name, to string) (out Moved, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/move", url.Values{"name": {string(name)}, "store": {to}}, nil, &out)
	return out, err
}
