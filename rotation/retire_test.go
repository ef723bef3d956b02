package rotation

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// TestRetire: what an agent held is ended at its service, which is asked whether
// it refuses it; and what came of that is told.
func TestRetire(t *testing.T) {
	unsupported := providers.Not(providers.CodeUnsupported, "no such call")
	denied := providers.Not(providers.CodeDenied, "not allowed")
	silent := providers.Maybe(providers.CodeUnavailable, "no answer")
	revoked, disabled, not := Ended{Revoked, "id1", true}, Ended{Disabled, "id1", true}, Ended{NotRevoked, "id1", false}
	for name, c := range map[string]struct {
		spec    string
		answers map[string]error // in place of what is asked
		after   map[string]error // when it was done
		undead  int              // looks before it is dead
		want    Ended
		problem string
		took    time.Duration
	}{
		"all is well":                 {want: revoked},
		"there is no stopping it":     {answers: map[string]error{"disable": unsupported}, want: revoked},
		"it can only be stopped":      {answers: map[string]error{"revoke": unsupported}, want: disabled},
		"it may not be ended":         {answers: map[string]error{"revoke": denied}, want: disabled, problem: "not allowed"},
		"nobody can end it":           {answers: map[string]error{"disable": unsupported, "revoke": unsupported}, want: not, problem: "no such call"},
		"the answers are lost":        {after: map[string]error{"disable": silent, "revoke": silent}, want: revoked},
		"nobody answers":              {answers: map[string]error{"disable": silent, "revoke": silent, "verify old": silent}, want: not, problem: "no answer"},
		"it takes a while":            {undead: 3, want: revoked, took: 6 * time.Second},
		"it takes the whole lag":      {spec: "create slow", undead: 5, want: revoked, took: 22 * time.Second}, // two proofs
		"it lives on":                 {undead: 100, want: not, problem: "still accepts it", took: endLooks},
		"it lives on after the lag":   {spec: "create slow", undead: 100, want: not, problem: "still accepts it", took: endLooks + 10*time.Second},
		"it does not say":             {answers: map[string]error{"verify old": silent}, want: Ended{Revoked, "id1", false}, problem: "does not say whether it refuses it: no answer", took: 6 * time.Second},
		"it is of another account":    {answers: map[string]error{"verify old": providers.Not(providers.CodeWrongAccount, "Joel's")}, want: not, problem: "still accepts it", took: endLooks},
		"the current of one in place": {spec: "set alone", want: revoked},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if c.spec == "" {
					c.spec = "create"
				}
				w := newWorld(specOf(c.spec))
				w.plan = nil
				w.service.verified, w.service.undead = true, c.undead > 0
				looks := 0
				w.service.refuse = func(what string) error {
					switch {
					case what == "disable" && c.undead > 0:
						return unsupported
					case what == "verify old":
						if looks++; looks == c.undead {
							w.service.creds[0].ended = w.now.Add(-time.Hour)
						}
					}
					return c.answers[what]
				}
				w.service.instead = func(what string) error { return c.after[what] }
				begun := time.Now()
				out, err := w.engine.Retire(t.Context(), w.name, 1)
				require.Equal(t, c.want, out)
				require.Equal(t, c.took, time.Since(begun))
				if c.problem == "" {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, c.problem)
				}
				require.Equal(t, out.State != NotRevoked, w.vault.versions[1].Ended, "what is ended is handed out no more")
			})
		})
	}
}

// held is a world in which version 2 took the place of version 1 by hand.
func held(t *testing.T, spec string) *world {
	w := newWorld(specOf(spec))
	w.plan = nil
	w.service.verified = true
	w.vault.current, w.vault.next = 2, 3
	c := w.service.add("")
	w.vault.values[2], w.vault.versions[2] = c.value, providers.Version{Number: 2, ID: c.id}
	require.Len(t, w.service.valid(), 2)
	return w
}

