// Package broker decides who gets which secret, and remembers it.
//
// A caller is a process the kernel named ([Caller]); what it may have is the
// config's grants, and everything else is denied. A lease is recorded durably
// before a byte of the value leaves, and there is no value without a record:
// when the log cannot be written, nothing is handed out. Taking power away is
// the other way round: [Broker.Revoke] and [Broker.Kill] hold from the moment
// they are called, whatever the disk or the log do, and are durable in a place
// of their own before they are acknowledged.
//
// It guards against an agent that asks for what it was not granted, that shows
// another's lease, that guesses which secrets exist, or that was given
// something and outlives the permission. It does not guard against what an
// agent does with a value it was given, nor against root, nor against code
// that runs as the broker's own uid.
package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
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

// Options is what a broker is opened with.
type Options struct {
	Home    string       // absolute path, for the paths it shows and checks
	Disk    durable.Disk // the files of the home
	Clock   clock.Clock
	UID     uint32                     // the broker's own, an owner always
	Exe     string                     // the binary that runs, empty: not checked by the mode
	Version string                     // shown by status
	Stores  map[string]providers.Store // that are always there, by their name in the config; "age" at least
	Warn    func(string)               // told what the owner should know, one line each; nil: dropped
	// OpenStore opens another store of the config; own opens the broker's own secrets.
	OpenStore func(s config.Store, own func(context.Context, secret.Name) (secret.Value, error)) (providers.Store, error)
	// CommandTime bounds each of the owner's commands for a rotation; 0: 30 s.
	CommandTime time.Duration
	// Load reads the config, at the start and on every reload.
	Load func() (*config.Config, error)
	// Reloaded is called when a config that was read again is in force; nil: nobody
	// wants to know.
	Reloaded func()
}

// Broker is an open home. Its methods are safe for concurrent use.
type Broker struct {
	Options
	uid      uint32
	lock     io.Closer
	started  time.Time
	settings atomic.Pointer[settings]

	reloading sync.Mutex // one reload at a time

	log    *audit.Log // nil when it cannot be read: then nothing is handed out
	logErr error      // why
	table  *lease.Table
	ledger *ledger.Ledger
	values *values

	writing locks // one change of a secret at a time

	// choosing is held shared by whoever gives a lease, from the choice of its
	// version until the lease is in the table.
	choosing sync.RWMutex

	// stopping guards halt and state: what takes power away happens one at a time.
	stopping sync.Mutex
	halt     *halt.File
	state    halt.State
	logged   map[lease.ID]bool // of state.Revoked, those the log has too

	killed atomic.Bool
	epoch  atomic.Uint64
	boot   atomic.Int64 // the latest boot clock reading, for seeing it go back

	// gate is held shared while bytes of a value are written, and exclusively by
	// whoever takes power away, before it acknowledges: after that no byte leaves.
	gate sync.RWMutex

	reusing locks    // one request for reuse of a secret at a time
	reuse   reuses   // what the last lease given for reuse copied
	bound   sync.Map // lease.ID → *connection whose end is its end

	changes   changes
	anchored  *anchor
	rotations Rotations // nil: nothing replaces secrets
	leased    leased
	sharing   sharing
	hosts     hosts
}

// Open opens the home: one broker at a time. A log or lease table that cannot
// be read does not stop it, since stopping things must work then too: the
// leases die with their epoch and [Broker.Degraded] says why.
func Open(ctx context.Context, o Options) (*Broker, error) {
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	if o.CommandTime == 0 {
		o.CommandTime = commandTime
	}
	b := &Broker{Options: o, uid: o.UID, logged: make(map[lease.ID]bool)}
	b.started = o.Clock.Now().Wall
	if err := b.open(ctx); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (b *Broker) open(ctx context.Context) (err error) {
	if b.lock, err = b.Disk.Lock(); errors.Is(err, durable.ErrLocked) {
		return &Error{CodeConflict, "another broker runs on this home", "secretctl status"}
	} else if err != nil {
		return fmt.Errorf("locking the home: %w", err)
	}
	if err := b.Reload(); err != nil {
		return err
	}
	if b.halt, b.state, err = halt.Open(b.Disk); err != nil {
		return &Error{CodeConflict, err.Error(), "secretctl recover"}
	}
	b.killed.Store(b.state.Killed)
	b.epoch.Store(b.state.Epoch)
	if b.ledger, err = ledger.Open(b.Disk); errors.Is(err, ledger.ErrAbsent) {
		return &Error{CodeConflict, "opening the vault: there is no ledger beside it", "secretctl recover"}
	} else if err != nil {
		return err
	}
	if id, err := b.ledger.Host(nil); err != nil {
		return err
	} else if id != "" {
		b.hosts.any.Store(true)
	}
	b.values = newValues(b.openValue, func() time.Duration { return b.now().Boot })
	b.table = lease.NewTable(b.values.free)
	if err := b.finish(ctx, false); err != nil {
		b.Warn(err.Error())
	}
	b.openLog()
	return nil
}

// openLog brings the lease table back from the log. When either cannot be
// read, or a clock went back while the broker was down, every lease dies.
func (b *Broker) openLog() {
	b.anchored = newAnchor(b)
	now := b.Clock.Now()
	b.boot.Store(int64(now.Boot))
	log, err := audit.Open(b.Disk, AuditDir, b.Clock, audit.Options{
		Apply: b.table.Apply, Snapshot: b.table.Snapshot, Restore: b.table.Restore,
		OnCheckpoint: b.anchored.ship, SegmentBytes: testOnlySegmentBytes,
	})
	if err != nil {
		b.logErr = err
		b.Warn(fmt.Sprintf("the audit log cannot be used, so nothing is handed out: %v", err))
		b.dieAll()
		return
	}
	b.log = log
	b.table.MoveEpoch(b.state.Epoch)
	b.table.Drop(b.state.Revoked...)
	if err := b.table.Wake(now, b.Clock.BootID()); err != nil {
		b.Warn(fmt.Sprintf("every lease has ended: %v", err))
		b.dieAll()
	}
	b.recordRevoked()
	start := b.record(nil, audit.EventStart)
	start.BootID = b.Clock.BootID()
	if err := b.log.Append(start); err != nil {
		b.Warn(fmt.Sprintf("the audit log cannot be written: %v", err))
	}
}

// testOnlySegmentBytes makes the log's segments short enough for tests to see
// many; 0: the log's own choice.
var testOnlySegmentBytes int64

// dieAll moves the epoch on without a caller: the leases cannot be trusted.
func (b *Broker) dieAll() {
	b.stopping.Lock()
	defer b.stopping.Unlock()
	if err := b.moveEpochLocked(b.state.Killed); err != nil {
		b.Warn(fmt.Sprintf("the new lease epoch is not durable: %v", err))
	}
}

// Degraded returns why nothing is handed out although the broker runs, nil
// when all is well.
func (b *Broker) Degraded() error {
	if b.log == nil {
		return b.logErr
	}
	return b.log.Head().Err
}

// Run does what is due by the clock until ctx is done: leases that have run
// out are forgotten every second, and the log is signed and pruned every
// minute.
func (b *Broker) Run(ctx context.Context) error {
	var done sync.WaitGroup
	done.Go(func() { b.anchored.run(ctx) })
	done.Go(func() { b.finishing(ctx) })
	done.Go(func() { b.meet(ctx) })
	defer done.Wait()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-second.C:
			b.expire()
			if n%60 == 0 {
				b.tidyLog()
				b.keepLeased()
			}
		}
	}
}

