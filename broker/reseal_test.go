package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/clock"
	"secretctl/broker/config"
	"secretctl/broker/durable"
	"secretctl/broker/ledger"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/age"
)

// rotatingHome is a home in memory whose identity is rotated, and what must be
// in it whatever happens.
type rotatingHome struct {
	t      testing.TB
	rnd    *rand.Rand
	clock  *clock.Fake
	mem    *durable.Mem
	disk   *durable.Hook
	values map[secret.Name]map[uint64]string
	flight string // the value that is sealed in the rotation journal

	limit, deep   int // images at each operation; one in so many is rotated to the end
	images, again int
	bad           []string
}

// inFlight is a secret whose rotation is under way, and flights where the journal,
// which is not this package's, has its new value.
const (
	inFlight = secret.Name("in/flight")
	flights  = "flights"
)

// journal seals anew what is in flight.
func journal(seal func([]byte) ([]byte, error)) func(durable.DB) error {
	return func(db durable.DB) error {
		return db.Update(func(tx durable.Tx) error {
			again, err := seal(tx.Get(flights, []byte(inFlight)))
			if err != nil {
				return err
			}
			return tx.Put(flights, []byte(inFlight), again)
		})
	}
}

// newRotatingHome makes a home with secrets of one and two versions, one that was
// removed, and one whose rotation is under way.
func newRotatingHome(t testing.TB, limit, deep int) *rotatingHome {
	h := &rotatingHome{
		t: t, rnd: rand.New(rand.NewPCG(1, 2)), clock: clock.NewFake(time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)), mem: durable.NewMem(),
		values: make(map[secret.Name]map[uint64]string), flight: canary.New(t, "flight"), limit: limit, deep: deep,
	}
	h.disk = &durable.Hook{Disk: h.mem}
	require.NoError(t, broker.Init(h.disk, h.clock, func() error { _, err := age.Init(h.disk, h.clock.Now().Wall, age.Wanted{}); return err }))
	b, err := h.open(h.disk)
	require.NoError(t, err)
	for _, name := range []secret.Name{"one", "two/versions", "two/versions", "gone", inFlight, "deep/er/three", "deep/er/three", "deep/er/three"} {
		h.set(b, name)
	}
	require.NoError(t, b.Remove(t.Context(), broker.Owner(), "gone"))
	delete(h.values, "gone")
	delete(h.values["deep/er/three"], 1) // only two are kept
	require.NoError(t, b.Close())
	h.fly()
	return h
}

func (h *rotatingHome) open(d durable.Disk) (*broker.Broker, error) {
	cfg, err := config.ParseOptions{}.Parse("secretctl.toml", nil)
	if err != nil {
		return nil, err
	}
	return broker.Open(context.Background(), broker.Options{
		Home: "/home", Disk: d, Clock: h.clock, Stores: map[string]providers.Store{"age": age.New(d, "vault")},
		Load: func() (*config.Config, error) { return cfg, nil },
	})
}

func (h *rotatingHome) set(b *broker.Broker, name secret.Name) {
	text := canary.New(h.t, fmt.Sprint(name, len(h.values[name])))
	v, err := secret.New([]byte(text))
	require.NoError(h.t, err)
	defer v.Clear()
	version, err := b.Set(h.t.Context(), broker.Owner(), name, "", v)
	require.NoError(h.t, err)
	if h.values[name] == nil {
		h.values[name] = make(map[uint64]string)
	}
	h.values[name][version] = text
}

// fly puts a rotation under way into the journal.
func (h *rotatingHome) fly() {
	v, err := secret.New([]byte(h.flight))
	require.NoError(h.t, err)
	defer v.Clear()
	sealed, err := age.New(h.disk, "vault").Seal(v)
	require.NoError(h.t, err)
	db, err := h.disk.OpenDB(ledger.Name)
	require.NoError(h.t, err)
	require.NoError(h.t, db.Update(func(tx durable.Tx) error { return tx.Put(flights, []byte(inFlight), sealed) }))
	require.NoError(h.t, db.Close())
}

// rotate rotates the identity on a disk. bend, which may be nil, does it wrong.
func (h *rotatingHome) rotate(d durable.Disk, bend func(broker.Resealing) broker.Resealing) error {
	r, err := age.New(d, "vault").Reseal(h.clock.Now().Wall, age.Wanted{})
	if err != nil {
		return err
	}
	var passage broker.Resealing = r
	if bend != nil {
		passage = bend(r)
	}
	done, err := broker.Reseal(context.Background(), d, h.clock, passage, journal(r.Seal), func(int, int) {})
	if err == nil && len(done.Left) > 0 {
		err = errors.New(done.Left[0])
	}
	return err
}

// crash rotates the identity, and looks at what a crash before each change of the
// disk can leave.
func (h *rotatingHome) crash(bend func(broker.Resealing) broker.Resealing) {
	h.disk.Before = func(op durable.Op) durable.Verdict {
		for image := range h.mem.Images(h.limit, h.rnd) {
			h.images++
			if err := h.holds(image); err != nil {
				h.bad = append(h.bad, fmt.Sprintf("op %d (%s %s): %v", op.N, op.Kind, op.Name, err))
			}
		}
		return durable.Verdict{}
	}
	require.NoError(h.t, h.rotate(h.disk, bend))
	h.disk.Before = nil
	require.NoError(h.t, h.whole(h.mem))
}

