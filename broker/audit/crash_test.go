package audit_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/audit"
	"secretctl/broker/clock"
	"secretctl/broker/durable"
)

var errCrashed = errors.New("crashed")

// crashing returns a disk on which nothing happens any more from operation k
// on. crashed says whether it came that far.
func crashing(d durable.Disk, k int) (hook *durable.Hook, crashed *bool) {
	crashed = new(bool)
	return &durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
		if op.N >= k {
			*crashed = true
			return durable.Verdict{Err: errCrashed}
		}
		return durable.Verdict{}
	}}, crashed
}

// crashSegment is the size of segments here: a few records.
const crashSegment = 2 << 10

// after is the record that is appended after a crash.
var after = plain(1 << 20)

// crashed is a life of a log on a disk that is looked at before each of its
// changes.
type crashed struct {
	t     testing.TB
	rnd   *rand.Rand
	clk   *clock.Fake
	mem   *durable.Mem
	disk  *durable.Hook
	limit int // images at each operation
	every int // of so many operations, one is crashed at
	deep  int // one image in so many is crashed again while it is opened
	inner int // images of such a second crash

	log     *audit.Log
	fold    *fold
	sums    []uint64        // of the fold, by records that Apply has seen
	created bool            // Create has returned
	doing   map[string]bool // leases of records that are not acknowledged yet
	lease   int

	images, again, repaired int
	bad                     []string
}

func newCrashed(t testing.TB, seed uint64, limit int) *crashed {
	c := &crashed{
		t: t, rnd: rand.New(rand.NewPCG(seed, 1)), clk: clock.NewFake(start), mem: durable.NewMem(),
		limit: limit, every: 1, deep: 25, inner: 6, fold: new(fold), sums: []uint64{0}, doing: map[string]bool{},
	}
	c.disk = &durable.Hook{Disk: c.mem, Before: func(op durable.Op) durable.Verdict {
		c.look(op)
		return durable.Verdict{}
	}}
	return c
}

// look tries every image that a crash at this operation can leave.
func (c *crashed) look(op durable.Op) {
	if op.N%c.every != 0 {
		return
	}
	for image := range c.mem.Images(c.limit, c.rnd) {
		c.images++
		if err := c.recovers(image); err != nil {
			c.bad = append(c.bad, fmt.Sprintf("op %d (%s %s): %v", op.N, op.Kind, op.Name, err))
		}
	}
}

// recovers opens what a crash has left and holds it against what was promised.
// Some images are crashed again at every operation of that.
func (c *crashed) recovers(image *durable.Mem) error {
	if c.deep > 0 && c.images%c.deep == 0 {
		var failed error
		hook := &durable.Hook{Disk: image, Before: func(op durable.Op) durable.Verdict {
			for second := range image.Images(c.inner, c.rnd) {
				c.again++
				if err := c.keeps(second, second, nil); err != nil && failed == nil {
					failed = fmt.Errorf("crashed again at %s %s while it was opened: %w", op.Kind, op.Name, err)
				}
			}
			return durable.Verdict{}
		}}
		return errors.Join(c.keeps(hook, image, c.verifies), failed)
	}
	var verifies func(durable.Disk) (int64, error)
	if c.images%8 == 0 {
		verifies = c.verifies
	}
	return c.keeps(image, image, verifies)
}

// verifies says what Verify finds torn.
func (c *crashed) verifies(d durable.Disk) (int64, error) {
	r, err := audit.Verify(d, dir)
	switch {
	case errors.Is(err, audit.ErrAbsent) && !c.created:
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("verifying it: %w", err)
	case !r.OK:
		return 0, fmt.Errorf("it does not verify: %s", *r.Reason)
	case r.Records < uint64(len(c.sums)-1):
		return 0, fmt.Errorf("it verifies with %d records of %d", r.Records, len(c.sums)-1)
	}
	return r.TornBytes, nil
}

