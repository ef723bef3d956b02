package age

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// NextFile is where, in the home, the identity is that a vault is being sealed to
// anew. While it is there a file may be sealed to either, and both are tried.
const NextFile = "identity.next.txt"

// Resealing is the passage of a vault from one identity to another:
//
//  1. the new identity is written beside the old one, and from then on both open;
//  2. version by version, what the old one opens is replaced by what the new one does;
//  3. the new identity takes the place of the old one.
//
// Until then the new one has the passphrase of the old one, if that has one, so
// that nobody needs two; the one that it is to have it gets last.
//
// It is not safe for concurrent use, and nobody else writes the vault meanwhile.
type Resealing struct {
	Public      // of the new identity
	GoesOn bool // it was begun before, and cut short

	s     *Store
	place replaceable
	both  *keys
	next  *keys
	files *durable.Batch
	last  []byte // the text of the identity with the passphrase it is to have; nil: it has
}

// Reseal begins the passage to another identity, or goes on with one that was cut
// short: then it is to the identity that was made then, whatever is wanted.
func (s *Store) Reseal(now time.Time, want Wanted) (*Resealing, error) {
	at, err := s.options.replaceable()
	if err != nil {
		return nil, err
	}
	old, err := s.key(context.Background())
	if err != nil {
		return nil, providers.Unavailable(err)
	}
	r := &Resealing{GoesOn: old.next != nil, s: s, place: at, both: old, files: durable.NewBatch(s.disk)}
	id := old.next
	if !r.GoesOn {
		if id, err = r.writeNext(now, want); err != nil {
			return nil, err
		}
		both := *old
		r.both = &both
		r.both.add(id)
	}
	r.Public = id.Public
	r.next, err = s.options.with(id)
	if err == nil {
		err = r.next.mixed // the config may say another than when it was made
	}
	return r, err
}

// Halfway reports whether a passage to another identity was cut short.
func (s *Store) Halfway() bool {
	k, err := s.key(context.Background())
	return err == nil && k.next != nil
}

// writeNext makes the identity and writes it beside the one there is.
func (r *Resealing) writeNext(at time.Time, want Wanted) (*one, error) {
	id, text, err := r.wanted(at, want)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	if k, err := r.s.options.with(id); err != nil {
		return nil, err
	} else if k.mixed != nil {
		return nil, k.mixed
	}
	if id.Recipient != "" && id.Recipient == r.both.main.Recipient {
		return nil, errors.New("that is the identity which the vault has already")
	}
	return id, providers.Unavailable(r.place.writeNext(text))
}

// wanted makes the identity, or takes it from its file, and returns the text that
// is to be beside the old one.
func (r *Resealing) wanted(at time.Time, want Wanted) (*one, []byte, error) {
	s := r.s
	if want.From == "" {
		id, plain, err := want.make(at)
		if err != nil {
			return nil, nil, fmt.Errorf("making the identity: %w", err)
		}
		defer clear(plain)
		last, err := sealedWith(plain, want.Passphrase)
		if err != nil {
			return nil, nil, fmt.Errorf("making the identity: %w", err)
		}
		if want.Current.IsZero() || want.Current.Equal(want.Passphrase) {
			return id, last, nil
		}
		r.last = last
		text, err := sealedWith(plain, want.Current)
		return id, text, err
	}
	path, err := filepath.Abs(want.From)
	if err != nil {
		return nil, nil, err
	}
	text, err := elsewhere(path).read(context.Background())
	if err != nil {
		return nil, nil, err
	}
	ask, done := s.options.asker()
	defer done()
	id, err := s.options.understand(want.From, text, ask)
	return id, text, err
}

// forget has the identity read again.
func (s *Store) forget() {
	s.reading <- struct{}{}
	defer func() { <-s.reading }()
	s.keys = nil
}

// List lists the vault.
func (r *Resealing) List(ctx context.Context, fn func(secret.Name, uint64, providers.Sum) error) error {
	return r.s.List(ctx, fn)
}

// Stage seals a version to the new identity, in a file that takes the place of
// the version's at [Resealing.Commit]. One that is sealed to it already stays.
func (r *Resealing) Stage(ctx context.Context, name secret.Name, version uint64) (before, after providers.Sum, err error) {
	sealed, err := r.s.read(name, version)
	if err != nil {
		return before, after, err
	}
	again, err := r.seal(ctx, sealed)
	if err != nil {
		return before, after, fmt.Errorf("%s: %w", r.s.file(name, version), err)
	}
	before, after = sha256.Sum256(sealed), sha256.Sum256(again)
	if before == after {
		return before, after, nil
	}
	return before, after, providers.Unavailable(r.files.WriteFile(r.s.file(name, version), again, 0o600))
}

// Seal returns what [Store.Seal] returned, sealed to the new identity.
func (r *Resealing) Seal(sealed []byte) ([]byte, error) {
	ctx, stop := context.WithTimeout(context.Background(), sealTime)
	defer stop()
	return r.seal(ctx, sealed)
}

