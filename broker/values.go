package broker

import (
	"container/list"
	"context"
	"errors"
	"sync"

	"secretctl/broker/secret"
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
	open func(context.Context, held) (secret.Value, error)

	mu      sync.Mutex
	entries map[held]*list.Element // :: version → element of recent
	recent  *list.List             // of *opened, most recently used first
}

// opened is one version in the cache, or on its way into it.
type opened struct {
	held
	ready  chan struct{} // closed once value and err are set
	value  secret.Value
	err    error
	doomed bool // dropped while it was being opened; under values.mu
}

func newValues(open func(context.Context, held) (secret.Value, error)) *values {
	return &values{open: open, entries: make(map[held]*list.Element), recent: list.New()}
}

// get returns the value, opening it unless it is there. Callers that come while
// it is being opened wait for that one opening.
func (v *values) get(ctx context.Context, h held) (secret.Value, error) {
	v.mu.Lock()
	if el, ok := v.entries[h]; ok {
		v.recent.MoveToFront(el)
		v.mu.Unlock()
		o := el.Value.(*opened)
		select {
		case <-o.ready:
			return o.value, o.err
		case <-ctx.Done():
			return secret.Value{}, ctx.Err()
		}
	}
	o := &opened{held: h, ready: make(chan struct{})}
	v.entries[h] = v.recent.PushFront(o)
	v.mu.Unlock()

	// The opening serves all who wait, so it does not end with the first caller.
	o.value, o.err = v.openWithRoom(context.WithoutCancel(ctx), h)
	v.mu.Lock()
	if o.doomed && o.err == nil {
		o.value.Clear()
		o.value, o.err = secret.Value{}, secret.ErrCleared
	}
	close(o.ready)
	v.mu.Unlock()
	if o.err != nil {
		v.free(h.name, h.version)
	}
	return o.value, o.err
}

// openWithRoom opens the version, making room in the locked memory if needed.
func (v *values) openWithRoom(ctx context.Context, h held) (secret.Value, error) {
	for {
		value, err := v.open(ctx, h)
		if !errors.Is(err, secret.ErrFull) || !v.evict() {
			return value, err
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
	} else {
		o.doomed = true
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
