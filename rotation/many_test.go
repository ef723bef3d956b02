package rotation

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// shop is a broker with many secrets whose services answer as a test says.
type shop struct {
	t        testing.TB
	disk     *durable.Hook
	db       durable.DB
	engine   *Engine
	parallel int

	mu         sync.Mutex
	current    map[secret.Name]uint64
	serial     int
	managed    map[secret.Name]secret.Name
	gone       bool // the config knows no provider any more
	skew       time.Duration
	announcing time.Duration // how long the owner's commands take
	said       []string
	call       func(ctx context.Context, c *providers.Call, what string) error // nil: all is well
	dropped    map[secret.Name]uint64                                          // versions up to this one are forgotten
	holders    int                                                             // of whatever old version
	provider   func(secret.Name) string                                        // its name; nil: shop
	unnamed    func(secret.Name) bool                                          // nobody knows what its service calls it; nil: somebody does
	marked     []string                                                        // what was ended, or not
	sharing    []secret.Name                                                   // hold what each other secret holds
}

func newShop(t testing.TB) *shop {
	s := &shop{t: t, disk: &durable.Hook{Disk: durable.NewMem()}, parallel: 4, current: map[secret.Name]uint64{}, managed: map[secret.Name]secret.Name{}, dropped: map[secret.Name]uint64{}}
	db, err := s.disk.OpenDB("ledger.db")
	require.NoError(t, err)
	s.db = db
	s.reopen()
	return s
}

func (s *shop) reopen() {
	kind := providers.Kind{
		Name: "shop", Shape: providers.ShapeCreate, Overlap: true,
		Options: []providers.Option{{Name: "admin", Type: providers.Own}},
		Open:    func(providers.Options) (providers.Rotator, error) { return clerk{s}, nil },
	}
	var err error
	s.engine, err = New(Options{
		DB: s.db, Vault: (*shelf)(s), Sealer: backwards{}, Now: s.now, Parallel: func() int { return s.parallel },
		Warn: func(line string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.said = append(s.said, line)
		},
		Setup: func(name secret.Name) (Setup, bool) {
			s.mu.Lock()
			defer s.mu.Unlock()
			o, err := kind.NewOptions(map[string]any{"admin": s.managed[name]})
			kind := kind
			if s.provider != nil {
				kind.Name = s.provider(name)
			}
			return Setup{Kind: kind, Options: o}, err == nil && !s.gone
		},
	})
	require.NoError(s.t, err)
}

func (s *shop) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.skew)
}

func (s *shop) set(skew time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skew = skew
}

// run drives the engine until the test ends or stop is called.
func (s *shop) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { s.engine.Run(ctx) })
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); done.Wait() }) }
	return stop
}

func (s *shop) start(name secret.Name) providers.Progress {
	p, err := s.engine.Start(Order{Secret: name, By: "owner"})
	require.NoError(s.t, err)
	return p
}

// wait watches a rotation to its end, or to where it needs somebody.
func (s *shop) wait(p providers.Progress) providers.Progress {
	last, err := s.engine.Watch(context.Background(), secret.Name(p.Secret), p.ID, func(providers.Progress) {}, nil)
	require.NoError(s.t, err)
	return last
}

// clerk is the provider.
type clerk struct{ *shop }

func (c clerk) do(ctx context.Context, call *providers.Call, what string) error {
	c.mu.Lock()
	f := c.shop.call
	c.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(ctx, call, what)
}

func (c clerk) Check(ctx context.Context, call *providers.Call) (providers.Identity, error) {
	return providers.Identity{}, c.do(ctx, call, "check")
}

func (c clerk) Issue(ctx context.Context, call *providers.Call, _ *providers.Credential) (*providers.Credential, error) {
	if err := c.do(ctx, call, "issue"); err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.serial++
	n := c.serial
	c.mu.Unlock()
	v, err := secret.New(fmt.Appendf(nil, "new value %d", n))
	if err != nil {
		return nil, err
	}
	return &providers.Credential{ID: fmt.Sprint(n), Value: v}, nil
}

func (c clerk) Find(ctx context.Context, call *providers.Call) ([]providers.Credential, error) {
	return nil, c.do(ctx, call, "find")
}