func (r *Resealing) seal(ctx context.Context, sealed []byte) ([]byte, error) {
	if r.isNext(ctx, sealed) {
		return sealed, nil
	}
	v, err := open(ctx, sealed, r.both)
	if err != nil {
		return nil, r.both.reason(err)
	}
	defer v.Clear()
	again, err := seal(ctx, v, r.next)
	if err != nil {
		return nil, providers.Unavailable(fmt.Errorf("sealing it anew: %w", err))
	}
	// The old file goes only when the new one is known to open.
	back, err := open(ctx, again, r.next)
	if err != nil {
		return nil, providers.Unavailable(fmt.Errorf("it does not open with the new identity: %w", r.next.reason(err)))
	}
	defer back.Clear()
	if !back.Equal(v) {
		return nil, providers.Unavailable(errors.New("sealed anew it is another value"))
	}
	return again, nil
}

// isNext reports whether a file is sealed to the new identity.
func (r *Resealing) isNext(ctx context.Context, file []byte) bool {
	header, err := age.ExtractHeader(bytes.NewReader(file))
	if err != nil {
		return false
	}
	return r.next.call(ctx, func() error {
		key, err := age.DecryptHeader(header, r.next.ids...)
		clear(key)
		return err
	}) == nil
}

// Commit puts what is staged in its place, durably.
func (r *Resealing) Commit() error {
	defer r.begin()
	return providers.Unavailable(r.files.Commit())
}

// Discard gives up what is staged.
func (r *Resealing) Discard() error {
	defer r.begin()
	return r.files.Discard()
}

func (r *Resealing) begin() { r.files = durable.NewBatch(r.s.disk) }

// Finish has the new identity take the place of the old one, which is gone.
func (r *Resealing) Finish() error {
	defer r.s.forget()
	defer clear(r.last)
	return providers.Unavailable(r.place.replace(r.last))
}

// replaceable is a place in which another identity can take the place of the one
// that is there. A crash leaves one of the two, or both, and then both open.
type replaceable interface {
	// writeNext puts an identity beside the one there is, durably.
	writeNext(text []byte) error
	// replace has the one beside take the place of the one there is, and gives it the
	// passphrase it is to have: last, unless that is nil.
	replace(last []byte) error
}

// replaceable returns the place of the identity, or why none can take its place.
func (o *Options) replaceable() (replaceable, error) {
	switch {
	case o.Identity == "":
		return home{o.Disk}, nil
	case strings.HasPrefix(o.Identity, KeyringScheme):
		return o.inKeyring(0), nil
	}
	return nil, &providers.StoreError{Kind: providers.ErrRefused,
		Problem: "the identity is not in the home, where another could take its place: it is " + o.Identity,
		Remedy:  "put it into " + IdentityFile + " in the home, take identity out of [store.age], rotate, and put the new one where the old one was"}
}

// home is a home's disk, in which identities are files.
type home struct{ disk durable.Disk }

func (h home) writeNext(text []byte) error {
	if err := durable.WriteFile(h.disk, NextFile, text, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", NextFile, err)
	}
	return nil
}

func (h home) replace(last []byte) error {
	if err := h.disk.Rename(NextFile, IdentityFile); err != nil {
		return fmt.Errorf("replacing %s: %w", IdentityFile, err)
	}
	if err := h.disk.SyncDir("."); err != nil || last == nil {
		return err
	}
	if err := durable.WriteFile(h.disk, IdentityFile, last, 0o600); err != nil {
		return fmt.Errorf("giving %s its new passphrase: %w", IdentityFile, err)
	}
	return nil
}

// next returns where the identity is that a vault is being sealed to; nil: it is
// not.
func (o *Options) next(ctx context.Context) (place, error) {
	if strings.HasPrefix(o.Identity, KeyringScheme) {
		return o.nextInKeyring(ctx)
	}
	if o.Disk == nil {
		return nil, nil
	}
	p := inHome(o.Disk, NextFile)
	switch there, err := p.there(); {
	case err != nil:
		return nil, fmt.Errorf("opening vault: %w", err)
	case !there:
		return nil, nil
	}
	return p, nil
}

// addNext adds the identity that a vault is being sealed to, if it is, to what
// opens.
func (o *Options) addNext(ctx context.Context, k *keys, ask asker) error {
	p, err := o.next(ctx)
	if err != nil || p == nil {
		return err
	}
	next, err := o.read(ctx, p, ask)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	k.add(next)
	return nil
}

// add has what is sealed to another identity open too.
func (k *keys) add(next *one) {
	k.next, k.ids = next, append(slices.Clone(k.ids), next.id)
	if _, is := next.id.(*pluginKey); is && k.turn == nil {
		k.turn = make(chan struct{}, 1)
	}
}
