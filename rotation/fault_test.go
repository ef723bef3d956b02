package rotation

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// The numbers are those of the list of faults that a rotation has to outlive.

// past returns the rotation that ended last.
func (w *world) past(t *testing.T) providers.Progress {
	t.Helper()
	all, err := w.engine.History(w.name)
	require.NoError(t, err)
	require.NotEmpty(t, all, "no rotation has ended: %+v", w.flight())
	return all[0]
}

// requireEnd drives to the end, which must be s, and checks all that must hold.
func (w *world) requireEnd(t *testing.T, s State) providers.Progress {
	t.Helper()
	w.run()
	w.requireNothingWrong(t)
	p := w.past(t)
	require.Equal(t, string(s), p.State, "%+v", p)
	return p
}

// until drives until the rotation is as wanted.
func (w *world) until(t *testing.T, is func(*Rotation) bool) *Rotation {
	t.Helper()
	for range 400 {
		if r := w.flight(); r != nil && is(r) {
			return r
		}
		require.True(t, w.step(), "it ended before: %s", w.end())
	}
	t.Fatalf("it never comes to that: %+v", w.flight())
	return nil
}

func at(s State) func(*Rotation) bool { return func(r *Rotation) bool { return r.State == s } }

func needing(code providers.Code) func(*Rotation) bool {
	return func(r *Rotation) bool { return r.Needs && r.Reason == code }
}

// times returns when the service was asked for something.
func (s *service) times(what string) (at []time.Time) {
	for _, c := range s.calls {
		if c.what == what {
			at = append(at, c.at)
		}
	}
	return at
}

// index returns the number of the nth point of that name in a rotation without
// faults.
func index(t *testing.T, s *spec, what string, n int) int {
	t.Helper()
	w := newWorld(s)
	w.start()
	w.run()
	for i, p := range w.points {
		if p.what == what {
			if n--; n < 0 {
				return i
			}
		}
	}
	t.Fatalf("there is no such point: %s", what)
	return 0
}

// TestFault01To08Kill: the broker is killed at every place of the passage.
func TestFault01To08Kill(t *testing.T) {
	s := specOf("create")
	for _, c := range []struct {
		name, what string
		n          int
		fault      fault
	}{
		{"01 after the intent, before the request leaves", "issue", 0, crashBefore},
		{"02 after the request left, before the reply", "issue", 0, crashAfter},
		{"03 with the reply, before the value is saved", "a save", 2, crashBefore},
		{"04 after that, before verifying", "a save", 2, crashAfter},
		{"05 between verifying and publishing", "publish", 0, crashBefore},
		{"06 after publishing, before anybody is told", "publish", 0, crashAfter},
		{"06 while they are told", "announce", 0, crashAfter},
		{"07 during the grace", "a save", 4, crashAfter},
		{"08 after stopping the old one, before ending it", "revoke", 0, crashBefore},
		{"08 after ending it", "revoke", 0, crashAfter},
		{"08 after forgetting it", "forget", 0, crashAfter},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(s)
			w.plan = []planned{{index(t, s, c.what, c.n), c.fault}}
			w.start()
			w.requireEnd(t, Done)
		})
	}
}

// TestFault09Reset: the connection is reset when the service has done it.
func TestFault09Reset(t *testing.T) {
	for _, s := range specs {
		if s.kind.Shape == providers.ShapeManual {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			w := newWorld(s)
			w.plan = []planned{{index(t, s, "issue", 0), failAfter}}
			w.start()
			w.run()
			w.requireNothingWrong(t)
			if s.kind.Shape == providers.ShapeSet || s.kind.Shape == providers.ShapeCreate || s.managed {
				require.Equal(t, string(Done), w.end())
				return
			}
			r := w.flight()
			require.True(t, r.Lost)
			require.Equal(t, "needs-owner", r.Progress().State)
			require.Contains(t, r.Remedy, "rotate --stdin")
		})
	}
}

// TestFault09ThenByHand: the owner makes another one where it was lost.
func TestFault09ThenByHand(t *testing.T) {
	for _, name := range []string{"roll", "refresh"} {
		t.Run(name, func(t *testing.T) {
			s := specOf(name)
			w := newWorld(s)
			w.plan = []planned{{index(t, s, "issue", 0), failAfter}}
			w.start()
			w.until(t, func(r *Rotation) bool { return r.Lost })
			// That the service cannot be asked for a while does not hide what is needed.
			w.service.refuse = func(string) error { return providers.Maybe(providers.CodeUnavailable, "down") }
			for range 3 {
				w.step()
			}
			require.Equal(t, reasonLost, w.flight().Reason)
			w.service.refuse = nil
			for _, c := range w.service.creds {
				w.service.end(c)
			}
			given := w.value(w.service.add("").value)
			p, err := w.order(Order{Value: given})
			require.NoError(t, err)
			require.Equal(t, "staged", p.State)
			w.requireEnd(t, Done)
			require.Empty(t, w.service.times("revoke"), "the old and the new one may have one id")
		})
	}
}

