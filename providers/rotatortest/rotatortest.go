// Package rotatortest holds a provider to the contract of [providers.Rotator],
// against a service that answers.
//
// It guards against providers that differ where the engine cannot see it: one
// that passes may be called again after any crash, says "refused" only of what
// is refused, and has no value in any error.
package rotatortest

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// Service is a provider with a service to call.
type Service struct {
	Kind    providers.Kind
	Rotator providers.Rotator
	// Call is a call with a credential in Old that the service accepts. Each has a
	// new tag.
	Call func(t *testing.T) *providers.Call
	// Down makes the service stop answering until the test ends.
	Down func(t *testing.T)
	// Leaks fails the test if a text holds a value.
	Leaks func(t *testing.T, text string)
}

// Run tries everything a provider must do. open returns a service of its own.
func Run(t *testing.T, open func(t *testing.T) *Service) {
	for name, test := range map[string]func(*tester){
		"passage":   passage,
		"again":     again,
		"find":      find,
		"refused":   refused,
		"down":      down,
		"cancelled": cancelled,
		"unopened":  unopened,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			test(&tester{t, t.Context(), s})
		})
	}
}

// tester is a service under test.
type tester struct {
	*testing.T
	ctx context.Context
	*Service
}

// issue brings a new credential about, in the way of the shape. By hand is not
// tried: that needs a person.
func (t *tester) issue(c *providers.Call) *providers.Credential {
	t.Helper()
	if t.Kind.Shape == providers.ShapeManual {
		t.Fatal("a provider of credentials made by hand issues none: it has tests of its own")
	}
	next, err := t.Rotator.Issue(t.ctx, c, t.choose(c))
	require.NoError(t, err)
	require.False(t, next.Value.IsZero(), "a credential without a value")
	c.New = next
	return next
}

func (t *tester) choose(c *providers.Call) *providers.Credential {
	t.Helper()
	chooser, ok := t.Rotator.(providers.Chooser)
	require.Equal(t, t.Kind.Shape == providers.ShapeSet, ok, "exactly those of shape set choose")
	if !ok {
		return nil
	}
	next, err := chooser.Choose(t.ctx, c)
	require.NoError(t, err)
	return next
}

// passage is a rotation without trouble.
func passage(t *tester) {
	c := t.Call(t.T)
	before, err := t.Rotator.Check(t.ctx, c)
	require.NoError(t, err)
	next := t.issue(c)
	require.False(t, next.Value.Equal(c.Old.Value), "the new value is the old one")
	after, err := t.Rotator.Verify(t.ctx, c, next)
	require.NoError(t, err)
	if before.Account != "" && after.Account != "" {
		require.Equal(t, before.Account, after.Account)
	}
	if t.Kind.Overlap {
		_, err = t.Rotator.Verify(t.ctx, c, c.Old)
		require.NoError(t, err, "the kind says that the old one stays valid")
	}
	if err := t.Rotator.Disable(t.ctx, c, c.Old); err != nil {
		require.Equal(t, providers.CodeUnsupported, providers.CodeOf(err), "%v", err)
	}
	require.NoError(t, t.Rotator.Revoke(t.ctx, c, c.Old))
	if !t.Kind.Blind {
		t.refuses(c, c.Old)
	}
	_, err = t.Rotator.Verify(t.ctx, c, next)
	require.NoError(t, err, "the new one outlives the old one")
}

func (t *tester) refuses(c *providers.Call, cred *providers.Credential) {
	t.Helper()
	_, err := t.Rotator.Verify(t.ctx, c, cred)
	require.Equal(t, providers.DefinitelyNot, providers.OutcomeOf(err), "%v", err)
	require.Equal(t, providers.CodeInvalid, providers.CodeOf(err), "%v", err)
	t.check(err)
}

// check looks for values in an error.
func (t *tester) check(err error) {
	t.Helper()
	if err != nil {
		t.Leaks(t.T, err.Error())
		if call, ok := err.(*providers.CallError); ok {
			t.Leaks(t.T, call.Remedy)
		}
	}
}

// again repeats every step that a crash may repeat.
func again(t *tester) {
	c := t.Call(t.T)
	next := t.choose(c)
	first, err := t.Rotator.Issue(t.ctx, c, next)
	require.NoError(t, err)
	c.New = first
	if t.Kind.Shape == providers.ShapeSet {
		second, err := t.Rotator.Issue(t.ctx, c, next)
		require.NoError(t, err, "setting the same value again")
		require.True(t, second.Value.Equal(first.Value))
	}
	for range 2 {
		if err := t.Rotator.Disable(t.ctx, c, c.Old); err != nil {
			require.Equal(t, providers.CodeUnsupported, providers.CodeOf(err), "%v", err)
		}
	}
	for range 2 {
		require.NoError(t, t.Rotator.Revoke(t.ctx, c, c.Old))
	}
	if err := t.Rotator.Disable(t.ctx, c, c.Old); err != nil {
		require.Equal(t, providers.CodeUnsupported, providers.CodeOf(err), "of what is gone: %v", err)
	}
	_, err = t.Rotator.Verify(t.ctx, c, first)
	require.NoError(t, err)
}

