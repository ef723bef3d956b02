package openbao

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// loginTime bounds a login, which serves all who wait for it and does not end
// with the first of them.
const loginTime = 10 * time.Second

// sessions keeps one session for all callers. It is begun when it is first
// needed, kept alive, and begun again when the server does not know it any more.
type sessions struct {
	client *client
	login  login
	check  func(context.Context, *session) error // of each new one
	life   context.Context                       // ends with Close
	end    context.CancelFunc

	mu      sync.Mutex
	current *session // nil: none
	flight  *flight  // nil: no login is under way
	timer   *time.Timer
	closed  bool
	running sync.WaitGroup
}

// flight is a login under way.
type flight struct {
	landed  chan struct{} // closed once what follows is set
	session *session
	err     error
}

func newSessions(c *client, how login, check func(context.Context, *session) error) *sessions {
	s := &sessions{client: c, login: how, check: check}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

// close ends what is under way and clears the token.
func (s *sessions) close() {
	s.mu.Lock()
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.end()
	s.mu.Unlock()
	s.running.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replaceLocked(nil)
	s.login.forget()
}

// get returns the session, logging in if there is none. What a login under way
// fails with is the answer for all who wait for it. But where the server did not
// answer, that may be of a time before the caller's: then another is begun, once.
func (s *sessions) get(ctx context.Context) (*session, error) {
	for again := false; ; again = true {
		s.mu.Lock()
		if s.current != nil {
			defer s.mu.Unlock()
			return s.current, nil
		}
		f, joined := s.flight, s.flight != nil
		if f == nil {
			f = s.loginLocked()
		}
		s.mu.Unlock()
		select {
		case <-f.landed:
		case <-ctx.Done():
			e := s.client.trouble("logging in to %s took longer than there was time", s.client.name())
			e.Err = ctx.Err()
			return nil, e
		}
		if f.err == nil || !joined || again || !errors.Is(f.err, providers.ErrUnavailable) {
			return f.session, f.err
		}
	}
}

// loginLocked begins a login.
func (s *sessions) loginLocked() *flight {
	f := &flight{landed: make(chan struct{})}
	if s.closed {
		f.err = &providers.StoreError{Kind: providers.ErrUnavailable, Problem: "the store is closed: the config has another in its place", Remedy: "secretctl status"}
		close(f.landed)
		return f
	}
	s.flight = f
	s.running.Go(func() {
		ctx, stop := context.WithTimeout(s.life, loginTime)
		defer stop()
		f.session, f.err = s.login.session(ctx, s.client)
		if f.err == nil {
			if f.err = s.check(ctx, f.session); f.err != nil {
				f.session.token.Clear()
				f.session = nil
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.flight = nil
		if f.err == nil {
			s.replaceLocked(f.session)
			s.renewLaterLocked(f.session, f.session.ttl*2/3, 0)
		}
		close(f.landed)
	})
	return f
}

// replaceLocked makes another session the current one.
func (s *sessions) replaceLocked(next *session) {
	if s.current != nil {
		s.current.token.Clear()
	}
	s.current = next
}

// forget has the next caller log in, if the session is still the current one.
func (s *sessions) forget(old *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == old {
		s.replaceLocked(nil)
	}
}

// renewLaterLocked renews the session after a time. One that cannot be renewed
// is used until the server does not know it any more.
func (s *sessions) renewLaterLocked(of *session, after time.Duration, failures int) {
	if s.closed || !of.renewable || after <= 0 || s.current != of {
		return
	}
	s.timer = time.AfterFunc(after, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closed || s.current != of {
			return
		}
		s.running.Go(func() { s.renew(of, failures) })
	})
}

// retries is how often a renewal that failed is tried again, in the third of the
// token's time that is left.
const retries = 3

func (s *sessions) renew(of *session, failures int) {
	ctx, stop := context.WithTimeout(s.life, loginTime)
	defer stop()
	var out auth
	status, err := s.client.do(ctx, request{method: http.MethodPost, path: []string{"auth", "token", "renew-self"}, token: of.token, into: &out})
	out.Auth.Token.Clear()
	s.mu.Lock()
	defer s.mu.Unlock()
	left := seconds(out.Auth.Lease)
	switch {
	case s.current != of:
	case status == http.StatusForbidden && !errors.Is(err, secret.ErrCleared):
		s.replaceLocked(nil)
	case err != nil && failures < retries:
		s.renewLaterLocked(of, of.ttl/12, failures+1)
	case err != nil:
	case 2*left >= of.ttl:
		s.renewLaterLocked(of, left*2/3, 0)
	case s.login.fresh() && s.flight == nil:
		// The most time that the token may have is near: another takes its place while
		// it still serves.
		s.loginLocked()
	}
}

// attempts is how often a request is sent that the server refuses because it
// does not know the token any more.
const attempts = 3

// do sends a request with the session's token. When the server does not know that
// any more it logs in and sends it again.
func (s *sessions) do(ctx context.Context, r request) (status int, err error) {
	for attempt := 1; ; attempt++ {
		now, err := s.get(ctx)
		if err != nil {
			return 0, err
		}
		r.token = now.token
		status, err := s.client.do(ctx, r)
		replaced := status == 0 && errors.Is(err, secret.ErrCleared)
		if attempt == attempts || status != http.StatusForbidden && !replaced {
			return status, providers.Unavailable(err)
		}
		if replaced {
			continue
		}
		switch known, lost := s.known(ctx, now); {
		case lost != nil:
			return 0, lost
		case known:
			return status, err
		}
		s.forget(now)
	}
}

// known reports whether the server knows the session's token: then it is its
// policy that refuses.
func (s *sessions) known(ctx context.Context, of *session) (bool, error) {
	status, err := s.client.do(ctx, lookUp(of.token, new(lookup)))
	switch {
	case status == http.StatusForbidden, errors.Is(err, secret.ErrCleared):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, nil
}
