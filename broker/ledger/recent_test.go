package ledger_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
	"secretctl/broker/ledger"
	"secretctl/broker/secret"
)

// watched is a disk whose databases count the transactions that read, and call
// after once one has read.
type watched struct {
	durable.Disk
	views int
	after func()
}

type watchedDB struct {
	durable.DB
	d *watched
}

func (d *watched) OpenDB(name string) (durable.DB, error) {
	db, err := d.Disk.OpenDB(name)
	return watchedDB{db, d}, err
}

func (db watchedDB) View(fn func(durable.Tx) error) error {
	err := db.DB.View(fn)
	db.d.views++
	if after := db.d.after; after != nil {
		db.d.after = nil
		after()
	}
	return err
}

func watch(t *testing.T) (*ledger.Ledger, *watched) {
	d := &watched{Disk: durable.NewMem()}
	require.NoError(t, ledger.Create(d, ledger.Name))
	return opened(t, d), d
}

func requireCurrent(t testing.TB, l *ledger.Ledger, name secret.Name, want uint64) {
	t.Helper()
	n, err := l.Current(name)
	require.NoError(t, err)
	require.Equal(t, want, n, name)
}

// TestCurrent: it is looked up once, and again after each write.
func TestCurrent(t *testing.T) {
	l, d := watch(t)
	_, err := l.Current("a")
	require.ErrorIs(t, err, ledger.ErrNoEntry)
	put(t, l, entry("a", 1), entry("b", 1))
	requireCurrent(t, l, "a", 1)
	requireCurrent(t, l, "b", 1)
	d.views = 0
	for range 10 {
		requireCurrent(t, l, "a", 1)
		requireCurrent(t, l, "b", 1)
	}
	require.Zero(t, d.views)
	put(t, l, entry("a", 2))
	requireCurrent(t, l, "b", 1)
	require.Zero(t, d.views, "b was not written")
	requireCurrent(t, l, "a", 2)
	require.Equal(t, 1, d.views)
	put(t, l, removed(entry("a", 2)))
	_, err = l.Current("a")
	require.ErrorIs(t, err, ledger.ErrNoEntry)
}

// TestCurrentWhileWritten: what was read before a write is not remembered after
// it.
func TestCurrentWhileWritten(t *testing.T) {
	l, d := watch(t)
	put(t, l, entry("a", 1))
	d.after = func() { put(t, l, entry("a", 2)) }
	requireCurrent(t, l, "a", 1)
	requireCurrent(t, l, "a", 2)

	put(t, l, entry("b", 1))
	d.after = func() { put(t, l, removed(entry("b", 1))) }
	requireCurrent(t, l, "b", 1)
	_, err := l.Current("b")
	require.ErrorIs(t, err, ledger.ErrNoEntry)
}

// TestCurrentAfterFailure: a write that failed may have happened.
func TestCurrentAfterFailure(t *testing.T) {
	l, d := watch(t)
	put(t, l, entry("a", 1))
	requireCurrent(t, l, "a", 1)
	e, bad := entry("a", 2), ledger.Entry{}
	require.Error(t, l.Put(&e, &bad))
	d.views = 0
	requireCurrent(t, l, "a", 1)
	require.Equal(t, 1, d.views)
}

// TestCurrentOfMany: more secrets than are remembered are all answered rightly,
// and the one asked for most recently is remembered.
func TestCurrentOfMany(t *testing.T) {
	const many = 5000
	l, d := watch(t)
	var all []*ledger.Entry
	for i := range many {
		e := entry(secret.Name(fmt.Sprintf("secret-%d", i)), uint64(i%7+1))
		all = append(all, &e)
	}
	require.NoError(t, l.Put(all...))
	ask := func(e *ledger.Entry) (views int) {
		before := d.views
		if n, err := l.Current(e.Name); err != nil || n != e.Current {
			t.Fatalf("%s: version %d (%v)", e.Name, n, err)
		}
		return d.views - before
	}
	again := 0
	for _, e := range all {
		ask(e)
		require.Zero(t, ask(e), e.Name)
	}
	for _, e := range all {
		again += ask(e)
	}
	require.Positive(t, again, "all of them are remembered")
}

// TestCurrentIsNeverBehind: once a Put has returned, no one is told of a version
// before.
func TestCurrentIsNeverBehind(t *testing.T) {
	l, _ := made(t)
	put(t, l, entry("a", 1))
	var acknowledged atomic.Uint64
	acknowledged.Store(1)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for acknowledged.Load() < 500 {
				least := acknowledged.Load()
				if n, err := l.Current("a"); err != nil || n < least {
					t.Errorf("version %d after %d (%v)", n, least, err)
					return
				}
			}
		})
	}
	for n := uint64(2); n <= 500; n++ {
		e := entry("a", n)
		if err := l.Put(&e); err != nil {
			t.Error(err)
		}
		acknowledged.Store(n)
	}
	all.Wait()
}