// expire forgets the leases that have run out. They were dead before: each use
// asks the clock.
func (b *Broker) expire() {
	if n := b.table.Sweep(b.now()); n > 0 {
		b.audit(nil, audit.Record{Event: audit.EventExpire, Count: uint64(n)})
	}
}

// tidyLog signs the log and prunes it.
func (b *Broker) tidyLog() {
	if b.log == nil {
		return
	}
	if err := b.log.Tick(b.settings.Load().Audit.Keep); err != nil {
		b.Warn(fmt.Sprintf("keeping the audit log: %v", err))
	}
}

// Close ends the broker: the log gets its last checkpoint and the lease table
// its snapshot, and no value stays in memory.
func (b *Broker) Close() error {
	var errs []error
	if b.values != nil {
		b.values.clear()
	}
	if s := b.settings.Load(); s != nil {
		b.closeStores(s.stores, nil)
	}
	if b.log != nil {
		if b.log.Head().Err == nil {
			errs = append(errs, b.log.Append(b.record(nil, audit.EventStop)))
		}
		errs = append(errs, b.log.Close())
	}
	if b.ledger != nil {
		b.keepLeased()
		errs = append(errs, b.ledger.Close())
	}
	if b.halt != nil {
		errs = append(errs, b.halt.Close())
	}
	if b.lock != nil {
		errs = append(errs, b.lock.Close())
	}
	return errors.Join(errs...)
}

// Reload reads the config and puts it in force as a whole, or changes nothing
// and says why. Leases are decided again when they are next used.
func (b *Broker) Reload() error {
	b.reloading.Lock()
	defer b.reloading.Unlock()
	cfg, err := b.Load()
	if err != nil {
		return err
	}
	s, err := b.settle(cfg)
	if err != nil {
		return err
	}
	before := b.settings.Swap(s)
	first := before == nil
	if !first {
		b.closeStores(before.stores, s.stores)
		b.reread(before, s)
	}
	for _, w := range cfg.Warnings {
		b.Warn(w.Error())
	}
	if !first && b.log != nil {
		if err := b.log.Append(b.record(nil, audit.EventReload)); err != nil {
			b.Warn(fmt.Sprintf("recording the reload: %v", err))
		}
	}
	if !first && b.Reloaded != nil {
		b.Reloaded()
	}
	return nil
}

// tolerance is how far the boot clock may seem to go back: readings taken at
// once by two goroutines can be compared in the other order.
const tolerance = time.Second

// now reads the clock. A boot clock that goes back is impossible in a sound
// system: no lease can be timed by it, so all of them end.
func (b *Broker) now() clock.Reading {
	r := b.Clock.Now()
	last := b.boot.Load()
	switch {
	case int64(r.Boot) > last:
		b.boot.CompareAndSwap(last, int64(r.Boot))
	case time.Duration(last)-r.Boot > tolerance:
		b.Warn("the boot clock went back: every lease has ended")
		b.boot.Store(int64(r.Boot))
		b.dieAll()
	}
	return r
}

// audit appends a record for which nobody waits.
func (b *Broker) audit(c *Caller, r audit.Record) {
	if b.log == nil {
		return
	}
	full := b.record(c, r.Event)
	full.Decision, full.Reason, full.Secret, full.Lease, full.Version, full.Count = r.Decision, r.Reason, r.Secret, r.Lease, r.Version, r.Count
	b.log.Defer(full)
}
