package onepassword_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/onepassword"
	"secretctl/providers/onepassword/optest"
	"secretctl/providers/servertest"
)

// memory is a state that outlives a store.
type memory struct {
	mu    sync.Mutex
	b     []byte
	saves int
}

func (m *memory) Load() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.b == nil {
		return nil, os.ErrNotExist
	}
	return m.b, nil
}

func (m *memory) Save(b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.b = b
	m.saves++
	return nil
}

// tried is a store with an account, a clock and a state that the test has in hand.
type tried struct {
	*onepassword.Store
	account *optest.Account
	state   *memory
	token   string

	mu  sync.Mutex
	now time.Time
}

func try(t *testing.T) *tried {
	r := &tried{account: new(optest.Account), state: new(memory), token: optest.Token, now: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)}
	r.open(t)
	return r
}

// open opens the store as a process does that has just started.
func (r *tried) open(t *testing.T) {
	s := onepassword.Setting{Token: r.token, Dial: dial(r.account), State: r.state, Now: func() time.Time {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.now
	}}.Open()
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	r.Store = s
}

func (r *tried) wait(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

// asked returns how often 1Password was asked, signing in included.
func (r *tried) asked() (n int) {
	r.account.Do(func() { n = r.account.Asked + r.account.SignIn })
	return n
}

func (r *tried) get(t *testing.T, name secret.Name) error {
	v, err := r.Get(t.Context(), name, 1, providers.Sum{})
	v.Clear()
	return err
}

// TestAbsentIsRemembered: what is not there is not looked for again, for a while.
func TestAbsentIsRemembered(t *testing.T) {
	r := try(t)
	require.ErrorIs(t, r.get(t, "a"), providers.ErrAbsent)
	n := r.asked()
	for range 100 {
		require.ErrorIs(t, r.get(t, "a"), providers.ErrAbsent)
	}
	_, err := r.Sum(t.Context(), "a", 1)
	require.ErrorIs(t, err, providers.ErrAbsent)
	require.Equal(t, n, r.asked())
	r.wait(5*time.Minute - 1)
	require.ErrorIs(t, r.get(t, "a"), providers.ErrAbsent)
	require.Equal(t, n, r.asked())
	r.wait(1)
	require.ErrorIs(t, r.get(t, "a"), providers.ErrAbsent)
	require.Greater(t, r.asked(), n)
	put(t, r, "a", "value")
	require.NoError(t, r.get(t, "a"))
}

// TestReferencesInVain: a reference to nothing, or to more than one thing, is not
// asked for again, for a while; one that is right is asked for each time.
func TestReferencesInVain(t *testing.T) {
	r := try(t)
	refer := func(ref string) error {
		v, err := r.Refer(t.Context(), ref)
		v.Clear()
		return err
	}
	keep := func(title, value string) { require.NoError(t, r.account.Keep(title, "keys", "token", value)) }
	keep("github", "value")
	keep("GitHub", "another")
	keep("gitlab", "third")
	for ref, want := range map[string]struct {
		kind error
		text string
	}{
		"op://Agents/none/token":             {providers.ErrAbsent, ""},
		"op://Others/gitlab/token":           {providers.ErrAbsent, ""},
		"op://Agents/gitlab/none":            {providers.ErrAbsent, ""},
		"op://Agents/gitlab/elsewhere/token": {providers.ErrAbsent, ""},
		"op://Agents/github/token":           {providers.ErrRefused, "there is more than one item that op://Agents/github/token could mean"},
	} {
		require.ErrorIs(t, refer(ref), want.kind, ref)
		n := r.asked()
		for range 20 {
			err := refer(ref)
			require.ErrorIs(t, err, want.kind, ref)
			require.ErrorContains(t, err, want.text)
		}
		require.Equal(t, n, r.asked(), ref)
	}
	n := r.asked()
	require.NoError(t, refer("op://agents/GITLAB/Token"))
	require.NoError(t, refer("op://Agents/gitlab/keys/token"))
	require.Equal(t, n+2, r.asked())
	keep("GitHub", "")
	keep("none", "value")
	r.wait(5 * time.Minute)
	require.NoError(t, refer("op://Agents/none/token"))
}

// TestRefusedToken: a token that is refused is tried again after a while, a longer
// one each time, also by a process that starts meanwhile; another token is tried at
// once.
func TestRefusedToken(t *testing.T) {
	r := try(t)
	put(t, r, "a", "value")
	r.account.Do(func() { r.account.Token = "another" })
	require.NoError(t, r.get(t, "a"), "the helper has signed in")
	r.open(t)
	for _, pause := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
		err := r.get(t, "a")
		var e *providers.StoreError
		require.ErrorAs(t, err, &e)
		require.Equal(t, providers.ErrRefused, e.Kind)
		require.Contains(t, e.Remedy, "secretctl set own/onepassword")
		n := r.asked()
		for _, again := range []func() error{
			func() error { return r.get(t, "a") },
			func() error { return r.get(t, "b") },
			func() error { return r.Delete(t.Context(), "a", 1) },
			func() error { return r.Health(t.Context()) },
			func() error { return r.List(t.Context(), nil) },
		} {
			r.open(t)
			r.wait(time.Second)
			require.ErrorAs(t, again(), &e)
			require.Equal(t, providers.ErrRefused, e.Kind)
			require.Positive(t, e.RetryAfter)
			require.Less(t, e.RetryAfter, pause)
		}
		require.Equal(t, n, r.asked(), "nobody was asked")
		r.wait(pause - 5*time.Second)
	}
	require.ErrorIs(t, r.get(t, "a"), providers.ErrRefused)

	r.token = "another"
	r.open(t)
	require.NoError(t, r.get(t, "a"))
	require.NoError(t, r.Health(t.Context()))
	require.NotContains(t, string(r.state.b), "refusal")
	require.NotContains(t, string(r.state.b), r.token)
}

