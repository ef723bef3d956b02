//go:build !linux && !(darwin && cgo)

package keychain

import (
	"context"
	"runtime"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// none is the keychain of a build that has none: it is there, so that a config
// that names it is right, and says what is missing when it is used.
type none struct{}

func open(string, string) Items { return none{} }

func (none) err() error {
	if runtime.GOOS != "darwin" {
		return &providers.StoreError{Kind: providers.ErrUnavailable, Problem: "there is no keychain on " + runtime.GOOS, Remedy: "keep the secret in another store"}
	}
	return &providers.StoreError{
		Kind:    providers.ErrUnavailable,
		Problem: "this build has no keychain: it was built without cgo",
		Remedy:  "xcode-select --install, then CGO_ENABLED=1 go build -o secretctl ./cmd/secretctl",
	}
}

// Put implements [providers.Store].
func (n none) Put(context.Context, secret.Name, uint64, secret.Value) (providers.Sum, error) {
	return providers.Sum{}, n.err()
}

// Get implements [providers.Store].
func (n none) Get(context.Context, secret.Name, uint64, providers.Sum) (secret.Value, error) {
	return secret.Value{}, n.err()
}

// Sum implements [providers.Store].
func (n none) Sum(context.Context, secret.Name, uint64) (providers.Sum, error) {
	return providers.Sum{}, n.err()
}

// Delete implements [providers.Store].
func (n none) Delete(context.Context, secret.Name, uint64) error { return n.err() }

// List implements [providers.Store].
func (n none) List(context.Context, func(secret.Name, uint64, providers.Sum) error) error {
	return n.err()
}

// Versions implements [Items].
func (n none) Versions(context.Context, secret.Name) ([]uint64, error) { return nil, n.err() }

// Health implements [providers.Store].
func (n none) Health(context.Context) error { return n.err() }
