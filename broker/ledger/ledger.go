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
	bucketMeta    = "meta"    // "format" → version of this layout; "change" → the latest change; "count" → secrets there are; "host" → what tells this home from others
	bucketSecrets = "secrets" // name → Entry as JSON
	bucketChanges = "changes" // change, big-endian → name; one entry a secret
	bucketRotate  = "rotate"  // name → nothing; those with Entry.Rotate
	bucketRemoved = "removed" // name → nothing; removed, and versions still in the store
	bucketLeft    = "left"    // name → nothing; moved, and versions still in the store before
	bucketLeased  = "leased"  // name → when it was last handed out, µs big-endian
	bucketExpires = "expires" // name → when the current version expires, µs big-endian; those that do
)

const format = "1"

// The errors of this package.
var (
	// ErrNoEntry means there is no such secret.
	ErrNoEntry = errors.New("no such secret")
	// ErrAbsent means the home has no ledger.
	ErrAbsent = errors.New("there is no ledger")
	// ErrEnded means that a version was ended at its service.
	ErrEnded = errors.New("the version was ended at its service")
)

// Version is one value of a secret.
type Version struct {
	Sum     providers.Sum `json:"sum"`     // of the bytes at rest
	Created time.Time     `json:"created"` // when it was put, or made at its service

	// Resealed is the sum of the same value sealed anew, which is about to take the
	// place of those bytes, or has.
	Resealed providers.Sum `json:"resealed,omitzero"`

	// Salt is that of Sum, for a version of a secret with [Entry.Ref]: it was seen, and
	// not put.
	Salt []byte `json:"salt,omitempty"`

	ID      string            `json:"id,omitempty"`    // what the service calls it
	Facts   map[string]string `json:"facts,omitempty"` // what its provider has to know of it
	Expires time.Time         `json:"expires,omitzero"`
	AtLeast bool              `json:"at_least,omitempty"` // it is older than Created: it was imported
	Rotate  bool              `json:"rotate,omitempty"`   // it had to be replaced when it was: see [Entry.Make]
	Ended   bool              `json:"ended,omitempty"`    // it was ended at its service with none in its place: no lease is on it
	Untold  bool              `json:"untold,omitempty"`   // other hosts could not be told yet whether it was ended
}

// Has reports whether bytes at rest that have this sum are the version.
func (v *Version) Has(sum providers.Sum) bool {
	return sum == v.Sum || sum == v.Resealed && !sum.IsZero()
}

// Settle takes the sum of what is at rest, which the version has, for the only one.
func (v *Version) Settle(sum providers.Sum) { v.Sum, v.Resealed = sum, providers.Sum{} }

// Entry is what is known about one secret. Version numbers start at 1; 0 is
// none.
type Entry struct {
	Name     secret.Name        `json:"-"`
	Store    string             `json:"store"`
	Ref      string             `json:"ref,omitempty"` // where it lies there without us; "": its versions were put there
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
	Shared   bool               `json:"shared,omitempty"`  // other hosts keep it in its store too
	Ended    []uint64           `json:"ended,omitempty"`   // of a shared one: the last versions that a rotation ended at the service and removed
	Left     *Leftover          `json:"left,omitempty"`    // what may still be in the store it was moved out of; nil: nothing
	Change   uint64             `json:"change"`            // the latest change, in the order of [Ledger.Changes]; set by Put
}

// Leftover is versions in a store that a secret has left.
type Leftover struct {
	Store    string   `json:"store"`
	Versions []uint64 `json:"versions"`
}

// AgeFrom is the moment the current value's age counts from.
func (e *Entry) AgeFrom() time.Time {
	if v, ok := e.Versions[e.Current]; ok {
		return v.Created
	}
	return e.Created
}

