package rotation

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// pinnedVault is one in which somebody keeps the old version.
type pinnedVault struct {
	*plainVault
	announced, ends atomic.Int32
}

func (*pinnedVault) Holders(secret.Name, uint64) (moving, copied, pinned int) { return 0, 0, 1 }

func (v *pinnedVault) EndLeases(secret.Name, uint64) error { v.ends.Add(1); return nil }

func (v *pinnedVault) Announce(context.Context, secret.Name, uint64) error {
	v.announced.Add(1)
	return nil
}

// revoking counts what is ended.
type revoking struct {
	plainRotator
	revoked *atomic.Int32
}

func (r revoking) Revoke(context.Context, *providers.Call, *providers.Credential) error {
	r.revoked.Add(1)
	return nil
}

// lone is an engine of one host that shares the secret, with nothing else around.
type lone struct {
	engine  *Engine
	claims  *claims
	vault   *pinnedVault
	db      durable.DB
	revoked atomic.Int32
	kind    providers.Kind
	stop    func()
}

func newLone(t *testing.T, r *record, db durable.DB, wrap func(*claims) Claims) *lone {
	return newLoneOf(t, r, db, wrap, providers.Kind{Name: "plain", Shape: providers.ShapeSet, Overlap: true, Blind: true})
}

func newLoneOf(t *testing.T, r *record, db durable.DB, wrap func(*claims) Claims, kind providers.Kind) *lone {
	l := &lone{vault: &pinnedVault{plainVault: &plainVault{version: r.version, now: time.Now}}, db: db}
	l.claims = &claims{record: r, host: "host0", vault: l.vault.plainVault}
	l.kind = kind
	l.kind.Open = func(providers.Options) (providers.Rotator, error) {
		return revoking{plainRotator{&sleeper{}}, &l.revoked}, nil
	}
	options, err := l.kind.NewOptions(nil)
	require.NoError(t, err)
	var c Claims = l.claims
	if wrap != nil {
		c = wrap(l.claims)
	}
	l.engine, err = New(Options{
		DB: db, Vault: l.vault, Sealer: plainSealer{}, Claims: c, Now: time.Now,
		Setup: func(secret.Name) (Setup, bool) {
			return Setup{Kind: l.kind, Options: options, Grace: time.Minute, Elsewhere: true}, true
		},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { l.engine.Run(ctx); close(done) }()
	l.stop = func() { cancel(); <-done }
	return l
}

func memDB(t *testing.T) durable.DB {
	db, err := durable.NewMem().OpenDB("ledger.db")
	require.NoError(t, err)
	return db
}

func (c *claims) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = err
}

// TestHostsPinnedAndDown: that the record cannot be reached says nothing of the
// leases on the old version: it is not ended under one that is pinned.
func TestHostsPinnedAndDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLone(t, &record{version: providers.Version{Number: 1, Created: time.Now()}}, memDB(t), nil)
		defer l.stop()
		_, err := l.engine.Start(Order{Secret: theName, By: "owner"})
		require.NoError(t, err)
		time.Sleep(10 * time.Minute)
		p, err := l.engine.Get(theName)
		require.NoError(t, err)
		require.Equal(t, "needs-owner", p.State, "somebody has a copy")
		require.Zero(t, l.revoked.Load())
		l.claims.fail(&providers.StoreError{Kind: providers.ErrUnavailable, Problem: "no way there"})
		time.Sleep(time.Minute)
		l.claims.fail(nil)
		time.Sleep(10 * time.Minute)
		require.Zero(t, l.revoked.Load(), "it was ended at the service while a pinned lease is on it")
	})
}

// TestHostsAnnounceAndDown: that the record cannot be reached for some seconds has
// nobody go untold of the new version.
func TestHostsAnnounceAndDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLone(t, &record{version: providers.Version{Number: 1, Created: time.Now()}}, memDB(t), nil)
		defer l.stop()
		l.claims.cutFrom(Verified) // the last that is told is that it is about to be published
		_, err := l.engine.Start(Order{Secret: theName, By: "owner"})
		require.NoError(t, err)
		time.Sleep(30 * time.Second)
		l.claims.cutFrom("")
		time.Sleep(10 * time.Minute)
		p, _, err := l.engine.Last(theName)
		require.NoError(t, err)
		require.NotZero(t, l.vault.announced.Load(), "no consumer was told, and it is %s (%s)", p.State, p.Step)
	})
}