// TestFault10Garbage: an answer from which nothing can be told.
func TestFault10Garbage(t *testing.T) {
	for what, garbage := range map[string]func(*providers.Credential) *providers.Credential{
		"nothing": func(*providers.Credential) *providers.Credential { return nil },
		"no value": func(c *providers.Credential) *providers.Credential {
			c.Value.Clear()
			c.Value = secret.Value{}
			return c
		},
		"cleared": func(c *providers.Credential) *providers.Credential { c.Value.Clear(); return c },
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(specOf("create"))
			n := 0
			w.service.garbage = func(c *providers.Credential) *providers.Credential {
				if n++; n > 1 {
					return c
				}
				c.Value.Clear()
				return garbage(c)
			}
			w.start()
			w.requireEnd(t, Done)
			require.Len(t, w.service.times("issue"), 4, "two calls, each seen twice")
		})
		t.Run(what+", always", func(t *testing.T) {
			w := newWorld(specOf("create"))
			w.service.garbage = func(c *providers.Credential) *providers.Credential { c.Value.Clear(); return garbage(c) }
			w.start()
			w.requireEnd(t, RolledBack)
			require.Len(t, w.service.valid(), 1)
		})
		t.Run(what+", of a roll", func(t *testing.T) {
			w := newWorld(specOf("roll"))
			w.service.garbage = func(c *providers.Credential) *providers.Credential { c.Value.Clear(); return garbage(c) }
			w.start()
			w.until(t, needing(reasonLost))
		})
	}
}

// TestFault10TheOldOneAgain: an answer that holds the old credential would have
// the new one ended with it.
func TestFault10TheOldOneAgain(t *testing.T) {
	w := newWorld(specOf("create"))
	w.service.garbage = func(c *providers.Credential) *providers.Credential {
		c.Value.Clear()
		return &providers.Credential{ID: w.service.creds[0].id, Value: w.value(w.service.creds[0].value)}
	}
	w.start()
	w.requireEnd(t, RolledBack)
}

// TestFault10GivenTheOldOne: so does an owner who pastes the old value.
func TestFault10GivenTheOldOne(t *testing.T) {
	for _, name := range []string{"manual", "create", "set", "roll"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(specOf(name))
			_, err := w.order(Order{Value: w.value(w.service.creds[0].value)})
			require.NoError(t, err)
			p := w.requireEnd(t, RolledBack)
			require.Equal(t, providers.CodeBadValue, p.Reason)
			require.Empty(t, w.service.times("revoke"))
		})
	}
}

// TestFault11: an error of the server that did it all the same.
func TestFault11(t *testing.T) {
	for _, name := range []string{"set", "create", "create slow"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(specOf(name))
			n := 0
			w.service.instead = func(what string) error {
				if n++; n <= 3 {
					return providers.Maybe(providers.CodeUnavailable, "it answers with status 500")
				}
				return nil
			}
			w.start()
			w.run()
			w.requireNothingWrong(t)
			require.LessOrEqual(t, len(w.service.times("issue")), 2*maxIssues)
		})
	}
}

// TestFault12RateLimited: what the service wants waited is waited, by an owner who
// asks again too.
func TestFault12RateLimited(t *testing.T) {
	for _, what := range []string{"check", "choose", "issue", "verify", "disable", "revoke", "verify old"} {
		name := "create"
		if what == "choose" {
			name = "set"
		}
		t.Run(what, func(t *testing.T) {
			w := newWorld(specOf(name))
			n := 0
			w.service.refuse = func(action string) error {
				if action != what {
					return nil
				}
				if n++; n > 2 {
					return nil
				}
				e := providers.Not(providers.CodeRateLimited, "too many requests")
				e.RetryAfter = 90 * time.Second
				return e
			}
			w.start()
			w.until(t, func(r *Rotation) bool { return r.Reason == providers.CodeRateLimited })
			again := w.flight().Again
			_, err := w.engine.Start(Order{Secret: w.name, By: "owner"})
			require.NoError(t, err)
			require.Equal(t, again, w.flight().Again)
			w.requireEnd(t, Done)
			times := w.service.times(what)
			require.GreaterOrEqual(t, times[1].Sub(times[0]).Round(time.Millisecond), 90*time.Second)
		})
	}
	t.Run("for years", func(t *testing.T) {
		w := newWorld(specOf("create"))
		w.service.refuse = func(string) error {
			e := providers.Not(providers.CodeRateLimited, "too many requests")
			e.RetryAfter = 1 << 62
			return e
		}
		w.start()
		w.until(t, func(r *Rotation) bool { return r.Tries > 0 })
		require.Equal(t, w.now.Add(longestAfter), w.flight().Again)
	})
}

// TestFault13NotKnownYet: the new one is refused every other time for 15 seconds.
func TestFault13NotKnownYet(t *testing.T) {
	w := newWorld(specOf("create slow"))
	w.start()
	w.until(t, at(Verified))
	require.GreaterOrEqual(t, w.now.Sub(w.service.creds[1].made), 15*time.Second)
	w.requireEnd(t, Done)
}

// TestFault13NeverKnown: and one that is refused for good is ended.
func TestFault13NeverKnown(t *testing.T) {
	w := newWorld(specOf("create"))
	w.service.refuse = func(what string) error {
		if what == "verify" {
			return providers.Not(providers.CodeInvalid, "it is refused")
		}
		return nil
	}
	w.start()
	p := w.requireEnd(t, RolledBack)
	require.Equal(t, providers.CodeInvalid, p.Reason)
	require.Greater(t, w.past(t).Updated.Sub(epoch), verifyWindow)
	require.Len(t, w.service.creds, 2)
}

