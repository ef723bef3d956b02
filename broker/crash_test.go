package broker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/audit"
	"secretctl/broker/clock"
	"secretctl/broker/config"
	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/age"
)

// long reports whether the long versions of the tests are asked for.
func long() bool { return os.Getenv("SECRETCTL_LONG") != "" }

// promise is what a broker has acknowledged, and what it was asked for and had
// not answered yet when the machine died: that may have happened or not.
type promise struct {
	home    bool              // Init has returned
	current map[string]uint64 // secret → current version, 0 for removed
	leases  map[string]bool   // lease id → in force
	killed  bool
	doing   string // the step under way, "" between two
}

func (p *promise) clone() promise {
	c := *p
	c.current, c.leases = map[string]uint64{}, map[string]bool{}
	for k, v := range p.current {
		c.current[k] = v
	}
	for k, v := range p.leases {
		c.leases[k] = v
	}
	return c
}

// crashed is a scenario on a disk that is looked at before each of its changes.
type crashed struct {
	t     testing.TB
	rnd   *rand.Rand
	clock *clock.Fake
	mem   *durable.Mem
	disk  *durable.Hook
	cfg   *config.Config
	b     *broker.Broker
	said  promise
	next  promise // after the step under way
	limit int     // images at each operation
	deep  int     // one image in so many is crashed again while it recovers

	images, again int
	bad           []string
}

func newCrashed(t testing.TB, seed uint64, limit, deep int) *crashed {
	// Without agents: whether one can get around the boundary is looked up in the
	// real machine's files, which would be most of each image's cost.
	cfg, err := config.ParseOptions{}.Parse("secretctl.toml", nil)
	require.NoError(t, err)
	c := &crashed{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), clock: clock.NewFake(start), mem: durable.NewMem(), cfg: cfg, limit: limit, deep: deep}
	c.said.current, c.said.leases = map[string]uint64{}, map[string]bool{}
	c.disk = &durable.Hook{Disk: c.mem, Before: func(op durable.Op) durable.Verdict {
		c.look(op)
		return durable.Verdict{}
	}}
	return c
}

func (c *crashed) options(d durable.Disk) broker.Options {
	return broker.Options{
		Home: "/home", Disk: d, Clock: c.clock, Stores: map[string]providers.Store{"age": age.New(d, "vault")},
		Load: func() (*config.Config, error) { return c.cfg, nil },
	}
}

// step does one thing and, when it is acknowledged, promises what follows.
func (c *crashed) step(name string, do func(after *promise) error) {
	c.next = c.said.clone()
	c.said.doing = name
	require.NoError(c.t, do(&c.next), name)
	c.next.doing = ""
	c.said = c.next
}

// look tries every image that a crash at this operation can leave.
func (c *crashed) look(op durable.Op) {
	for image := range c.mem.Images(c.limit, c.rnd) {
		c.images++
		if err := c.recovers(image); err != nil {
			c.bad = append(c.bad, fmt.Sprintf("op %d (%s %s) during %q: %v", op.N, op.Kind, op.Name, c.said.doing, err))
		}
	}
}

// recovers starts a broker on what a crash has left and holds it against the
// promise. Some images are crashed again at every operation of the start.
func (c *crashed) recovers(image *durable.Mem) error {
	if !c.said.home {
		return c.initsAgain(image)
	}
	if c.deep > 0 && c.images%c.deep == 0 {
		var failed error
		hook := &durable.Hook{Disk: image, Before: func(durable.Op) durable.Verdict {
			for second := range image.Images(8, c.rnd) {
				c.again++
				if err := c.keeps(second); err != nil && failed == nil {
					failed = fmt.Errorf("crashed again while it recovered: %w", err)
				}
			}
			return durable.Verdict{}
		}}
		b, err := broker.Open(context.Background(), c.options(hook))
		if err != nil {
			return err
		}
		if err := errors.Join(failed, b.Close()); err != nil {
			return err
		}
		// Closed well, it is the same again.
	}
	return c.keeps(image)
}

// initsAgain: a home that was being made can be made again, whatever is there.
func (c *crashed) initsAgain(image *durable.Mem) error {
	is, err := broker.IsHome(image)
	if err != nil {
		return err
	}
	if !is {
		if err := initHome(image, c.clock); err != nil {
			return fmt.Errorf("making the home again: %w", err)
		}
	}
	b, err := broker.Open(context.Background(), c.options(image))
	if err != nil {
		return err
	}
	return errors.Join(b.Degraded(), b.Close())
}

