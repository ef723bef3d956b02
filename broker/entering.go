package broker

import (
	"context"
	"errors"
	"fmt"

	"secretctl/broker/ledger"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// entering is catching up with a secret that a host is moving into the store: it is
// not there yet. When nothing was heard of that host for long it never will be; but
// the numbers it took are taken.
func (b *Broker) entering(store *placed, e *ledger.Entry, name secret.Name, m met) (met, error) {
	host, err := b.host()
	if err == nil && m.shared.Entering != host && m.age >= claimTime {
		m.shared.Entering, m.shared.Removed = "", true
		err = b.adoptShared(e, store, name, &m.shared)
	}
	b.hosts.put(name, m)
	return m, err
}

// arrived reports whether the hosts were told that the versions which a move has
// copied into the store are in force there.
func (b *Broker) arrived(ctx context.Context, store *placed, name secret.Name, versions []uint64) (bool, error) {
	r, err := store.Record(ctx, name)
	if errors.Is(err, providers.ErrAbsent) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	s, err := readShared(&r, store, name)
	if err != nil {
		return false, err
	}
	for _, n := range versions {
		if _, ok := s.Versions[n]; !ok {
			return false, nil
		}
	}
	return s.Entering == "" && !s.Removed, nil
}

// enter has other hosts know that this one is moving a secret into the store, where
// there is none of its name. What it is numbered from then on no version there was.
func (b *Broker) enter(ctx context.Context, store *placed, e *ledger.Entry) error {
	host, err := b.host()
	if err != nil {
		return err
	}
	var m met
	r, err := store.Record(ctx, e.Name)
	if err == nil {
		m.revision = r.Revision
		m.shared, err = readShared(&r, store, e.Name)
	}
	switch {
	case errors.Is(err, providers.ErrAbsent):
	case err != nil:
		return unavailable("moving", e.Name, err)
	case m.shared.Entering != host && !m.shared.Removed:
		return &Error{CodeConflict, fmt.Sprintf("moving %q: host %q has a secret of that name in store %q", e.Name, m.shared.Host, store.spec.Name),
			"if it is the same one: secretctl rm " + string(e.Name) + ", and name the store in secretctl.toml"}
	}
	e.Next = max(e.Next, m.shared.Next)
	m.shared, m.gone = shared{Entering: host, Created: e.Created, Next: e.Next}, false
	_, err = b.changeRecord(ctx, store, e.Name, m)
	if errors.Is(err, providers.ErrChanged) {
		return changedElsewhere(e.Name)
	} else if err != nil {
		return unavailable("moving", e.Name, err)
	}
	return nil
}

// leave takes back what enter said, unless another host has the name by now.
func (b *Broker) leave(ctx context.Context, store *placed, name secret.Name) error {
	m := b.hosts.get(name)
	if m.shared.Entering == "" {
		return nil
	}
	m.shared.Entering, m.shared.Removed = "", true
	_, err := b.changeRecord(ctx, store, name, m)
	return err
}
