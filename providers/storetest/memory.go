package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"maps"
	"sync"
	"time"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// Memory is a store that keeps values in memory, for tests. The zero value is
// empty.
type Memory struct {
	mu     sync.Mutex
	all    map[key]kept
	others map[string][]byte // :: reference → what somebody else keeps there
	broken error

	// Now is the clock by which the records of shared secrets grow old; nil: they do
	// not.
	Now     func() time.Time
	records map[secret.Name]written
}

var _ providers.Shared = (*Memory)(nil)

// written is a record as it was written.
type written struct {
	providers.Record
	at time.Time
}

var _ providers.Referrer = (*Memory)(nil)

// kept is a version with a salt, so that equal values have different sums.
type kept struct {
	salt, value []byte
}

func (k kept) sum() providers.Sum { return providers.SaltedSum(k.salt, k.value) }

// Break makes every method fail with err, until mend.
func (m *Memory) Break(err error) (mend func()) {
	m.set(err)
	return func() { m.set(nil) }
}

func (m *Memory) set(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = err
}

// begin returns why nothing can be done. The store is locked until end.
func (m *Memory) begin(ctx context.Context) (end func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, providers.Unavailable(err)
	}
	m.mu.Lock()
	if m.broken != nil {
		m.mu.Unlock()
		return nil, providers.Unavailable(m.broken)
	}
	return m.mu.Unlock, nil
}

// Put implements [providers.Store].
func (m *Memory) Put(ctx context.Context, name secret.Name, version uint64, v secret.Value) (providers.Sum, error) {
	end, err := m.begin(ctx)
	if err != nil {
		return providers.Sum{}, err
	}
	defer end()
	if _, ok := m.all[key{name, version}]; ok {
		return providers.Sum{}, providers.ErrExists
	}
	k := kept{salt: make([]byte, 16)}
	_, _ = rand.Read(k.salt) // never fails
	if err := v.Use(func(b []byte) error { k.value = bytes.Clone(b); return nil }); err != nil {
		return providers.Sum{}, providers.Unavailable(err)
	}
	if m.all == nil {
		m.all = make(map[key]kept)
	}
	m.all[key{name, version}] = k
	return k.sum(), nil
}

// Get implements [providers.Store].
func (m *Memory) Get(ctx context.Context, name secret.Name, version uint64, want providers.Sum) (secret.Value, error) {
	end, err := m.begin(ctx)
	if err != nil {
		return secret.Value{}, err
	}
	defer end()
	switch k, ok := m.all[key{name, version}]; {
	case !ok:
		return secret.Value{}, providers.ErrAbsent
	case !want.IsZero() && k.sum() != want:
		return secret.Value{}, providers.ErrChanged
	default:
		v, err := secret.New(bytes.Clone(k.value))
		return v, providers.Unavailable(err)
	}
}

// Sum implements [providers.Store].
func (m *Memory) Sum(ctx context.Context, name secret.Name, version uint64) (providers.Sum, error) {
	end, err := m.begin(ctx)
	if err != nil {
		return providers.Sum{}, err
	}
	defer end()
	k, ok := m.all[key{name, version}]
	if !ok {
		return providers.Sum{}, providers.ErrAbsent
	}
	return k.sum(), nil
}

// Delete implements [providers.Store].
func (m *Memory) Delete(ctx context.Context, name secret.Name, version uint64) error {
	end, err := m.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	delete(m.all, key{name, version})
	return nil
}

// List implements [providers.Store].
func (m *Memory) List(ctx context.Context, fn func(secret.Name, uint64, providers.Sum) error) error {
	end, err := m.begin(ctx)
	if err != nil {
		return err
	}
	all := maps.Clone(m.all)
	end()
	for k, v := range all {
		if err := fn(k.name, k.version, v.sum()); err != nil {
			return err
		}
	}
	return nil
}

// Health implements [providers.Store].
func (m *Memory) Health(ctx context.Context) error {
	end, err := m.begin(ctx)
	if err == nil {
		end()
	}
	return err
}

// Record implements [providers.Shared].
func (m *Memory) Record(ctx context.Context, name secret.Name) (providers.Record, error) {
	end, err := m.begin(ctx)
	if err != nil {
		return providers.Record{}, err
	}
	defer end()
	r, ok := m.records[name]
	if !ok {
		return providers.Record{}, providers.ErrAbsent
	}
	out := r.Record
	out.Text = bytes.Clone(out.Text)
	if m.Now != nil {
		out.Age = max(m.Now().Sub(r.at), 0)
	}
	return out, nil
}

// Change implements [providers.Shared].
func (m *Memory) Change(ctx context.Context, name secret.Name, revision uint64, text []byte) (uint64, error) {
	end, err := m.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	if m.records[name].Revision != revision {
		return 0, providers.ErrChanged
	}
	if m.records == nil {
		m.records = make(map[secret.Name]written)
	}
	now := written{Record: providers.Record{Text: bytes.Clone(text), Revision: revision + 1}}
	if m.Now != nil {
		now.at = m.Now()
	}
	m.records[name] = now
	return now.Revision, nil
}

// Keep has somebody else keep a value at a reference; nil takes it away.
func (m *Memory) Keep(ref string, value []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.others == nil {
		m.others = make(map[string][]byte)
	}
	if m.others[ref] = value; value == nil {
		delete(m.others, ref)
	}
}

// Refer implements [providers.Referrer].
func (m *Memory) Refer(ctx context.Context, ref string) (secret.Value, error) {
	end, err := m.begin(ctx)
	if err != nil {
		return secret.Value{}, err
	}
	defer end()
	b, ok := m.others[ref]
	if !ok {
		return secret.Value{}, providers.ErrAbsent
	}
	v, err := secret.New(bytes.Clone(b))
	return v, providers.Unavailable(err)
}
