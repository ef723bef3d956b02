package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
}

// Recover rebuilds the ledger from the vault, after a restored backup or a
// lost ledger: every lease dies, and every secret is marked for rotation, since
// whoever had the copy may have read it. A log or halt file that cannot be read
// is put aside or made anew. The caller holds the home's lock.
func Recover(ctx context.Context, d durable.Disk, clk clock.Clock, stores map[string]providers.Store) (out Recovered, err error) {
	epoch, err := nextEpoch(d)
	if err != nil {
		return out, err
	}
	if out.Log, err = usableLog(d, clk, epoch); err != nil {
		return out, err
	}
	entries, err := fromStores(ctx, d, clk.Now().Wall, stores)
	if err != nil {
		return out, err
	}
	for _, e := range entries {
		out.Secrets++
		out.Versions += len(e.Versions)
	}
	return out, ledger.Rebuild(d, entries)
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

// fromStores describes what the stores hold. What an earlier ledger still
// knows and the files do not say is kept.
func fromStores(ctx context.Context, d durable.Disk, now time.Time, stores map[string]providers.Store) ([]*ledger.Entry, error) {
	known := make(map[secret.Name]ledger.Entry)
	if old, err := ledger.Before(d); err == nil {
		_ = old.Each("", func(e *ledger.Entry) bool { known[e.Name] = *e; return true })
		if err := old.Close(); err != nil {
			return nil, err
		}
	}
	found := make(map[secret.Name]*ledger.Entry)
	for storeName, store := range stores {
		err := store.List(ctx, func(name secret.Name, version uint64, sum providers.Sum) error {
			e := found[name]
			if e == nil {
				e = &ledger.Entry{Name: name, Store: storeName, Env: known[name].Env, Created: now, Rotate: true, Versions: make(map[uint64]ledger.Version)}
				if k, ok := known[name]; ok {
					e.Created = k.Created
				}
				found[name] = e
			}
			created := now
			if v, ok := known[name].Versions[version]; ok {
				created = v.Created
			}
			e.Versions[version] = ledger.Version{Sum: sum, Created: created}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("reading store %q: %w", storeName, err)
		}
	}
	var out []*ledger.Entry
	for _, e := range found {
		e.Order(known[e.Name].Current)
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b *ledger.Entry) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return out, nil
}