// TestRetireBefore: the version before is ended, and the current one is not.
func TestRetireBefore(t *testing.T) {
	w := held(t, "create")
	w.vault.versions[1] = providers.Version{Number: 1} // it was imported
	out, err := w.engine.Retire(t.Context(), w.name, 1)
	require.NoError(t, err)
	require.Equal(t, Ended{Revoked, "id1", true}, out)
	require.Equal(t, []string{w.vault.values[2]}, w.service.valid())
	require.Equal(t, "id1", w.vault.versions[1].ID, "what was found out is kept")
	require.False(t, w.vault.versions[2].Ended)

	// Where the two may have one id, it would be the current one that ends.
	w = held(t, "set alone")
	out, err = w.engine.Retire(t.Context(), w.name, 1)
	require.ErrorContains(t, err, "not the current one")
	require.Equal(t, NotRevoked, out.State)
	require.Len(t, w.service.valid(), 2)
	w.service.end(w.service.creds[0])
	out, err = w.engine.Retire(t.Context(), w.name, 1)
	require.NoError(t, err)
	require.Equal(t, Ended{Revoked, "id1", true}, out, "it is dead all the same")
}

// TestRetireAgain: what was ended is only looked at, and ended again where it has
// come alive.
func TestRetireAgain(t *testing.T) {
	w := newWorld(specOf("create"))
	w.plan = nil
	w.service.verified = true
	changes := func() (n int) {
		for _, c := range w.service.calls {
			if c.what != "verify old" {
				n++
			}
		}
		return n
	}
	for i, want := range []int{4, 4, 8} { // each is counted before and after
		if i == 2 {
			w.service.creds[0].ended, w.service.creds[0].disabled = time.Time{}, false
		}
		out, err := w.engine.Retire(t.Context(), w.name, 1)
		require.NoError(t, err)
		require.Equal(t, Ended{Revoked, "id1", true}, out)
		require.Equal(t, want, changes())
	}
	w.service.creds[0].ended, w.service.creds[0].disabled = time.Time{}, false
	w.service.refuse = func(what string) error {
		if what == "verify old" {
			return nil
		}
		return providers.Not(providers.CodeDenied, "not allowed")
	}
	out, err := w.engine.Retire(t.Context(), w.name, 1)
	require.ErrorContains(t, err, "not allowed")
	require.Equal(t, Ended{NotRevoked, "id1", false}, out)
	require.False(t, w.vault.versions[1].Ended, "it is not dead")
}

// TestRetireShared: another secret with the same credential is dead with it.
func TestRetireShared(t *testing.T) {
	s := newShop(t)
	s.sharing = []secret.Name{nth(1)}
	s.current[nth(0)] = 2
	for version, want := range map[uint64][]string{1: {"svc/key-0 1 true", "svc/key-1 1 true"}, 2: {"svc/key-0 2 true", "svc/key-1 1 true"}} {
		s.marked = nil
		out, err := s.engine.Retire(t.Context(), nth(0), version)
		require.NoError(t, err)
		require.Equal(t, Revoked, out.State)
		require.Equal(t, want, s.marked)
	}
}

// TestRetireAlone: what no service knows, nobody ends, and nobody is asked.
func TestRetireAlone(t *testing.T) {
	w := newWorld(specOf("set"))
	w.kind.Alone, w.kind.Blind = true, true
	out, err := w.engine.Retire(t.Context(), w.name, 1)
	require.ErrorContains(t, err, "no service knows the value")
	require.Equal(t, reasonNoService, providers.CodeOf(err))
	require.Equal(t, NotRevoked, out.State)
	require.Empty(t, w.service.calls)
	require.False(t, w.vault.versions[1].Ended, "where it is used it works")
}

// TestRetireBlind: what cannot be asked is not proven.
func TestRetireBlind(t *testing.T) {
	w := newWorld(specOf("create"))
	w.plan = nil
	w.service.verified, w.kind.Blind = true, true
	out, err := w.engine.Retire(t.Context(), w.name, 1)
	require.ErrorContains(t, err, "cannot be asked")
	require.Equal(t, Ended{Revoked, "id1", false}, out)
	require.Empty(t, w.service.valid())
}