// TestTokenReplaced: a helper whose token is refused makes room for one with the
// token there is then.
func TestTokenReplaced(t *testing.T) {
	a, token := new(optest.Account), optest.Token
	s := onepassword.Setting{TokenOf: func() string { return token }, Dial: dial(a)}.Open()
	defer s.Close()
	put(t, s, "a", "value")
	token = "another"
	get(t, s, "a", "value")
	a.Do(func() { a.Fail, a.Token = errors.New("authentication error: you are not authenticated"), "another" })
	_, err := s.Get(t.Context(), "a", 1, providers.Sum{})
	require.ErrorIs(t, err, providers.ErrRefused)
	a.Do(func() { a.Fail = nil })
	get(t, s, "a", "value")
	a.Do(func() { require.Equal(t, 2, a.SignIn) })
}

// TestRateLimit: when it was asked too often it is not asked, whatever the token is;
// signing in may be what is too much.
func TestRateLimit(t *testing.T) {
	r := try(t)
	put(t, r, "a", "value")
	for _, reopen := range []bool{false, true} {
		r.account.Do(func() { r.account.Left = -1 })
		if reopen {
			r.open(t)
		}
		err := r.get(t, "a")
		require.ErrorIs(t, err, providers.ErrRateLimited)
		n := r.asked()
		r.account.Do(func() { r.account.Left = 0 })
		r.token = "another"
		r.open(t)
		require.ErrorIs(t, r.get(t, "a"), providers.ErrRateLimited)
		require.ErrorIs(t, r.Health(t.Context()), providers.ErrRateLimited)
		require.Equal(t, n, r.asked())
		r.token = optest.Token
		r.open(t)
		r.wait(time.Minute)
		require.NoError(t, r.get(t, "a"))
	}
}

