package broker

import (
	"context"
	"strconv"
	"sync"
	"time"
)

// changes wakes those who wait for any secret to change.
type changes struct {
	mu   sync.Mutex
	next chan struct{} // closed at the next change; nil: nobody waits
}

// wait returns a channel that is closed at the next change.
func (c *changes) wait() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next == nil {
		c.next = make(chan struct{})
	}
	return c.next
}

// awaited reports whether anybody waits, or has since the last change.
func (c *changes) awaited() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.next != nil
}

func (c *changes) tell() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next != nil {
		close(c.next)
		c.next = nil
	}
}

// Change is one secret with a new current version.
type Change struct {
	Name    string `json:"name"`
	Version uint64 `json:"version"`
}

// Changes are those after a cursor, and the cursor to ask with next.
type Changes struct {
	Cursor  string   `json:"cursor"`
	Changes []Change `json:"changes"`
}

// longPoll is how long a caller is kept waiting for a change.
const longPoll = 25 * time.Second

// Changes returns what changed after the cursor among what the caller may
// have, waiting for it for a while. An empty cursor returns the present one at
// once. A cursor from another home, or from before a recover, is answered with
// everything the caller may have: it missed what cannot be known.
func (b *Broker) Changes(ctx context.Context, c *Caller, cursor string) (Changes, error) {
	latest, err := b.ledger.Latest()
	if err != nil {
		return Changes{}, err
	}
	if cursor == "" {
		return Changes{Cursor: strconv.FormatUint(latest, 10), Changes: []Change{}}, nil
	}
	since, err := strconv.ParseUint(cursor, 10, 64)
	if err != nil || strconv.FormatUint(since, 10) != cursor {
		return Changes{}, badRequest("since is not a cursor", "leave it out to get the present one")
	}
	if since > latest {
		since = 0
	}
	ctx, stop := context.WithTimeout(ctx, longPoll)
	defer stop()
	for {
		woken := b.changes.wait()
		out, err := b.changesAfter(c, since)
		if err != nil || len(out.Changes) > 0 {
			return out, err
		}
		select {
		case <-woken:
		case <-ctx.Done():
			return out, nil
		}
	}
}

func (b *Broker) changesAfter(c *Caller, since uint64) (Changes, error) {
	all, err := b.ledger.Changes(since)
	if err != nil {
		return Changes{}, err
	}
	out := Changes{Changes: []Change{}}
	for _, change := range all {
		since = change.At
		if change.Version == 0 {
			continue // removed: who had it finds out at its next lease
		}
		if c.owner {
			out.Changes = append(out.Changes, Change{string(change.Name), change.Version})
			continue
		}
		if _, _, ok := b.settings.Load().Policy.Granted(c.Name(), change.Name); ok {
			out.Changes = append(out.Changes, Change{string(change.Name), change.Version})
		}
	}
	out.Cursor = strconv.FormatUint(since, 10)
	return out, nil
}
