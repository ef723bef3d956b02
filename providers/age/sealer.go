package age

import (
	"context"
	"errors"
	"fmt"
	"time"

	"filippo.io/age"

	"secretctl/broker/secret"
)

// sealTime bounds a call of a plugin for a value that is kept elsewhere.
const sealTime = time.Minute

// Seal returns a value as an age file sealed to the home's identity, for whoever
// keeps one elsewhere than in the store.
func (s *Store) Seal(v secret.Value) ([]byte, error) {
	ctx, stop := context.WithTimeout(context.Background(), sealTime)
	defer stop()
	return s.SealFile(ctx, v, nil)
}

// Open returns the value that [Store.Seal] sealed.
func (s *Store) Open(sealed []byte) (secret.Value, error) {
	ctx, stop := context.WithTimeout(context.Background(), sealTime)
	defer stop()
	v, err := s.OpenFile(ctx, sealed)
	if err != nil {
		return secret.Value{}, fmt.Errorf("opening a sealed value: %w", err)
	}
	return v, nil
}

// SealFile returns a value as an age file sealed to these recipients and nobody
// else, or, where there are none, as the store's own are.
func (s *Store) SealFile(ctx context.Context, v secret.Value, recipients []string) ([]byte, error) {
	if len(recipients) > 0 {
		return sealTo(ctx, v, recipients)
	}
	k, err := s.key(ctx)
	if err != nil {
		return nil, err
	}
	return seal(ctx, v, k)
}

// OpenFile returns the value that an age file holds. Why it does not open is said
// without a word of it.
func (s *Store) OpenFile(ctx context.Context, file []byte) (secret.Value, error) {
	k, err := s.key(ctx)
	if err != nil {
		return secret.Value{}, err
	}
	v, err := open(ctx, file, k)
	if err != nil {
		return secret.Value{}, k.reason(err)
	}
	return v, nil
}

// sealTo seals to others.
func sealTo(ctx context.Context, v secret.Value, recipients []string) ([]byte, error) {
	var all []age.Recipient
	classic := 0
	for _, text := range recipients {
		to, pq, err := recipient(text)
		if err != nil {
			return nil, err
		}
		if !pq {
			classic++
		}
		all = append(all, to)
	}
	if classic > 0 && classic < len(all) {
		return nil, errors.New("post-quantum recipients (age1pq1…) and others cannot be mixed")
	}
	return seal(ctx, v, &keys{main: &one{to: all[0]}, extra: all[1:]})
}
