package broker

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"secretctl/broker/ledger"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// shared is what hosts that keep a secret together tell each other of it: what
// the ledger of each is to say. It has no value in it.
type shared struct {
	Format   int                       `json:"format"`
	Host     string                    `json:"host"` // who wrote it
	Created  time.Time                 `json:"created"`
	Rotated  time.Time                 `json:"rotated,omitzero"`
	Current  uint64                    `json:"current"`
	Previous uint64                    `json:"previous,omitempty"`
	Pending  uint64                    `json:"pending,omitempty"`
	Next     uint64                    `json:"next"`
	Versions map[uint64]ledger.Version `json:"versions,omitempty"`
	Rotate   bool                      `json:"rotate,omitempty"`
	Removed  bool                      `json:"removed,omitempty"`
	Ended    []uint64                  `json:"ended,omitempty"`    // see [ledger.Entry]
	Rotation *providers.Claim          `json:"rotation,omitempty"` // under way; nil: none is
	Entering string                    `json:"entering,omitempty"` // the host that is moving it into the store; "": it is there
}

const sharedFormat = 1

// readShared reads a secret's record.
func readShared(r *providers.Record, store *placed, name secret.Name) (s shared, err error) {
	if json.Unmarshal(r.Text, &s) != nil || s.Format != sharedFormat {
		return shared{}, &providers.StoreError{
			Kind: providers.ErrUnavailable, Problem: fmt.Sprintf("the record of %q in store %q is of another version of secretctl", name, store.spec.Name), Remedy: "install the same version on all hosts",
		}
	}
	return s, nil
}

// of takes over what an entry says.
func (s *shared) of(e *ledger.Entry) {
	s.Created, s.Rotated, s.Current, s.Previous, s.Pending, s.Next = e.Created, e.Rotated, e.Current, e.Previous, e.Pending, max(e.Next, 1)
	s.Versions, s.Rotate, s.Removed, s.Ended = maps.Clone(e.Versions), e.Rotate, e.Removed, e.Ended
	for n, v := range s.Versions {
		v.Untold = false
		s.Versions[n] = v
	}
}

// into has an entry say the same, and returns the versions that it had besides.
// What it knows of the end of a version and could not say yet stays.
func (s *shared) into(e *ledger.Entry) (gone []uint64) {
	before := e.Versions
	e.Created, e.Rotated, e.Current, e.Previous, e.Pending, e.Next = s.Created, s.Rotated, s.Current, s.Previous, s.Pending, s.Next
	e.Versions, e.Rotate, e.Removed, e.Ended = maps.Clone(s.Versions), s.Rotate, s.Removed, s.Ended
	for n, was := range before {
		now, ok := e.Versions[n]
		switch {
		case !ok:
			gone = append(gone, n)
		case was.Untold:
			now.Ended, now.Rotate, now.Untold = was.Ended, was.Rotate, true
			e.Versions[n] = now
			if n == e.Current {
				e.Rotate = was.Rotate
			}
		}
	}
	return gone
}

// hosts is what this one knows of the secrets that others keep too.
type hosts struct {
	any atomic.Bool // others were told of a secret, now or before

	mu      sync.Mutex
	name    string // what they call this one; "": not asked for yet
	of      map[secret.Name]met
	looking map[secret.Name]*look
}

// look is one who asks for a record, for all who want it.
type look struct {
	over chan struct{} // closed when err is set
	err  error
}

// met is what was last seen of one secret's record.
type met struct {
	revision uint64 // 0: there was none
	shared   shared
	age      time.Duration // of the record when it was seen
	asked    time.Duration // by the boot clock, when it was last asked for
	seen     time.Duration // and when that worked; 0: it never has
	mine     bool          // a rotation of this host's is in it
	gone     bool          // there is none any more
}

func (h *hosts) get(name secret.Name) met {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.of[name]
}

func (h *hosts) put(name secret.Name, m met) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of == nil {
		h.of = make(map[secret.Name]met)
	}
	h.of[name] = m
}

