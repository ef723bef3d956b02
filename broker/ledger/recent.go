package ledger

import (
	"sync"

	"secretctl/broker/secret"
)

// maxRecent is how many current versions are remembered: about 200 bytes each.
const maxRecent = 4096

// recent remembers which version of a secret is current, so that a lease does
// not decode an entry.
type recent struct {
	mu      sync.RWMutex
	writes  uint64                 // entries forgotten so far
	current map[secret.Name]uint64 // never of a secret that is not there
}

// Current returns the version a lease on the secret gets, [ErrNoEntry] when
// there is no such secret and [ErrEnded], beside the version, when that is dead.
func (l *Ledger) Current(name secret.Name) (uint64, error) {
	l.recent.mu.RLock()
	version, ok := l.recent.current[name]
	writes := l.recent.writes
	l.recent.mu.RUnlock()
	if ok {
		return version, nil
	}
	e, err := l.Get(name)
	if err != nil {
		return 0, err
	}
	if e.Versions[e.Current].Ended {
		return e.Current, ErrEnded
	}
	l.recent.remember(name, e.Current, writes)
	return e.Current, nil
}

// remember keeps what was read, unless something was written since.
func (r *recent) remember(name secret.Name, version, writes uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.writes != writes {
		return
	}
	if r.current == nil || len(r.current) >= maxRecent {
		r.current = make(map[secret.Name]uint64)
	}
	r.current[name] = version
}

// forget drops what is known of entries that have been written.
func (r *recent) forget(entries []*Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writes++
	for _, e := range entries {
		delete(r.current, e.Name)
	}
}
