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

	"secretctl/broker/secret"
)

// Sum is the SHA-256 of a version's bytes as they rest in the store, sealed.
type Sum [32]byte

// IsZero reports whether s is no sum at all.
func (s Sum) IsZero() bool { return s == Sum{} }

// The outcomes a store tells apart. Any other error means that the version may
// be there but cannot be read or written now.
var (
	ErrAbsent  = errors.New("there is no such version in the store")
	ErrExists  = errors.New("the store has this version already")
	ErrChanged = errors.New("the version in the store is not the one that was put there")
)

// Store is where values rest. Its methods are safe for concurrent use, for
// different versions.
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
}
