package age

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// Keyring is that of the user, in which an identity can be instead of in a file.
// What it has under a name has versions. There is one; while a vault is being sealed
// to another identity there are two, of which the older is the one there was.
type Keyring interface {
	// Versions returns those that it has under the name, in order, and opens none.
	Versions(ctx context.Context, name secret.Name) ([]uint64, error)
	// The others are as those of [providers.Store].
	Get(ctx context.Context, name secret.Name, version uint64, want providers.Sum) (secret.Value, error)
	Put(ctx context.Context, name secret.Name, version uint64, v secret.Value) (providers.Sum, error)
	Delete(ctx context.Context, name secret.Name, version uint64) error
}

// KeyringScheme begins, in the config, the name of an identity in the keyring.
const KeyringScheme = "keychain:"

// keyringTime bounds what a keyring is asked while the identity is read or written.
// It is long enough for a person to answer its window.
var keyringTime = 30 * time.Second

// InKeyring reports whether the identity is in the user's keyring.
func (s *Store) InKeyring() bool { return strings.HasPrefix(s.options.Identity, KeyringScheme) }

// inTime returns a context in which the identity is read or written. It ends the
// connection to the keyring, too: the identity is read once, and what is open can be
// used by others.
func (o *Options) inTime(ctx context.Context) (context.Context, func()) {
	if !strings.HasPrefix(o.Identity, KeyringScheme) {
		return ctx, func() {}
	}
	ctx, stop := context.WithTimeout(ctx, keyringTime)
	return ctx, func() {
		stop()
		if c, ok := o.Keyring.(io.Closer); ok {
			_ = c.Close() // it was asked all that it was to be asked
		}
	}
}

// item is a place: an item of the keyring.
type item struct {
	options *Options
	shown   string
	name    secret.Name
	which   int // of the versions
}

func (o *Options) inKeyring(which int) *item {
	return &item{o, o.Identity, secret.Name(strings.TrimPrefix(o.Identity, KeyringScheme)), which}
}

func (i *item) String() string { return i.shown }

// versions returns what is there: one version or two.
func (i *item) versions(ctx context.Context) ([]uint64, error) {
	if i.options.Keyring == nil {
		return nil, &providers.StoreError{Kind: providers.ErrUnavailable, Problem: "opening vault: the identity is " + i.shown + ", and no keyring is asked here"}
	}
	all, err := i.options.Keyring.Versions(ctx, i.name)
	switch {
	case err != nil:
		return nil, i.failed(err)
	case len(all) == 0:
		return nil, i.failed(providers.ErrAbsent)
	case len(all) > 2:
		return nil, &providers.StoreError{Kind: providers.ErrUnavailable,
			Problem: fmt.Sprintf("opening vault: the keyring has %d identities called %s, and it is not known which is the right one", len(all), i.shown),
			Remedy:  "secretctl identity move --from FILE " + KeyringScheme + "NAME, with your copy of it and another name"}
	}
	return all, nil
}

// failed says of an error that it is about the identity.
func (i *item) failed(err error) error {
	var failed *providers.StoreError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, providers.ErrAbsent):
		return &providers.StoreError{Kind: providers.ErrUnavailable, Problem: "opening vault: the identity is " + i.shown + ", and the keyring has no such item",
			Remedy: "put it there, with your copy of it: secretctl identity move --from FILE " + i.shown + "; or take identity out of [store.age]"}
	case errors.As(err, &failed):
		said := *failed
		said.Problem = "opening vault: the identity is " + i.shown + ", and " + failed.Error()
		return &said
	}
	return fmt.Errorf("opening vault: the identity is %s: %w", i.shown, err)
}

func (i *item) check(ctx context.Context) error {
	_, err := i.versions(ctx)
	return err
}

func (i *item) read(ctx context.Context) ([]byte, error) {
	all, err := i.versions(ctx)
	if err != nil {
		return nil, err
	}
	if i.which >= len(all) {
		return nil, i.failed(providers.ErrAbsent)
	}
	return i.version(ctx, all[i.which])
}

func (i *item) version(ctx context.Context, version uint64) (text []byte, err error) {
	v, err := i.options.Keyring.Get(ctx, i.name, version, providers.Sum{})
	if err != nil {
		return nil, i.failed(err)
	}
	defer v.Clear()
	if v.Len() > maxIdentity {
		return nil, tooLong(i)
	}
	if err := v.Use(func(b []byte) error { text = bytes.Clone(b); return nil }); err != nil {
		return nil, err
	}
	if encrypted(text) {
		clear(text)
		return nil, errPassphraseInKeyring
	}
	return text, nil
}

// errPassphraseInKeyring: serve would have to open the keyring when it starts, to
// know whether to ask.
var errPassphraseInKeyring = &providers.StoreError{Kind: providers.ErrRefused,
	Problem: "an identity in the keyring has no passphrase: that of the keyring is in its place",
	Remedy:  "while it is in its file: secretctl identity rotate --no-passphrase"}

// write puts a version there, and reads it back.
func (i *item) write(ctx context.Context, version uint64, text []byte) error {
	if encrypted(text) {
		return errPassphraseInKeyring
	}
	v, err := secret.New(bytes.Clone(text))
	if err != nil {
		return err
	}
	defer v.Clear()
	if _, err := i.options.Keyring.Put(ctx, i.name, version, v); err != nil {
		return i.failed(err)
	}
	back, err := i.version(ctx, version)
	if err != nil {
		return err
	}
	defer clear(back)
	if !bytes.Equal(text, back) {
		return &providers.StoreError{Kind: providers.ErrUnavailable, Problem: "what the keyring returns as " + i.shown + " is not what was put there"}
	}
	return nil
}

// nextInKeyring returns where the identity is that the vault is being sealed to;
// nil: it is not.
func (o *Options) nextInKeyring(ctx context.Context) (place, error) {
	all, err := o.inKeyring(0).versions(ctx)
	if err != nil || len(all) < 2 {
		return nil, err
	}
	return o.inKeyring(1), nil
}

// writeNext implements [replaceable].
func (i *item) writeNext(text []byte) error {
	ctx, stop := i.options.inTime(context.Background())
	defer stop()
	all, err := i.versions(ctx)
	if err != nil {
		return err
	}
	return i.write(ctx, all[len(all)-1]+1, text)
}

// replace implements [replaceable]. There is no passphrase to give.
func (i *item) replace([]byte) error {
	ctx, stop := i.options.inTime(context.Background())
	defer stop()
	all, err := i.versions(ctx)
	if err != nil || len(all) < 2 {
		return err
	}
	return i.failed(i.options.Keyring.Delete(ctx, i.name, all[0]))
}
