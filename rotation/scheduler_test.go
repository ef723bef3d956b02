package rotation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/rotation/schedule"
)

// sleeper is a broker with a scheduler, on a machine that sleeps and whose
// broker dies. Time is the test's bubble, its wall clock that and ahead.
type sleeper struct {
	t      *testing.T
	rng    *rand.Rand
	db     durable.DB
	vault  *plainVault
	fails  bool // the service refuses
	ahead  time.Duration
	plan   *schedule.Plan
	claims Claims // nil: no other host has the secret

	grace     time.Duration // 0: the old one dies with the new one
	starts    []time.Time   // by the wall
	revokes   []time.Time
	engine    *Engine
	scheduler *Scheduler
	stop      func()
	said      []string
}

func newSleeper(t *testing.T, seed uint64, expr string) *sleeper {
	return newSleeperWith(t, seed, expr, nil)
}

// newSleeperWith is newSleeper for a host that shares the secret.
func newSleeperWith(t *testing.T, seed uint64, expr string, shares func(*plainVault) Claims) *sleeper {
	db, err := durable.NewMem().OpenDB("ledger.db")
	require.NoError(t, err)
	s, err := schedule.Parse(expr)
	require.NoError(t, err)
	m := &sleeper{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), db: db, plan: &schedule.Plan{Key: "svc/key@here", Schedule: s},
		vault: &plainVault{version: providers.Version{Number: 1, Created: time.Now()}},
	}
	if shares != nil {
		m.claims = shares(m.vault)
	}
	m.boot()
	return m
}

func (m *sleeper) now() time.Time { return time.Now().Add(m.ahead).Round(0) }

// boot starts a broker on what the disk has.
func (m *sleeper) boot() {
	kind := providers.Kind{Name: "plain", Shape: providers.ShapeSet, Blind: true, Open: func(providers.Options) (providers.Rotator, error) { return plainRotator{m}, nil }}
	options, err := kind.NewOptions(nil)
	require.NoError(m.t, err)
	m.vault.now = m.now
	m.engine, err = New(Options{
		DB: m.db, Vault: m.vault, Sealer: plainSealer{}, Claims: m.claims, Now: m.now, Warn: func(s string) { m.said = append(m.said, s) },
		Setup: func(secret.Name) (Setup, bool) {
			kind.Overlap = m.grace > 0
			return Setup{Kind: kind, Options: options, Grace: m.grace, Elsewhere: m.claims != nil}, true
		},
	})
	require.NoError(m.t, err)
	m.scheduler, err = NewScheduler(m.engine, func() map[secret.Name]*schedule.Plan {
		return map[secret.Name]*schedule.Plan{theName: m.plan}
	})
	require.NoError(m.t, err)
	ctx, cancel := context.WithCancel(m.t.Context())
	done := make(chan struct{})
	go func() { m.engine.Run(ctx); close(done) }()
	m.scheduler.recall()
	m.stop = func() { cancel(); <-done }
}

// tick lets half a minute pass.
func (m *sleeper) tick() {
	time.Sleep(tickInterval)
	m.scheduler.tick(m.now())
	synctest.Wait()
}

// die ends the broker with nothing said to the disk.
func (m *sleeper) die() {
	m.stop()
	m.boot()
}

// TestSchedulerOnceASlot: whatever the machine does, each day's slot is run once,
// after it and before the next.
func TestSchedulerOnceASlot(t *testing.T) {
	days := 40
	if long() {
		days = 730
	}
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newSleeper(t, seed, "0 4 * * *")
				begun := m.now()
				died, slept := 0, 0
				for m.now().Before(begun.AddDate(0, 0, days)) {
					before := len(m.starts)
					m.tick()
					switch {
					case len(m.starts) > before && m.rng.IntN(2) == 0, m.rng.IntN(3000) == 0:
						m.die() // just after a rotation is when least of it is on the disk
						died++
					case m.rng.IntN(3000) == 0:
						m.ahead += time.Duration(m.rng.IntN(9*60)) * time.Minute
						slept++
					}
				}
				m.stop()
				require.Empty(t, m.said)
				require.NotZero(t, died)
				require.NotZero(t, slept)
				perSlot := make(map[int]int)
				for _, at := range m.starts {
					perSlot[int(at.Add(-4*time.Hour).Sub(begun.Truncate(24*time.Hour))/(24*time.Hour))]++
				}
				first := int(begun.Add(20*time.Hour).Sub(begun.Truncate(24*time.Hour)) / (24 * time.Hour))
				for day := first; day < first+days-2; day++ {
					require.Equal(t, 1, perSlot[day], "day %d of %v", day, m.starts)
				}
			})
		})
	}
}

// TestSchedulerSuspends: failures are tried again, ever later, and at last not
// any more, across restarts; a rotation by hand begins it anew.
func TestSchedulerSuspends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newSleeper(t, 1, "0 4 * * *")
		m.fails = true
		for range 10 * 24 * 120 {
			m.tick()
			if m.rng.IntN(1000) == 0 {
				m.die()
			}
		}
		require.Len(t, m.starts, 5)
		for i := range 4 {
			require.GreaterOrEqual(t, m.starts[i+1].Sub(m.starts[i]), time.Hour)
		}
		_, suspended, ok := m.scheduler.Due(theName)
		require.True(t, ok)
		require.True(t, suspended)
		require.Contains(t, m.said[len(m.said)-1], "its schedule is suspended")

		m.fails = false
		_, err := m.engine.Start(Order{Secret: theName, By: "owner"})
		require.NoError(t, err)
		synctest.Wait()
		_, suspended, _ = m.scheduler.Due(theName)
		require.False(t, suspended)
		n := len(m.starts)
		for range 2 * 24 * 120 {
			m.tick()
		}
		require.Len(t, m.starts, n+2)
		m.stop()
	})
}