// TestRetireGone: of a version that is not here any more it is known whether a
// rotation ended it.
func TestRetireGone(t *testing.T) {
	retire := func(w *world, version uint64, want Ended) error {
		t.Helper()
		out, err := w.engine.Retire(t.Context(), w.name, version)
		require.Equal(t, want, out)
		return err
	}
	w := newWorld(specOf("create"))
	w.plan = nil
	w.start()
	w.run()
	require.Nil(t, w.flight())
	calls := len(w.service.calls)
	require.NoError(t, retire(w, 1, Ended{Revoked, "id1", true}))
	require.ErrorIs(t, retire(w, 7, Ended{State: NotRevoked}), ErrGone)
	require.Len(t, w.service.calls, calls)

	// Given up when the new one was in force: the old one was left to its owner.
	w = newWorld(specOf("create"))
	w.plan = nil
	w.vault.pinned = 1
	w.start()
	for w.flight().State != Announced {
		w.step()
	}
	_, err := w.engine.GiveUp(w.name)
	require.NoError(t, err)
	delete(w.vault.values, 1)
	delete(w.vault.versions, 1)
	require.ErrorIs(t, retire(w, 1, Ended{NotRevoked, "id1", false}), ErrGone)

	// Rolled back: the new one was ended, unless the owner gave up on that too.
	for _, up := range []bool{false, true} {
		w = newWorld(specOf("create"))
		w.plan = nil
		w.vault.pinned = 1
		w.start()
		for w.flight().State != Announced {
			w.step()
		}
		_, err := w.engine.RollBack(w.name)
		require.NoError(t, err)
		if up {
			for w.flight().Doing != actUndo {
				w.step()
			}
			_, err = w.engine.GiveUp(w.name)
			require.NoError(t, err)
		}
		w.run()
		require.Nil(t, w.flight())
		if up {
			require.ErrorIs(t, retire(w, 2, Ended{NotRevoked, "id2", false}), ErrGone)
		} else {
			require.NoError(t, retire(w, 2, Ended{Revoked, "id2", true}))
		}
	}
}

// TestRetireBusy: not while it is being replaced, and nothing is called by one
// who has left.
func TestRetireBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		s.parallel = 1
		s.call = func(ctx context.Context, _ *providers.Call, _ string) error { return within(ctx, time.Second) }
		defer s.run()()
		p := s.start(nth(0))
		_, err := s.engine.Retire(t.Context(), nth(0), 1)
		require.ErrorIs(t, err, ErrBusy)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		out, err := s.engine.Retire(ctx, nth(1), 1)
		require.Error(t, err)
		require.Equal(t, Ended{NotRevoked, "old", false}, out)
		require.Equal(t, "done", s.wait(p).State)
		var retired sync.WaitGroup
		retire := func() {
			out, err := s.engine.Retire(t.Context(), nth(2), 1)
			require.NoError(t, err)
			require.Equal(t, Ended{Revoked, "old", true}, out)
		}
		retired.Go(retire)
		retired.Go(retire) // after the other
		retired.Wait()
		retired.Go(retire)
		synctest.Wait()
		begun := time.Now()
		p = s.start(nth(2)) // waits
		require.GreaterOrEqual(t, time.Since(begun), time.Second)
		retired.Wait()
		require.Equal(t, "done", s.wait(p).State)
	})
}

// killed is a world whose one credential was ended with none in its place.
func killed(t *testing.T, spec string) *world {
	w := newWorld(specOf(spec))
	w.plan = nil
	_, err := w.engine.Retire(t.Context(), w.name, 1)
	require.NoError(t, err)
	require.True(t, w.vault.versions[1].Ended)
	require.Empty(t, w.service.valid())
	w.wrong, w.service.calls = nil, nil
	return w
}