// TestFault14Down: nobody can tell for an hour whether the new one works.
func TestFault14Down(t *testing.T) {
	for _, step := range []time.Duration{0, time.Hour, -time.Hour} {
		t.Run(fmt.Sprintf("and the clock is set by %v", step), func(t *testing.T) {
			w := newWorld(specOf("create slow"))
			w.service.refuse = func(what string) error {
				if what == "verify" {
					return providers.Maybe(providers.CodeUnavailable, "the service does not answer")
				}
				return nil
			}
			w.start()
			r := w.until(t, func(r *Rotation) bool { return r.Needs })
			require.Equal(t, providers.CodeUnavailable, r.Reason)
			w.skew = step
			for end := w.now.Add(time.Hour); w.now.Before(end); w.step() {
				require.EqualValues(t, 1, w.vault.current)
			}
			w.service.refuse = nil
			w.requireEnd(t, Done)
			require.Empty(t, w.past(t).Error)
			require.Empty(t, w.past(t).Reason)
		})
	}
}

// TestFault15: the new one is of another account, or may do more.
func TestFault15(t *testing.T) {
	for _, name := range []string{"create", "create slow", "set", "manual"} {
		t.Run("wrong account, "+name, func(t *testing.T) {
			w := newWorld(specOf(name))
			w.service.newAccount = "mallory"
			w.start()
			p := w.requireEnd(t, RolledBack)
			require.Equal(t, providers.CodeWrongAccount, p.Reason)
			require.NotNil(t, p.Error)
		})
		t.Run("wider, "+name, func(t *testing.T) {
			w := newWorld(specOf(name))
			w.service.refuse = func(what string) error {
				if what == "verify" {
					return providers.Not(providers.CodeWiderScope, "it may also write")
				}
				return nil
			}
			w.start()
			p := w.requireEnd(t, RolledBack)
			require.Equal(t, providers.CodeWiderScope, p.Reason)
		})
	}
	t.Run("of a roll there is no way back", func(t *testing.T) {
		w := newWorld(specOf("roll"))
		w.service.newAccount = "mallory"
		w.start()
		w.until(t, needing(providers.CodeWrongAccount))
		require.True(t, w.flight().Lost)
		require.NotEmpty(t, w.flight().Sealed, "the only credential there is was thrown away")
		w.service.newAccount = w.service.account
		w.requireEnd(t, Done)
	})
}

// TestFault16Limit: the place is taken by what a lost answer left, which the
// service does not list yet.
func TestFault16Limit(t *testing.T) {
	s := specOf("create slow")
	w := newWorld(s)
	w.plan = []planned{{index(t, s, "issue", 0), failAfter}}
	w.start()
	w.requireEnd(t, Done)
}

// TestFault16NotOurs: the place is taken by others.
func TestFault16NotOurs(t *testing.T) {
	w := newWorld(specOf("create slow"))
	other := w.service.add("of somebody else")
	w.start()
	w.run()
	require.Equal(t, string(Failed), w.end())
	require.Equal(t, providers.CodeLimit, w.past(t).Reason)
	require.True(t, other.ended.IsZero())
	require.Zero(t, w.past(t).To)
}

// TestFault17Revoke: the old one cannot be ended for a while.
func TestFault17Revoke(t *testing.T) {
	for name, err := range map[string]*providers.CallError{
		"403":     providers.Not(providers.CodeDenied, "it may not"),
		"500":     providers.Maybe(providers.CodeUnavailable, "it answers with status 500"),
		"timeout": providers.Maybe(providers.CodeUnavailable, "no answer"),
		"429":     providers.Not(providers.CodeRateLimited, "too often"),
	} {
		for _, what := range []string{"disable", "revoke"} {
			t.Run(name+" of "+what, func(t *testing.T) {
				w := newWorld(specOf("create"))
				w.service.refuse = func(action string) error {
					if action == what {
						return err
					}
					return nil
				}
				w.start()
				r := w.until(t, func(r *Rotation) bool { return r.Needs })
				require.Equal(t, err.Code, r.Reason)
				require.Equal(t, Drained, r.State)
				require.EqualValues(t, 2, w.vault.current)
				w.advance(48 * time.Hour)
				w.service.refuse = nil
				w.requireEnd(t, Done)
				require.Nil(t, w.past(t).Error)
				require.Empty(t, w.past(t).Warning)
			})
		}
	}
}

// TestFault17StillAccepted: it was ended, and is accepted all the same.
func TestFault17StillAccepted(t *testing.T) {
	t.Run("for a while", func(t *testing.T) {
		w := newWorld(specOf("create slow"))
		w.start()
		for w.step() {
			if r := w.flight(); r != nil {
				require.False(t, r.Needs, "%+v", r)
			}
		}
		w.requireEnd(t, Done)
	})
	t.Run("for ever", func(t *testing.T) {
		w := newWorld(specOf("create"))
		w.service.instead = func(string) error { return nil }
		accepted := true
		w.service.refuse = func(what string) error {
			if what == "disable" && accepted {
				return providers.Not(providers.CodeUnsupported, "no way to stop it")
			}
			return nil
		}
		w.service.undead = true
		w.start()
		w.until(t, needing(reasonAccepted))
		n := len(w.service.times("revoke"))
		w.until(t, func(*Rotation) bool { return len(w.service.times("revoke")) > n+8 })
		require.True(t, w.flight().Needs)
		require.Equal(t, reasonAccepted, w.flight().Reason)
		last := w.service.times("revoke")
		require.GreaterOrEqual(t, last[len(last)-1].Sub(last[len(last)-3]), 9*time.Minute, "it is tried less and less often")
		w.service.undead = false
		w.requireEnd(t, Done)
	})
}