// holds: a broker starts on what is there, has every value, and the rotation can
// be done to its end.
func (h *rotatingHome) holds(image *durable.Mem) error {
	if err := h.has(image); err != nil {
		return err
	}
	if h.images%h.deep != 0 {
		return nil
	}
	h.again++
	if err := h.rotate(image, nil); err != nil {
		return fmt.Errorf("rotating it again: %w", err)
	}
	if err := h.whole(image); err != nil {
		return fmt.Errorf("after rotating it again: %w", err)
	}
	return nil
}

// whole: it has everything, and one identity, which is another than at first.
func (h *rotatingHome) whole(d *durable.Mem) error {
	if _, err := d.Stat("identity.next.txt"); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("identity.next.txt is there: %w", err)
	}
	return h.has(d)
}

func (h *rotatingHome) has(d *durable.Mem) error {
	b, err := h.open(d)
	if err != nil {
		return fmt.Errorf("it does not start: %w", err)
	}
	err = h.hasIn(b, d)
	return errors.Join(err, b.Degraded(), b.Close())
}

func (h *rotatingHome) hasIn(b *broker.Broker, d *durable.Mem) error {
	for name, versions := range h.values {
		for n, want := range versions {
			issued, err := b.Lease(context.Background(), broker.Owner(), broker.LeaseRequest{Secret: string(name), Version: n})
			if err != nil {
				return fmt.Errorf("%s version %d: %w", name, n, err)
			}
			if err := same(issued.Value, want); err != nil {
				return fmt.Errorf("%s version %d: %w", name, n, err)
			}
		}
	}
	var sealed []byte
	err := b.Vault().DB().View(func(tx durable.Tx) error {
		sealed = bytes.Clone(tx.Get(flights, []byte(inFlight)))
		return nil
	})
	if err != nil {
		return fmt.Errorf("the journal: %w", err)
	}
	v, err := age.New(d, "vault").Open(sealed)
	if err != nil {
		return fmt.Errorf("the journal: %w", err)
	}
	defer v.Clear()
	return same(v, h.flight)
}

func same(v secret.Value, want string) error {
	return v.Use(func(b []byte) error {
		if string(b) != want {
			return errors.New("it is another value")
		}
		return nil
	})
}

// TestResealCrashEveryOp kills the machine before every change that a
// rotation of the identity makes to the disk: what is left opens, all of it, with
// what is there, and the rotation can be done again.
func TestResealCrashEveryOp(t *testing.T) {
	limit := 12
	if long() {
		limit = 120
	}
	h := newRotatingHome(t, limit, 7)
	h.crash(nil)
	for _, bad := range h.bad[:min(len(h.bad), 20)] {
		t.Error(bad)
	}
	t.Logf("%d crash images, %d of them rotated to the end", h.images, h.again)
	require.Greater(t, h.images, 200)
	require.Greater(t, h.again, 20)
}

// hasty is a passage that does one thing too soon.
type hasty struct {
	broker.Resealing
	stage bool // a version is put before the ledger knows its sum
	list  bool // the old identity goes before the first version is sealed anew
}

func (h hasty) Stage(ctx context.Context, name secret.Name, version uint64) (before, after providers.Sum, err error) {
	before, after, err = h.Resealing.Stage(ctx, name, version)
	if h.stage && err == nil {
		err = h.Commit()
	}
	return before, after, err
}

func (h hasty) List(ctx context.Context, fn func(secret.Name, uint64, providers.Sum) error) error {
	if h.list {
		if err := h.Resealing.Finish(); err != nil {
			return err
		}
	}
	return h.Resealing.List(ctx, fn)
}

func (h hasty) Finish() error {
	if h.list {
		return nil
	}
	return h.Resealing.Finish()
}

// TestResealNegativeControl: the same finds losses where the order of the
// steps is another, and where the disk lies.
func TestResealNegativeControl(t *testing.T) {
	for name, bend := range map[string]func(broker.Resealing) broker.Resealing{
		"the file before the ledger":           func(r broker.Resealing) broker.Resealing { return hasty{Resealing: r, stage: true} },
		"the new identity before the versions": func(r broker.Resealing) broker.Resealing { return hasty{Resealing: r, list: true} },
	} {
		t.Run(name, func(t *testing.T) {
			h := newRotatingHome(t, 3, 1000)
			h.crash(bend)
			t.Logf("%d bad images of %d", len(h.bad), h.images)
			require.NotEmpty(t, h.bad)
		})
	}
}

// TestResealFaults fails every change of the disk once: the error is said,
// the home is whole, and the next try works.
func TestResealFaults(t *testing.T) {
	broken := errors.New("input/output error")
	for n := 0; ; n++ {
		h := newRotatingHome(t, 1, 1)
		at, failed := -1, false
		var last durable.Op
		h.disk.Before = func(op durable.Op) durable.Verdict {
			if at++; at == n {
				failed, last = true, op
				return durable.Verdict{Err: broken}
			}
			return durable.Verdict{}
		}
		err := h.rotate(h.disk, nil)
		h.disk.Before = nil
		if !failed {
			require.NoError(t, err)
			require.Greater(t, n, 20)
			t.Logf("%d operations", n)
			return
		}
		if err == nil && strings.HasPrefix(last.Name, broker.AuditDir) { // the log tries once more
			require.NoError(t, h.whole(h.mem))
			continue
		}
		require.ErrorIs(t, err, broken, "operation %d: %v", n, last)
		require.NoError(t, h.has(h.mem), "operation %d: %v", n, last)
		require.NoError(t, h.rotate(h.disk, nil), "operation %d: %v", n, last)
		require.NoError(t, h.whole(h.mem), "operation %d: %v", n, last)
	}
}
