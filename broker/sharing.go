package broker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"secretctl/broker/ledger"
	"secretctl/broker/mask"
	"secretctl/broker/secret"
)

// sharing knows which versions hold the same value, since ending the credential
// of one ends the others'. It is worked out when it is first asked, and then for
// what has changed; nothing of it is kept.
type sharing struct {
	mu    sync.Mutex
	salt  mask.Salt
	seen  uint64                   // the ledger's change that was looked at last
	again map[secret.Name]bool     // could not be opened then
	of    map[secret.Name][]marked // what is known of each secret
	with  map[mark]map[held]bool   // the versions with one value
}

// mark is a salted digest of a value.
type mark = [16]byte

// marked is a version whose value is known.
type marked struct {
	held
	mark mark
}

// Sharing returns the other versions, of any secret, that have the value of one.
// A value that is not worth masking, which two may have by chance, is never the
// same, and neither is one that cannot be opened now.
func (v *Vault) Sharing(ctx context.Context, name secret.Name, version uint64) (map[secret.Name][]uint64, error) {
	s := &v.b.sharing
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.catchUp(ctx, v.b); err != nil {
		return nil, err
	}
	out := make(map[secret.Name][]uint64)
	for _, m := range s.of[name] {
		if m.version != version {
			continue
		}
		for h := range s.with[m.mark] {
			if h != m.held {
				out[h.name] = append(out[h.name], h.version)
			}
		}
	}
	for _, versions := range out {
		slices.Sort(versions)
	}
	return out, nil
}

func (s *sharing) catchUp(ctx context.Context, b *Broker) error {
	if s.of == nil {
		s.salt, s.again = mask.NewSalt(), make(map[secret.Name]bool)
		s.of, s.with = make(map[secret.Name][]marked), make(map[mark]map[held]bool)
	}
	changes, err := b.ledger.Changes(s.seen)
	if err != nil {
		return err
	}
	for _, c := range changes {
		s.again[c.Name] = true
		s.seen = c.At
	}
	for name := range maps.Clone(s.again) {
		if err := s.look(ctx, b, name); err != nil {
			return err
		}
	}
	return nil
}

// look works out what is known of one secret. What cannot be opened is looked at
// again when it is asked next, and until then as it was; a store that is known not
// to work is not asked.
func (s *sharing) look(ctx context.Context, b *Broker, name secret.Name) error {
	e, err := b.ledger.Get(name)
	if err != nil && !errors.Is(err, ledger.ErrNoEntry) {
		return err
	}
	var known []marked
	if err == nil {
		store, err := b.store(e.Store)
		if err != nil || !store.down().IsZero() {
			return nil
		}
		for _, version := range slices.Sorted(maps.Keys(e.Versions)) {
			m, worth, err := s.markOf(ctx, b, held{name, version})
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case errors.Is(err, errReplaced): // nobody can have it any more
			case err != nil:
				return nil
			case worth:
				known = append(known, m)
			}
		}
	}
	for _, m := range s.of[name] {
		if delete(s.with[m.mark], m.held); len(s.with[m.mark]) == 0 {
			delete(s.with, m.mark)
		}
	}
	delete(s.of, name)
	delete(s.again, name)
	for _, m := range known {
		if s.with[m.mark] == nil {
			s.with[m.mark] = make(map[held]bool)
		}
		s.with[m.mark][m.held] = true
		s.of[name] = known
	}
	return nil
}

// markOf opens a version. worth is false for a value that two may have by chance.
func (s *sharing) markOf(ctx context.Context, b *Broker, h held) (m marked, worth bool, err error) {
	m.held = h
	value, err := b.values.openWithRoom(ctx, h)
	if err != nil {
		return m, false, err
	}
	defer value.Clear()
	err = value.Use(func(text []byte) (err error) {
		m.mark, err = s.salt.Digest(text)
		return err
	})
	if errors.Is(err, mask.ErrShort) || errors.Is(err, mask.ErrPlain) {
		return m, false, nil
	}
	return m, true, err
}