// TestFault18Managing: the managing credential is revoked in the middle.
func TestFault18Managing(t *testing.T) {
	denied := func(string) error { return providers.Not(providers.CodeDenied, "the admin key is refused") }
	for _, s := range []State{Issued, Staged, Verified, Announced, Drained} {
		t.Run(string(s), func(t *testing.T) {
			w := newWorld(specOf("create"))
			w.start()
			w.until(t, at(s))
			w.service.refuse = denied
			if s == Issued {
				p := w.requireEnd(t, Failed)
				require.Equal(t, providers.CodeDenied, p.Reason)
				return
			}
			w.until(t, needing(providers.CodeDenied))
			w.service.refuse = nil
			w.requireEnd(t, Done)
		})
	}
	t.Run("while an orphan is looked for", func(t *testing.T) {
		s := specOf("create")
		w := newWorld(s)
		w.plan = []planned{{index(t, s, "issue", 0), failAfter}}
		w.start()
		w.until(t, func(r *Rotation) bool { return r.Doing == actFind })
		w.service.refuse = denied
		w.until(t, needing(providers.CodeDenied))
		w.service.refuse = nil
		w.requireEnd(t, Done)
	})
}

// TestFault20Refresh: a lost answer, and a broker that dies of each retry.
func TestFault20Refresh(t *testing.T) {
	s := specOf("refresh")
	issue := index(t, s, "issue", 0)
	for _, f := range []fault{crashBefore, crashAfter, failBefore, failAfter, late} {
		t.Run(string(f), func(t *testing.T) {
			w := newWorld(s)
			w.plan = []planned{{issue, f}}
			for i := range 20 { // and whatever comes after
				w.plan = append(w.plan, planned{issue + 1 + i, crashBefore})
			}
			w.start()
			w.run()
			w.requireNothingWrong(t)
			require.LessOrEqual(t, w.service.issues, 2)
		})
	}
}

// TestFault22Clock: the clock is set, or the machine sleeps, in every state.
func TestFault22Clock(t *testing.T) {
	for _, name := range []string{"create slow", "set", "roll", "manual by hand"} {
		for _, step := range []time.Duration{time.Hour, -time.Hour, 9 * time.Hour} {
			for _, s := range []State{Planned, Issued, Staged, Verified, Announced, Drained} {
				t.Run(fmt.Sprintf("%s %v %s", name, step, s), func(t *testing.T) {
					w := newWorld(specOf(name))
					w.start()
					for n := 0; !at(s)(w.flight()); n++ {
						if w.step(); w.flight() == nil || n > 60 {
							return // it does not pass here
						}
					}
					if step > 2*time.Hour {
						w.advance(step) // asleep
					} else {
						w.skew = step
					}
					w.requireEnd(t, Done)
				})
			}
		}
	}
	t.Run("a grace that passes in sleep", func(t *testing.T) {
		w := newWorld(specOf("create"))
		w.vault.pinned = 1
		w.start()
		w.until(t, at(Announced))
		w.now = w.now.Add(9 * time.Hour)
		w.until(t, needing(reasonPinned))
		require.Empty(t, w.service.times("disable"))
		w.vault.pinned = 0
		w.requireEnd(t, Done)
	})
}

// TestFault23Poison: the policy of the service refuses what we choose.
func TestFault23Poison(t *testing.T) {
	for n, end := range map[int]State{1: Done, 2: Failed} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newWorld(specOf("set"))
			left := n
			w.service.refuse = func(what string) error {
				if what == "issue" && left > 0 {
					left--
					return providers.Not(providers.CodeBadValue, "it is too simple")
				}
				return nil
			}
			w.start()
			p := w.requireEnd(t, end)
			require.Len(t, w.service.times("choose"), 2)
			if end == Failed {
				require.Equal(t, providers.CodeBadValue, p.Reason)
				require.Zero(t, p.To)
			}
		})
	}
}

// TestFault28Announce: consumers cannot be told.
func TestFault28Announce(t *testing.T) {
	w := newWorld(specOf("create"))
	w.vault.announceErr = fmt.Errorf("the command ended with status 1")
	w.start()
	p := w.requireEnd(t, Done)
	require.Len(t, w.vault.announced, maxAnnounces)
	require.Contains(t, p.Warning, "status 1")
	require.Nil(t, p.Error)
}

// TestFault28Confirm: the old one is not ended before the owner's command agrees.
func TestFault28Confirm(t *testing.T) {
	w := newWorld(specOf("create"))
	w.confirm = true
	w.vault.confirmErr = fmt.Errorf("the gateway has the old one")
	w.start()
	w.until(t, needing(reasonConfirm))
	w.advance(9 * time.Hour)
	w.step()
	require.Empty(t, w.service.times("disable"))
	w.vault.confirmErr = nil
	w.requireEnd(t, Done)
}

// TestFault30TooLate: what is being ended at the service is not rolled back to.
func TestFault30TooLate(t *testing.T) {
	for _, name := range []string{"create", "set", "manual", "roll", "refresh"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(specOf(name))
			w.start()
			seen := map[State]bool{}
			for w.flight() != nil {
				r := *w.flight()
				seen[r.State] = true
				late := r.State == Drained || r.State == Retired || r.rolls() && r.Issues > 0
				require.Equal(t, late, r.canRollBack() != "", "%+v", r)
				if late {
					_, err := w.engine.RollBack(w.name)
					require.ErrorIs(t, err, ErrTooLate)
				}
				w.step()
			}
			require.True(t, seen[Drained] || seen[Retired], seen)
			w.requireEnd(t, Done)
		})
	}
}