func (c clerk) Verify(ctx context.Context, call *providers.Call, cred *providers.Credential) (providers.Identity, error) {
	if cred == call.Old {
		if err := c.do(ctx, call, "prove"); err != nil {
			return providers.Identity{}, err
		}
		return providers.Identity{}, providers.Not(providers.CodeInvalid, "it is refused")
	}
	return providers.Identity{}, c.do(ctx, call, "verify")
}

func (c clerk) Disable(context.Context, *providers.Call, *providers.Credential) error {
	return providers.Not(providers.CodeUnsupported, "there is no way to stop it")
}

func (c clerk) Revoke(ctx context.Context, call *providers.Call, _ *providers.Credential) error {
	return c.do(ctx, call, "revoke")
}

// shelf is the vault.
type shelf shop

func (s *shelf) Current(name secret.Name) (providers.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := providers.Version{Number: max(s.current[name], 1), ID: "old"}
	if s.unnamed != nil && s.unnamed(name) {
		v.ID = ""
	}
	return v, nil
}

func (s *shelf) Version(name secret.Name, n uint64) (providers.Version, error) {
	v, err := s.Current(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.Number < n || n <= s.dropped[name] {
		return providers.Version{}, err
	}
	v.Number = n
	return v, err
}

func (s *shelf) Mark(name secret.Name, v providers.Version) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.marked = append(s.marked, fmt.Sprintf("%s %d %v", name, v.Number, v.Ended))
	return nil
}

func (s *shelf) Value(context.Context, secret.Name, uint64) (secret.Value, error) {
	return secret.New([]byte("old value"))
}

func (s *shelf) Own(context.Context, secret.Name) (secret.Value, error) {
	return secret.New([]byte("admin"))
}

func (s *shelf) Reserve(name secret.Name) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(s.current[name], 1) + 1, nil
}

func (s *shelf) Publish(_ context.Context, name secret.Name, v providers.Version, _ secret.Value) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current[name] = v.Number
	return nil
}

func (s *shelf) Restore(_ context.Context, name secret.Name, _, to uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current[name] = to
	return nil
}

func (s *shelf) Withdraw(context.Context, secret.Name, uint64) error { return nil }
func (s *shelf) EndLeases(secret.Name, uint64) error                 { return nil }
func (s *shelf) Confirm(context.Context, secret.Name, uint64) error  { return nil }
func (s *shelf) Record(secret.Name, uint64, string, string) error    { return nil }

func (s *shelf) Previous(secret.Name) (providers.Version, error) { return providers.Version{}, nil }

func (s *shelf) Sharing(context.Context, secret.Name, uint64) (map[secret.Name][]uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[secret.Name][]uint64)
	for _, other := range s.sharing {
		out[other] = []uint64{max(s.current[other], 1)}
	}
	return out, nil
}

func (s *shelf) Announce(ctx context.Context, _ secret.Name, _ uint64) error {
	return within(ctx, s.announcing)
}

func (s *shelf) Forget(_ context.Context, name secret.Name, n uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped[name] = n
	return nil
}

func (s *shelf) Holders(secret.Name, uint64) (moving, copied, pinned int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return 0, 0, s.holders
}

type backwards struct{}

func (backwards) Seal(v secret.Value) ([]byte, error) { return sealer{}.Seal(v) }
func (backwards) Open(b []byte) (secret.Value, error) { return secret.New(append([]byte{}, b...)) }

// within lets a test's service take time that a done context cuts short.
func within(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return providers.Maybe(providers.CodeUnavailable, "no answer in time")
	}
}

func nth(i int) secret.Name { return secret.Name(fmt.Sprintf("svc/key-%d", i)) }

// TestManyAtOnce: many rotations, watched by many, within the limits.
func TestManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		s.parallel = 6
		var under, most atomic.Int64
		s.call = func(ctx context.Context, _ *providers.Call, _ string) error {
			most.Store(max(most.Load(), under.Add(1)))
			defer under.Add(-1)
			return within(ctx, time.Second)
		}
		defer s.run()()
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				p := s.start(nth(i))
				var seen atomic.Int64
				var watchers sync.WaitGroup
				for range 3 {
					watchers.Go(func() {
						last, err := s.engine.Watch(t.Context(), nth(i), p.ID, func(p providers.Progress) {
							seen.Add(1)
							if p.RetiresAt != nil {
								require.False(t, p.RetiresAt.IsZero())
							}
						}, nil)
						if err != nil || last.State != "done" {
							t.Errorf("%+v: %v", last, err)
						}
					})
				}
				watchers.Wait()
				if seen.Load() == 0 {
					t.Error("nothing was seen")
				}
			})
			all.Go(func() { s.engine.Flights(); _, _ = s.engine.Get(nth(i)) })
		}
		all.Wait()
		require.EqualValues(t, 3, most.Load(), "half of the calls are one provider's")
		require.Empty(t, s.engine.Flights())
		require.Empty(t, s.engine.calls.queue)
		require.Zero(t, s.engine.calls.all)
	})
}