// TestRotateEnded: where another credential makes the new one, the old one being
// dead is no hindrance; it does not come back when that goes wrong.
func TestRotateEnded(t *testing.T) {
	for _, spec := range []string{"set", "set alone", "create", "create slow", "roll managed"} {
		t.Run(spec, func(t *testing.T) {
			w := killed(t, spec)
			w.start()
			w.requireEnd(t, Done)
			require.False(t, w.vault.versions[w.vault.current].Ended)

			w = killed(t, spec)
			w.service.refuse = func(what string) error {
				if what == "verify" {
					return providers.Not(providers.CodeWrongAccount, "it is Joel's")
				}
				return nil
			}
			w.start()
			w.run()
			if spec == "roll managed" {
				require.True(t, w.flight().Lost)
				return
			}
			require.Equal(t, string(RolledBack), w.past(t).State)
			require.Empty(t, w.service.valid(), "neither the new one nor the old one")
			require.True(t, w.vault.versions[1].Ended)
			require.Equal(t, uint64(1), w.vault.current)
		})
	}
	// Another secret that has the same value does not keep it from being replaced,
	// nor from being ended.
	w := killed(t, "create")
	w.vault.sharing = []secret.Name{"svc/other"}
	w.start()
	w.requireEnd(t, Done)
	w = newWorld(specOf("create"))
	w.vault.sharing, w.vault.versions[1] = []secret.Name{"svc/other"}, providers.Version{Number: 1}
	_, err := w.engine.Retire(t.Context(), w.name, 1)
	require.NoError(t, err)
	require.Equal(t, "id1", w.vault.versions[1].ID)

	w = killed(t, "create")
	w.vault.pinned = 1
	w.start()
	w.until(t, at(Announced))
	_, err = w.engine.RollBack(w.name)
	require.ErrorIs(t, err, ErrTooLate)
	require.ErrorContains(t, err, "the old version was ended at its service")
}

// TestRotateEndedItself: what makes its successor itself cannot when it is dead,
// and that is said with what to do.
func TestRotateEndedItself(t *testing.T) {
	refuse := func(what string) error {
		if what == "check" {
			return providers.Not(providers.CodeDenied, "the key is refused")
		}
		return nil
	}
	w := killed(t, "create")
	w.service.refuse = refuse
	w.start()
	p := w.requireFailed(t)
	require.Equal(t, "version 1 was ended at its service, and no other credential is named that could make the next: the key is refused", *p.Error)
	require.Equal(t, "make one by hand at its service, then: secretctl set svc/key", p.Hint)

	w = killed(t, "roll managed") // whose managing credential it is that is refused
	w.service.refuse = refuse
	w.start()
	require.Equal(t, "the key is refused", *w.requireFailed(t).Error)

	w = newWorld(specOf("create")) // and one that is not dead
	w.service.refuse = refuse
	w.start()
	require.Equal(t, "the key is refused", *w.requireFailed(t).Error)
}

func (w *world) requireFailed(t *testing.T) providers.Progress {
	t.Helper()
	w.run()
	p := w.past(t)
	require.Equal(t, string(Failed), p.State)
	return p
}

// TestEndAll: a service that is silent holds up nobody else; each version has a
// receipt, as it comes; and one that manages itself is ended by the current one.
func TestEndAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const silent, others = 5, 20
		isSilent := func(name secret.Name) bool { return len(name) == len(nth(0)) && name < nth(silent) }
		s := newShop(t)
		var mu sync.Mutex
		by := map[secret.Name][]string{}
		s.call = func(ctx context.Context, c *providers.Call, what string) error {
			if isSilent(c.Secret) {
				return within(ctx, time.Hour)
			}
			if what == "revoke" {
				with := "nobody"
				if c.New != nil {
					with = c.New.ID
				}
				mu.Lock()
				by[c.Secret] = append(by[c.Secret], with)
				mu.Unlock()
			}
			return within(ctx, 100*time.Millisecond)
		}
		s.unnamed, s.managed[nth(silent)] = isSilent, "own/admin"
		s.provider = func(name secret.Name) string {
			if isSilent(name) {
				return "silent"
			}
			return "shop"
		}
		defer s.run()()
		var held []Held
		for i := range silent + others {
			s.current[nth(i)] = 2
			held = append(held, Held{nth(i), []uint64{1, 2}})
		}
		begun := time.Now()
		var last time.Duration // of those that answer
		got := map[secret.Name][]uint64{}
		each := make(chan struct{}, 1) // one at a time
		require.NoError(t, s.engine.EndAll(t.Context(), held, func(r Receipt) {
			select {
			case each <- struct{}{}:
			default:
				t.Error("two receipts at a time")
			}
			time.Sleep(time.Millisecond)
			<-each
			got[r.Secret] = append(got[r.Secret], r.Version)
			if s.provider(r.Secret) == "silent" {
				require.Equal(t, NotRevoked, r.State)
				require.Error(t, r.Err)
				return
			}
			require.NoError(t, r.Err)
			require.Equal(t, Ended{Revoked, "old", true}, r.Ended)
			last = time.Since(begun)
		}))
		require.Len(t, got, silent+others)
		for i := range silent + others {
			require.Equal(t, []uint64{1, 2}, got[nth(i)])
			if i >= silent {
				want := []string{"old", "nobody"}
				if s.managed[nth(i)] != "" { // another credential ends it
					want[0] = "nobody"
				}
				require.Equal(t, want, by[nth(i)])
			}
		}
		require.Less(t, last, 10*time.Second, "two at a time, as if nobody were silent")
		require.InDelta(t, silent*endSilent*endCall, time.Since(begun), float64(time.Second), "two versions of each, two at a time")
	})
}