// TestRollBack: before that it is, wherever the rotation is.
func TestRollBack(t *testing.T) {
	for _, s := range specs {
		t.Run(s.name, func(t *testing.T) {
			for n := 0; ; n++ {
				w := newWorld(s)
				w.start()
				for range n {
					w.step()
				}
				if w.flight() == nil || w.flight().canRollBack() != "" {
					require.Positive(t, n)
					return
				}
				w.alive(func() {
					_, err := w.engine.RollBack(w.name)
					require.NoError(t, err)
				})
				p := w.requireEnd(t, RolledBack)
				require.Equal(t, reasonOwner, p.Reason, "after %d steps", n)
				_, err := w.engine.RollBack(w.name)
				require.ErrorIs(t, err, ErrNone)
			}
		})
	}
}

// TestRollBackTellsConsumers: they were told of the new one.
func TestRollBackTellsConsumers(t *testing.T) {
	w := newWorld(specOf("create"))
	w.start()
	w.until(t, at(Announced))
	_, err := w.engine.RollBack(w.name)
	require.NoError(t, err)
	w.requireEnd(t, RolledBack)
	require.Equal(t, []uint64{2, 1}, w.vault.announced)
}

// TestRollBackKeepsWhy: what is in the way of undoing does not hide why.
func TestRollBackKeepsWhy(t *testing.T) {
	w := newWorld(specOf("create"))
	w.service.newAccount = "mallory"
	w.service.refuse = func(what string) error {
		if what == "revoke" {
			return providers.Not(providers.CodeDenied, "it may not revoke")
		}
		return nil
	}
	w.start()
	r := w.until(t, func(r *Rotation) bool { return r.Needs })
	require.Equal(t, providers.CodeWrongAccount, r.Reason)
	require.Contains(t, r.Warning, "it may not revoke")
	w.service.refuse = nil
	p := w.requireEnd(t, RolledBack)
	require.Equal(t, providers.CodeWrongAccount, p.Reason)
	require.Empty(t, p.Warning)
}

// TestGiveUp: it ends as it stands, also when the config no longer knows the
// provider, and whatever lease gets is kept. Where that would lose the one that
// works, it is refused.
func TestGiveUp(t *testing.T) {
	for _, s := range specs {
		for _, gone := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, provider gone: %v", s.name, gone), func(t *testing.T) {
				for n := 0; ; n++ {
					w := newWorld(s)
					w.start()
					for range n {
						w.step()
					}
					if w.flight() == nil || n > 40 {
						return
					}
					w.setup = !gone
					w.step()
					if w.flight() == nil {
						return
					}
					current := w.vault.current
					dead := w.flight().oldIsDead(traits{overlap: w.kind.Overlap && !gone})
					before := *w.flight()
					_, err := w.engine.GiveUp(w.name)
					works := slices.Contains(w.service.valid(), w.vault.values[current])
					if err != nil {
						require.Equal(t, reasonOnlyCopy, providers.CodeOf(err))
						require.True(t, !works || gone, "nothing is lost")
						require.Equal(t, before, *w.flight())
						require.NotContains(t, before.Remedy, "--give-up")
						w.setup = true
						w.requireEnd(t, Done)
						continue
					}
					require.True(t, works, "the one that works is lost")
					for range 3 {
						w.step()
					}
					require.Nil(t, w.flight())
					p := w.past(t)
					require.Equal(t, reasonOwner, p.Reason)
					require.Equal(t, current, w.vault.current)
					require.Equal(t, current != 1, p.State == string(Done))
					require.Contains(t, w.vault.values, current)
					_, kept := w.vault.values[1]
					require.Equal(t, !dead, kept, "what may be dead is not gone back to")
				}
			})
		}
	}
}

// TestGiveUpOnlyCopy: what to do where it is refused, and when it is not any more.
func TestGiveUpOnlyCopy(t *testing.T) {
	refused := func(w *world) *providers.CallError {
		t.Helper()
		_, err := w.engine.GiveUp(w.name)
		call := (*providers.CallError)(nil)
		require.ErrorAs(t, err, &call)
		return call
	}
	for _, spec := range []string{"set alone", "roll", "refresh"} {
		w := newWorld(specOf(spec))
		w.service.refuse = func(what string) error {
			if what == "verify" {
				return providers.Not(providers.CodeInvalid, "refused")
			}
			return nil
		}
		w.start()
		w.until(t, at(Staged))
		err := refused(w)
		require.Equal(t, "the old credential is dead, or may be, and the new one is kept nowhere else", err.Problem)
		require.Equal(t, "to try again: secretctl rotate svc/key", err.Remedy)
		if spec == "set alone" {
			w.until(t, func(r *Rotation) bool { return r.Doing == actUndo })
			refused(w)
			w.until(t, func(r *Rotation) bool { return r.Doing == actDrop }) // the old one works again
		} else {
			w.until(t, func(r *Rotation) bool { return r.Lost })
			require.Contains(t, refused(w).Remedy, "secretctl rotate --stdin svc/key")
			_, err := w.order(Order{Value: w.value(w.service.byHand())})
			require.NoError(t, err) // is the person's, who may do without it
		}
		_, problem := w.engine.GiveUp(w.name)
		require.NoError(t, problem)
	}
	// A service that said no has made nothing.
	w := newWorld(specOf("set alone"))
	w.service.refuse = func(what string) error {
		if what == "issue" {
			return providers.Not(providers.CodeRateLimited, "later")
		}
		return nil
	}
	w.start()
	w.until(t, func(r *Rotation) bool { return r.Doing == actIssue && r.Tries > 0 })
	_, err := w.engine.GiveUp(w.name)
	require.NoError(t, err)
}