func initHome(d durable.Disk, clk clock.Clock) error {
	return broker.Init(d, clk, func() error { _, err := age.Init(d, clk.Now().Wall, age.Wanted{}); return err })
}

// keeps opens the disk and compares.
func (c *crashed) keeps(image *durable.Mem) error {
	b, err := broker.Open(context.Background(), c.options(image))
	if err != nil {
		return fmt.Errorf("it does not start: %w", err)
	}
	err = errors.Join(b.Degraded(), c.compare(b, image))
	if c.images%16 != 0 || err != nil {
		return err // not closed: nothing runs, and the disk is garbage with it
	}
	return errors.Join(b.Close(), c.verifies(image))
}

func (c *crashed) verifies(image durable.Disk) error {
	report, err := audit.Verify(image, broker.AuditDir)
	if err == nil && !report.OK {
		err = fmt.Errorf("the log does not verify: %s", *report.Reason)
	}
	return err
}

// compare: everything acknowledged is there, and nothing that was ended.
func (c *crashed) compare(b *broker.Broker, image durable.Disk) error {
	status, err := b.Status(context.Background())
	if err != nil {
		return err
	}
	if status.Killed != c.said.killed && status.Killed != c.next.killed {
		return fmt.Errorf("killed is %t", status.Killed)
	}
	live := map[string]bool{}
	for _, l := range b.Leases(broker.Owner()) {
		live[l.ID.String()] = true
		was, known := c.said.leases[l.ID.String()]
		will, coming := c.next.leases[l.ID.String()]
		switch {
		case known && !was && !will:
			return errors.New("a lease that was ended is back")
		case !known && !coming && c.said.doing != "lease":
			return errors.New("there is a lease nobody was given")
		}
	}
	for id, in := range c.said.leases {
		if in && c.next.leases[id] && !live[id] {
			return fmt.Errorf("an acknowledged lease is gone during %q", c.said.doing)
		}
	}
	for name := range c.next.current { // last: it may take leases of its own
		if err := c.compareSecret(b, image, name); err != nil {
			return err
		}
	}
	return nil
}

func (c *crashed) compareSecret(b *broker.Broker, image durable.Disk, name string) error {
	before, after := c.said.current[name], c.next.current[name]
	versions, err := b.Versions(secret.Name(name))
	if errors.Is(err, broker.ErrNotFound) {
		if before != 0 && after != 0 {
			return fmt.Errorf("%s is gone", name)
		}
		return nil
	} else if err != nil {
		return err
	}
	for _, v := range versions {
		if v.State == "previous" { // what rollback goes back to is there
			if _, err := age.New(image, "vault").Sum(context.Background(), secret.Name(name), v.Version); err != nil {
				return fmt.Errorf("%s version %d, which is previous: %w", name, v.Version, err)
			}
		}
	}
	for _, v := range versions {
		if v.State != "current" {
			continue
		}
		if v.Version != before && v.Version != after {
			return fmt.Errorf("%s has version %d, not %d or %d", name, v.Version, before, after)
		}
		if _, err := age.New(image, "vault").Sum(context.Background(), secret.Name(name), v.Version); err != nil {
			return fmt.Errorf("%s version %d: %w", name, v.Version, err)
		}
		if c.images%64 != 0 || // closed above, so that no value stays in locked memory
			c.said.killed || c.next.killed {
			return nil
		}
		issued, err := b.Lease(context.Background(), broker.Owner(), broker.LeaseRequest{Secret: name})
		if err != nil {
			return fmt.Errorf("%s version %d: %w", name, v.Version, err)
		}
		if want := valueOf(name, v.Version); issued.Value.Use(func(b []byte) error {
			if string(b) != want {
				return errors.New("another value")
			}
			return nil
		}) != nil {
			return fmt.Errorf("%s version %d has another value", name, v.Version)
		}
		return nil
	}
	return fmt.Errorf("%s has no current version", name)
}

// The steps.

func (c *crashed) init() {
	c.step("init", func(after *promise) error { after.home = true; return initHome(c.disk, c.clock) })
}

func (c *crashed) open() {
	c.step("start", func(*promise) (err error) {
		c.b, err = broker.Open(context.Background(), c.options(c.disk))
		return err
	})
}

