package onepassword_test

import (
	"bytes"
	"errors"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/onepassword"
	"secretctl/providers/onepassword/optest"
	"secretctl/providers/onepassword/source"
	"secretctl/providers/storetest"
)

// dial is the way to a helper that is a goroutine.
func dial(a *optest.Account) func() (net.Conn, func(), error) {
	return dialSource(func() *source.Source { return &source.Source{Connect: a.Connect, Taken: a.Taken} })
}

func dialSource(made func() *source.Source) func() (net.Conn, func(), error) {
	return func() (net.Conn, func(), error) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return nil, nil, err
		}
		var ends [2]net.Conn
		for i, fd := range fds {
			unix.CloseOnExec(fd)
			f := os.NewFile(uintptr(fd), "helper")
			if ends[i], err = net.FileConn(f); err != nil {
				return nil, nil, err
			}
			f.Close()
		}
		over := make(chan struct{})
		go func() {
			defer close(over)
			defer ends[1].Close()
			_ = made().Run(ends[1])
		}()
		return ends[0], func() { ends[0].Close(); <-over }, nil
	}
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		a := new(optest.Account)
		s := onepassword.Setting{Token: optest.Token, Dial: dial(a), AskHealth: true}.Open()
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return storetest.Subject{Store: s, Break: func() func() {
			a.Do(func() { a.Fail = errors.New("dial tcp: lookup my.1password.com: no such host") })
			return func() { a.Do(func() { a.Fail = nil }) }
		}, Keep: keepIn(t, a)}
	})
}

// keepIn has a person keep a value in an account.
func keepIn(t *testing.T, a *optest.Account) func([]byte) (string, func([]byte)) {
	return func(value []byte) (string, func([]byte)) {
		change := func(value []byte) { require.NoError(t, a.Keep("github", "keys", "token", string(value))) }
		change(value)
		return "op://Agents/github/keys/token", change
	}
}

func put(t *testing.T, s providers.Store, name secret.Name, text string) providers.Sum {
	t.Helper()
	v, err := secret.New([]byte(text))
	require.NoError(t, err)
	defer v.Clear()
	sum, err := s.Put(t.Context(), name, 1, v)
	require.NoError(t, err)
	return sum
}

func get(t *testing.T, s providers.Store, name secret.Name, text string) {
	t.Helper()
	v, err := s.Get(t.Context(), name, 1, providers.Sum{})
	require.NoError(t, err)
	defer v.Clear()
	require.NoError(t, v.Use(func(b []byte) error { require.True(t, bytes.Equal([]byte(text), b)); return nil }))
}
