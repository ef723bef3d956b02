package rotation

import (
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
)

// older puts the vault back to what it was before the new version came.
func (w *world) older() {
	v := w.vault
	delete(v.values, 2)
	delete(v.versions, 2)
	v.current, v.pending[2] = 1, true
}

// recovered has the journal go over to a new file, as recovering does, and
// starts a broker on it.
func (w *world) recovered(t *testing.T, under int) {
	t.Helper()
	write, names, err := Recovered(w.db)
	require.NoError(t, err)
	require.Len(t, names, under)
	db, err := durable.NewMem().OpenDB("ledger.db")
	require.NoError(t, err)
	require.NoError(t, db.Update(write))
	w.db = &faultyDB{db, w}
	w.boot()
}

// TestFault29Restored: a copy of the vault is restored that is older than the
// journal. The old version is never ended while it is what leases get, and the
// new one, which only the journal has, is not lost.
func TestFault29Restored(t *testing.T) {
	for _, recover := range []bool{true, false} {
		for _, s := range []State{Staged, Verified, Published, Announced, Drained} {
			name := string(s)
			if recover {
				name += " recovered"
			} else if s.live() && s != Drained {
				continue // it is seen when the old one is to be ended
			}
			t.Run(name, func(t *testing.T) {
				w := newWorld(specOf("create"))
				w.start()
				w.until(t, at(s))
				if s.live() {
					w.older()
				}
				if recover {
					w.recovered(t, 1)
				}
				w.requireEnd(t, Done)
				require.Equal(t, uint64(2), w.vault.current)
				require.NotEmpty(t, w.vault.values[2])
			})
		}
	}
}

// TestFault29Dead: the journal is as old as the vault, and its new version, which
// was verified then, is dead by now: it does not come into force, or not to stay.
func TestFault29Dead(t *testing.T) {
	for _, s := range []State{Verified, Published, Announced} {
		t.Run(string(s), func(t *testing.T) {
			w := newWorld(specOf("create"))
			w.start()
			r := w.until(t, at(s))
			w.service.end(w.service.first(func(c *cred) bool { return c.id == r.NewID }))
			w.recovered(t, 1)
			w.run()
			require.Equal(t, string(RolledBack), w.past(t).State)
			require.Equal(t, uint64(1), w.vault.current)
		})
	}
}

// TestRecoveredKeeps: what has ended stays in the history, and nothing that did
// not begin is under way.
func TestRecoveredKeeps(t *testing.T) {
	w := newWorld(specOf("create"))
	w.start()
	done := w.requireEnd(t, Done)
	w.recovered(t, 0)
	require.Equal(t, done, w.past(t))
	last, ok, err := w.engine.Last(w.name)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, done, last)
	_, ok, err = w.engine.Last("other")
	require.NoError(t, err)
	require.False(t, ok)
}