func (c *crashed) close() { c.step("stop", func(*promise) error { return c.b.Close() }) }

func (c *crashed) set(name string) {
	c.step("set", func(after *promise) error {
		next := uint64(1)
		if v, err := c.b.Versions(secret.Name(name)); err == nil {
			next = v[0].Version + 1
		} else if n, removed := c.said.current[name]; removed && n == 0 {
			next = c.nextAfterRemoval(name)
		}
		after.current[name] = next
		c.next = *after
		v, err := secret.New([]byte(valueOf(name, next)))
		if err != nil {
			return err
		}
		defer v.Clear()
		got, err := c.b.Set(context.Background(), broker.Owner(), secret.Name(name), "", v)
		if err == nil && got != next {
			err = fmt.Errorf("version %d, not %d", got, next)
		}
		return err
	})
}

// imports takes a value in for each name at once: a new version where there is
// none or another, and none for what is as it was.
func (c *crashed) imports(names ...string) {
	c.step("import", func(after *promise) error {
		var in []broker.ImportEntry
		for _, name := range names {
			version := c.said.current[name]
			if name != "same" || version == 0 {
				version = 1
				if v, err := c.b.Versions(secret.Name(name)); err == nil {
					version = v[0].Version + 1
				}
			}
			after.current[name] = version
			v, err := secret.New([]byte(valueOf(name, version)))
			if err != nil {
				return err
			}
			defer v.Clear()
			in = append(in, broker.ImportEntry{Name: secret.Name(name), Env: "NAMED", Value: v})
		}
		c.next = *after
		got, err := c.b.Import(context.Background(), broker.Owner(), in, broker.ImportOptions{})
		for _, r := range got {
			if r.Version != after.current[string(r.Name)] {
				return fmt.Errorf("%s has version %d, not %d", r.Name, r.Version, after.current[string(r.Name)])
			}
		}
		return err
	})
}

// rotates has a secret's vault steps of a rotation, which ends as end says: with
// the new version in force, the old one, or none made.
func (c *crashed) rotates(name, end string) {
	ctx, vault, secretName := context.Background(), c.b.Vault(), secret.Name(name)
	from, err := vault.Current(secretName)
	require.NoError(c.t, err)
	var to uint64
	c.step("reserve", func(*promise) (err error) { to, err = vault.Reserve(secretName); return err })
	if end != "withdrawn" {
		c.step("publish", func(after *promise) error {
			after.current[name] = to
			c.next = *after
			v, err := secret.New([]byte(valueOf(name, to)))
			if err != nil {
				return err
			}
			defer v.Clear()
			return vault.Publish(ctx, secretName, providers.Version{Number: to, ID: "id", Created: c.clock.Now().Wall}, v)
		})
	}
	if end == "done" {
		c.step("forget", func(*promise) error { return vault.Forget(ctx, secretName, from.Number) })
		return
	}
	if end == "restored" {
		c.step("restore", func(after *promise) error {
			after.current[name] = from.Number
			c.next = *after
			return vault.Restore(ctx, secretName, to, from.Number)
		})
	}
	c.step("withdraw", func(*promise) error { return vault.Withdraw(ctx, secretName, to) })
}

// valueOf is what a version of a secret is set to.
func valueOf(name string, version uint64) string {
	return canary.Of(fmt.Sprintf("%s-%d", name, version))
}

// nextAfterRemoval: the scenario removes a secret only once, at version 2.
func (c *crashed) nextAfterRemoval(string) uint64 { return 3 }

func (c *crashed) lease(name string, ttl time.Duration) (id string) {
	c.step("lease", func(after *promise) error {
		issued, err := c.b.Lease(context.Background(), broker.Owner(), broker.LeaseRequest{Secret: name, TTLSeconds: int64(ttl / time.Second)})
		if err != nil {
			return err
		}
		id = issued.ID.String()
		after.leases[id] = true
		return nil
	})
	return id
}

func (c *crashed) renew(id string) {
	c.step("renew", func(*promise) error {
		_, err := c.b.Renew(context.Background(), broker.Owner(), id)
		return err
	})
}

// end is a step that ends leases: from the moment it is asked for they may be
// over, and once it has answered they are.
func (c *crashed) end(name string, ids []string, do func() error) {
	c.step(name, func(after *promise) error {
		for _, id := range ids {
			after.leases[id] = false
		}
		return do()
	})
}