// stagedFails is a record whose staged value cannot be read once.
type stagedFails struct {
	*claims
	once sync.Once
}

func (s *stagedFails) Staged(ctx context.Context, name secret.Name, n uint64) (v secret.Value, err error) {
	s.once.Do(func() {
		err = &providers.StoreError{Kind: providers.ErrUnavailable, Problem: "it did not answer in time"}
	})
	if err != nil {
		return v, err
	}
	return s.claims.Staged(ctx, name, n)
}

func leftBy(t *testing.T, r *record) {
	left := Rotation{ID: "r1", Tag: "tag", Secret: theName, Provider: "plain", Shape: providers.ShapeSet, By: "owner", From: r.version}
	left.begin(time.Now())
	left.State, left.Doing, left.To, left.Issues, left.Sealed = Staged, actVerify, 2, 1, []byte("the new value")
	c, err := left.claim()
	require.NoError(t, err)
	c.Host = "host1"
	r.claim, r.staged, r.said = &c, "the new value", time.Now().Add(-time.Hour)
}

// TestHostsTakeOverStumbles: a rotation that is taken over, and whose new value
// cannot be read in that moment, is still there to be gone on with.
func TestHostsTakeOverStumbles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &record{version: providers.Version{Number: 1, Created: time.Now()}}
		leftBy(t, r)
		l := newLone(t, r, memDB(t), func(c *claims) Claims { return &stagedFails{claims: c} })
		defer l.stop()
		_, err := l.engine.Start(Order{Secret: theName, By: "schedule", From: 1})
		require.ErrorContains(t, err, "it did not answer in time")
		time.Sleep(2 * time.Minute)
		require.NotNil(t, r.claim, "nobody knows any more that version 2 is at the service")
	})
}

// TestHostsTakeOverCrash: the same, when the broker dies between taking it over and
// its journal.
func TestHostsTakeOverCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &record{version: providers.Version{Number: 1, Created: time.Now()}}
		leftBy(t, r)
		db := memDB(t)
		l := newLone(t, r, db, nil)
		left, err := l.engine.claimNew(&Rotation{ID: "r2", Secret: theName, Provider: "plain", Shape: providers.ShapeSet})
		require.NoError(t, err)
		require.Equal(t, "r1", left.ID)
		l.stop() // here it dies
		l = newLone(t, r, db, nil)
		defer l.stop()
		time.Sleep(2 * time.Minute)
		require.NotNil(t, r.claim, "nobody knows any more that version 2 is at the service")
	})
}

// TestHostsOnlyCopy: a host that hears that another has gone on with its rotation
// does not throw away the one credential that works.
func TestHostsOnlyCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &record{version: providers.Version{Number: 1, Created: time.Now()}}
		// The service rolled in place, the answer is in this journal, and then there was
		// no way to the record; host1 has gone on from "asking", and found the old one dead.
		mine := Rotation{ID: "r1", Tag: "tag", Secret: theName, Provider: "plain", Shape: providers.ShapeRoll, By: "owner", From: r.version, Claimed: true}
		mine.begin(time.Now())
		mine.State, mine.Doing, mine.To, mine.Issues = Issued, actIssue, 2, 1
		told, err := mine.claim()
		require.NoError(t, err)
		told.Host = "host1"
		r.claim, r.said = &told, time.Now()
		mine.State, mine.Doing, mine.Sealed = Staged, actVerify, []byte("the only one that works")
		db := memDB(t)
		require.NoError(t, (&journal{db: db}).save(&mine))
		l := newLoneOf(t, r, db, nil, providers.Kind{Name: "plain", Shape: providers.ShapeRoll, Blind: true})
		time.Sleep(time.Minute)
		l.stop()
		found := false
		for _, bucket := range []string{bucketFlights, bucketHistory} {
			require.NoError(t, db.View(func(tx durable.Tx) error {
				return tx.Scan(bucket, nil, func(_, v []byte) bool {
					var got Rotation
					require.NoError(t, json.Unmarshal(v, &got))
					found = found || string(got.Sealed) == "the only one that works"
					return true
				})
			}))
		}
		require.True(t, found || r.staged != "", "the one credential that works is nowhere any more")
	})
}

