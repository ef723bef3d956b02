package broker

import (
	"slices"
	"sync"

	"secretctl/broker/secret"
)

// locks are held by whoever changes a secret, one at a time for each, so that a
// store that does not answer holds up nobody with another secret. A lock is there
// while somebody has it or waits for it.
type locks struct {
	mu sync.Mutex
	of map[secret.Name]*lock
}

type lock struct {
	sync.Mutex
	users int // who has it or waits for it; under locks.mu
}

// lock takes the locks of names, always in one order, so that no two who want
// several wait for each other.
func (l *locks) lock(names ...secret.Name) (unlock func()) {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	held := make([]*lock, len(names))
	for i, name := range names {
		held[i] = l.get(name)
		held[i].Lock()
	}
	return func() {
		for i, name := range names {
			held[i].Unlock()
			l.put(name)
		}
	}
}

func (l *locks) get(name secret.Name) *lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = make(map[secret.Name]*lock)
	}
	one := l.of[name]
	if one == nil {
		one = new(lock)
		l.of[name] = one
	}
	one.users++
	return one
}

func (l *locks) put(name secret.Name) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of[name].users--; l.of[name].users == 0 {
		delete(l.of, name)
	}
}
