package broker

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"secretctl/broker/secret"
)

// leased is when secrets were last handed out. It goes to the ledger once a
// minute: a lease does not wait for it, and a crash forgets a minute of it.
type leased struct {
	mu  sync.Mutex
	new map[secret.Name]time.Time // what the ledger may not have yet
}

func (l *leased) note(name secret.Name, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.new == nil {
		l.new = make(map[secret.Name]time.Time)
	}
	if at.After(l.new[name]) {
		l.new[name] = at
	}
}

func (l *leased) pending() map[secret.Name]time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.new)
}

// kept drops what the ledger has.
func (l *leased) kept(at map[secret.Name]time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.new, func(name secret.Name, latest time.Time) bool { return latest.Equal(at[name]) })
}

// keepLeased tells the ledger.
func (b *Broker) keepLeased() {
	fresh := b.leased.pending()
	if len(fresh) == 0 {
		return
	}
	if err := b.ledger.Leased(fresh); err != nil {
		b.Warn(fmt.Sprintf("keeping when secrets were last handed out: %v", err))
		return
	}
	b.leased.kept(fresh)
}

// lastLeased returns when the secrets whose names begin with prefix were last
// handed out; those that never were are not in it.
func (b *Broker) lastLeased(prefix string) (map[secret.Name]time.Time, error) {
	fresh := b.leased.pending() // first: what leaves it is in the ledger
	all, err := b.ledger.LastLeased(prefix)
	for name, at := range fresh {
		if err == nil && strings.HasPrefix(string(name), prefix) {
			all[name] = at
		}
	}
	return all, err
}