// TestUnreachableIsAskedAgain: that nobody can be reached is no refusal.
func TestUnreachableIsAskedAgain(t *testing.T) {
	r := try(t)
	put(t, r, "a", "value")
	r.account.Do(func() { r.account.Fail = errors.New("connection reset") })
	for range 30 {
		require.ErrorIs(t, r.get(t, "a"), providers.ErrUnavailable)
	}
	r.account.Do(func() { r.account.Fail = nil })
	require.NoError(t, r.get(t, "a"))
}

// TestHealthAfterDeath: a store whose helper ends before it answers is not said to
// work because it did.
func TestHealthAfterDeath(t *testing.T) {
	a, dies := new(optest.Account), false
	s := onepassword.Setting{Token: optest.Token, Dial: func() (net.Conn, func(), error) {
		conn, end, err := dial(a)()
		if dies {
			end()
		}
		return conn, end, err
	}}.Open()
	defer s.Close()
	put(t, s, "a", "value")
	require.NoError(t, s.Health(t.Context()))
	dies = true
	require.NoError(t, s.Health(t.Context()), "nobody has asked since")
	s.Drop()
	_, err := s.Get(t.Context(), "a", 1, providers.Sum{})
	require.ErrorIs(t, err, providers.ErrUnavailable)
	require.ErrorIs(t, s.Health(t.Context()), providers.ErrUnavailable)
	dies = false
	require.NoError(t, s.Health(t.Context()))
}

// TestWornOut: a helper that reaches nobody again and again is replaced: it may be
// what is wrong.
func TestWornOut(t *testing.T) {
	r := try(t)
	put(t, r, "a", "value")
	r.account.Do(func() { r.account.Fail, r.account.SignIn = errors.New("connection reset"), 0 })
	for range 5 {
		require.ErrorIs(t, r.get(t, "a"), providers.ErrUnavailable)
	}
	r.account.Do(func() { require.Zero(t, r.account.SignIn) })
	require.ErrorIs(t, r.get(t, "a"), providers.ErrUnavailable)
	r.account.Do(func() { require.Equal(t, 1, r.account.SignIn); r.account.Fail = nil })
	require.NoError(t, r.get(t, "a"))
}

// TestOutage: while nobody can be reached each call tries again, by the helper that
// is there; and the store is not said to work meanwhile.
func TestOutage(t *testing.T) {
	a, dials := new(optest.Account), 0
	s := onepassword.Setting{Token: optest.Token, Dial: func() (net.Conn, func(), error) { dials++; return dial(a)() }}.Open()
	defer s.Close()
	a.Fail = errors.New("connection reset")
	for range 4 {
		_, err := s.Get(t.Context(), "a", 1, providers.Sum{})
		require.ErrorIs(t, err, providers.ErrUnavailable)
	}
	require.ErrorIs(t, s.Health(t.Context()), providers.ErrUnavailable)
	require.Equal(t, 1, dials)
	a.Do(func() { require.Equal(t, 5, a.SignIn) })
	_, err := s.Get(t.Context(), "a", 1, providers.Sum{})
	require.ErrorIs(t, err, providers.ErrUnavailable)
	require.Equal(t, 2, dials, "after so many it is replaced")
	a.Do(func() { a.Fail = nil })
	put(t, s, "a", "value")
	require.Equal(t, 2, dials)
}

// TestHealthWhileStarting: a helper that is only starting does not make the store
// broken, nor one whole that was seen to be broken.
func TestHealthWhileStarting(t *testing.T) {
	a := new(optest.Account)
	starts, hold := make(chan struct{}, 3), make(chan struct{}, 2)
	s := onepassword.Setting{Token: optest.Token, AskHealth: true, Dial: func() (net.Conn, func(), error) {
		starts <- struct{}{}
		<-hold
		return dial(a)()
	}}.Open()
	defer s.Close()
	tooLate := func() error {
		ctx, end := servertest.Ending(t)
		go func() { <-starts; end() }()
		return s.Health(ctx)
	}
	require.NoError(t, tooLate())
	hold <- struct{}{}
	a.Do(func() { a.Fail = errors.New("connection reset") })
	_, err := s.Get(t.Context(), "a", 1, providers.Sum{})
	require.ErrorIs(t, err, providers.ErrUnavailable)
	s.Drop()
	require.ErrorIs(t, tooLate(), providers.ErrUnavailable)
	a.Do(func() { a.Fail = nil })
	hold <- struct{}{}
	require.NoError(t, s.Health(t.Context()))
}