// TestHostsUnknownAction: what another version of secretctl left is not gone on
// with in a loop without a pause.
func TestHostsUnknownAction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &record{version: providers.Version{Number: 1, Created: time.Now()}}
		r.claim = &providers.Claim{ID: "r1", Host: "host1", Phase: "new-phase", State: []byte(`{"id":"r1","provider":"plain","shape":"set","state":"issued","doing":"new-action"}`)}
		r.said = time.Now().Add(-time.Hour)
		c := &counted{}
		l := newLone(t, r, memDB(t), func(inner *claims) Claims { c.claims = inner; return c })
		defer l.stop()
		_, _ = l.engine.Start(Order{Secret: theName, By: "schedule", From: 1})
		time.Sleep(time.Second)
		require.Less(t, c.n.Load(), int32(100), "the record is written without a pause")
	})
}

type counted struct {
	*claims
	n atomic.Int32
}

func (c *counted) Keep(ctx context.Context, name secret.Name, mine providers.Claim, open func() (secret.Value, error)) error {
	if c.n.Add(1) > 1000 {
		time.Sleep(time.Hour) // end the loop
		return errors.New("enough")
	}
	return c.claims.Keep(ctx, name, mine, open)
}

// TestHostsSharedLater: turning shared on under a rotation, where another host has
// left one, does not have this host keep that one as its own for ever.
func TestHostsSharedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &record{version: providers.Version{Number: 1, Created: time.Now()}}
		leftBy(t, r)
		db := memDB(t)
		began := Rotation{ID: "r9", Secret: theName, Provider: "plain", Shape: providers.ShapeSet, By: "owner", From: r.version}
		began.begin(time.Now())
		require.NoError(t, (&journal{db: db}).save(&began))
		l := newLone(t, r, db, nil)
		defer l.stop()
		time.Sleep(5 * time.Minute)
		_, err := l.engine.Get(theName)
		require.True(t, err == nil || r.claim == nil || r.claim.Host != "host0", "this host says that it has rotation %s, and has none", r.claim.ID)
	})
}

// TestHostsAheadElsewhere: a host whose clock was wrong for a day, and is gone, does
// not stop the others' schedules.
func TestHostsAheadElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts, _ := newHosts(t, 1, "0 4 * * *")
		a, b := hosts[0], hosts[1]
		defer b.stop()
		b.tick()
		a.ahead = 400 * 24 * time.Hour
		_, err := a.engine.Start(Order{Secret: theName, By: "owner"})
		require.NoError(t, err)
		time.Sleep(time.Minute)
		a.stop()
		b.claims.(*claims).see()
		for range 10 * 24 * 120 {
			b.tick()
		}
		require.GreaterOrEqual(t, len(b.starts), 9, "ten days, with a slot each")
	})
}

// TestHostsEmergencyAndDown: in an emergency the leases on the old version end here,
// whether or not others can be told.
func TestHostsEmergencyAndDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLone(t, &record{version: providers.Version{Number: 1, Created: time.Now()}}, memDB(t), nil)
		defer l.stop()
		_, err := l.engine.Start(Order{Secret: theName, By: "owner"})
		require.NoError(t, err)
		time.Sleep(time.Minute)
		l.claims.fail(&providers.StoreError{Kind: providers.ErrUnavailable, Problem: "no way there"})
		_, err = l.engine.Start(Order{Secret: theName, By: "owner", Emergency: true})
		require.NoError(t, err)
		time.Sleep(10 * time.Minute)
		require.NotZero(t, l.vault.ends.Load(), "ten minutes later the leases on the leaked version are renewed as before")
	})
}

// TestHostsTakeOverGrace: the grace of a rotation that is taken over is as long as it
// was meant to be, by the clock of who goes on with it.
func TestHostsTakeOverGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &record{version: providers.Version{Number: 1, Created: time.Now()}}
		l := newLone(t, r, memDB(t), nil)
		defer l.stop()
		left := Rotation{ID: "r1", Tag: "tag", Provider: "plain", Shape: providers.ShapeSet, From: r.version, State: Announced, Doing: actDrain, To: 2, Grace: time.Hour}
		left.RetireAt, left.HardAt = time.Now().Add(-time.Minute), time.Now().Add(2*time.Hour-time.Minute)
		c, err := left.claim()
		require.NoError(t, err)
		c.Host = "host1"
		r.claim, r.said = &c, time.Now().Add(-time.Hour)
		taken, err := l.engine.claimNew(&Rotation{ID: "r2", Secret: theName})
		require.NoError(t, err)
		require.True(t, taken.RetireAt.Equal(time.Now().Add(time.Hour)), taken.RetireAt)
		require.True(t, taken.HardAt.Equal(time.Now().Add(3*time.Hour)), taken.HardAt)
	})
}
