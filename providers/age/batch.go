package age

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/providers"
)

var _ providers.Batcher = (*Store)(nil)

// batch is versions that are being written together.
type batch struct {
	s     *Store
	files *durable.Batch
	end   func()
}

// Batch implements [providers.Batcher].
func (s *Store) Batch() providers.Batch {
	return &batch{s, durable.NewBatch(s.disk), s.keepFolders()}
}

// Put seals the value into a new file.
func (s *Store) Put(ctx context.Context, name secret.Name, version uint64, v secret.Value) (providers.Sum, error) {
	b := s.Batch()
	sum, err := b.Put(ctx, name, version, v)
	if err != nil {
		return providers.Sum{}, errors.Join(err, b.Discard())
	}
	if err := b.Commit(); err != nil {
		return providers.Sum{}, err
	}
	return sum, nil
}

// Put seals the value into a new file, which has its name once the batch is
// committed.
func (b *batch) Put(ctx context.Context, name secret.Name, version uint64, v secret.Value) (providers.Sum, error) {
	sum, err := b.put(ctx, name, version, v)
	return sum, providers.Unavailable(err)
}

func (b *batch) put(ctx context.Context, name secret.Name, version uint64, v secret.Value) (providers.Sum, error) {
	file := b.s.file(name, version)
	if _, err := b.s.disk.Stat(file); err == nil {
		return providers.Sum{}, providers.ErrExists
	} else if !errors.Is(err, fs.ErrNotExist) {
		return providers.Sum{}, err
	}
	if v.Len() > maxValue { // it could not be opened again
		return providers.Sum{}, fmt.Errorf("sealing the value: %w", secret.ErrTooLong)
	}
	k, err := b.s.key(ctx)
	if err != nil {
		return providers.Sum{}, err
	}
	sealed, err := seal(ctx, v, k)
	if err != nil {
		return providers.Sum{}, fmt.Errorf("sealing the value: %w", err)
	}
	if err := b.files.MkdirAll(b.s.folder(name), 0o700); err != nil {
		return providers.Sum{}, err
	}
	if err := b.files.WriteFile(file, sealed, 0o600); err != nil {
		return providers.Sum{}, err
	}
	return sha256.Sum256(sealed), nil
}

// Commit makes the versions durable, and lets go of their folders.
func (b *batch) Commit() error {
	defer b.end()
	return providers.Unavailable(b.files.Commit())
}

// Discard gives up the versions, and lets go of their folders.
func (b *batch) Discard() error {
	defer b.end()
	return b.files.Discard()
}
