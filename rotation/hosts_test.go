package rotation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// record is what hosts that share the secret agree on.
type record struct {
	mu      sync.Mutex
	version providers.Version
	claim   *providers.Claim
	staged  string
	said    time.Time // when something was last heard of the claim
}

// claims is what one host sees of it, in its own vault.
type claims struct {
	*record
	host  string
	vault *plainVault
	down  error // the record cannot be reached
	cutAt State // of the step that is told last; "": of none
}

func (*claims) Shared(secret.Name) bool { return true }

// see has the host's vault say what the record does.
func (c *claims) see() {
	c.vault.mu.Lock()
	defer c.vault.mu.Unlock()
	if c.version.Number > c.vault.version.Number {
		c.vault.version = c.version
	}
}

func (c *claims) Claim(_ context.Context, _ secret.Name, mine providers.Claim, over func(string) bool) (left *providers.Claim, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down != nil {
		return nil, c.down
	}
	c.see()
	if was := c.claim; was != nil {
		if was.Host != c.host && time.Since(c.said) < 10*time.Minute {
			return nil, &providers.ClaimedError{Claim: *was}
		}
		if was.State != nil && (was.Host != c.host || !over(was.ID)) {
			left, mine = was, *was
		}
	}
	mine.Host = c.host
	c.claim, c.said = &mine, time.Now()
	return left, nil
}

func (c *claims) Keep(_ context.Context, _ secret.Name, mine providers.Claim, open func() (secret.Value, error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.down != nil:
		return c.down
	case c.claim == nil || c.claim.ID != mine.ID || c.claim.Host != c.host:
		return &providers.ClaimedError{Claim: providers.Claim{Host: "the other"}}
	}
	if mine.Version != 0 {
		v, err := open()
		if err != nil {
			return err
		}
		defer v.Clear()
		c.staged = text(v)
	}
	mine.Host = c.host
	c.claim, c.said = &mine, time.Now()
	if c.cutAt != "" && mine.Phase == string(c.cutAt) {
		c.down = &providers.StoreError{Kind: providers.ErrUnavailable, Problem: "no way there"}
		if c.cutAt != Planned { // which the vault has told the others
			c.version = c.vault.version
		}
	}
	return nil
}

func (*claims) Hold(context.Context, secret.Name, string) error { return nil }

func (c *claims) Unclaim(_ context.Context, _ secret.Name, id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.vault.mu.Lock()
	defer c.vault.mu.Unlock()
	if c.down == nil && c.claim != nil && c.claim.ID == id && c.claim.Host == c.host {
		c.claim, c.version = nil, c.vault.version
	}
	return c.down
}

func (c *claims) Staged(context.Context, secret.Name, uint64) (secret.Value, error) {
	return secret.New([]byte(c.staged))
}

// cutFrom has the record be out of reach once it has been told of a state; "": of
// none, from now on.
func (c *claims) cutFrom(s State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cutAt, c.down = s, nil
}

// newHosts are two brokers over one record.
func newHosts(t *testing.T, seed uint64, expr string) (hosts [2]*sleeper, r *record) {
	r = &record{version: providers.Version{Number: 1, Created: time.Now()}}
	for i := range hosts {
		hosts[i] = newSleeperWith(t, seed+uint64(i), expr, func(v *plainVault) Claims { return &claims{record: r, host: fmt.Sprint("host", i), vault: v} })
	}
	return hosts, r
}

// TestHostsOnceASlot: of hosts that have the same schedule one runs a slot, and the
// others count it as run, whether they heard of it before or find out as they try.
func TestHostsOnceASlot(t *testing.T) {
	for seed := range uint64(4) {
		synctest.Test(t, func(t *testing.T) {
			hosts, r := newHosts(t, seed, "0 4 * * *")
			begun := time.Now()
			const days = 60
			by := make(map[string]int)
			for time.Now().Before(begun.AddDate(0, 0, days)) {
				for _, h := range hosts {
					h.tick()
					switch h.rng.IntN(2000) {
					case 0:
						h.die()
					case 1, 2, 3: // a lease has it look
						h.claims.(*claims).see()
					}
				}
			}
			var starts []time.Time
			for i, h := range hosts {
				require.Empty(t, h.said)
				starts = append(starts, h.starts...)
				by[fmt.Sprint(i)] = len(h.starts)
				h.stop()
			}
			// The first day's slot is one of them; the last is over.
			require.InDelta(t, days, len(starts), 1, "%v", by)
			require.Equal(t, uint64(len(starts)+1), r.version.Number)
		})
	}
}

// TestHostsClaimed: a rotation that another host has under way is left alone, by
// hand and by schedule, and is no failure.
func TestHostsClaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts, r := newHosts(t, 1, "0 4 * * *")
		a := hosts[0]
		defer a.stop()
		defer hosts[1].stop()
		r.claim = &providers.Claim{ID: "r1", Host: "host1", Phase: "issued"}
		for range 2 * 24 * 120 {
			r.said = time.Now() // it lives
			a.tick()
		}
		require.Empty(t, a.starts)
		var claimed *providers.ClaimedError
		_, err := a.engine.Start(Order{Secret: theName, By: "owner"})
		require.ErrorAs(t, err, &claimed)
		require.Equal(t, "host1", claimed.Host)
		r.claim = nil
		for range 60 {
			a.tick()
		}
		require.Len(t, a.starts, 1)
		_, suspended, _ := a.scheduler.Due(theName)
		require.False(t, suspended)
		require.Empty(t, a.said)
		_, err = a.engine.Start(Order{Secret: theName, By: "schedule", From: 1})
		require.ErrorIs(t, err, ErrReplaced)
		require.Nil(t, r.claim, "what is not begun is nobody's")
	})
}