// keeps opens the disk: every record that was durable is there and folds into
// the same, what else is there was asked for, and it goes on from there. image
// is what is below the disk.
func (c *crashed) keeps(d durable.Disk, image *durable.Mem, verifies func(durable.Disk) (int64, error)) error {
	torn := int64(0)
	if verifies != nil {
		var err error
		if torn, err = verifies(d); err != nil {
			return err
		}
	}
	f, last := new(fold), audit.Record{}
	check := c.checker(f, &last)
	o := f.options(crashSegment)
	o.Apply = check.apply
	log, err := audit.Open(d, dir, c.clk, o)
	switch {
	case errors.Is(err, audit.ErrAbsent) && !c.created:
		if err = audit.Create(d, dir, c.clk); err != nil {
			return fmt.Errorf("creating it again: %w", err)
		}
		return nil
	case err != nil:
		return err
	case check.err != nil:
		return check.err
	case f.N < uint64(len(c.sums)-1):
		return fmt.Errorf("there are %d records of %d", f.N, len(c.sums)-1)
	case verifies != nil && (torn > 0) != (last.Event == audit.EventRepair):
		return fmt.Errorf("%d bytes were torn, and the last record is %q", torn, last.Event)
	case torn > 0:
		c.repaired++
		if last.Count != uint64(torn) {
			return fmt.Errorf("%d bytes were torn, not %d", torn, last.Count)
		}
	}
	if verifies == nil {
		return nil // not closed: nothing runs, and the disk is garbage with it
	}
	return c.goesOn(d, image, log, f)
}

// goesOn writes to a log that was opened after a crash, and finds it again after
// another, with nothing but what was synced.
func (c *crashed) goesOn(d durable.Disk, image *durable.Mem, log *audit.Log, f *fold) error {
	r := *after
	if err := log.Append(&r); err != nil {
		return fmt.Errorf("appending after the crash: %w", err)
	}
	again := new(fold)
	if _, err := audit.Open(synced(image), dir, c.clk, again.options(0)); err != nil {
		return fmt.Errorf("opening it after another crash: %w", err)
	}
	if again.Sum != f.Sum {
		return fmt.Errorf("after another crash it is not the same")
	}
	if err := log.Close(); err != nil {
		return err
	}
	if r, err := audit.Verify(d, dir); err != nil || !r.OK {
		return fmt.Errorf("closed after the crash it does not verify: %v %+v", err, r)
	}
	return nil
}

// checker compares a fold, record by record, with what was durable.
type checker struct {
	c    *crashed
	f    *fold
	last *audit.Record
	err  error
}

func (c *crashed) checker(f *fold, last *audit.Record) *checker { return &checker{c, f, last, nil} }

func (k *checker) apply(r *audit.Record) {
	*k.last = *r
	k.f.Apply(r)
	ours := r.Event != audit.EventLease && r.Event != audit.EventKill && r.Event != audit.EventStart
	switch n := k.f.N; {
	case n != r.Seq:
		k.err = fmt.Errorf("record %d is folded as the %d.", r.Seq, n)
	case n < uint64(len(k.c.sums)) && k.c.sums[n] != k.f.Sum:
		k.err = fmt.Errorf("record %d, or one before, is another one", n)
	case n >= uint64(len(k.c.sums)) && !ours && !k.c.doing[r.Lease] && r.Lease != after.Lease:
		k.err = fmt.Errorf("record %d is one that nobody asked for, or that was refused", n)
	}
}

// The life.

func (c *crashed) create() {
	require.NoError(c.t, audit.Create(c.disk, dir, c.clk))
	c.created = true
}

func (c *crashed) open() {
	o := c.fold.options(crashSegment)
	o.Apply = func(r *audit.Record) {
		c.fold.Apply(r)
		if r.Seq == uint64(len(c.sums)) {
			c.sums = append(c.sums, c.fold.Sum)
		}
	}
	var err error
	c.log, err = audit.Open(c.disk, dir, c.clk, o)
	require.NoError(c.t, err)
}

// append appends n records together.
func (c *crashed) append(n int, event audit.Event) {
	var records []*audit.Record
	for range n {
		c.lease++
		r := plain(c.lease)
		r.Event = event
		c.doing[r.Lease] = true
		records = append(records, r)
	}
	c.clk.Advance(time.Second)
	require.NoError(c.t, c.log.AppendAll(records))
	clear(c.doing)
}

func (c *crashed) appendEach(n int) {
	for range n {
		c.append(1, audit.EventLease)
	}
}

func (c *crashed) close() { require.NoError(c.t, c.log.Close()) }

// live does everything a log does to its disk, some of it twice.
func (c *crashed) live() {
	c.create()
	c.open()
	c.append(1, audit.EventStart)
	c.appendEach(3)
	c.append(3, audit.EventLease)
	require.NoError(c.t, c.log.Checkpoint())
	c.appendEach(4) // a roll among them
	c.clk.StepWall(-time.Minute)
	c.append(2, audit.EventLease)
	require.NoError(c.t, c.log.Tick(0))
	c.append(30, audit.EventLease) // more than a page
	c.append(1, audit.EventKill)
	c.clk.Advance(time.Hour)
	c.appendEach(1)
	require.NoError(c.t, c.log.Tick(time.Minute)) // prunes
	c.close()
	c.open()
	c.appendEach(2)
	c.fold = new(fold) // killed
	c.open()
	c.appendEach(6)
	require.NoError(c.t, c.log.Tick(time.Second))
	c.close()
}