// TestManagers: a managing credential is not used while it is changed, and two
// that manage each other do not wait for each other for ever.
func TestManagers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		s.parallel = 20
		s.managed = map[secret.Name]secret.Name{"own/a": "own/b", "own/b": "own/a", "own/self": "own/self"}
		for i := range 20 {
			s.managed[nth(i)] = []secret.Name{"own/a", "own/b", "own/self"}[i%3]
		}
		var mu sync.Mutex
		using := map[secret.Name]int{}
		s.call = func(ctx context.Context, c *providers.Call, what string) error {
			uses, changes := s.managed[c.Secret], secret.Name("")
			if c.Secret.Own() && (what == "issue" || what == "revoke") {
				changes = c.Secret
			}
			mu.Lock()
			if changes != "" {
				require.Zero(t, using[changes], "%s is changed while it is used", changes)
				using[changes] = -100
			}
			if uses != changes {
				require.GreaterOrEqual(t, using[uses], 0, "%s is used while it is changed", uses)
				using[uses]++
			}
			mu.Unlock()
			err := within(ctx, time.Second)
			mu.Lock()
			defer mu.Unlock()
			if changes != "" {
				using[changes] = 0
			}
			if uses != changes {
				using[uses]--
			}
			return err
		}
		defer s.run()()
		begun := time.Now()
		var all sync.WaitGroup
		for name := range s.managed {
			all.Go(func() {
				if last := s.wait(s.start(name)); last.State != "done" {
					t.Errorf("%+v", last)
				}
			})
		}
		all.Wait()
		require.Less(t, time.Since(begun), time.Minute)
		require.Empty(t, s.engine.calls.used)
	})
}

// TestHang: a provider that returns from nothing holds up its own rotation alone,
// and not the broker's end.
func TestHang(t *testing.T) {
	for _, what := range []string{"check", "issue", "verify", "revoke", "prove"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShop(t)
				s.parallel = 1
				release := make(chan struct{})
				var hanging atomic.Int64
				s.call = func(_ context.Context, c *providers.Call, action string) error {
					if c.Secret == nth(0) && action == what {
						require.EqualValues(t, 1, hanging.Add(1), "two attempts at once")
						<-release
						hanging.Add(-1)
						return providers.Maybe(providers.CodeUnavailable, "cut")
					}
					return nil
				}
				stop := s.run()
				p := s.start(nth(0))
				time.Sleep(time.Second)
				begun := time.Now()
				require.Equal(t, "done", s.wait(s.start(nth(1))).State)
				require.Less(t, time.Since(begun), 2*(callTime+hangTime))
				if what != "check" {
					last := s.wait(p)
					require.Equal(t, "needs-owner", last.State, "%+v", last)
				} else {
					require.Equal(t, "failed", s.wait(p).State)
				}
				stop()
				close(release)
				synctest.Wait()
				if what == "check" {
					return
				}
				s.mu.Lock()
				s.call = nil
				s.mu.Unlock()
				stop = s.run()
				p = s.start(nth(0))
				last, err := s.engine.Watch(t.Context(), nth(0), p.ID, func(providers.Progress) {}, func(p providers.Progress) bool { return p.Ended })
				require.NoError(t, err)
				require.Equal(t, "done", last.State, "%+v", last)
				stop()
			})
		})
	}
}