// TestCounts: requests are counted by hour and day, across processes.
func TestCounts(t *testing.T) {
	r := try(t)
	require.Equal(t, "requests: 0 of 10000 reads and 0 of 1000 writes this hour, 0 of 50000 today", r.Note())
	put(t, r, "a", "value") // vaults, items, the item
	require.Equal(t, "requests: 2 of 10000 reads and 1 of 1000 writes this hour, 3 of 50000 today", r.Note())
	require.NoError(t, r.get(t, "a"))
	require.Equal(t, "requests: 3 of 10000 reads and 1 of 1000 writes this hour, 4 of 50000 today", r.Note())
	require.NoError(t, r.Close())
	r.open(t)
	require.True(t, strings.HasPrefix(r.Note(), "requests: 3 of"), r.Note())
	r.wait(time.Hour)
	require.Equal(t, "requests: 0 of 10000 reads and 0 of 1000 writes this hour, 4 of 50000 today", r.Note())
	r.wait(24 * time.Hour)
	require.True(t, strings.HasSuffix(r.Note(), "0 of 50000 today"), r.Note())
}

// TestCountsAreWrittenSeldom: a counter is no reason for a write to the disk each
// time.
func TestCountsAreWrittenSeldom(t *testing.T) {
	r := try(t)
	put(t, r, "a", "value")
	for range 600 {
		r.wait(time.Second)
		require.NoError(t, r.get(t, "a"))
	}
	require.LessOrEqual(t, r.state.saves, 12)
}

// TestStateUnreadable: a state that cannot be read is one that is not there.
func TestStateUnreadable(t *testing.T) {
	for _, b := range []string{"", "{", "[]", `{"reads":"x"}`, `{"refusal":7}`} {
		r := try(t)
		r.state.b = []byte(b)
		put(t, r, "a", "value")
		require.NoError(t, r.get(t, "a"))
	}
}

// TestHealthAsksSeldom: a store that worked lately is believed to.
func TestHealthAsksSeldom(t *testing.T) {
	r := try(t)
	require.NoError(t, r.Health(t.Context()))
	n := r.asked()
	for range 100 {
		require.NoError(t, r.Health(t.Context()))
	}
	require.Equal(t, n, r.asked())
	r.wait(10 * time.Minute)
	require.NoError(t, r.Health(t.Context()))
	require.Equal(t, n+1, r.asked())
}

// TestReadTogether: what is asked for at once is one request.
func TestReadTogether(t *testing.T) {
	r := try(t)
	for _, name := range []secret.Name{"a", "b", "c", "d"} {
		put(t, r, name, "value")
	}
	n := r.asked()
	var all, begun sync.WaitGroup
	r.account.Do(func() { // while it answers nobody
		for i := range 400 {
			begun.Add(1)
			all.Go(func() {
				begun.Done()
				if err := r.get(t, []secret.Name{"a", "b", "c", "d"}[i%4]); err != nil {
					t.Error(err)
				}
			})
		}
		begun.Wait()
	})
	all.Wait()
	require.Less(t, r.asked()-n, 200)
}

// TestNoToken: without its token the store says where it is to come from.
func TestNoToken(t *testing.T) {
	s := onepassword.Setting{TokenError: errors.New("there is no secret"), Dial: dial(new(optest.Account))}.Open()
	defer s.Close()
	_, err := s.Get(context.Background(), "a", 1, providers.Sum{})
	var e *providers.StoreError
	require.ErrorAs(t, err, &e)
	require.Contains(t, e.Problem, "opening the token for 1Password")
	require.Contains(t, e.Remedy, "secretctl set own/onepassword")
}
