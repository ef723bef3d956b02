// Package ledger is what is known about each secret besides its value: its
// versions and the digest of each one's resting bytes, its store, its ages.
//
// It guards against a version that was changed, removed or brought back behind
// the broker's back: what is served is what the ledger says, byte for byte, or
// an error. A change is one transaction, so that a crash leaves the secret as
// it was or as it is to be.
package ledger

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// Name is the file's name in the home.
const Name = "ledger.db"

// The buckets.
const (
	bucketMeta    = "meta"    // "format" → version of this layout; "change" → the latest change; "count" → secrets there are
	bucketSecrets = "secrets" // name → Entry as JSON
	bucketChanges = "changes" // change, big-endian → name; one entry a secret
	bucketRotate  = "rotate"  // name → nothing; those with Entry.Rotate
	bucketRemoved = "removed" // name → nothing; removed, and versions still in the store
)

const format = "1"

// The errors of this package.
var (
	// ErrNoEntry means there is no such secret.
	ErrNoEntry = errors.New("no such secret")
	// ErrAbsent means the home has no ledger.
	ErrAbsent = errors.New("there is no ledger")
)

// Version is one value of a secret.
type Version struct {
	Sum     providers.Sum `json:"sum"`     // of the bytes at rest
	Created time.Time     `json:"created"` // when it was put
}

// Entry is what is known about one secret. Version numbers start at 1; 0 is
// none.
type Entry struct {
	Name     secret.Name        `json:"-"`
	Store    string             `json:"store"`
	Env      string             `json:"env,omitempty"`
	Created  time.Time          `json:"created"`           // when the secret was first put
	Rotated  time.Time          `json:"rotated,omitzero"`  // when its value was last replaced
	Current  uint64             `json:"current"`           // what a lease gets
	Previous uint64             `json:"previous,omitzero"` // what rollback goes back to
	Pending  uint64             `json:"pending,omitzero"`  // being proven
	Next     uint64             `json:"next"`              // never used before, not even by a secret removed since
	Versions map[uint64]Version `json:"versions"`
	Rotate   bool               `json:"rotate,omitempty"`  // must be replaced: it came back from a backup
	Removed  bool               `json:"removed,omitempty"` // gone; kept so that Next never repeats
	Change   uint64             `json:"change"`            // the latest change, in the order of [Ledger.Changes]; set by Put
}

// AgeFrom is the moment the current value's age counts from.
func (e *Entry) AgeFrom() time.Time {
	if v, ok := e.Versions[e.Current]; ok {
		return v.Created
	}
	return e.Created
}

// Order works out which of the versions is current, previous and next, when
// only the versions, of which there is one at least, are known: current is
// wanted if it is there, else the newest; previous is the newest of the others,
// so that what was rolled back can be rolled forward.
func (e *Entry) Order(wanted uint64) {
	numbers := slices.Sorted(maps.Keys(e.Versions))
	e.Next = numbers[len(numbers)-1] + 1
	e.Current = numbers[len(numbers)-1]
	if _, ok := e.Versions[wanted]; ok {
		e.Current = wanted
	}
	e.Previous, e.Pending = 0, 0
	for _, n := range numbers {
		if n != e.Current {
			e.Previous = n
		}
	}
}

// Ledger is the open ledger. It is safe for concurrent use.
type Ledger struct {
	db     durable.DB
	recent recent
}

// Create makes an empty ledger under this file name.
func Create(d durable.Disk, name string) error {
	db, err := d.OpenDB(name)
	if err != nil {
		return fmt.Errorf("creating the ledger: %w", err)
	}
	err = db.Update(func(tx durable.Tx) error {
		return tx.Put(bucketMeta, []byte("format"), []byte(format))
	})
	return errors.Join(err, db.Close())
}