// Make makes a version current. Whether a value must be replaced goes with it:
// one that was, and comes back, must be again.
func (e *Entry) Make(version uint64) {
	if v, ok := e.Versions[e.Current]; ok {
		v.Rotate = e.Rotate
		e.Versions[e.Current] = v
	}
	e.Current, e.Rotate = version, e.Versions[version].Rotate
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
// is kept as ledger.db.old, in case it is wanted. keep, when not nil, puts into
// the file what else is to be in it.
func Rebuild(d durable.Disk, entries []*Entry, keep func(durable.Tx) error) error {
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
	err = l.Put(entries...)
	if err == nil {
		err = l.keepHost(d)
	}
	if err == nil && keep != nil {
		err = l.db.Update(keep)
	}
	if err := errors.Join(err, l.Close()); err != nil {
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

// DB returns the file, for the rotation journal, which has buckets of its own
// in it.
func (l *Ledger) DB() durable.DB { return l.db }

// Leased remembers when secrets were last handed out, of those that are there.
func (l *Ledger) Leased(at map[secret.Name]time.Time) error {
	return l.db.Update(func(tx durable.Tx) error {
		for name, t := range at {
			var e Entry
			b := tx.Get(bucketSecrets, []byte(name))
			if b == nil || e.unmarshal(name, b) != nil || !e.exists() {
				continue
			}
			if err := tx.Put(bucketLeased, []byte(name), instant(t)); err != nil {
				return err
			}
		}
		return nil
	})
}

// LastLeased returns when the secrets whose names begin with prefix were last
// handed out; those that never were are not in it.
func (l *Ledger) LastLeased(prefix string) (map[secret.Name]time.Time, error) {
	return l.instants(bucketLeased, prefix)
}

// Expires returns when the current versions expire that do.
func (l *Ledger) Expires() (map[secret.Name]time.Time, error) {
	return l.instants(bucketExpires, "")
}

func (l *Ledger) instants(bucket, prefix string) (map[secret.Name]time.Time, error) {
	out := make(map[secret.Name]time.Time)
	err := l.db.View(func(tx durable.Tx) error {
		return tx.Scan(bucket, []byte(prefix), func(k, v []byte) bool {
			if !strings.HasPrefix(string(k), prefix) {
				return false
			}
			if len(v) == 8 {
				out[secret.Name(k)] = time.UnixMicro(int64(binary.BigEndian.Uint64(v))).UTC()
			}
			return true
		})
	})
	return out, err
}

func instant(t time.Time) []byte { return key(uint64(t.UnixMicro())) }

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
func (l *Ledger) Put(entries ...*Entry) error { return l.write(put, entries) }

// Note is Put for what is nothing to those who wait for changes: what a lease
// gets is as before.
func (l *Ledger) Note(entries ...*Entry) error { return l.write(note, entries) }

func (l *Ledger) write(put func(durable.Tx, *Entry) error, entries []*Entry) error {
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

func put(tx durable.Tx, e *Entry) error {
	old, err := replaced(tx, e)
	if err != nil {
		return err
	}
	if old.Change != 0 {
		if err := tx.Delete(bucketChanges, key(old.Change)); err != nil {
			return err
		}
	}
	e.Change = number(tx, "change") + 1
	return errors.Join(
		tx.Put(bucketMeta, []byte("change"), key(e.Change)),
		tx.Put(bucketChanges, key(e.Change), []byte(e.Name)),
		e.save(tx, &old),
	)
}

func note(tx durable.Tx, e *Entry) error {
	old, err := replaced(tx, e)
	if err != nil {
		return err
	}
	e.Change = old.Change
	return e.save(tx, &old)
}

// replaced asks the ledger, not e, what is to be replaced: e may be of a Put that
// failed.
func replaced(tx durable.Tx, e *Entry) (old Entry, err error) {
	if b := tx.Get(bucketSecrets, []byte(e.Name)); b != nil {
		err = old.unmarshal(e.Name, b)
	}
	return old, err
}

// save writes e in the place of old.
func (e *Entry) save(tx durable.Tx, old *Entry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return errors.Join(recount(tx, old, e), tx.Put(bucketSecrets, []byte(e.Name), b))
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
		list(tx, bucketLeft, e.Name, e.Left != nil),
		e.recountTimes(tx),
	)
}

func (e *Entry) recountTimes(tx durable.Tx) error {
	name, expires := []byte(e.Name), e.Versions[e.Current].Expires
	if !e.exists() {
		return errors.Join(tx.Delete(bucketExpires, name), tx.Delete(bucketLeased, name))
	}
	if expires.IsZero() {
		return tx.Delete(bucketExpires, name)
	}
	return tx.Put(bucketExpires, name, instant(expires))
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
// until fn returns false. fn must not ask the ledger anything: a read within a
// read waits for ever when a write comes between that makes the file longer.
func (l *Ledger) Each(prefix string, fn func(*Entry) bool) error {
	return l.each(prefix, func(e *Entry) bool { return !e.exists() || fn(e) })
}

// All is Each for all that is known, also of secrets that were removed or have
// no current version yet.
func (l *Ledger) All(fn func(*Entry) bool) error { return l.each("", fn) }

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

// keepHost takes what tells this home from others over from the ledger before, if
// that can be read: what it said to others is still its own.
func (l *Ledger) keepHost(d durable.Disk) error {
	before, err := Before(d)
	if err != nil {
		return nil
	}
	defer before.Close()
	if id, err := before.Host(nil); err == nil && id != "" {
		_, err = l.Host(func() string { return id })
		return err
	}
	return nil
}

// Host returns what tells this home from those of other hosts, which is made by
// fresh when it is first asked for; a nil one makes none.
func (l *Ledger) Host(fresh func() string) (id string, err error) {
	err = l.db.View(func(tx durable.Tx) error {
		id = string(tx.Get(bucketMeta, []byte("host")))
		return nil
	})
	if err != nil || id != "" {
		return id, err
	}
	if fresh == nil {
		return "", nil
	}
	id = fresh()
	return id, l.db.Update(func(tx durable.Tx) error { return tx.Put(bucketMeta, []byte("host"), []byte(id)) })
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

// Left returns the secrets that were moved and whose versions have not all gone
// from the store they left, in order.
func (l *Ledger) Left() ([]secret.Name, error) { return l.listed(bucketLeft) }

func (l *Ledger) listed(bucket string) (names []secret.Name, err error) {
	err = l.db.View(func(tx durable.Tx) error {
		return tx.Scan(bucket, nil, func(k, _ []byte) bool {
			names = append(names, secret.Name(k))
			return true
		})
	})
	return names, err
}