// find looks for what a lost answer left, and removes it.
func find(t *tester) {
	if t.Kind.Shape != providers.ShapeCreate {
		return
	}
	c := t.Call(t.T)
	found, err := t.Rotator.Find(t.ctx, c)
	require.NoError(t, err)
	require.Empty(t, found, "nothing has this tag yet")
	lost := t.issue(c)
	c.New = nil // its answer was lost
	found, err = t.Rotator.Find(t.ctx, c)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, lost.ID, found[0].ID)
	require.NoError(t, t.Rotator.Revoke(t.ctx, c, &found[0]), "by its id alone")
	t.refuses(c, lost)
	found, err = t.Rotator.Find(t.ctx, c)
	require.NoError(t, err)
	require.Empty(t, found)
	_, err = t.Rotator.Verify(t.ctx, c, c.Old)
	require.NoError(t, err, "the old one was not touched")
}

// refused verifies what the service never gave out.
func refused(t *tester) {
	if t.Kind.Blind {
		return
	}
	c := t.Call(t.T)
	var broken []byte
	require.NoError(t, c.Old.Value.Use(func(b []byte) error { broken = append(broken, b...); return nil }))
	broken = t.spoil(broken)
	v, err := secret.New(broken)
	require.NoError(t, err)
	t.refuses(c, &providers.Credential{ID: c.Old.ID, Value: v, Facts: c.Old.Facts})
}

// spoil makes another value of a valid one, of the same form: what looks like a
// password or a token stays one.
func (t *tester) spoil(b []byte) []byte {
	if chooser, ok := t.Rotator.(providers.Chooser); ok {
		other, err := chooser.Choose(t.ctx, t.Call(t.T))
		require.NoError(t, err)
		b = b[:0]
		require.NoError(t, other.Value.Use(func(v []byte) error { b = append(b, v...); return nil }))
		return b
	}
	for i := len(b) - 1; i >= 0; i-- {
		if c := b[i]; c >= 'a' && c <= 'z' {
			b[i] = 'a' + (c-'a'+13)%26
			return b
		}
	}
	t.Fatal("the value has no letter that could be another")
	return nil
}

// down calls a service that does not answer: nothing is known, and nothing that
// was sent may be called done or not done.
func down(t *tester) {
	if t.Down == nil {
		return
	}
	c := t.Call(t.T)
	t.Down(t.T)
	_, err := t.Rotator.Verify(t.ctx, c, c.Old)
	require.Error(t, err)
	require.NotEqual(t, providers.CodeInvalid, providers.CodeOf(err), "a service that is down refuses nothing")
	t.check(err)
	err = t.Rotator.Revoke(t.ctx, c, c.Old)
	require.Error(t, err)
	require.NotEqual(t, providers.OK, providers.OutcomeOf(err))
	t.check(err)
}

// cancelled calls with a context that is done.
func cancelled(t *tester) {
	if t.Down == nil {
		return
	}
	c := t.Call(t.T)
	ctx, cancel := context.WithCancel(t.ctx)
	cancel()
	_, err := t.Rotator.Verify(ctx, c, c.Old)
	require.Error(t, err)
	require.NotEqual(t, providers.CodeInvalid, providers.CodeOf(err))
	t.check(err)
	require.Error(t, t.Rotator.Revoke(ctx, c, c.Old))
	_, err = t.Rotator.Verify(t.ctx, c, c.Old)
	require.NoError(t, err, "nothing was done")
}

// unopened calls while the managing credential cannot be opened: nothing has left
// this machine then.
func unopened(t *tester) {
	c := t.Call(t.T)
	next := t.choose(c)
	open, asked := c.Own, false
	c.Own = func(context.Context, secret.Name) (secret.Value, error) {
		asked = true
		return secret.Value{}, errors.New("the store is shut")
	}
	_, err := t.Rotator.Issue(t.ctx, c, next)
	if !asked {
		return // it manages itself
	}
	require.ErrorContains(t, err, "the store is shut")
	require.Equal(t, providers.DefinitelyNot, providers.OutcomeOf(err), "%v", err)
	require.Equal(t, providers.CodeUnavailable, providers.CodeOf(err), "it may be open soon")
	c.Own = open
	_, err = t.Rotator.Issue(t.ctx, c, next)
	require.NoError(t, err)
}
