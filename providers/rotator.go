package providers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"secretctl/broker/secret"
)

// Shape is how a service lets a credential be replaced. It decides what a lost
// answer means, and so what a rotation does about one.
type Shape string

// The shapes.
const (
	// ShapeSet: we choose the value and tell the service. A lost answer loses
	// nothing, since the value is known; setting it again is no harm.
	ShapeSet Shape = "set"
	// ShapeCreate: the service makes another one beside the old and shows it once.
	// A lost answer leaves one that nobody can read, and that is found by its tag.
	ShapeCreate Shape = "create"
	// ShapeRoll: the service replaces it in place, and the old one dies at once. A
	// lost answer may have lost it: it is never simply asked again.
	ShapeRoll Shape = "roll"
	// ShapeRefresh: the old one is spent by asking for the new one. Asking again is
	// allowed once, and where the service saw the first it may end the whole grant.
	ShapeRefresh Shape = "refresh"
	// ShapeManual: a person makes it at a page and gives it to us.
	ShapeManual Shape = "manual"
)

// Outcome is what is known of a call to a service.
type Outcome int

// The outcomes. The zero Outcome is the one that promises nothing.
const (
	Unknown       Outcome = iota // it may have been done: only looking tells
	OK                           // it was done
	DefinitelyNot                // it was not done, and may be tried again
)

func (o Outcome) String() string {
	return [...]string{"unknown", "ok", "definitely_not"}[o]
}

// Code is why a call did not end well, for scripts and for what is done next.
type Code string

// The codes.
const (
	CodeDenied       Code = "denied"        // the managing credential is refused, or may not do this
	CodeInvalid      Code = "invalid"       // the credential itself is refused: it is not, or no longer, valid
	CodeLimit        Code = "limit"         // there is no room for another credential
	CodeRateLimited  Code = "rate_limited"  // asked too often: see CallError.RetryAfter
	CodeBadValue     Code = "bad_value"     // the service's policy refuses the value that was chosen
	CodeWrongAccount Code = "wrong_account" // the credential is of another account than the one it replaces
	CodeWiderScope   Code = "wider_scope"   // the credential may do more than was asked for
	CodeNotFound     Code = "not_found"     // there is no such credential, account or host
	CodeUnsupported  Code = "unsupported"   // the service has no such call
	CodeUnavailable  Code = "unavailable"   // no usable answer: network, time, or a server's error
	CodeOptions      Code = "options"       // an option does not fit what is there
)

// CallError is a call that did not end well. Problem is a sentence's end for a
// person, in our words: never a value, a body or what a server said. Remedy is
// what to do, "" when nothing is known.
type CallError struct {
	Outcome    Outcome // Unknown or DefinitelyNot
	Code       Code
	RetryAfter time.Duration // what the service asked for; 0: nothing
	Problem    string
	Remedy     string
}

func (e *CallError) Error() string { return e.Problem }

// OutcomeOf says what an error means for the call that returned it: nil is OK,
// and what is not a [CallError] is Unknown.
func OutcomeOf(err error) Outcome {
	if err == nil {
		return OK
	}
	if call := (*CallError)(nil); errors.As(err, &call) {
		return call.Outcome
	}
	return Unknown
}

// CodeOf returns the code of an error, [CodeUnavailable] of one that has none
// and "" of nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if call := (*CallError)(nil); errors.As(err, &call) {
		return call.Code
	}
	return CodeUnavailable
}

// Not makes the error of a call that was certainly not done.
func Not(code Code, format string, args ...any) *CallError {
	return &CallError{Outcome: DefinitelyNot, Code: code, Problem: fmt.Sprintf(format, args...)}
}

// Maybe makes the error of a call of which it is not known whether it was done.
func Maybe(code Code, format string, args ...any) *CallError {
	return &CallError{Outcome: Unknown, Code: code, Problem: fmt.Sprintf(format, args...)}
}

// Credential is one credential at a service. Only Value is secret.
type Credential struct {
	// ID is what the service calls it; "" when that is not known, as of a value
	// that was imported, or when the service has no name for it.
	ID string
	// Value is what an agent is given. It is not set by [Rotator.Find].
	Value secret.Value
	// Facts are what the provider has to know of it again, such as a fingerprint.
	// They are kept in the clear.
	Facts   map[string]string
	Created time.Time // by the service's clock; zero: not known
	Expires time.Time // zero: never, or not known
}

// Identity is whose a credential is.
type Identity struct {
	Account string // "" when the service does not say
}

