package broker

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// held names one version of one secret.
type held struct {
	name    secret.Name
	version uint64
}

// values is the cache of opened values: each version is decrypted once and
// kept in locked memory while a lease on it lives, the least recently used
// leaving first when the memory is full.
type values struct {
	open func(context.Context, held) (secret.Value, *placed, error)
	now  func() time.Duration // by the boot clock

	mu      sync.Mutex
	entries map[held]*list.Element // :: version → element of recent
	recent  *list.List             // of *opened, most recently used first
}

// opened is one version in the cache, or on its way into it.
type opened struct {
	held
	ready  chan struct{} // closed once value and err are set
	value  secret.Value
	from   *placed       // where it was opened
	at     time.Duration // when, by the boot clock
	tried  time.Duration // when it was last asked for in vain, by the boot clock; 0: it was not
	err    error
	old    *opened // whose value others have while it is opened once more; nil: nobody has
	doomed bool    // dropped while it was being opened; under values.mu
}

func newValues(open func(context.Context, held) (secret.Value, *placed, error), now func() time.Duration) *values {
	return &values{open: open, now: now, entries: make(map[held]*list.Element), recent: list.New()}
}

// get returns the value, opening it unless it is there. Callers that come while
// it is being opened wait for that one opening.
func (v *values) get(ctx context.Context, h held) (secret.Value, error) {
	v.mu.Lock()
	el, there := v.entries[h]
	if there {
		v.recent.MoveToFront(el)
		o := el.Value.(*opened)
		if !o.isReady() || v.believed(o) {
			v.mu.Unlock()
			return o.wait(ctx)
		}
	}
	o := &opened{held: h, ready: make(chan struct{})}
	if there { // it is asked for again
		o.old = el.Value.(*opened)
		el.Value = o
	} else {
		v.entries[h] = v.recent.PushFront(o)
	}
	v.mu.Unlock()

	// The opening serves all who wait, so it does not end with the first caller.
	v.fill(context.WithoutCancel(ctx), o)
	if o.err != nil {
		v.drop(o)
	}
	return o.value, o.err
}

// triedFor is how long a store that did not work is not asked again for a value that
// may be given nevertheless.
const triedFor = 5 * time.Second

// believed reports whether a value may be given without asking its store again.
func (v *values) believed(o *opened) bool {
	if o.err != nil || o.from.spec.Fresh == 0 {
		return true
	}
	now := v.now()
	return now-o.at < o.from.spec.Fresh || o.tried != 0 && now-o.tried < triedFor && v.stale(o, now)
}

// stale reports whether a value may still be given while its store does not work.
func (v *values) stale(o *opened, now time.Duration) bool {
	return now-o.at < o.from.spec.Fresh+o.from.spec.MaxStale
}

// fill opens a value. An old one that is not believed any more stays where it is,
// since others have it, when it is the same; and while the store does not work,
// for as long as the config says.
func (v *values) fill(ctx context.Context, o *opened) {
	o.at = v.now()
	o.value, o.from, o.err = v.openPlaced(ctx, o.held)
	var failed *providers.StoreError
	old := o.old
	stale := old != nil && errors.As(o.err, &failed) && v.stale(old, o.at)
	same := old != nil && o.err == nil && o.value.Equal(old.value)
	v.mu.Lock()
	defer v.mu.Unlock()
	o.old = nil
	switch {
	case o.doomed && o.err == nil:
		o.value.Clear()
		o.value, o.err = secret.Value{}, secret.ErrCleared
	case o.doomed: // with the old one
	case stale:
		o.value, o.from, o.at, o.tried, o.err = old.value, old.from, old.at, o.at, nil
	case same:
		o.value.Clear()
		o.value = old.value
	case old != nil:
		old.value.Clear()
	}
	close(o.ready)
}

// wait waits for the opening.
func (o *opened) wait(ctx context.Context) (secret.Value, error) {
	select {
	case <-o.ready:
		return o.value, o.err
	case <-ctx.Done():
		return secret.Value{}, ctx.Err()
	}
}

// drop forgets an opening that failed, if it is the one that is there.
func (v *values) drop(o *opened) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if el, ok := v.entries[o.held]; ok && el.Value.(*opened) == o {
		v.dropLocked(el)
	}
}

// openWithRoom opens the version, making room in the locked memory if needed.
func (v *values) openWithRoom(ctx context.Context, h held) (secret.Value, error) {
	value, _, err := v.openPlaced(ctx, h)
	return value, err
}

func (v *values) openPlaced(ctx context.Context, h held) (secret.Value, *placed, error) {
	for {
		value, from, err := v.open(ctx, h)
		if !errors.Is(err, secret.ErrFull) || !v.evict() {
			return value, from, err
		}
	}
}

// makeRoom clears values until n bytes more fit, or none is left to clear.
func (v *values) makeRoom(n int) {
	for {
		room, err := secret.Fill(n, func([]byte) error { return nil })
		if err == nil {
			room.Clear()
			return
		}
		if !errors.Is(err, secret.ErrFull) || !v.evict() {
			return
		}
	}
}

// evict clears the value that was not used for longest. It reports whether
// there was one.
func (v *values) evict() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for el := v.recent.Back(); el != nil; el = el.Prev() {
		if el.Value.(*opened).isReady() {
			v.dropLocked(el)
			return true
		}
	}
	return false
}

func (o *opened) isReady() bool {
	select {
	case <-o.ready:
		return true
	default:
		return false
	}
}

// dropLocked clears one entry. One that is still being opened is cleared by
// whoever opens it.
func (v *values) dropLocked(el *list.Element) {
	o := el.Value.(*opened)
	v.recent.Remove(el)
	delete(v.entries, o.held)
	if o.isReady() {
		o.value.Clear()
		return
	}
	if o.doomed = true; o.old != nil {
		o.old.value.Clear()
	}
}

// free clears one version: no lease is on it any more.
func (v *values) free(name secret.Name, version uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if el, ok := v.entries[held{name, version}]; ok {
		v.dropLocked(el)
	}
}

// clear clears every value.
func (v *values) clear() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for el := v.recent.Front(); el != nil; {
		next := el.Next()
		v.dropLocked(el)
		el = next
	}
}
