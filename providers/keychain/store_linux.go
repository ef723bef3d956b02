package keychain

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/keybase/dbus"
	"github.com/keybase/go-keychain/secretservice"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// remedyLocked is what to do about a locked keyring. Nothing here unlocks one by
// itself: where nobody sits at the screen, a window to ask for a password is a
// hang.
const remedyLocked = "unlock it: secret-tool search --unlock application secretctl >/dev/null; without a screen: " +
	"gnome-keyring-daemon --replace --unlock --components=secrets, with its password on stdin"

// store keeps versions as items of one collection.
type store struct {
	label      string
	collection string // "": the default one

	opening chan struct{} // full while a link is made
	writing chan struct{} // full while something is changed: see settle
	mu      sync.Mutex    // protects link
	link    *link
}

func open(label, collection string) Items {
	return &store{label: label, collection: collection, opening: make(chan struct{}, 1), writing: make(chan struct{}, 1)}
}

// Close ends the connection to the keyring.
func (s *store) Close() error {
	s.drop(s.current())
	return nil
}

func (s *store) current() *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link
}

// drop gives up a link, if nobody has yet.
func (s *store) drop(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l != nil && s.link == l {
		s.link = nil
		l.close()
	}
}

// linked returns the link, which all callers share.
func (s *store) linked(ctx context.Context) (*link, error) {
	if l := s.current(); l != nil {
		return l, nil
	}
	select {
	case s.opening <- struct{}{}:
		defer func() { <-s.opening }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l := s.current(); l != nil {
		return l, nil
	}
	l, err := connect(ctx, s.collection)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link = l
	return l, nil
}

// do does something with an unlocked collection, once more where the link was
// that of a keyring, or of a bus, that has ended since. It must bear being done
// twice.
func (s *store) do(ctx context.Context, what func(*link) error) error {
	for again := true; ; again = false {
		if err := ctx.Err(); err != nil {
			return s.explain(err)
		}
		l, err := s.linked(ctx)
		if err == nil {
			err = l.unlocked(ctx)
		}
		if err == nil {
			err = what(l)
		}
		if !stale(err) {
			return s.explain(err)
		}
		s.drop(l)
		if !again {
			return s.explain(err)
		}
	}
}

// change is do, for one caller at a time.
func (s *store) change(ctx context.Context, what func(*link) error) error {
	select {
	case s.writing <- struct{}{}:
		defer func() { <-s.writing }()
	case <-ctx.Done():
		return s.explain(ctx.Err())
	}
	return s.do(ctx, what)
}

// version is what an item of ours says of itself.
type version struct {
	name   secret.Name
	number uint64
	salt   []byte
}

// attributes are what all items of this store have, and of one version when it is
// given.
func (s *store) attributes(of ...string) secretservice.Attributes {
	a := secretservice.Attributes{attrApplication: application, attrLabel: s.label}
	for i, key := range []string{attrName, attrVersion, attrSalt}[:len(of)] {
		a[key] = of[i]
	}
	return a
}

func (s *store) versionAttributes(name secret.Name, number uint64) secretservice.Attributes {
	return s.attributes(string(name), strconv.FormatUint(number, 10))
}

// read reads what an item says of itself. ok is false when it is not one of ours.
func (l *link) read(ctx context.Context, item dbus.ObjectPath) (v version, ok bool, err error) {
	var a map[string]string
	if err := l.property(ctx, item, "org.freedesktop.Secret.Item", "Attributes", &a); err != nil {
		return version{}, false, err
	}
	v.number, err = strconv.ParseUint(a[attrVersion], 10, 64)
	if err != nil || v.number == 0 || strconv.FormatUint(v.number, 10) != a[attrVersion] {
		return version{}, false, nil
	}
	if v.name, err = secret.ParseName(a[attrName]); err != nil {
		return version{}, false, nil
	}
	v.salt, err = hex.DecodeString(a[attrSalt])
	return v, err == nil && len(v.salt) == saltLen, nil
}

// value opens an item. The caller clears what it returns.
func (l *link) value(ctx context.Context, item dbus.ObjectPath) ([]byte, error) {
	var sealed secretservice.Secret
	err := l.call(ctx, item, "org.freedesktop.Secret.Item.GetSecret", []any{l.session}, &sealed)
	if nameOf(err) == isLocked && l.unlocked(ctx) == nil {
		err = errItemLocked
	}
	if err != nil {
		return nil, err
	}
	return unseal(l.key, sealed.Parameters, sealed.Value)
}

// opened calls fn with each item of ours that has the attributes, and its value,
// which it may keep when it clears it. Items that go meanwhile are passed over.
func (l *link) opened(ctx context.Context, a secretservice.Attributes, fn func(version, []byte) error) error {
	items, err := l.search(ctx, a)
	if err != nil {
		return err
	}
	for _, item := range items {
		v, ok, err := l.read(ctx, item)
		var value []byte
		if err == nil && ok {
			value, err = l.value(ctx, item)
		}
		switch {
		case gone(err), err == nil && !ok:
			continue
		case err != nil:
			return err
		}
		if err := fn(v, value); err != nil {
			return err
		}
	}
	return nil
}

// Get implements [providers.Store].
func (s *store) Get(ctx context.Context, name secret.Name, number uint64, want providers.Sum) (out secret.Value, err error) {
	err = s.do(ctx, func(l *link) error {
		answer := providers.ErrAbsent
		err := l.opened(ctx, s.versionAttributes(name, number), func(v version, value []byte) (err error) {
			if out.IsZero() { // a Put that was given up may have left a second one
				out, answer = checked(v.salt, value, want)
			}
			clear(value)
			return nil
		})
		if err != nil {
			out.Clear()
			out = secret.Value{}
			return err
		}
		return answer
	})
	return out, err
}

// Sum implements [providers.Store].
func (s *store) Sum(ctx context.Context, name secret.Name, number uint64) (sum providers.Sum, err error) {
	err = s.do(ctx, func(l *link) error {
		answer := providers.ErrAbsent
		err := l.opened(ctx, s.versionAttributes(name, number), func(v version, value []byte) error {
			if answer != nil {
				sum, answer = providers.SaltedSum(v.salt, value), nil
			}
			clear(value)
			return nil
		})
		return cmp.Or(err, answer)
	})
	return sum, err
}

// List implements [providers.Store]. It opens every item: what says anything of a
// value is in the keyring alone where it is sealed.
func (s *store) List(ctx context.Context, fn func(secret.Name, uint64, providers.Sum) error) error {
	type listed struct {
		version
		sum providers.Sum
	}
	var all []listed
	err := s.do(ctx, func(l *link) error {
		all = nil
		return l.opened(ctx, s.attributes(), func(v version, value []byte) error {
			all = append(all, listed{v, providers.SaltedSum(v.salt, value)})
			clear(value)
			return nil
		})
	})
	if err != nil {
		return err
	}
	for _, v := range all {
		if err := fn(v.name, v.number, v.sum); err != nil {
			return err
		}
	}
	return nil
}

// Versions implements [Items].
func (s *store) Versions(ctx context.Context, name secret.Name) (all []uint64, err error) {
	err = s.do(ctx, func(l *link) error {
		all = nil
		items, err := l.search(ctx, s.attributes(string(name)))
		if err != nil {
			return err
		}
		for _, item := range items {
			v, ok, err := l.read(ctx, item)
			if err != nil && !gone(err) {
				return err
			}
			if err == nil && ok {
				all = append(all, v.number)
			}
		}
		slices.Sort(all)
		all = slices.Compact(all) // a Put that was given up may have left a second one
		return nil
	})
	return all, err
}

// Put implements [providers.Store].
func (s *store) Put(ctx context.Context, name secret.Name, number uint64, v secret.Value) (sum providers.Sum, err error) {
	salt := make([]byte, saltLen)
	_, _ = rand.Read(salt) // never fails
	all := s.attributes(string(name), strconv.FormatUint(number, 10), hex.EncodeToString(salt))
	err = s.change(ctx, func(l *link) error {
		sealed := secretservice.Secret{Session: l.session, ContentType: "application/octet-stream"}
		err := v.Use(func(b []byte) (err error) {
			sum = providers.SaltedSum(salt, b)
			sealed.Parameters, sealed.Value, err = seal(l.key, b)
			return err
		})
		if err != nil {
			return err
		}
		// One search: in a large keyring it is most of what a get costs.
		switch done, err := l.put(ctx, s.versionAttributes(name, number), salt); {
		case err != nil:
			return err
		case done: // by the link before this one
			return nil
		}
		label := fmt.Sprintf("%s %s: %s version %d", application, s.label, name, number)
		var item, prompt dbus.ObjectPath
		err = l.call(ctx, l.collection, "org.freedesktop.Secret.Collection.CreateItem",
			[]any{secretservice.NewSecretProperties(label, all), sealed, false}, &item, &prompt)
		if err != nil {
			return err
		}
		return l.prompted(ctx, prompt, func() (bool, error) {
			items, err := l.search(ctx, all)
			return len(items) > 0, err
		})
	})
	if err != nil {
		sum = providers.Sum{}
	}
	return sum, err
}

// put reports whether the version was put already, with this salt. With another, or
// with none, it is somebody else's.
func (l *link) put(ctx context.Context, a secretservice.Attributes, salt []byte) (bool, error) {
	items, err := l.search(ctx, a)
	if err != nil {
		return false, err
	}
	for _, item := range items {
		v, ok, err := l.read(ctx, item)
		if err != nil && !gone(err) {
			return false, err
		}
		if ok && bytes.Equal(v.salt, salt) {
			return true, nil
		}
		if !gone(err) {
			return false, providers.ErrExists
		}
	}
	return false, nil
}

// Delete implements [providers.Store].
func (s *store) Delete(ctx context.Context, name secret.Name, number uint64) error {
	return s.change(ctx, func(l *link) error {
		items, err := l.search(ctx, s.versionAttributes(name, number))
		if err != nil {
			return err
		}
		for _, item := range items {
			if err := s.remove(ctx, l, item, name, number); err != nil && !gone(err) {
				return err
			}
		}
		return nil
	})
}

func (s *store) remove(ctx context.Context, l *link, item dbus.ObjectPath, name secret.Name, number uint64) error {
	var prompt dbus.ObjectPath
	if err := l.call(ctx, item, "org.freedesktop.Secret.Item.Delete", nil, &prompt); err != nil {
		return err
	}
	return l.prompted(ctx, prompt, func() (bool, error) {
		left, err := l.search(ctx, s.versionAttributes(name, number))
		return !slices.Contains(left, item), err
	})
}

// Health implements [providers.Store].
func (s *store) Health(ctx context.Context) error {
	return s.do(ctx, func(*link) error { return nil })
}
