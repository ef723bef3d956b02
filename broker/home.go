package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"secretctl/broker/audit"
	"secretctl/broker/clock"
	"secretctl/broker/config"
	"secretctl/broker/durable"
	"secretctl/broker/halt"
	"secretctl/broker/lease"
	"secretctl/broker/ledger"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// ConfigFile is the name of the config in the home. It is written last, so a
// home that has it is whole.
const ConfigFile = "secretctl.toml"

// AuditDir is the name of the log's directory in the home.
const AuditDir = "audit"

// ErrHome is returned by [Init] for a home that is there already.
var ErrHome = errors.New("there is a home already")

// IsHome reports whether the disk holds a whole home.
func IsHome(d durable.Disk) (bool, error) {
	_, err := d.Stat(ConfigFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Init makes an empty home: what a crash left of an earlier try is completed,
// and an identity that is there is kept. makeIdentity makes the one of the
// embedded store. The caller holds the home's lock.
func Init(d durable.Disk, clk clock.Clock, makeIdentity func() error) error {
	if is, err := IsHome(d); err != nil {
		return err
	} else if is {
		return ErrHome
	}
	for _, dir := range []string{"vault", AuditDir} {
		if err := durable.MkdirAll(d, dir, 0o700); err != nil {
			return fmt.Errorf("making the home: %w", err)
		}
	}
	if err := durable.MkdirAll(d, "run", 0o711); err != nil {
		return fmt.Errorf("making the home: %w", err)
	}
	if err := makeIdentity(); err != nil {
		return err
	}
	if err := halt.Ensure(d); err != nil {
		return err
	}
	if err := ledger.Create(d, ledger.Name); err != nil {
		return err
	}
	if err := audit.Create(d, AuditDir, clk); err != nil && !errors.Is(err, audit.ErrExists) {
		return err
	}
	if err := appendAlone(d, clk, &audit.Record{Event: audit.EventInit}); err != nil {
		return err
	}
	if err := durable.WriteFile(d, ConfigFile, config.Template(), 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", ConfigFile, err)
	}
	return nil
}

// Recovered is what [Recover] found.
type Recovered struct {
	Secrets  int    `json:"secrets"`
	Versions int    `json:"versions"`
	Log      string `json:"log,omitempty"` // where a log that could not be read was put aside

	Gone      []string `json:"gone,omitempty"`      // secrets that the ledger knew and no store has
	Rotations []string `json:"rotations,omitempty"` // secrets whose rotation is under way
	Journal   string   `json:"journal,omitempty"`   // why the rotation journal could not be kept
	Unread    []string `json:"unread,omitempty"`    // stores that could not be read, and why: what the ledger knew of them is kept
}

// KeepJournal reads, out of a ledger's file, what is in it besides the ledger,
// and returns what writes it into another. under are the secrets of which a
// rotation is under way.
type KeepJournal func(durable.DB) (write func(durable.Tx) error, under []secret.Name, err error)

// Recover rebuilds the ledger from the vault, after a restored backup or a
// lost ledger: every lease dies, and every secret is marked for rotation, since
// whoever had the copy may have read it. A log or halt file that cannot be read
// is put aside or made anew. What the ledger knew and the stores do not say is
// kept, and so is the rotation journal. The caller holds the home's lock.
func Recover(ctx context.Context, d durable.Disk, clk clock.Clock, stores map[string]providers.Store, keep KeepJournal) (out Recovered, err error) {
	epoch, err := nextEpoch(d)
	if err != nil {
		return out, err
	}
	if out.Log, err = usableLog(d, clk, epoch); err != nil {
		return out, err
	}
	known, write, err := out.before(d, keep)
	if err != nil {
		return out, err
	}
	entries, unread, err := fromStores(ctx, known, clk.Now().Wall, stores)
	if err != nil {
		return out, err
	}
	for _, name := range slices.Sorted(maps.Keys(unread)) {
		out.Unread = append(out.Unread, fmt.Sprintf("%s: %v", name, unread[name]))
	}
	for _, e := range entries {
		if !e.Removed {
			out.Secrets++
			out.Versions += len(e.Versions)
		} else if known[e.Name].Current != 0 {
			out.Gone = append(out.Gone, string(e.Name))
		}
	}
	return out, ledger.Rebuild(d, entries, write)
}

// before reads the ledger as it was, as far as that can be read: what is known of
// each secret, and what writes the journal again.
func (out *Recovered) before(d durable.Disk, keep KeepJournal) (known map[secret.Name]ledger.Entry, write func(durable.Tx) error, err error) {
	known = make(map[secret.Name]ledger.Entry)
	old, err := ledger.Before(d)
	if err != nil {
		return known, nil, nil
	}
	_ = old.All(func(e *ledger.Entry) bool { known[e.Name] = *e; return true })
	if keep != nil {
		var under []secret.Name
		if write, under, err = keep(old.DB()); err != nil {
			out.Journal = err.Error()
		}
		for _, name := range under {
			out.Rotations = append(out.Rotations, string(name))
		}
	}
	return known, write, old.Close()
}

// nextEpoch makes every lease so far a dead one.
func nextEpoch(d durable.Disk) (uint64, error) {
	h, state, err := halt.Open(d)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, halt.ErrUnreadable) {
		// What epoch it was cannot be known, so it begins where none has been.
		state = halt.State{Epoch: 1 << 32}
		if h, err = halt.Replace(d); err != nil {
			return 0, err
		}
	} else if err != nil {
		return 0, err
	}
	state = halt.State{Killed: state.Killed, Epoch: state.Epoch + 1}
	return state.Epoch, errors.Join(h.Store(state), h.Close())
}

// usableLog records the recovery in the log; one that cannot be opened is put
// aside, whole, and another begun.
func usableLog(d durable.Disk, clk clock.Clock, epoch uint64) (aside string, err error) {
	record := func() error {
		return appendAlone(d, clk, &audit.Record{Event: audit.EventRecover, Epoch: epoch})
	}
	if err = record(); err == nil {
		return "", nil
	}
	if _, gone := d.Stat(AuditDir); gone == nil {
		aside = AuditDir + ".unreadable-" + clk.Now().Wall.Format("20060102T150405")
		if err := d.Rename(AuditDir, aside); err != nil {
			return "", fmt.Errorf("putting the log aside: %w", err)
		}
	}
	if err := durable.MkdirAll(d, AuditDir, 0o700); err != nil {
		return aside, err
	}
	if err := audit.Create(d, AuditDir, clk); err != nil {
		return aside, err
	}
	return aside, record()
}

// appendAlone records one thing while no broker runs. No lease outlives it.
func appendAlone(d durable.Disk, clk clock.Clock, r *audit.Record) error {
	log, err := audit.Open(d, AuditDir, clk, audit.Options{Forget: true, Snapshot: lease.NewTable(nil).Snapshot})
	if err != nil {
		return err
	}
	return errors.Join(log.Append(r), log.Close())
}

// KillOffline turns the kill switch on while no broker runs, so that the next
// one starts killed. The caller holds the home's lock. It is durable when it
// returns nil; that it could not be recorded in the log is returned as recorded.
func KillOffline(d durable.Disk, clk clock.Clock) (recorded, err error) {
	h, state, err := halt.Open(d)
	if err != nil {
		return nil, err
	}
	state = halt.State{Killed: true, Epoch: state.Epoch + 1}
	if err := errors.Join(h.Store(state), h.Close()); err != nil {
		return nil, err
	}
	return appendAlone(d, clk, &audit.Record{Event: audit.EventKill, Epoch: state.Epoch}), nil
}

// fromStores describes what the stores hold. What an earlier ledger knew and the
// files do not say is kept; so is what it knew of a store that is not there or
// cannot be read now, which are returned as unread.
func fromStores(ctx context.Context, known map[secret.Name]ledger.Entry, now time.Time, stores map[string]providers.Store) (out []*ledger.Entry, unread map[string]error, err error) {
	unread = make(map[string]error)
	found := make(map[secret.Name]*ledger.Entry)
	for _, storeName := range slices.Sorted(maps.Keys(stores)) {
		here, err := fromStore(ctx, known, now, storeName, stores[storeName])
		switch {
		case err != nil && (storeName == defaultStore || ctx.Err() != nil):
			return nil, nil, fmt.Errorf("reading store %q: %w", storeName, err)
		case err != nil:
			unread[storeName] = err
		}
		for name, e := range here {
			// A secret that was being moved is in two.
			if other := found[name]; err == nil && (other == nil || known[name].Store == storeName) {
				found[name] = e
			}
		}
	}
	for name, e := range found {
		k := known[name]
		settleOrder(e, &k)
		out = append(out, e)
	}
	for name, k := range known {
		switch {
		case found[name] != nil:
		case k.Ref != "" && k.Current != 0: // no store says what it has at references; and a backup has none of it
			e := k
			out = append(out, &e)
		case k.Current != 0 && (unread[k.Store] != nil || stores[k.Store] == nil):
			e := k
			e.Rotate = true
			out = append(out, &e)
			if stores[k.Store] == nil {
				unread[k.Store] = errors.New("the config does not name it")
			}
		default: // kept so that no number is used again
			out = append(out, &ledger.Entry{Name: name, Store: k.Store, Created: k.Created, Next: k.Next, Pending: k.Pending, Removed: true})
		}
	}
	slices.SortFunc(out, func(a, b *ledger.Entry) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return out, unread, nil
}

// fromStore describes what one store holds.
func fromStore(ctx context.Context, known map[secret.Name]ledger.Entry, now time.Time, storeName string, store providers.Store) (map[secret.Name]*ledger.Entry, error) {
	found := make(map[secret.Name]*ledger.Entry)
	err := store.List(ctx, func(name secret.Name, version uint64, sum providers.Sum) error {
		e := found[name]
		if e == nil {
			e = &ledger.Entry{Name: name, Store: storeName, Created: now, Rotate: true, Versions: make(map[uint64]ledger.Version)}
			found[name] = e
		}
		v, ok := known[name].Versions[version]
		if !ok || !v.Has(sum) {
			v = ledger.Version{Created: now, AtLeast: true}
		}
		v.Settle(sum)
		e.Versions[version] = v
		return nil
	})
	return found, err
}

// settleOrder works out which version of e is what, with what the ledger before
// knew of the secret. A ledger that does not know of the newest is the older of
// the two: what was current then is not brought back.
func settleOrder(e, known *ledger.Entry) {
	e.Order(known.Current)
	newest := e.Next - 1
	if known.Name == "" {
		return
	}
	e.Env, e.Created, e.Rotated = known.Env, known.Created, known.Rotated
	if newest >= known.Next {
		e.Order(0)
		return
	}
	e.Next = known.Next
	switch {
	case known.Removed && len(known.Versions) > 0 && sameVersions(e, known):
		e.Removed, e.Current, e.Previous = true, 0, 0 // it is removed to the end when the broker starts
	case known.Pending != 0:
		e.Pending = known.Pending
		if e.Previous = 0; known.Previous != e.Current {
			if _, ok := e.Versions[known.Previous]; ok {
				e.Previous = known.Previous
			}
		}
	}
}

// sameVersions reports whether e has no version that known has not.
func sameVersions(e, known *ledger.Entry) bool {
	for n, v := range e.Versions {
		if k := known.Versions[n]; !k.Has(v.Sum) {
			return false
		}
	}
	return true
}