// TestEndAllOnTheWay: a rotation that is under way ends what it replaces, and that
// has a receipt; what it had ended before has none.
func TestEndAllOnTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		defer s.run()()
		require.Equal(t, "done", s.wait(s.start(nth(0))).State)
		s.holders = 1
		p := s.start(nth(0))
		_, err := s.engine.Watch(t.Context(), nth(0), p.ID, func(providers.Progress) {}, func(p providers.Progress) bool { return p.Step == string(Announced) })
		require.NoError(t, err)
		var got []Receipt
		require.NoError(t, s.engine.EndAll(t.Context(), []Held{{nth(0), []uint64{1, 2}}}, func(r Receipt) { got = append(got, r) }))
		require.Equal(t, []Receipt{{nth(0), 2, Ended{Revoked, "old", true}, nil, ""}}, got)
	})
}

// TestEndAllStuck: a rotation that comes no further is given up, so that what
// agents held is ended all the same, and what that leaves is named.
func TestEndAllStuck(t *testing.T) {
	down := func(at string) func(context.Context, *providers.Call, string) error {
		return func(_ context.Context, _ *providers.Call, what string) error {
			if what == at {
				return providers.Maybe(providers.CodeUnavailable, "no answer")
			}
			return nil
		}
	}
	ended := Ended{Revoked, "old", true}
	for stuck, c := range map[string]struct {
		held []uint64
		left string
	}{
		"verify": {[]uint64{1}, "given up by the owner: the service may still have 1: remove 1 at the service"},
		"find":   {[]uint64{2}, "given up by the owner: what the service still has of it is not ended"},
	} {
		t.Run(stuck, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShop(t)
				s.call = down(stuck)
				defer s.run()()
				s.start(nth(0))
				synctest.Wait()
				begun := time.Now()
				var got []Receipt
				require.NoError(t, s.engine.EndAll(t.Context(), []Held{{nth(0), c.held}}, func(r Receipt) { got = append(got, r) }))
				require.Equal(t, []Receipt{{nth(0), c.held[0], ended, nil, c.left}}, got)
				require.InDelta(t, finishTime, time.Since(begun), float64(time.Second))
				_, err := s.engine.Get(nth(0))
				require.ErrorIs(t, err, ErrNone)
			})
		})
	}
	t.Run("revoke", func(t *testing.T) { // the old one is not lost for that, and may be ended later
		synctest.Test(t, func(t *testing.T) {
			s := newShop(t)
			s.call = down("revoke")
			defer s.run()()
			s.start(nth(0))
			synctest.Wait()
			require.NoError(t, s.engine.EndAll(t.Context(), []Held{{nth(0), []uint64{1}}}, func(r Receipt) { require.Contains(t, r.Left, "given up") }))
			require.Zero(t, s.dropped[nth(0)])
		})
	})
}