// ask returns who asks for a record, nil when what is known is fresh enough. first:
// it is the caller, who says by [hosts.answered] what came of it.
func (h *hosts) ask(name secret.Name, now, fresh time.Duration) (l *look, first bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m := h.of[name]; m.seen != 0 && now-m.asked < fresh {
		return nil, false
	}
	if l = h.looking[name]; l != nil {
		return l, false
	}
	if h.looking == nil {
		h.looking = make(map[secret.Name]*look)
	}
	l = &look{over: make(chan struct{})}
	h.looking[name] = l
	return l, true
}

// answered tells all who wait what came of asking. After an error the next one asks
// again.
func (h *hosts) answered(name secret.Name, l *look, now time.Duration, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.looking, name)
	m := h.of[name]
	if m.asked = now; err != nil {
		m.seen = 0
	}
	if h.of == nil {
		h.of = make(map[secret.Name]met)
	}
	h.of[name] = m
	l.err = err
	close(l.over)
}

// same reports whether a record is as it was seen before, and that it was seen.
func (h *hosts) same(name secret.Name, r *providers.Record, now time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	m, ok := h.of[name]
	if !ok || m.revision != r.Revision {
		return false
	}
	m.age, m.seen = r.Age, now
	h.of[name] = m
	return true
}

// forget has the next who wants a secret read its record, whatever it is.
func (h *hosts) forget(name secret.Name) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m, ok := h.of[name]; ok {
		m.revision, m.seen = 0, 0
		h.of[name] = m
	}
}

// mine returns the secrets of which a rotation is this host's.
func (h *hosts) mine() (names []secret.Name) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, m := range h.of {
		if m.mine {
			names = append(names, name)
		}
	}
	return names
}

// sharedAt returns the store of a name if it is one that other hosts keep the same
// secrets in, else nil.
func (b *Broker) sharedAt(store string) *placed {
	if s := b.settings.Load().stores[store]; s != nil && s.spec.Shared {
		return s
	}
	return nil
}

// sharedStore returns the store of a secret that other hosts keep too, nil for
// every other. One that nobody knows here is where it is asked to be, or else
// where the config says.
func (b *Broker) sharedStore(name secret.Name, asked string) (*placed, error) {
	s := b.settings.Load()
	if !s.shared && !b.hosts.any.Load() || name.Own() {
		return nil, nil
	}
	e, err := b.ledger.Raw(name)
	if err != nil && !errors.Is(err, ledger.ErrNoEntry) {
		return nil, err
	}
	at := e.Store
	if e.Current == 0 {
		at = cmp.Or(s.Secrets[name].Store, asked, e.Store)
	}
	store := b.sharedAt(at)
	if store == nil && e.Shared && at == e.Store {
		return nil, notShared(&e)
	}
	return store, nil
}

// errNotShared means that a secret which other hosts keep too is in a store of which
// the config does not say so any more.
var errNotShared = errors.New("the config does not say any more that other hosts keep it too")

func notShared(e *ledger.Entry) error {
	return &unshared{&Error{CodeConflict, fmt.Sprintf("%q: other hosts keep it in store %q too, and the config does not say so any more", e.Name, e.Store),
		fmt.Sprintf("put shared = true back under [store.%s]; or, if no other host has it: secretctl adopt %s", e.Store, e.Name)}, errNotShared}
}

// unshared is an [Error] with why.
type unshared struct {
	told  *Error
	cause error // errNotShared or errRecordGone
}

func (e *unshared) Error() string   { return e.told.Message }
func (e *unshared) Unwrap() []error { return []error{e.told, e.cause} }

// host is what the others call this one: the machine, and the home on it.
func (b *Broker) host() (string, error) {
	b.hosts.mu.Lock()
	defer b.hosts.mu.Unlock()
	if b.hosts.name == "" {
		// It stays when the machine is called something else, as on another network.
		id, err := b.ledger.Host(func() string {
			machine, err := os.Hostname()
			if err != nil {
				machine = "host"
			}
			var b [3]byte
			_, _ = rand.Read(b[:]) // never fails
			return machine + "-" + hex.EncodeToString(b[:])
		})
		if err != nil {
			return "", err
		}
		b.hosts.name = id
		b.hosts.any.Store(true)
	}
	return b.hosts.name, nil
}