// TestGiveUpNames: what was made for a rotation that is given up, and which
// nobody keeps, is named, also where the answer that it was made got lost.
func TestGiveUpNames(t *testing.T) {
	const tag = "secretctl/svc/key/"
	for _, s := range specs {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, answers lost: %v", s.name, lost), func(t *testing.T) {
				for n := 0; ; n++ {
					w := newWorld(s)
					w.start()
					for range n {
						if r := w.flight(); lost && r != nil && r.Doing == actIssue {
							w.next = failAfter
						}
						w.step()
					}
					if w.flight() == nil || n > 40 {
						return
					}
					asked := len(w.service.times("issue")) > 0
					if _, err := w.engine.GiveUp(w.name); err != nil {
						continue
					}
					for range 3 {
						w.step()
					}
					p := w.past(t)
					left := strings.Contains(*p.Error, "may still have")
					require.Equal(t, left, strings.HasPrefix(p.Hint, "remove "), "%q", p.Hint)
					require.True(t, asked || !left, "nothing was asked for: %s", *p.Error)
					for _, c := range w.service.creds[1:] {
						kept := false
						for _, v := range w.vault.values {
							kept = kept || v == c.value
						}
						if kept || !c.ended.IsZero() || s.kind.Shape == providers.ShapeManual { // that one is a person's
							continue
						}
						for _, said := range []string{*p.Error, p.Hint} {
							require.True(t, strings.Contains(said, c.id) || strings.Contains(said, tag), "%s: %q", c.id, said)
						}
					}
				}
			})
		}
	}
}

// TestGoes: a version that was left alive at its service, and goes from the vault
// for the next one, is named from the beginning on.
func TestGoes(t *testing.T) {
	const goes = "version 3 was never ended at its service and goes from here: end id9 by hand there"
	begin := func(spec string, old providers.Version) *world {
		w := newWorld(specOf(spec))
		w.vault.previous = old
		w.start()
		return w
	}
	left := providers.Version{Number: 3, ID: "id9"}
	for _, spec := range []string{"set", "create", "manual"} {
		w := begin(spec, left)
		require.Equal(t, goes, w.flight().Progress().Warning)
		w.vault.announceErr = errors.New("the command failed")
		w.until(t, func(r *Rotation) bool { return strings.Contains(r.Warning, "the command failed") })
		require.Equal(t, goes+"; the command failed", w.flight().Progress().Warning)
		w.alive(func() { w.dead = true })
		require.Contains(t, w.flight().Progress().Warning, goes, "it is in the journal")
		w.vault.announceErr = nil
		require.Contains(t, w.requireEnd(t, Done).Warning, goes)
	}
	for what, w := range map[string]*world{
		"it was ended":               begin("create", providers.Version{Number: 3, ID: "id9", Ended: true}),
		"there is none":              begin("create", providers.Version{}),
		"another was made in place":  begin("set alone", left),
		"and there with a successor": begin("roll", left),
	} {
		require.Empty(t, w.flight().Progress().Warning, what)
	}
	w := newWorld(specOf("set"))
	w.kind.Alone, w.vault.previous = true, left
	w.start()
	require.Empty(t, w.flight().Progress().Warning)

	// It stays where the next one is not published.
	for _, published := range []bool{false, true} {
		w := begin("create", providers.Version{Number: 3})
		w.until(t, at(map[bool]State{false: Staged, true: Published}[published]))
		require.Contains(t, w.flight().Progress().Warning, "end it by hand there")
		_, err := w.engine.RollBack(w.name)
		require.NoError(t, err)
		require.Equal(t, published, w.requireEnd(t, RolledBack).Warning != "")
	}
	w = begin("create", left)
	w.service.refuse = func(string) error { return providers.Not(providers.CodeDenied, "no") }
	require.Empty(t, w.requireFailed(t).Warning)
}

// TestStranded: the provider's line leaves the config and comes back.
func TestStranded(t *testing.T) {
	for _, s := range specs {
		t.Run(s.name, func(t *testing.T) {
			for n := 0; ; n++ {
				w := newWorld(s)
				w.start()
				for range n {
					w.step()
				}
				if w.flight() == nil || n > 40 {
					return
				}
				before := *w.flight()
				calls := len(w.service.calls)
				w.setup = false
				w.step()
				if r := w.flight(); r != nil && !before.Doing.ours() {
					require.True(t, r.Needs)
					require.Equal(t, reasonConfig, r.Reason)
					require.Len(t, w.service.calls, calls)
				}
				// A crash meanwhile does not have the call made blindly.
				w.alive(func() { w.dead = true })
				w.setup = true
				w.step()
				if r := w.flight(); r != nil {
					require.NotEqual(t, reasonConfig, r.Reason)
				}
				w.run()
				w.judge()
				require.Empty(t, w.wrong)
			}
		})
	}
}

