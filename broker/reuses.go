package broker

import (
	"maps"
	"sync"

	"secretctl/broker/lease"
	"secretctl/broker/secret"
)

// maxReusers is how many consumers of one agent are told apart. They are told
// apart by what they say of themselves, which costs an agent nothing: beyond this
// one is given its lease and is not remembered.
const maxReusers = 1000

// reuses is what was last given to each consumer for reuse.
type reuses struct {
	mu    sync.Mutex
	given map[reuser]copied
	of    map[string]int // agent → consumers
}

// get returns what a consumer was last given.
func (r *reuses) get(who reuser) (c copied, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok = r.given[who]
	return c, ok
}

// put remembers what a consumer is given (none: nothing more) and returns what it
// had before.
func (r *reuses) put(who reuser, now copied) (before copied, had bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, had = r.given[who]
	switch {
	case now == (copied{}):
		r.dropLocked(who)
	case !had && r.of[who.agent] >= maxReusers:
	default:
		if r.given == nil {
			r.given, r.of = make(map[reuser]copied), make(map[string]int)
		}
		if !had {
			r.of[who.agent]++
		}
		r.given[who] = now
	}
	return before, had
}

func (r *reuses) dropLocked(who reuser) {
	if _, had := r.given[who]; !had {
		return
	}
	delete(r.given, who)
	if r.of[who.agent]--; r.of[who.agent] == 0 {
		delete(r.of, who.agent)
	}
}

// end forgets those whose leases were ended.
func (r *reuses) end(ended map[lease.ID]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for who, c := range maps.Clone(r.given) {
		if ended[c.id] {
			r.dropLocked(who)
		}
	}
}

// on returns the leases by which a version of a secret was last given.
func (r *reuses) on(name secret.Name, version uint64) (ids []lease.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for who, c := range r.given {
		if who.name == name && c.version == version {
			ids = append(ids, c.id)
		}
	}
	return ids
}