// TestClockStep: a short wait is as long as it was meant, and a long one no longer
// than that, however the clock is set.
func TestClockStep(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour, 9 * time.Hour} {
		for _, after := range []time.Duration{45 * time.Second, 10 * time.Minute} {
			t.Run(fmt.Sprintf("%v in a wait of %v", step, after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newShop(t)
					var at []time.Time
					s.call = func(_ context.Context, _ *providers.Call, what string) error {
						if what != "verify" {
							return nil
						}
						if at = append(at, time.Now()); len(at) > 1 {
							return nil
						}
						e := providers.Not(providers.CodeRateLimited, "too often")
						e.RetryAfter = after
						return e
					}
					defer s.run()()
					p := s.start(nth(0))
					time.Sleep(time.Second)
					s.set(step)
					require.Equal(t, "done", s.wait(p).State)
					took := at[1].Sub(at[0])
					switch {
					case step < 0 || after < time.Minute:
						require.Equal(t, after, took)
					default: // as after a sleep
						require.LessOrEqual(t, took, lastLook)
					}
				})
			})
		}
	}
}

// TestPanic: a provider that panics, in whatever call, takes nothing down.
func TestPanic(t *testing.T) {
	for _, what := range []string{"check", "issue", "verify", "revoke", "prove", "find"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShop(t)
				n := 0
				s.call = func(_ context.Context, _ *providers.Call, action string) error {
					if action == what && n < 3 {
						n++
						panic("a value: sk-value")
					}
					return nil
				}
				defer s.run()()
				last := s.wait(s.start(nth(0)))
				if what == "issue" {
					require.Equal(t, "rolled-back", last.State)
				} else {
					require.Equal(t, "done", last.State, "%+v", last)
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				require.Contains(t, s.said[0], "panicked")
				for _, line := range s.said {
					require.NotContains(t, line, "sk-value")
				}
			})
		})
	}
}

// TestFault21DiskFull: each write of the journal fails for ten minutes, and then
// works. Nothing is done meanwhile on the strength of what is not written.
func TestFault21DiskFull(t *testing.T) {
	for n := range 8 {
		for _, stopped := range []bool{false, true} {
			t.Run(fmt.Sprintf("write %d, broker stopped meanwhile: %v", n, stopped), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newShop(t)
					issues := 0
					s.call = func(_ context.Context, _ *providers.Call, what string) error {
						if what == "issue" {
							issues++
						}
						return nil
					}
					var full time.Time
					first := -1
					s.disk.Before = func(op durable.Op) durable.Verdict {
						if first < 0 {
							first = op.N
						}
						if op.N == first+n {
							full = time.Now()
						}
						if !full.IsZero() && time.Since(full) < 10*time.Minute {
							return durable.Verdict{Err: syscall.ENOSPC}
						}
						return durable.Verdict{}
					}
					stop := s.run()
					p, err := s.engine.Start(Order{Secret: nth(0), By: "owner"})
					if n == 0 {
						require.ErrorIs(t, err, syscall.ENOSPC)
						require.Empty(t, s.engine.Flights())
						stop()
						return
					}
					require.NoError(t, err)
					time.Sleep(time.Minute)
					if stopped {
						stop() // it ends though nothing can be written
						stop = s.run()
					}
					last, err := s.engine.Watch(t.Context(), nth(0), p.ID, func(providers.Progress) {}, func(p providers.Progress) bool { return p.Ended })
					require.NoError(t, err)
					require.Equal(t, "done", last.State, "%+v", last)
					if !stopped {
						require.Equal(t, 1, issues)
					}
					stop()
				})
			})
		}
	}
}