// TestChanged: somebody sets another version while the rotation is under way.
func TestChanged(t *testing.T) {
	for n := 0; ; n++ {
		w := newWorld(specOf("create"))
		w.start()
		for range n {
			w.step()
		}
		if w.flight() == nil || w.flight().State.live() {
			require.Positive(t, n)
			return
		}
		v := w.vault
		c := w.service.add("")
		v.next++
		v.current = v.next - 1
		v.values[v.current], v.versions[v.current] = c.value, providers.Version{Number: v.current, ID: c.id}
		v.next++
		w.run()
		require.Nil(t, w.flight())
		require.Equal(t, c.value, v.values[v.current], "after %d steps", n)
		require.Contains(t, w.service.valid(), c.value)
		require.Empty(t, w.wrong)
		if w.past(t).State != string(Failed) {
			require.Equal(t, reasonChanged, w.past(t).Reason)
		}
	}
}

// TestEmergency: no grace, and the leases end; also when it is asked for later.
func TestEmergency(t *testing.T) {
	for _, s := range specs {
		t.Run(s.name, func(t *testing.T) {
			for n := -1; ; n++ {
				w := newWorld(s)
				w.vault.pinned = 1
				w.confirm, w.vault.confirmErr = true, fmt.Errorf("it does not answer")
				if n < 0 {
					_, err := w.order(Order{Emergency: true})
					require.NoError(t, err)
				} else {
					w.start()
					for range n {
						w.step()
					}
					if w.flight() == nil || n > 20 {
						return
					}
					_, err := w.engine.Start(Order{Secret: w.name, Emergency: true})
					require.NoError(t, err)
				}
				begin := w.now
				w.requireEnd(t, Done)
				require.Less(t, w.past(t).Updated.Sub(begin), 12*time.Minute)
				require.Zero(t, w.vault.pinned)
			}
		})
	}
}

// TestPatience: a lease given under a grant that has changed since is waited for,
// unless the owner said how long; who kept a copy is waited for as long as they
// said, and no longer.
func TestPatience(t *testing.T) {
	for name, c := range map[string]struct {
		grace          time.Duration
		patient        bool
		moving, copied int
		atLeast, under time.Duration
	}{
		"the owner said how long":   {time.Second, false, 1, 0, 0, 30 * time.Second},
		"nobody said":               {time.Second, true, 1, 0, 40 * time.Second, 90 * time.Second},
		"a copy, nobody said":       {10 * time.Second, true, 0, 1, 9 * time.Second, 60 * time.Second},
		"a copy, and the owner did": {10 * time.Second, false, 0, 1, 9 * time.Second, 60 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(specOf("create"))
			w.grace, w.patient = c.grace, c.patient
			w.vault.moving, w.vault.copied = c.moving, c.copied
			w.start()
			w.until(t, func(r *Rotation) bool { return r.State == Announced })
			begin := w.now
			w.until(t, func(r *Rotation) bool { return r.State == Drained })
			require.GreaterOrEqual(t, w.now.Sub(begin), c.atLeast)
			require.Less(t, w.now.Sub(begin), c.under)
			w.requireEnd(t, Done)
		})
	}
}

// TestShared: what another secret holds too is not ended under it, unless the
// owner says so.
func TestShared(t *testing.T) {
	for _, s := range specs {
		if s.kind.Shape == providers.ShapeManual {
			continue // its new one is made before anybody is asked
		}
		w := newWorld(s)
		w.vault.sharing = []secret.Name{"svc/other"}
		w.start()
		w.requireEnd(t, Failed)
		require.Equal(t, reasonShared, w.past(t).Reason)
		require.Contains(t, *w.past(t).Error, "svc/other")
		require.Empty(t, w.service.times("issue"))
		require.Empty(t, w.service.times("check"))

		_, err := w.order(Order{Emergency: true})
		require.NoError(t, err)
		w.requireEnd(t, Done)
		require.Contains(t, strings.Join(w.said, "\n"), "svc/other")
		require.True(t, w.vault.dead["svc/other"], "it is not served dead")
		require.Contains(t, w.past(t).Warning, "svc/other")

		w = newWorld(s)
		w.vault.sharing, w.kind.Alone = []secret.Name{"svc/other"}, true // nothing is ended anywhere
		w.start()
		w.requireEnd(t, Done)
	}
}

// TestSharedLater: somebody gives another secret the old value while it is still
// waited for.
func TestSharedLater(t *testing.T) {
	w := newWorld(specOf("create"))
	w.start()
	w.until(t, func(r *Rotation) bool { return r.State == Announced })
	w.vault.sharing = []secret.Name{"svc/other"}
	w.until(t, needing(reasonShared))
	require.Equal(t, Drained, w.flight().State)
	require.Empty(t, w.service.times("disable"))
	require.Empty(t, w.service.times("revoke"))
	w.vault.sharing = nil
	w.requireEnd(t, Done)
	require.Empty(t, w.vault.dead)
}