// TestSchedulerPausesOnClock: a clock that goes back by hours starts nothing, and
// brings no slot back.
func TestSchedulerPausesOnClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newSleeper(t, 2, "0 4 * * *")
		for len(m.starts) < 2 {
			m.tick()
		}
		m.ahead -= 3 * time.Hour
		for range 6 * 120 {
			m.tick()
		}
		require.Len(t, m.starts, 2)
		require.Contains(t, m.said[0], "the clock went back by more than an hour")
		for range 24 * 120 {
			m.tick()
		}
		require.Len(t, m.starts, 3)
		m.stop()
	})
}

// TestSchedulerNothingToReplace: a secret that is not in the vault is not made by
// a schedule.
func TestSchedulerNothingToReplace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newSleeper(t, 3, "0 4 * * *")
		m.vault.version = providers.Version{}
		for range 3 * 24 * 120 {
			m.tick()
		}
		require.Empty(t, m.starts)
		m.stop()
	})
}

// plainRotator is of a service that does at once what it is asked.
type plainRotator struct{ m *sleeper }

func (r plainRotator) Check(context.Context, *providers.Call) (providers.Identity, error) {
	r.m.starts = append(r.m.starts, r.m.now())
	if r.m.fails {
		return providers.Identity{}, providers.Not(providers.CodeDenied, "no")
	}
	return providers.Identity{}, nil
}

func (plainRotator) Choose(context.Context, *providers.Call) (*providers.Credential, error) {
	v, err := secret.New([]byte("another value"))
	return &providers.Credential{Value: v}, err
}

func (plainRotator) Issue(_ context.Context, _ *providers.Call, next *providers.Credential) (*providers.Credential, error) {
	return next, nil
}

func (plainRotator) Find(context.Context, *providers.Call) ([]providers.Credential, error) {
	return nil, nil
}

func (plainRotator) Verify(context.Context, *providers.Call, *providers.Credential) (providers.Identity, error) {
	return providers.Identity{}, nil
}

func (plainRotator) Disable(context.Context, *providers.Call, *providers.Credential) error {
	return providers.Not(providers.CodeUnsupported, "there is no such call")
}

func (r plainRotator) Revoke(context.Context, *providers.Call, *providers.Credential) error {
	r.m.revokes = append(r.m.revokes, r.m.now())
	return nil
}

// plainVault has one secret that nobody holds.
type plainVault struct {
	mu        sync.Mutex
	version   providers.Version
	published int
	ended     bool // a version was said to be
	now       func() time.Time
}

func (v *plainVault) Current(secret.Name) (providers.Version, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.version, nil
}

func (v *plainVault) Version(name secret.Name, _ uint64) (providers.Version, error) {
	return v.Current(name)
}

func (v *plainVault) Value(context.Context, secret.Name, uint64) (secret.Value, error) {
	return secret.New([]byte("a value"))
}

func (v *plainVault) Own(context.Context, secret.Name) (secret.Value, error) {
	return secret.Value{}, errors.New("there is none")
}

func (v *plainVault) Reserve(name secret.Name) (uint64, error) {
	current, err := v.Current(name)
	return current.Number + 1, err
}

func (v *plainVault) Publish(_ context.Context, _ secret.Name, ver providers.Version, _ secret.Value) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.version = ver
	v.published++
	return nil
}

func (v *plainVault) Restore(context.Context, secret.Name, uint64, uint64) error { return nil }
func (v *plainVault) Withdraw(context.Context, secret.Name, uint64) error        { return nil }
func (v *plainVault) Forget(context.Context, secret.Name, uint64) error          { return nil }
func (v *plainVault) Sharing(context.Context, secret.Name, uint64) (map[secret.Name][]uint64, error) {
	return nil, nil
}
func (v *plainVault) Holders(secret.Name, uint64) (moving, copied, pinned int) { return 0, 0, 0 }
func (v *plainVault) EndLeases(secret.Name, uint64) error                      { return nil }
func (v *plainVault) Announce(context.Context, secret.Name, uint64) error      { return nil }
func (v *plainVault) Confirm(context.Context, secret.Name, uint64) error       { return nil }
func (v *plainVault) Record(secret.Name, uint64, string, string) error         { return nil }

func (v *plainVault) Mark(_ secret.Name, ver providers.Version) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ended = v.ended || ver.Ended
	return nil
}

func (v *plainVault) Previous(secret.Name) (providers.Version, error) {
	return providers.Version{}, nil
}

// plainSealer leaves values as they are.
type plainSealer struct{}

func (plainSealer) Seal(v secret.Value) (b []byte, err error) {
	err = v.Use(func(s []byte) error { b = slices.Clone(s); return nil })
	return b, err
}

func (plainSealer) Open(b []byte) (secret.Value, error) { return secret.New(slices.Clone(b)) }
