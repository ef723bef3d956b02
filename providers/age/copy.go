package age

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// errEnough ends a list early.
var errEnough = errors.New("enough")

// CopyIdentity puts the identity, as it is, into another place too, reads it back
// there, and returns what may be known of it. to is keychain:NAME, or the absolute
// path of a file. Where something else is already it stays, and that is an error:
// it may be what opens another vault.
//
// One that opens nothing of a vault that has something in it is not copied: whoever
// has it copied will remove the one there is.
func (s *Store) CopyIdentity(ctx context.Context, to string) (Public, error) {
	k, err := s.key(ctx)
	if err != nil {
		return Public{}, providers.Unavailable(err)
	}
	if k.next != nil {
		return Public{}, &providers.StoreError{Kind: providers.ErrRefused,
			Problem: "a rotation of the identity was cut short, so that the vault has two of them", Remedy: "secretctl identity rotate, which goes on"}
	}
	if err := s.opensSome(ctx); err != nil {
		return Public{}, err
	}
	// The keyring is the same for both places.
	from, other := s.options, s.options
	other.Identity = to
	ctx, stop := other.inTime(ctx)
	defer stop()
	text, err := from.place().read(ctx)
	if err != nil {
		return Public{}, providers.Unavailable(err)
	}
	defer clear(text)
	if strings.HasPrefix(to, KeyringScheme) {
		return k.main.Public, providers.Unavailable(other.inKeyring(0).take(ctx, text))
	}
	return k.main.Public, providers.Unavailable(copyTo(ctx, to, text))
}

// opensSome reports why nothing in the vault opens, if there is anything.
func (s *Store) opensSome(ctx context.Context) error {
	var failed error
	err := s.List(ctx, func(name secret.Name, version uint64, _ providers.Sum) error {
		v, err := s.Get(ctx, name, version, providers.Sum{})
		if err != nil {
			failed = err
			return ctx.Err()
		}
		v.Clear()
		return errEnough
	})
	switch {
	case errors.Is(err, errEnough):
		return nil
	case err == nil && failed != nil:
		return fmt.Errorf("%s opens nothing in the vault: %w", s.options.place(), failed)
	}
	return err
}

// take has the text be in the keyring.
func (i *item) take(ctx context.Context, text []byte) error {
	if i.options.Keyring == nil {
		return i.check(ctx)
	}
	all, err := i.options.Keyring.Versions(ctx, i.name)
	if err != nil {
		return i.failed(err)
	}
	if len(all) == 0 {
		return i.write(ctx, 1, text)
	}
	there, err := i.version(ctx, all[0])
	if err != nil {
		return err
	}
	defer clear(there)
	if len(all) > 1 || !bytes.Equal(there, text) {
		return &providers.StoreError{Kind: providers.ErrRefused, Problem: "the keyring has another identity called " + i.shown, Remedy: "take another name"}
	}
	return nil
}

// copyTo has the text be in the file.
func copyTo(ctx context.Context, path string, text []byte) error {
	dir, name := filepath.Split(path)
	if err := trusted(filepath.Clean(dir)); err != nil {
		return err
	}
	d, err := durable.OpenHome(dir)
	if err != nil {
		return err
	}
	switch there, err := inHome(d, name).there(); {
	case err != nil:
		return err
	case !there:
		if err := durable.WriteFile(d, name, text, 0o600); err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
	}
	back, err := elsewhere(path).read(ctx)
	if err != nil {
		return err
	}
	defer clear(back)
	if !bytes.Equal(text, back) {
		return &providers.StoreError{Kind: providers.ErrRefused, Problem: path + " is another file", Remedy: "take another name"}
	}
	return nil
}