// TestOwnerDuringACall: what the owner wants while a call is under way happens
// after it, and is not undone by its end.
func TestOwnerDuringACall(t *testing.T) {
	slow := func(ctx context.Context, _ *providers.Call, what string) error {
		if what == "verify" {
			return within(ctx, 30*time.Second)
		}
		return nil
	}
	for name, c := range map[string]struct {
		do  func(*Engine) (providers.Progress, error)
		end string
	}{
		"roll back": {func(e *Engine) (providers.Progress, error) { return e.RollBack(nth(0)) }, "rolled-back"},
		"give up":   {func(e *Engine) (providers.Progress, error) { return e.GiveUp(nth(0)) }, "failed"},
		"emergency": {func(e *Engine) (providers.Progress, error) {
			return e.Start(Order{Secret: nth(0), By: "owner", Emergency: true})
		}, "done"},
		"again": {func(e *Engine) (providers.Progress, error) { return e.Start(Order{Secret: nth(0), By: "owner"}) }, "done"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShop(t)
				s.call = slow
				defer s.run()()
				p := s.start(nth(0))
				time.Sleep(10 * time.Second)
				now, err := c.do(s.engine)
				require.NoError(t, err)
				require.Equal(t, p.ID, now.ID)
				require.Equal(t, c.end, s.wait(p).State)
				if name == "emergency" {
					all, err := s.engine.journal.history(nth(0))
					require.NoError(t, err)
					require.Len(t, all, 1)
				}
			})
		})
	}
	t.Run("who gives up while it is due", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(t)
			s.call = func(_ context.Context, _ *providers.Call, what string) error {
				if what == "revoke" {
					return providers.Maybe(providers.CodeUnavailable, "down")
				}
				return nil
			}
			commits, slow := 0, false
			s.disk.Before = func(durable.Op) durable.Verdict {
				if commits++; slow {
					time.Sleep(10 * time.Second)
				}
				return durable.Verdict{}
			}
			defer s.run()()
			p := s.start(nth(0))
			time.Sleep(time.Second)
			synctest.Wait()
			slow = true
			before := commits
			last, err := s.engine.GiveUp(nth(0)) // it is due before that is saved
			require.NoError(t, err)
			require.Equal(t, p.ID, last.ID)
			require.Equal(t, "done", s.wait(p).State)
			time.Sleep(time.Hour)
			require.Equal(t, 2, commits-before, "given up, and its end: what has ended went on")
		})
	})
	t.Run("one that does not return", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(t)
			s.disk.Before = func(op durable.Op) durable.Verdict {
				if op.N > 2 {
					return durable.Verdict{Err: syscall.ENOSPC}
				}
				return durable.Verdict{}
			}
			stop := s.run()
			s.start(nth(0))
			time.Sleep(time.Minute)
			_, err := s.engine.RollBack(nth(0))
			require.ErrorIs(t, err, ErrBusy, "the disk is full: a person is told, and does not wait for ever")
			stop()
		})
	})
}

// TestOwnerDuringACommand: the owner does not wait for commands of theirs, which
// may take minutes.
func TestOwnerDuringACommand(t *testing.T) {
	for name, c := range map[string]struct {
		do    func(*Engine) (providers.Progress, error)
		end   string
		after time.Duration
	}{
		"roll back": {func(e *Engine) (providers.Progress, error) { return e.RollBack(nth(0)) }, "rolled-back", 11 * time.Minute},
		"give up":   {func(e *Engine) (providers.Progress, error) { return e.GiveUp(nth(0)) }, "done", time.Second},
		"emergency": {func(e *Engine) (providers.Progress, error) {
			return e.Start(Order{Secret: nth(0), By: "owner", Emergency: true})
		}, "done", 11 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShop(t)
				s.announcing = 10 * time.Minute
				defer s.run()()
				p := s.start(nth(0))
				time.Sleep(time.Minute)
				before, err := s.engine.Get(nth(0))
				require.NoError(t, err)
				require.Equal(t, string(Published), before.Step)
				begin := time.Now()
				_, err = c.do(s.engine)
				require.NoError(t, err)
				require.Less(t, time.Since(begin), time.Second)
				require.Equal(t, c.end, s.wait(p).State)
				require.Less(t, time.Since(begin), c.after)
			})
		})
	}
}

// TestStopAndGo: the engine stops at any moment and goes on, in the same process
// or the next.
func TestStopAndGo(t *testing.T) {
	for _, again := range []bool{false, true} {
		for d := 100 * time.Millisecond; d < 12*time.Second; d += 400 * time.Millisecond {
			synctest.Test(t, func(t *testing.T) {
				s := newShop(t)
				s.call = func(ctx context.Context, _ *providers.Call, _ string) error { return within(ctx, time.Second) }
				stop := s.run()
				p := s.start(nth(0))
				time.Sleep(d)
				stop()
				stop() // Run has returned: nothing moves
				if again {
					s.reopen()
				}
				stop = s.run()
				defer stop()
				last := s.wait(p)
				require.Equal(t, "done", last.State, "stopped after %v: %+v", d, last)
			})
		}
	}
}

