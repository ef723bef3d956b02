// Package providers is the contracts a plugin fulfils, and what all plugins
// share.
//
// It guards against a plugin that is trusted further than it must be: a
// [Store] is asked for one version of one secret at a time, what it answers is
// compared with what the ledger knows, and "there is none" is never confused
// with "it cannot be read".
package providers

import (
	"context"
	"errors"
	"time"

	"secretctl/broker/secret"
)

// Sum is the SHA-256 of a version's bytes as they rest in the store, sealed.
type Sum [32]byte

// IsZero reports whether s is no sum at all.
func (s Sum) IsZero() bool { return s == Sum{} }

// The outcomes a store tells apart. Any other error is a [StoreError]: the version
// may be there, but cannot be read or written now.
var (
	ErrAbsent  = errors.New("there is no such version in the store")
	ErrExists  = errors.New("the store has this version already")
	ErrChanged = errors.New("the version in the store is not the one that was put there")
)

// The kinds of a [StoreError].
var (
	ErrLocked      = errors.New("the store is locked")
	ErrRefused     = errors.New("the store does not let us")
	ErrRateLimited = errors.New("the store was asked too often")
	ErrUnavailable = errors.New("the store does not work")
)

// StoreError is why a store did not do what it was asked. It says nothing of a
// value, nor what a server answered.
type StoreError struct {
	Kind       error         // one of the four
	Problem    string        // a sentence; "": that of Err, or else of Kind
	Remedy     string        // what to type; "": nothing
	RetryAfter time.Duration // how long it wants not to be asked; 0: it does not say
	Err        error         // why, where that is an error of our own side; may be nil
}

func (e *StoreError) Error() string {
	switch {
	case e.Problem != "":
		return e.Problem
	case e.Err != nil:
		return e.Err.Error()
	}
	return e.Kind.Error()
}

// Unwrap returns the kind, and why.
func (e *StoreError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// Unavailable is a [StoreError] for an error of our own side. Of nil, of an
// outcome and of what is one already, it is that.
func Unavailable(err error) error {
	var already *StoreError
	switch {
	case err == nil, errors.As(err, &already), errors.Is(err, ErrAbsent), errors.Is(err, ErrExists), errors.Is(err, ErrChanged):
		return err
	}
	return &StoreError{Kind: ErrUnavailable, Err: err}
}

// Store is where values rest. Its methods are safe for concurrent use, for
// different versions, and return by their context's deadline, whatever the store
// stands on does.
type Store interface {
	// Put stores a version, durably when it returns. It never overwrites: a
	// version that is there is ErrExists.
	Put(ctx context.Context, name secret.Name, version uint64, v secret.Value) (Sum, error)
	// Get opens a version. It is ErrAbsent when there is none, and ErrChanged when
	// its resting bytes are not those of want; a zero want is not compared.
	Get(ctx context.Context, name secret.Name, version uint64, want Sum) (secret.Value, error)
	// Sum returns the sum of a version's resting bytes without opening them.
	Sum(ctx context.Context, name secret.Name, version uint64) (Sum, error)
	// Delete removes a version. Removing one that is not there is no error.
	Delete(ctx context.Context, name secret.Name, version uint64) error
	// List calls fn with every version there is, until it fails.
	List(ctx context.Context, fn func(secret.Name, uint64, Sum) error) error
	// Health returns why the store does not work now, as far as that can be told
	// without opening a version; nil: it works.
	Health(ctx context.Context) error
}

// Batcher is a Store that puts many versions for little more than one costs.
type Batcher interface {
	Store
	// Batch begins a batch, which ends with Commit or Discard.
	Batch() Batch
}

// Batch is versions that are put together. Put is safe for concurrent use, for
// different versions.
type Batch interface {
	// Put is that of [Store], but that the version is there, and durable, only when
	// Commit returns nil. A version whose Put failed is not in the batch.
	Put(ctx context.Context, name secret.Name, version uint64, v secret.Value) (Sum, error)
	// Commit puts the versions. When it fails, some of them may be there.
	Commit() error
	// Discard gives up what is not committed.
	Discard() error
}

// Noter is a Store that has something to say while it works.
type Noter interface {
	Store
	// Note is one line, for whoever asks how the stores are; "": nothing.
	Note() string
}
