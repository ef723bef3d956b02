package rotation

import (
	"context"
	"slices"
	"sync"

	"secretctl/broker/secret"
)

// defaultParallel is how many calls to services are under way at a time where
// nothing is configured.
const defaultParallel = 4

// calls bounds what is done at once: calls in all and to one provider, and none
// with a managing credential that is being changed. A call gets all that it needs
// or nothing, so that no two wait for each other, and in the order of asking, so
// that none waits for ever.
type calls struct {
	parallel func() int

	mu       sync.Mutex
	all      int
	provider map[string]int
	used     map[secret.Name]int // by calls under way; -1: it is being changed
	queue    []*turn
}

// turn is a call that waits, or is under way.
type turn struct {
	provider string
	uses     []secret.Name // managing credentials
	changes  secret.Name   // "": none
	ready    chan struct{} // closed when it is under way
}

// begin waits for room for a call.
func (c *calls) begin(ctx context.Context, provider string, uses []secret.Name, changes secret.Name) (end func(), err error) {
	t := &turn{provider, uses, changes, make(chan struct{})}
	c.mu.Lock()
	c.queue = append(c.queue, t)
	c.admit()
	c.mu.Unlock()
	select {
	case <-t.ready:
		return func() { c.end(t) }, nil
	case <-ctx.Done():
	}
	c.mu.Lock()
	i := slices.Index(c.queue, t)
	if i >= 0 {
		c.queue = slices.Delete(c.queue, i, i+1)
		c.admit() // who waited behind it
	}
	c.mu.Unlock()
	if i < 0 {
		c.end(t) // it was let in meanwhile
	}
	return nil, ctx.Err()
}

func (c *calls) end(t *turn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.provider[t.provider]--; c.provider[t.provider] == 0 {
		delete(c.provider, t.provider)
	}
	t.hold(c.used, -1)
	c.admit()
}

// hold counts what a call holds of managing credentials, or lets go of it.
func (t *turn) hold(used map[secret.Name]int, n int) {
	for _, name := range t.uses {
		if name != t.changes {
			if used[name] += n; used[name] == 0 {
				delete(used, name)
			}
		}
	}
	switch {
	case t.changes == "":
	case n > 0:
		used[t.changes] = -1
	default:
		delete(used, t.changes)
	}
}

// admit lets those begin that have room. Nobody passes one who waits to change
// what it would use.
func (c *calls) admit() {
	limit := defaultParallel
	if c.parallel != nil {
		limit = max(c.parallel(), 1)
	}
	var awaited []secret.Name
	c.queue = slices.DeleteFunc(c.queue, func(t *turn) bool {
		if c.all >= limit || c.provider[t.provider] >= max(limit/2, 1) {
			return false
		}
		if !c.free(t, awaited) {
			if t.changes != "" {
				awaited = append(awaited, t.changes)
			}
			return false
		}
		if c.provider == nil {
			c.provider, c.used = make(map[string]int), make(map[secret.Name]int)
		}
		c.all++
		c.provider[t.provider]++
		t.hold(c.used, 1)
		close(t.ready)
		return true
	})
}

// free reports whether a call may have its managing credentials.
func (c *calls) free(t *turn, awaited []secret.Name) bool {
	for _, name := range t.uses {
		if name != t.changes && (c.used[name] < 0 || slices.Contains(awaited, name)) {
			return false
		}
	}
	return t.changes == "" || c.used[t.changes] == 0
}