// Call is what a call is about. A provider keeps nothing of it.
type Call struct {
	Secret secret.Name
	// Tag is what the new credential is to be called at the service: unique to this
	// rotation, and how its outcome is found again. [a-z0-9./-], at most 200 bytes.
	Tag string
	// Old is the credential that is to be replaced, nil when there is none.
	Old *Credential
	// Dead: Old was ended with none in its place. It says what the new one is to be
	// like, and need not be at the service any more.
	Dead bool
	// New is the one that replaces it, from the moment it is known: nil before, and
	// when a credential is only to be ended. Where a credential manages itself, Old
	// is ended with New, and New, when a rotation is rolled back, with Old.
	New *Credential
	// Own opens one of the broker's own secrets, by its name. The caller clears it.
	// A provider asks for it through [Call.Open].
	Own func(context.Context, secret.Name) (secret.Value, error)
}

// Open opens one of the broker's own secrets, which the caller clears. Where it
// cannot be opened nothing has left this machine, and the error says so.
func (c *Call) Open(ctx context.Context, name secret.Name) (secret.Value, error) {
	v, err := c.Own(ctx, name)
	if err == nil {
		return v, nil
	}
	call := (*CallError)(nil)
	if !errors.As(err, &call) {
		call = Not(CodeUnavailable, "opening %q, which it takes: %v", name, err)
	}
	e := *call
	e.Outcome = DefinitelyNot
	return secret.Value{}, &e
}

// Rotator replaces the credentials of one kind at one service.
//
// Each method is one attempt and is safe to repeat where its words say so; the
// order, the retries and what a crash leaves are not its business. An error is
// a [CallError] that says what is known of the outcome; a done context is
// Unknown unless nothing was sent. No method keeps a value after it returns.
type Rotator interface {
	// Check looks, changing nothing, whether Issue could work: the managing
	// credential is accepted and there is room. It returns whose the old
	// credential is, where it can tell.
	Check(context.Context, *Call) (Identity, error)
	// Issue brings the new credential about. With ShapeSet, next is what Choose
	// returned, and issuing it again does no harm; otherwise next is nil. It
	// returns the credential, with its value, which the caller clears.
	Issue(ctx context.Context, c *Call, next *Credential) (*Credential, error)
	// Find returns the credentials at the service that have the call's tag. A
	// service that cannot tell returns CodeUnsupported.
	Find(context.Context, *Call) ([]Credential, error)
	// Verify uses the credential. nil means that it is accepted; an error that is
	// DefinitelyNot with CodeInvalid that the service refuses it; DefinitelyNot with
	// CodeWrongAccount or CodeWiderScope what is wrong with it; any other that
	// nothing is known.
	Verify(context.Context, *Call, *Credential) (Identity, error)
	// Disable stops the credential in a way that can be undone at the service. One
	// that is stopped or gone is no error. CodeUnsupported: there is no such way.
	Disable(context.Context, *Call, *Credential) error
	// Revoke ends the credential for good. One that is gone is no error. Where its
	// ID is needed and not known, or the service has no such call, it is
	// CodeUnsupported with what a person has to do as the remedy. It may add to the
	// Facts what making another like it takes, in a map of its own.
	Revoke(context.Context, *Call, *Credential) error
}

// Chooser is a [Rotator] of ShapeSet: it makes the value, before anything is
// called, so that it can be kept first.
type Chooser interface {
	Choose(context.Context, *Call) (*Credential, error)
}

// Identifier is a [Rotator] that can find out what the service calls a
// credential of which only the value is known, such as one that was imported.
// It fills ID and Facts. CodeNotFound: the service has none that could be it.
type Identifier interface {
	Identify(context.Context, *Call, *Credential) error
}

// Kind is a provider: what can be said of it without calling anything.
type Kind struct {
	Name    string // in the config: provider = "…"
	Summary string // one line
	Shape   Shape
	Options []Option

	// Permission is what the managing credential must be allowed to do, in the
	// vendor's words; "" when there is none.
	Permission string
	Docs       string // the vendor's page; ""
	Read       string // the day that page was read, 2026-11-26; ""
	Page       string // ShapeManual: where a person makes the credential

	Schedule string // used where the config has none, a cron expression; "": by hand only

	// Overlap: the old credential stays valid until it is revoked.
	Overlap bool
	// Proofs is how often Verify must succeed in a row, ProofGap apart, before the
	// credential is trusted: 1 but for services that are eventually consistent.
	Proofs   int
	ProofGap time.Duration
	// Lag is how long a revoked credential may still be accepted.
	Lag time.Duration
	// Blind: Verify cannot tell, so nothing proves that the old one is dead.
	Blind bool
	// Alone: no service knows the value, so that there is nobody to end it: it is
	// valid wherever it is used until another is used there.
	Alone bool

	// Accounts are what a rotation takes for itself at the service, as far as the
	// options tell: two secrets that have one of them in common end each other's
	// credentials. Each is for a person, and the same only where it is the same
	// account. Nil: the options tell none.
	Accounts func(Options) []string
	// Open makes the provider for one secret. It calls nothing and reads no file:
	// the config is checked with it. The error is an [OptionError].
	Open func(Options) (Rotator, error)
}