// TestStops: a call that the broker does not survive is not begun for ever, and
// is again after a while, or when the owner says so.
func TestStops(t *testing.T) {
	for _, asked := range []bool{false, true} {
		w := newWorld(specOf("create"))
		w.start()
		w.until(t, func(r *Rotation) bool { return r.Doing == actVerify })
		for n := range maxStops {
			require.False(t, w.flight().Needs, n)
			w.alive(func() { w.dead = true })
		}
		r := *w.flight()
		require.True(t, r.Needs)
		require.Equal(t, reasonStops, r.Reason)
		require.Equal(t, lastPause, r.Again.Sub(r.Updated))
		w.alive(func() { w.dead = true })
		require.Equal(t, maxStops, w.flight().Stops, "it had not begun")
		if asked {
			_, err := w.engine.Start(Order{Secret: w.name})
			require.NoError(t, err)
			require.Zero(t, w.flight().Again)
		}
		w.until(t, func(r *Rotation) bool { return r.Stops == 0 })
		w.requireEnd(t, Done)
	}
}

// TestFirst: there is no version before.
func TestFirst(t *testing.T) {
	for _, name := range []string{"set", "create", "manual"} {
		for _, f := range []fault{none, failAfter, twice} {
			t.Run(name+" "+string(f), func(t *testing.T) {
				s := specOf(name)
				w := newWorld(s)
				w.service.end(w.service.creds[0])
				w.vault.current, w.vault.values = 0, map[uint64]string{}
				w.vault.next = 1
				if f != none && name != "manual" {
					w.plan = []planned{{index(t, s, "issue", 0), f}}
				}
				w.start()
				w.requireEnd(t, Done)
				require.Len(t, w.vault.values, 1)
			})
		}
	}
}

// TestByHandInTheWay: a value by hand is for when one is needed.
func TestByHandInTheWay(t *testing.T) {
	w := newWorld(specOf("manual"))
	_, err := w.engine.Start(Order{Secret: w.name})
	require.ErrorIs(t, err, ErrByHand)
	w.start()
	v := w.value(minted(900))
	_, err = w.order(Order{Value: v})
	require.ErrorIs(t, err, ErrBusy)
	w.requireEnd(t, Done)
	w.setup = false
	_, err = w.order(Order{Value: w.value(minted(901))})
	require.ErrorIs(t, err, ErrNoSetup)
	w.requireNothingWrong(t)
}

// TestRecords: what the audit log has of a rotation.
func TestRecords(t *testing.T) {
	w := newWorld(specOf("create"))
	w.start()
	w.requireEnd(t, Done)
	require.Equal(t, []string{"issued 2", "staged 2", "verified 2", "announced 2", "drained 2", "retired 2", "ended 1", "done 2"}, slices.Compact(w.vault.records))
	require.Empty(t, w.said)
	w = newWorld(specOf("create"))
	w.service.newAccount = "mallory"
	w.start()
	w.requireEnd(t, RolledBack)
	require.Equal(t, "rolled-back 2 wrong_account", w.vault.records[len(w.vault.records)-1])
	require.True(t, strings.Contains(strings.Join(w.said, "\n"), "another account"), w.said)
}

// TestSaves: a rotation waits for the disk no more often than it must.
func TestSaves(t *testing.T) {
	for name, want := range map[string]int{"set": 7, "create": 9, "roll": 6, "manual": 7} {
		w := newWorld(specOf(name))
		w.start()
		w.requireEnd(t, Done)
		n := 0
		for _, p := range w.points {
			if p.what == "a save" {
				n++
			}
		}
		require.LessOrEqual(t, n, want, name)
		t.Logf("%s: %d saves", name, n)
	}
}

// TestGraceSurvives: a crash during the grace neither ends nor prolongs it.
func TestGraceSurvives(t *testing.T) {
	w := newWorld(specOf("create"))
	w.start()
	r := *w.until(t, func(r *Rotation) bool { return r.State == Announced && !r.Again.IsZero() })
	w.advance(time.Second)
	w.alive(func() { w.dead = true })
	require.Equal(t, Announced, w.flight().State)
	require.Equal(t, r.RetireAt, w.flight().RetireAt)
	w.requireEnd(t, Done)
	require.Equal(t, []uint64{2}, w.vault.announced)
}

// TestByHandInPlace: of what a person replaced where old and new have one id,
// nothing is ended here; it is seen to that the old one is dead.
func TestByHandInPlace(t *testing.T) {
	for _, name := range []string{"roll", "refresh", "set alone"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(specOf(name))
			_, err := w.order(Order{Value: w.value(w.service.add("").value)})
			require.NoError(t, err)
			w.until(t, needing(reasonByHand))
			require.Equal(t, Drained, w.flight().State)
			w.requireEnd(t, Done) // the person was there
			require.Empty(t, w.service.times("revoke"))
			require.Empty(t, w.service.times("disable"))
		})
	}
}

// TestHurry: an owner who asks again does not overtake what is waited for because
// it proves something.
func TestHurry(t *testing.T) {
	s := specOf("set")
	w := newWorld(s)
	w.plan = []planned{{index(t, s, "issue", 0), late}}
	w.start()
	w.until(t, func(r *Rotation) bool { return r.Doubt })
	_, err := w.engine.RollBack(w.name)
	require.NoError(t, err)
	w.next = failBefore
	w.until(t, func(r *Rotation) bool { return r.Tries == 1 })
	_, err = w.engine.Start(Order{Secret: w.name})
	require.NoError(t, err)
	require.Zero(t, w.flight().Again, "this only waits to be tried again")
	w.until(t, func(r *Rotation) bool { return r.Proofs == 1 })
	_, err = w.engine.Start(Order{Secret: w.name})
	require.NoError(t, err)
	require.Equal(t, settle, w.flight().Again.Sub(w.flight().Updated))
	w.requireEnd(t, RolledBack)
}
