package onepassword

import (
	"context"
	"net"
	"os/exec"
	"time"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// Setting is how a test has a store work.
type Setting struct {
	Token               string
	Idle, Start, Answer time.Duration
	Dial                func() (net.Conn, func(), error) // of a helper that is no process
	Command             func() *exec.Cmd                 // of one that is
	Now                 func() time.Time
	State               providers.State
	TokenError          error
	TokenOf             func() string
	AskHealth           bool   // each time
	Via, At             string // "": by the library
}

// Open opens a store.
func (t Setting) Open() *Store {
	s := newStore("Agents", time.Now, func(context.Context) (secret.Value, error) {
		if t.TokenError != nil {
			return secret.Value{}, t.TokenError
		}
		if t.TokenOf != nil {
			return secret.New([]byte(t.TokenOf()))
		}
		return secret.New([]byte(t.Token))
	})
	s.remedy, s.guard.plan, s.guard.kept = "secretctl set own/onepassword takes a new token", plans["business"], t.State
	for _, set := range []struct{ to, from *time.Duration }{{&s.link.times.idle, &t.Idle}, {&s.link.times.start, &t.Start}, {&s.link.times.answer, &t.Answer}} {
		if *set.from != 0 {
			*set.to = *set.from
		}
	}
	if t.Now != nil {
		s.guard.now = t.Now
	}
	if t.Via != "" {
		s.reach(t.Via, t.At)
	}
	if t.AskHealth {
		s.guard.worksFor = 0
	}
	switch {
	case t.Dial != nil:
		s.link.spawn = func() (*helper, error) {
			conn, end, err := t.Dial()
			return &helper{conn, end}, err
		}
	case t.Command != nil:
		s.link.spawn = func() (*helper, error) { return startCommand(t.Command()) }
	}
	return s
}

// Drop ends the helper, as when it is idle. An answer is out a moment before its
// work is over.
func (s *Store) Drop() {
	s.link.work.Wait()
	s.link.tire()
}