// passed says what went wrong, and that enough was tried.
func (c *crashed) passed() {
	for _, bad := range c.bad[:min(len(c.bad), 20)] {
		c.t.Error(bad)
	}
	c.t.Logf("%d crash images, %d of a second crash, %d seen to be repaired", c.images, c.again, c.repaired)
}

// faultAt lets one operation fail, a crash being tried at each one as ever.
func (c *crashed) faultAt(kind durable.OpKind, nth int, v durable.Verdict) {
	seen := 0
	c.disk.Before = func(op durable.Op) durable.Verdict {
		c.look(op)
		if op.Kind == kind && strings.HasSuffix(op.Name, ".jsonl") {
			if seen++; seen == nth {
				return v
			}
		}
		return durable.Verdict{}
	}
}

// sizes is how many images the short run, the one with the race detector, and
// the long one try at each operation.
func sizes(short, race, much int) int {
	switch {
	case long():
		return much
	case raced():
		return race
	}
	return short
}

// TestLogCrashEveryOp crashes before every change that a log makes to its disk,
// and opens what may be left, some of it crashing again meanwhile.
func TestLogCrashEveryOp(t *testing.T) {
	c := newCrashed(t, 1, sizes(30, 3, 2000))
	c.every, c.deep = sizes(1, 3, 1), sizes(25, 40, 25)
	c.live()
	c.passed()
	require.Greater(t, c.images, 100)
	require.Positive(t, c.again)
	if !raced() {
		require.Greater(t, c.images, 3000)
		require.Greater(t, c.repaired, 100)
	}
}

// TestLogCrashAfterFault is that of a log which has been through a failed write
// or sync.
func TestLogCrashAfterFault(t *testing.T) {
	for what, v := range map[string]durable.Verdict{"full": {Err: syscall.ENOSPC, Short: 700}, "broken": {Err: syscall.EIO}} {
		for _, kind := range []durable.OpKind{durable.OpWrite, durable.OpSync} {
			for _, nth := range []int{9, 3, 14}[:sizes(3, 1, 3)] {
				t.Run(fmt.Sprint(what, " ", kind, " ", nth), func(t *testing.T) {
					c := newCrashed(t, uint64(nth), sizes(4, 3, 500))
					c.every, c.deep = sizes(2, 23, 1), sizes(100, 1000, 25)
					c.faultAt(kind, nth, v)
					c.live()
					c.passed()
				})
			}
		}
	}
}

// TestLogCrashNegativeControl: on a disk that lies about every seventh sync the
// same finds losses.
func TestLogCrashNegativeControl(t *testing.T) {
	c := newCrashed(t, 1, sizes(4, 1, 100))
	c.every = sizes(1, 3, 1)
	syncs := 0
	c.disk.Before = func(op durable.Op) durable.Verdict {
		c.look(op)
		if op.Kind == durable.OpSync || op.Kind == durable.OpSyncDir {
			syncs++
			return durable.Verdict{Skip: syncs%7 == 0}
		}
		return durable.Verdict{}
	}
	c.live()
	t.Logf("%d bad images of %d", len(c.bad), c.images)
	require.NotEmpty(t, c.bad, "a lost sync goes unseen")
}

// TestCreateCrash: a Create that crashed can be done again, or was done.
func TestCreateCrash(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for k := 0; ; k++ {
		d, clk := durable.NewMem(), clock.NewFake(start)
		hook, crashed := crashing(d, k)
		err := audit.Create(hook, dir, clk)
		require.Equal(t, *crashed, err != nil)
		for image := range d.Images(sizes(40, 3, 2000), rnd) {
			err := audit.Create(image, dir, clk)
			if *crashed && err == nil {
				_, statErr := d.Stat(dir)
				require.True(t, statErr == nil || errors.Is(statErr, fs.ErrNotExist))
			} else {
				require.ErrorIs(t, err, audit.ErrExists)
			}
			w := openWorld(t, image, clk, 0)
			w.append(t, 1)
			w.close(t)
			verified(t, image)
		}
		if !*crashed {
			require.Greater(t, k, 8)
			break
		}
	}
}