// TestHostsTakeOver: a rotation that a host has left is gone on with from what it
// said last, under its name; when the host comes back, it does nothing more.
func TestHostsTakeOver(t *testing.T) {
	for state, reason := range map[State]providers.Code{Planned: reasonTaken, Verified: reasonTaken, Announced: reasonTaken, Retired: ""} {
		t.Run(string(state), func(t *testing.T) { takeOver(t, state, reason) })
	}
}

func takeOver(t *testing.T, at State, reason providers.Code) {
	synctest.Test(t, func(t *testing.T) {
		hosts, r := newHosts(t, 1, "0 4 1 1 *")
		a, b := hosts[0], hosts[1]
		defer a.stop()
		defer b.stop()
		ca := a.claims.(*claims)
		ca.cutFrom(at)
		p, err := a.engine.Start(Order{Secret: theName, By: "owner"})
		require.NoError(t, err)
		synctest.Wait()
		require.NotNil(t, r.claim.State)

		time.Sleep(9 * time.Minute)
		var claimed *providers.ClaimedError
		_, err = b.engine.Start(Order{Secret: theName, By: "owner"})
		require.ErrorAs(t, err, &claimed)
		time.Sleep(2 * time.Minute)
		taken, err := b.engine.Start(Order{Secret: theName, By: "owner"})
		require.NoError(t, err)
		require.Equal(t, p.ID, taken.ID)
		time.Sleep(2 * time.Minute)
		last, _, err := b.engine.Last(theName)
		require.NoError(t, err)
		require.Equal(t, "done", last.State)
		require.Equal(t, p.ID, last.ID)
		require.Equal(t, uint64(2), r.version.Number)
		require.Nil(t, r.claim)

		ca.cutFrom("")
		published := a.vault.published
		time.Sleep(time.Hour)
		last, _, err = a.engine.Last(theName)
		require.NoError(t, err)
		require.Equal(t, reason == "", last.State == "done", "its last step it had done: %v", last)
		require.Equal(t, reason, last.Reason)
		require.Equal(t, published, a.vault.published, "it has put nothing in force since")
		_, suspended, _ := a.scheduler.Due(theName)
		require.False(t, suspended)
	})
}

// TestHostsUnreachable: nothing is begun, and no step is taken, that the others
// cannot be told of.
func TestHostsUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts, _ := newHosts(t, 1, "0 4 1 1 *")
		a := hosts[0]
		defer a.stop()
		defer hosts[1].stop()
		a.claims.(*claims).down = errors.New("no way there")
		_, err := a.engine.Start(Order{Secret: theName, By: "owner"})
		require.ErrorContains(t, err, "no way there")
		require.Empty(t, a.starts)
		_, err = a.engine.Get(theName)
		require.ErrorIs(t, err, ErrNone)
	})
}

// TestHostsLater: a rotation that began while the store was this host's alone goes
// on when it is shared.
func TestHostsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &record{version: providers.Version{Number: 1, Created: time.Now()}}
		m := newSleeperWith(t, 1, "0 4 1 1 *", nil)
		m.stop()
		began := Rotation{ID: "r1", Secret: theName, Provider: "plain", Shape: providers.ShapeSet, By: "owner", From: r.version}
		began.begin(m.engine.now())
		require.NoError(t, m.engine.journal.save(&began))
		m.claims = &claims{record: r, host: "host0", vault: m.vault}
		m.boot()
		defer m.stop()
		time.Sleep(time.Minute)
		last, _, err := m.engine.Last(theName)
		require.NoError(t, err)
		require.Equal(t, "done", last.State, last)
	})
}

// TestClaimHasNoValue: what other hosts are told has no sealed value in it, which
// none of them could open, and tells one from another.
func TestClaimHasNoValue(t *testing.T) {
	r := Rotation{ID: "r1", Tag: "t", State: Staged, Sealed: []byte("sealed by this host"), To: 7}
	one, err := r.claim()
	require.NoError(t, err)
	var state map[string]any
	require.NoError(t, json.Unmarshal(one.State, &state))
	require.NotContains(t, state, "sealed")
	require.Equal(t, uint64(7), one.Version)
	r.Sealed = []byte("another")
	other, err := r.claim()
	require.NoError(t, err)
	require.NotEqual(t, one.Mark, other.Mark)
	r.Sealed = nil
	none, err := r.claim()
	require.NoError(t, err)
	require.Zero(t, none.Version)
}

// TestHostsGrace: that this host has no lease on the old version says nothing of the
// others: they have the whole grace.
func TestHostsGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts, _ := newHosts(t, 1, "0 4 1 1 *")
		a := hosts[0]
		defer a.stop()
		defer hosts[1].stop()
		a.grace = 5 * time.Minute
		began := a.now()
		_, err := a.engine.Start(Order{Secret: theName, By: "owner"})
		require.NoError(t, err)
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Len(t, a.revokes, 1)
		require.GreaterOrEqual(t, a.revokes[0].Sub(began), a.grace)
		require.Less(t, a.revokes[0].Sub(began), a.grace+time.Minute)
		require.True(t, a.vault.ended, "the others are told why it is gone")

		_, err = a.engine.Start(Order{Secret: theName, By: "owner", Emergency: true})
		require.NoError(t, err)
		synctest.Wait()
		require.Len(t, a.revokes, 2, "an emergency waits for nobody")
	})
}