// Open opens the home's ledger. It fails with [ErrAbsent] when there is none:
// a new one would forget every version.
func Open(d durable.Disk) (*Ledger, error) {
	if _, err := d.Stat(Name); errors.Is(err, fs.ErrNotExist) {
		return nil, ErrAbsent
	} else if err != nil {
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	return open(d, Name)
}

func open(d durable.Disk, name string) (*Ledger, error) {
	db, err := d.OpenDB(name)
	if err != nil {
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	err = db.View(func(tx durable.Tx) error {
		switch v := string(tx.Get(bucketMeta, []byte("format"))); v {
		case format:
			return nil
		case "":
			return ErrAbsent // a crash in Create: nothing was ever in it
		default:
			return fmt.Errorf("opening the ledger: format %q is not known to this version", v)
		}
	})
	if err != nil {
		db.Close()
		return nil, err
	}
	return &Ledger{db: db}, nil
}

// kept is where Rebuild keeps the ledger before.
const kept = Name + ".old"

// Before opens the ledger as it was, for what the stores do not say: the home's
// or, where there is none, since a crash cut a [Rebuild] short, the one that
// was kept.
func Before(d durable.Disk) (*Ledger, error) {
	l, err := Open(d)
	if !errors.Is(err, ErrAbsent) {
		return l, err
	}
	if _, err := d.Stat(kept); err != nil {
		return nil, ErrAbsent
	}
	return open(d, kept)
}

// Rebuild replaces the ledger by one that has these entries. The one before
// is kept as ledger.db.old, in case it is wanted.
func Rebuild(d durable.Disk, entries []*Entry) error {
	const fresh = Name + ".new"
	if err := d.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rebuilding the ledger: %w", err)
	}
	if err := Create(d, fresh); err != nil {
		return err
	}
	l, err := open(d, fresh)
	if err != nil {
		return err
	}
	if err := errors.Join(l.Put(entries...), l.Close()); err != nil {
		return fmt.Errorf("rebuilding the ledger: %w", err)
	}
	if err := d.Rename(Name, kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rebuilding the ledger: %w", err)
	}
	if err := d.Rename(fresh, Name); err != nil {
		return fmt.Errorf("rebuilding the ledger: %w", err)
	}
	return d.SyncDir(".")
}

// Close closes the ledger.
func (l *Ledger) Close() error { return l.db.Close() }

// Get returns what is known about a secret, [ErrNoEntry] when there is none.
func (l *Ledger) Get(name secret.Name) (Entry, error) {
	e, err := l.Raw(name)
	if err == nil && !e.exists() {
		return Entry{}, ErrNoEntry
	}
	return e, err
}

// Raw is Get for whoever writes next: it also returns the entry of a secret
// that was removed, or that has no current version yet.
func (l *Ledger) Raw(name secret.Name) (e Entry, err error) {
	err = l.db.View(func(tx durable.Tx) error {
		b := tx.Get(bucketSecrets, []byte(name))
		if b == nil {
			return ErrNoEntry
		}
		return e.unmarshal(name, b)
	})
	return e, err
}

func (e *Entry) unmarshal(name secret.Name, b []byte) error {
	*e = Entry{}
	if err := json.Unmarshal(b, e); err != nil {
		return fmt.Errorf("reading the ledger's entry of %q: %w", name, err)
	}
	e.Name = name
	return nil
}

// Put writes entries, durably and all at once, each as a change of its own.
func (l *Ledger) Put(entries ...*Entry) error {
	defer l.recent.forget(entries)
	return l.db.Update(func(tx durable.Tx) error {
		for _, e := range entries {
			if err := put(tx, e); err != nil {
				return fmt.Errorf("writing the ledger's entry of %q: %w", e.Name, err)
			}
		}
		return nil
	})
}

// put asks the ledger, not e, what is to be replaced: e may be of a Put that
// failed.
func put(tx durable.Tx, e *Entry) error {
	var old Entry
	if b := tx.Get(bucketSecrets, []byte(e.Name)); b != nil {
		if err := old.unmarshal(e.Name, b); err != nil {
			return err
		}
	}
	if err := recount(tx, &old, e); err != nil {
		return err
	}
	if old.Change != 0 {
		if err := tx.Delete(bucketChanges, key(old.Change)); err != nil {
			return err
		}
	}
	e.Change = number(tx, "change") + 1
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return errors.Join(
		tx.Put(bucketMeta, []byte("change"), key(e.Change)),
		tx.Put(bucketChanges, key(e.Change), []byte(e.Name)),
		tx.Put(bucketSecrets, []byte(e.Name), b),
	)
}

// recount keeps what is counted over all secrets in step with e, which takes
// the place of old.
func recount(tx durable.Tx, old, e *Entry) error {
	count := number(tx, "count")
	switch {
	case e.exists() && !old.exists():
		count++
	case !e.exists() && old.exists():
		count--
	}
	return errors.Join(
		tx.Put(bucketMeta, []byte("count"), key(count)),
		list(tx, bucketRotate, e.Name, e.Rotate && e.exists()),
		list(tx, bucketRemoved, e.Name, e.Removed && len(e.Versions) > 0),
	)
}

// list has a name in a bucket of names, or not.
func list(tx durable.Tx, bucket string, name secret.Name, in bool) error {
	if in {
		return tx.Put(bucket, []byte(name), []byte{})
	}
	return tx.Delete(bucket, []byte(name))
}

func number(tx durable.Tx, of string) uint64 {
	if b := tx.Get(bucketMeta, []byte(of)); len(b) == 8 {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// exists reports whether the entry is of a secret that can be had.
func (e *Entry) exists() bool { return !e.Removed && e.Current != 0 }

func key(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// Each calls fn with every secret whose name begins with prefix, in order,
// until fn returns false.
func (l *Ledger) Each(prefix string, fn func(*Entry) bool) error {
	return l.each(prefix, func(e *Entry) bool { return !e.exists() || fn(e) })
}

func (l *Ledger) each(prefix string, fn func(*Entry) bool) error {
	return l.db.View(func(tx durable.Tx) error {
		var bad error
		err := tx.Scan(bucketSecrets, []byte(prefix), func(k, v []byte) bool {
			if !strings.HasPrefix(string(k), prefix) {
				return false
			}
			var e Entry
			if bad = e.unmarshal(secret.Name(k), v); bad != nil {
				return false
			}
			return fn(&e)
		})
		return errors.Join(bad, err)
	})
}

// Change is one secret that changed: only its latest change is kept.
type Change struct {
	At      uint64
	Name    secret.Name
	Version uint64 // current now; 0 when the secret is gone
}

// Latest returns the number of the latest change, 0 before the first.
func (l *Ledger) Latest() (n uint64, err error) {
	err = l.db.View(func(tx durable.Tx) error {
		n = number(tx, "change")
		return nil
	})
	return n, err
}

// Changes returns the secrets that changed after since, oldest change first.
func (l *Ledger) Changes(since uint64) (out []Change, err error) {
	if since == ^uint64(0) {
		return nil, nil
	}
	err = l.db.View(func(tx durable.Tx) error {
		var bad error
		err := tx.Scan(bucketChanges, key(since+1), func(k, v []byte) bool {
			var e Entry
			if bad = e.unmarshal(secret.Name(v), tx.Get(bucketSecrets, v)); bad != nil {
				return false
			}
			c := Change{At: binary.BigEndian.Uint64(k), Name: e.Name, Version: e.Current}
			if e.Removed {
				c.Version = 0
			}
			out = append(out, c)
			return true
		})
		return errors.Join(bad, err)
	})
	return out, err
}

// Count returns how many secrets there are.
func (l *Ledger) Count() (n int, err error) {
	err = l.db.View(func(tx durable.Tx) error {
		n = int(number(tx, "count"))
		return nil
	})
	return n, err
}

// MustRotate returns the secrets marked for replacement, in order.
func (l *Ledger) MustRotate() ([]secret.Name, error) { return l.listed(bucketRotate) }

// Removed returns the secrets that were removed and whose versions have not all
// gone from their store, in order.
func (l *Ledger) Removed() ([]secret.Name, error) { return l.listed(bucketRemoved) }

func (l *Ledger) listed(bucket string) (names []secret.Name, err error) {
	err = l.db.View(func(tx durable.Tx) error {
		return tx.Scan(bucket, nil, func(k, _ []byte) bool {
			names = append(names, secret.Name(k))
			return true
		})
	})
	return names, err
}
