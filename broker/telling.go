package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"secretctl/broker/ledger"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// changeRecord writes what m says where m was read, and fails with
// [providers.ErrChanged] when somebody else did meanwhile.
func (b *Broker) changeRecord(ctx context.Context, store *placed, name secret.Name, m met) (met, error) {
	host, err := b.host()
	if err != nil {
		return m, err
	}
	m.shared.Format, m.shared.Host = sharedFormat, host
	text, err := json.Marshal(m.shared)
	if err == nil && len(text) > providers.MaxRecord {
		err = fmt.Errorf("%d bytes are more than there can be in it", len(text))
	}
	if err != nil {
		return m, fmt.Errorf("writing the record of %q: %w", name, err)
	}
	m.revision, err = store.Change(ctx, name, m.revision, text)
	if err != nil {
		return m, err
	}
	m.age, m.asked = 0, b.now().Boot
	m.seen = m.asked
	b.hosts.put(name, m)
	return m, nil
}

// keep writes entries into the ledger: first, of secrets that other hosts keep
// too, where those look. Their locks are held, and what the entries were made from
// was caught up with under them. Where one cannot be told to others, those before it
// are in force, which the error says.
func (b *Broker) keep(ctx context.Context, entries ...*ledger.Entry) error {
	for i, e := range entries {
		err := b.tellHosts(ctx, e)
		if err == nil {
			continue
		}
		if i > 0 {
			err = errors.Join(b.ledger.Put(entries[:i]...), forcedBefore(err, entries[:i]))
		}
		return err
	}
	return b.ledger.Put(entries...)
}

// forcedBefore has an error say which secrets have what they were to have, though
// others do not: other hosts were told of it.
func forcedBefore(err error, entries []*ledger.Entry) error {
	said := Error{CodeStoreUnavailable, err.Error(), ""}
	if known := (*Error)(nil); errors.As(err, &known) {
		said = *known
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = string(e.Name)
	}
	said.Message += "; in force by then: " + strings.Join(names, ", ")
	return &said
}

// tellHosts tells other hosts what an entry says, if they keep the secret too.
func (b *Broker) tellHosts(ctx context.Context, e *ledger.Entry) error {
	store := b.sharedAt(e.Store)
	if store == nil {
		return nil
	}
	m := b.hosts.get(e.Name)
	if m.gone {
		return recordGone(e)
	}
	m.shared.Entering = ""
	m.shared.of(e)
	_, err := b.changeRecord(ctx, store, e.Name, m)
	if errors.Is(err, providers.ErrChanged) {
		return changedElsewhere(e.Name)
	}
	if err == nil {
		told(e)
	}
	return err
}

// changedElsewhere is the error of a change that another host was faster with.
func changedElsewhere(name secret.Name) error {
	return &Error{CodeConflict, fmt.Sprintf("another host has changed %q in this moment", name), "again"}
}

// takeBack removes a version that was put and that the others were not told of, since
// one of them was faster. Its number is nobody else's.
func (b *Broker) takeBack(ctx context.Context, store *placed, h held, why error) {
	var conflict *Error
	if !store.spec.Shared || !errors.As(why, &conflict) || conflict.Code != CodeConflict {
		return
	}
	if _, told := b.hosts.get(h.name).shared.Versions[h.version]; told {
		return
	}
	if err := store.Delete(ctx, h.name, h.version); err != nil {
		b.Warn(fmt.Sprintf("removing version %d of %s, which came to nothing: %v", h.version, h.name, err))
	}
}

// reserve keeps a number for a version of a secret that other hosts keep too:
// what is put under it is nobody else's.
func (b *Broker) reserve(ctx context.Context, e *ledger.Entry, version uint64) error {
	kept := *e
	kept.Next = version + 1
	return b.tellHosts(ctx, &kept)
}
