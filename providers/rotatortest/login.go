package rotatortest

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/servertest"
)

// Login is an account at a real server whose passwords a provider of [providers.ShapeSet]
// replaces, one beside the other, and what such a provider must stand besides the contract.
type Login struct {
	*testing.T
	Process Process
	Proxy   *servertest.Proxy // leads to it
	// Account is what Verify says that a login is of.
	Account func() string
	// Call is a call with a credential in Old that the server accepts at first, and Reset
	// has it accept that one again and none that came after.
	Call  func() *providers.Call
	Reset func()
	// Password is the password in a value.
	Password func(secret.Value) string
	// Leaks fails the test if a text holds a value.
	Leaks func(t testing.TB, text string)

	Issued []string // the passwords that were made
}

// Process is a server.
type Process interface {
	Kill()
	Restart()
	Pause()
	Resume()
}

// Value makes a value of a text.
func Value(t testing.TB, text string) secret.Value {
	v, err := secret.New([]byte(text))
	require.NoError(t, err)
	return v
}

// Text is what a value holds.
func Text(t testing.TB, v secret.Value) (s string) {
	require.NoError(t, v.Use(func(b []byte) error { s = string(b); return nil }))
	return s
}

// Choose makes a new credential.
func (x *Login) Choose(r providers.Rotator, c *providers.Call) *providers.Credential {
	x.Helper()
	next, err := r.(providers.Chooser).Choose(x.Context(), c)
	require.NoError(x, err)
	return next
}

// Issue makes a new credential and sets it, for which the server is not told the
// password.
func (x *Login) Issue(r providers.Rotator, c *providers.Call) *providers.Credential {
	x.Helper()
	next := x.Choose(r, c)
	password := x.Password(next.Value)
	x.Issued = append(x.Issued, password)
	next, err := r.Issue(x.Context(), c, next)
	require.NoError(x, err)
	require.NotContains(x, x.Proxy.Sent(), password, "the server is told what the password is")
	c.New = next
	return next
}

// Accepted logs in.
func (x *Login) Accepted(r providers.Rotator, c *providers.Call, cred *providers.Credential) {
	x.Helper()
	id, err := r.Verify(x.Context(), c, cred)
	require.NoError(x, err)
	require.Equal(x, x.Account(), id.Account)
}

// Refused is not let in.
func (x *Login) Refused(r providers.Rotator, c *providers.Call, cred *providers.Credential) {
	x.Helper()
	_, err := r.Verify(x.Context(), c, cred)
	x.Is(err, providers.DefinitelyNot, providers.CodeInvalid)
}

// Is holds an error to what it says of the outcome, and to hold no value.
func (x *Login) Is(err error, o providers.Outcome, code providers.Code) *providers.CallError {
	x.Helper()
	return Is(x, err, o, code, x.Leaks)
}

// Is is [Login.Is] without a login.
func Is(t testing.TB, err error, o providers.Outcome, code providers.Code, leaks func(t testing.TB, text string)) *providers.CallError {
	t.Helper()
	var call *providers.CallError
	require.ErrorAs(t, err, &call)
	require.Equal(t, code, call.Code, "%s", call.Problem)
	require.Equal(t, o, call.Outcome, "%s", call.Problem)
	leaks(t, call.Problem+call.Remedy)
	return call
}

