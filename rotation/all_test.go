package rotation

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
	"secretctl/providers"
)

// TestAllOfThem rotates a thousand secrets on a real disk, beside as many durable
// writes as its journal makes, one after the other.
func TestAllOfThem(t *testing.T) {
	const n = 1000
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o700))
	home, err := durable.OpenHome(dir)
	require.NoError(t, err)
	s := newShop(t)
	db, err := home.OpenDB("journal.db")
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	counted := &counter{DB: db}
	s.db = counted
	s.reopen()
	stop := s.run()
	defer stop()
	begun := time.Now()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			p, err := s.engine.Start(Order{Secret: nth(i), By: "owner"})
			if err != nil {
				t.Error(err)
				return
			}
			last, err := s.engine.Watch(context.Background(), nth(i), p.ID, func(providers.Progress) {}, nil)
			if err != nil || last.State != "done" {
				t.Errorf("%+v: %v", last, err)
			}
		})
	}
	all.Wait()
	took := time.Since(begun)
	begun = time.Now()
	const sample = 200
	for i := range sample {
		require.NoError(t, db.Update(func(tx durable.Tx) error { return tx.Put("bench", []byte(nth(i)), make([]byte, 600)) }))
	}
	alone := time.Since(begun) / sample
	t.Logf("%d rotations in %v: %d transactions, %v each; one alone takes %v", n, took.Round(time.Millisecond), counted.n, (took / time.Duration(counted.n)).Round(time.Microsecond), alone.Round(time.Microsecond))
	require.Less(t, counted.n, 2*n, "saves that come together share a transaction")
}

// counter counts transactions.
type counter struct {
	durable.DB
	mu sync.Mutex
	n  int
}

func (c *counter) Update(fn func(durable.Tx) error) error {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
	return c.DB.Update(fn)
}