// TestStartTogether: one rotation a secret, whoever asks at the same time.
func TestStartTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		s.call = func(ctx context.Context, _ *providers.Call, _ string) error { return within(ctx, time.Second) }
		defer s.run()()
		var mu sync.Mutex
		ids := map[string]bool{}
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				p, err := s.engine.Start(Order{Secret: nth(0), By: "schedule"})
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				ids[p.ID] = true
			})
		}
		all.Wait()
		require.Len(t, ids, 1)
		for id := range ids {
			require.Equal(t, "done", s.wait(providers.Progress{Secret: string(nth(0)), ID: id}).State)
		}
	})
}

// TestWatch: a watcher that comes too late finds the end, and one that is not
// waited for any more leaves.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		defer s.run()()
		p := s.start(nth(0))
		synctest.Wait()
		require.Equal(t, "done", s.wait(p).State)
		_, err := s.engine.Watch(t.Context(), nth(0), "another", func(providers.Progress) {}, nil)
		require.ErrorIs(t, err, ErrNone)
		s.mu.Lock()
		s.call = func(ctx context.Context, _ *providers.Call, _ string) error { return within(ctx, 20*time.Second) }
		s.mu.Unlock()
		p = s.start(nth(0))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = s.engine.Watch(ctx, nth(0), p.ID, func(providers.Progress) {}, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		last, err := s.engine.Watch(t.Context(), nth(0), p.ID, func(providers.Progress) {}, func(p providers.Progress) bool { return p.Step == "staged" })
		require.NoError(t, err)
		require.Equal(t, "staged", last.Step)
		require.Equal(t, "done", s.wait(p).State)
	})
}

// TestWaitIsCheap: a thousand rotations that wait for leases cost next to nothing.
func TestWaitIsCheap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		var calls atomic.Int64
		s.call = func(context.Context, *providers.Call, string) error {
			calls.Add(1)
			return providers.Maybe(providers.CodeUnavailable, "down")
		}
		commits := 0
		s.disk.Before = func(durable.Op) durable.Verdict { commits++; return durable.Verdict{} }
		for i := range 1000 {
			f := newFlight(Rotation{ID: "id", Secret: nth(i), Provider: "shop", Shape: providers.ShapeCreate, State: Drained, Doing: actRevoke, From: providers.Version{Number: 1}, To: 2})
			s.engine.flights[nth(i)] = f
		}
		before := runtime.NumGoroutine()
		stop := s.run()
		time.Sleep(time.Hour)
		synctest.Wait()
		require.LessOrEqual(t, runtime.NumGoroutine()-before, 1010)
		calls.Store(0)
		time.Sleep(time.Hour)
		require.LessOrEqual(t, calls.Load(), int64(7000), "each is tried once in ten minutes")
		require.LessOrEqual(t, commits, 3000, "that it was begun, that it went on, and that the owner is needed")
		stop()
	})
}

// TestJournalTogether: saves that come together share a transaction, and its
// failure is that of each.
func TestJournalTogether(t *testing.T) {
	disk := &durable.Hook{Disk: durable.NewMem()}
	db, err := disk.OpenDB("ledger.db")
	require.NoError(t, err)
	j := journal{db: db}
	var commits atomic.Int64
	held := make(chan struct{})
	broken := errors.New("broken")
	disk.Before = func(durable.Op) durable.Verdict {
		switch commits.Add(1) {
		case 1:
			<-held
		case 3:
			return durable.Verdict{Err: broken}
		}
		return durable.Verdict{}
	}
	var all sync.WaitGroup
	save := func(i int) error { return j.save(&Rotation{Secret: nth(i), State: Planned}) }
	all.Go(func() { require.NoError(t, save(0)) })
	for commits.Load() == 0 {
		runtime.Gosched()
	}
	for i := range 50 {
		all.Go(func() { require.NoError(t, save(i+1)) })
	}
	for {
		j.mu.Lock()
		n := 0
		if j.open != nil {
			n = len(j.open.entries)
		}
		j.mu.Unlock()
		if n == 50 {
			break
		}
		runtime.Gosched()
	}
	close(held)
	all.Wait()
	require.EqualValues(t, 2, commits.Load())
	require.ErrorIs(t, save(60), broken)
	require.NoError(t, save(60))
	flights, err := j.flights()
	require.NoError(t, err)
	require.Len(t, flights, 52)
}