// InTime calls with a deadline, and holds the call to it.
func (x *Login) InTime(call func(context.Context)) {
	x.Helper()
	ctx, cancel := context.WithTimeout(x.Context(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	call(ctx)
	require.Less(x, time.Since(begin), 5*time.Second)
}

// Rotate rotates several times in a row, and returns a call to replace the last.
// each is told of every new credential, when it is not nil.
func (x *Login) Rotate(r providers.Rotator, each func(i int, next *providers.Credential)) *providers.Call {
	x.Helper()
	c := x.Call()
	for i := range several(5, 100) {
		_, err := r.Check(x.Context(), c)
		require.NoError(x, err)
		next := x.Issue(r, c)
		if each != nil {
			each(i, next)
		}
		x.Accepted(r, c, next)
		x.Accepted(r, c, c.Old)
		if err := r.Disable(x.Context(), c, c.Old); err == nil {
			x.Refused(r, c, c.Old)
		}
		for range 2 {
			require.NoError(x, r.Revoke(x.Context(), c, c.Old))
			x.Refused(r, c, c.Old)
			x.Accepted(r, c, next)
		}
		again := *c
		again.Old, again.New = next, nil
		c = &again
	}
	return c
}

// several is how often something is done, in the usual run and in the long one.
func several(usual, long int) int {
	if os.Getenv("SECRETCTL_LONG") != "" {
		return long
	}
	return usual
}

// Cut resets the connection after every so many bytes. Whatever is said to be done
// is, whatever is said not to be is not, and asking again ends well. set is told
// of every new credential that the server was asked to set, when it is not nil.
func (x *Login) Cut(r providers.Rotator, usual, long int, set func(c *providers.Call, next *providers.Credential)) {
	x.Helper()
	did, whole := map[providers.Outcome]int{}, 0
	for n := 1; whole < 3; n += several(usual, long) {
		x.Proxy.Pass()
		x.Reset()
		c := x.Call()
		next := x.Choose(r, c)
		x.Proxy.Cut(n)
		_, err := r.Issue(x.Context(), c, next)
		if x.Proxy.Whole() {
			whole++
		}
		x.Proxy.Pass()
		did[providers.OutcomeOf(err)]++
		switch providers.OutcomeOf(err) {
		case providers.OK:
			x.Accepted(r, c, next)
		case providers.DefinitelyNot:
			x.Is(err, providers.DefinitelyNot, providers.CodeUnavailable)
			x.Refused(r, c, next)
		}
		if set != nil {
			set(c, next)
		}
		_, err = r.Issue(x.Context(), c, next)
		require.NoError(x, err)
		x.Accepted(r, c, next)
		x.Proxy.Cut(n)
		err = r.Revoke(x.Context(), c, c.Old)
		x.Proxy.Pass()
		if err != nil {
			require.NotEqual(x, providers.CodeInvalid, providers.CodeOf(err))
			require.NoError(x, r.Revoke(x.Context(), c, c.Old))
		}
		x.Refused(r, c, c.Old)
		x.Accepted(r, c, next)
	}
	require.Positive(x, did[providers.Unknown], "no cut fell between what is sent and its answer: %v", did)
	require.Positive(x, did[providers.DefinitelyNot], fmt.Sprint(did))
	x.Logf("outcomes: %v", did)
}

// Hang asks a server that takes connections and says nothing.
func (x *Login) Hang(r providers.Rotator) {
	x.Helper()
	c := x.Call()
	next := x.Choose(r, c)
	x.Proxy.Hang()
	x.InTime(func(ctx context.Context) {
		_, err := r.Check(ctx, c)
		x.Is(err, providers.DefinitelyNot, providers.CodeUnavailable)
	})
	x.InTime(func(ctx context.Context) {
		_, err := r.Issue(ctx, c, next)
		x.Is(err, providers.DefinitelyNot, providers.CodeUnavailable)
	})
	x.InTime(func(ctx context.Context) { require.Error(x, r.Disable(ctx, c, c.Old)) })
	x.silent(r, c)
}

// Paused asks a server that is stopped.
func (x *Login) Paused(r providers.Rotator) {
	x.Helper()
	x.Process.Pause()
	defer x.Process.Resume()
	x.silent(r, x.Call())
}

func (x *Login) silent(r providers.Rotator, c *providers.Call) {
	x.Helper()
	x.InTime(func(ctx context.Context) {
		_, err := r.Verify(ctx, c, c.Old)
		x.Is(err, providers.Unknown, providers.CodeUnavailable)
	})
	x.InTime(func(ctx context.Context) {
		x.Is(r.Revoke(ctx, c, c.Old), providers.DefinitelyNot, providers.CodeUnavailable)
	})
}

// Killed has the server die right after each time it said yes.
func (x *Login) Killed(r providers.Rotator) {
	x.Helper()
	c := x.Call()
	next := x.Issue(r, c)
	x.Process.Kill()
	_, err := r.Verify(x.Context(), c, next)
	require.NotEqual(x, providers.CodeInvalid, providers.CodeOf(err))
	x.Process.Restart()
	x.Accepted(r, c, next)
	x.Accepted(r, c, c.Old)
	require.NoError(x, r.Revoke(x.Context(), c, c.Old))
	x.Process.Kill()
	x.Process.Restart()
	x.Refused(r, c, c.Old)
	x.Accepted(r, c, next)
}
