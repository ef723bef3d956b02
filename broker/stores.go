package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"sync"
	"time"

	"secretctl/broker/config"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// storeTime bounds one call to a store: whoever waits for one that does not
// answer waits no longer.
const storeTime = 15 * time.Second

// placed is a store as the config names it. Its calls end in time, and it
// remembers since when it has not worked.
type placed struct {
	inner providers.Store
	spec  config.Store
	now   func() time.Time

	mu    sync.Mutex
	since time.Time // of the first failure since it last worked; zero: it works, or was never asked
}

var _ providers.Batcher = (*placed)(nil)

// openStores opens the stores of a config, all but those that are open already
// as it says.
func (b *Broker) openStores(cfg *config.Config) (map[string]*placed, error) {
	var before map[string]*placed
	if s := b.settings.Load(); s != nil {
		before = s.stores
	}
	out := make(map[string]*placed)
	for name, inner := range b.Stores {
		if out[name] = before[name]; out[name] == nil {
			out[name] = b.placed(inner, config.Store{Name: name, Type: name})
		}
	}
	for _, spec := range cfg.Stores {
		if out[spec.Name] != nil {
			continue
		}
		if was := before[spec.Name]; was != nil && reflect.DeepEqual(was.spec, spec) {
			out[spec.Name] = was
			continue
		}
		if b.OpenStore == nil {
			return nil, fmt.Errorf("opening store %q: this broker has no store of type %q", spec.Name, spec.Type)
		}
		inner, err := b.OpenStore(spec, b.Vault().Own)
		if err != nil {
			return nil, fmt.Errorf("opening store %q: %w", spec.Name, err)
		}
		if _, ok := inner.(providers.Shared); spec.Shared && !ok {
			return nil, fmt.Errorf("opening store %q: it is not one that hosts can share", spec.Name)
		}
		out[spec.Name] = b.placed(inner, spec)
	}
	return out, nil
}

func (b *Broker) placed(inner providers.Store, spec config.Store) *placed {
	return &placed{inner: inner, spec: spec, now: func() time.Time { return b.Clock.Now().Wall }}
}

// closeStores closes those that a config before had and the one in force has not.
func (b *Broker) closeStores(before, now map[string]*placed) {
	for name, s := range before {
		if now[name] == s {
			continue
		}
		if c, ok := s.inner.(io.Closer); ok {
			if err := c.Close(); err != nil {
				b.Warn(fmt.Sprintf("closing store %q: %v", name, err))
			}
		}
	}
}

// store returns the store of a name.
func (b *Broker) store(name string) (*placed, error) {
	s, ok := b.settings.Load().stores[name]
	if !ok {
		return nil, &Error{CodeStoreUnavailable, fmt.Sprintf("there is no store %q", name), "secretctl status lists the stores"}
	}
	return s, nil
}

// noted remembers what came of a call.
func (s *placed) noted(ctx context.Context, err error) error {
	var failed *providers.StoreError
	switch {
	case !errors.As(err, &failed):
		s.mu.Lock()
		s.since = time.Time{}
		s.mu.Unlock()
	case ctx.Err() == nil: // else it is the caller who had no time
		s.failing()
	}
	return err
}

// failing returns since when the store has not worked: now, if it did before.
func (s *placed) failing() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		s.since = s.now()
	}
	return s.since
}

// down returns since when the store has not worked, zero when it does.
func (s *placed) down() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since
}

// Put implements [providers.Store].
func (s *placed) Put(ctx context.Context, name secret.Name, version uint64, v secret.Value) (providers.Sum, error) {
	call, stop := context.WithTimeout(ctx, storeTime)
	defer stop()
	sum, err := s.inner.Put(call, name, version, v)
	return sum, s.noted(ctx, err)
}

// Get implements [providers.Store].
func (s *placed) Get(ctx context.Context, name secret.Name, version uint64, want providers.Sum) (secret.Value, error) {
	call, stop := context.WithTimeout(ctx, storeTime)
	defer stop()
	v, err := s.inner.Get(call, name, version, want)
	return v, s.noted(ctx, err)
}

// Sum implements [providers.Store].
func (s *placed) Sum(ctx context.Context, name secret.Name, version uint64) (providers.Sum, error) {
	call, stop := context.WithTimeout(ctx, storeTime)
	defer stop()
	sum, err := s.inner.Sum(call, name, version)
	return sum, s.noted(ctx, err)
}

// Delete implements [providers.Store].
func (s *placed) Delete(ctx context.Context, name secret.Name, version uint64) error {
	call, stop := context.WithTimeout(ctx, storeTime)
	defer stop()
	return s.noted(ctx, s.inner.Delete(call, name, version))
}

// List implements [providers.Store]. It takes as long as there is much.
func (s *placed) List(ctx context.Context, fn func(secret.Name, uint64, providers.Sum) error) error {
	return s.inner.List(ctx, fn)
}

// Health implements [providers.Store].
func (s *placed) Health(ctx context.Context) error {
	return s.noted(ctx, s.inner.Health(ctx))
}

// Record and Change are those of [providers.Shared], of a store that is shared.
func (s *placed) Record(ctx context.Context, name secret.Name) (providers.Record, error) {
	call, stop := context.WithTimeout(ctx, storeTime)
	defer stop()
	r, err := s.inner.(providers.Shared).Record(call, name)
	return r, s.noted(ctx, err)
}

func (s *placed) Change(ctx context.Context, name secret.Name, revision uint64, text []byte) (uint64, error) {
	call, stop := context.WithTimeout(ctx, storeTime)
	defer stop()
	n, err := s.inner.(providers.Shared).Change(call, name, revision, text)
	return n, s.noted(ctx, err)
}

// Batch implements [providers.Batcher]: in a store that has none each version is
// there at once.
func (s *placed) Batch() providers.Batch {
	if b, ok := s.inner.(providers.Batcher); ok {
		return b.Batch()
	}
	return oneByOne{s}
}

// oneByOne is the batch of a store that has none.
type oneByOne struct{ providers.Store }

func (oneByOne) Commit() error  { return nil }
func (oneByOne) Discard() error { return nil }