func (c *crashed) live() (ids []string) {
	for id, in := range c.said.leases {
		if in {
			ids = append(ids, id)
		}
	}
	return ids
}

// scenario is a life: everything a broker does to its disk, some of it twice.
func (c *crashed) scenario() {
	defer broker.OneImportWriter()()
	ctx, owner := context.Background(), broker.Owner()
	c.init()
	c.open()
	c.set("a")
	c.set("a")
	c.set("b/c")
	one, two := c.lease("a", time.Hour), c.lease("a", time.Minute)
	three := c.lease("b/c", time.Hour)
	c.renew(one)
	c.end("revoke", []string{three}, func() error {
		_, err := c.b.Revoke(owner, broker.Selection{IDs: []string{three}})
		return err
	})
	// Time ends a lease everywhere at once, so it is over before the step.
	c.clock.Advance(2 * time.Minute)
	c.said.leases[two] = false
	c.end("expiry", nil, func() error { c.b.Expire(); return nil })
	c.step("rollback", func(after *promise) error {
		after.current["a"] = 1
		_, err := c.b.Rollback(context.Background(), owner, "a")
		return err
	})
	c.imports("same", "d")
	c.imports("a", "same", "d", "e/f")
	c.rotates("a", "done")
	c.rotates("d", "restored")
	c.set("e/f") // which has a previous version to go when it is rotated
	c.rotates("e/f", "withdrawn")
	c.rotates("e/f", "done")
	for range 6 { // several segments
		c.lease("a", time.Hour)
	}
	c.step("tidying the log", func(*promise) error { c.b.TidyLog(); return nil })
	c.close()
	c.open()
	c.step("reload", func(*promise) error { return c.b.Reload() })
	c.end("kill", c.live(), func() error {
		c.next.killed = true
		_, err := c.b.Kill(owner)
		return err
	})
	c.close()
	c.open()
	c.step("resume", func(after *promise) error {
		after.killed = false
		c.next = *after
		return c.b.Resume(owner)
	})
	four := c.lease("b/c", time.Hour)
	c.end("remove", []string{four}, func() error {
		c.next.current["b/c"] = 0
		return c.b.Remove(ctx, owner, "b/c")
	})
	c.lease("a", time.Hour)
	c.end("revoke all", c.live(), func() error {
		_, err := c.b.Revoke(owner, broker.Selection{All: true})
		return err
	})
	c.lease("a", time.Hour)
	c.close()
}

// TestCrashEveryOp kills the machine before every change that a broker makes to
// its disk, and starts again from what may be left, some of it crashing again
// while it recovers: nothing acknowledged is lost, nothing ended comes back, and
// it starts by itself.
func TestCrashEveryOp(t *testing.T) {
	seeds, limit := 1, 60
	if raceEnabled {
		limit = 3 // signatures are slow then; make test runs this without, too
	}
	if long() {
		seeds, limit = 6, 300
	}
	broker.SetSegmentBytes(2 << 10)
	defer broker.SetSegmentBytes(0)
	images, again := 0, 0
	for seed := range seeds {
		c := newCrashed(t, uint64(seed), limit, 100)
		c.scenario()
		for _, bad := range c.bad[:min(len(c.bad), 20)] {
			t.Error(bad)
		}
		images, again = images+c.images, again+c.again
	}
	t.Logf("%d crash images, %d of them of a second crash", images+again, again)
	require.Greater(t, images, 500)
}

// TestCrashNegativeControl: the same on a disk that lies about every seventh
// sync finds losses.
func TestCrashNegativeControl(t *testing.T) {
	broker.SetSegmentBytes(2 << 10)
	defer broker.SetSegmentBytes(0)
	c := newCrashed(t, 1, 5, 0)
	syncs := 0
	c.disk.Before = func(op durable.Op) durable.Verdict {
		c.look(op)
		if op.Kind == durable.OpSync || op.Kind == durable.OpSyncDir {
			syncs++
			return durable.Verdict{Skip: syncs%7 == 0}
		}
		return durable.Verdict{}
	}
	c.scenario()
	t.Logf("%d bad images of %d", len(c.bad), c.images)
	require.NotEmpty(t, c.bad, "a lost sync goes unseen")
}
