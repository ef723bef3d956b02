//go:build cgo

package keychain

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/keybase/go-keychain"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// We have not run this on a Mac: TestOnMac is for who can.

// store keeps versions as generic passwords of the default keychain, which is a
// person's login keychain. The service is the store's, the account names the
// version, and the comment has the salt: the password is the value as it is, so
// that Keychain Access shows it.
type store struct {
	service string
	again   string // how what another build put there is put there again
	early   string // what a broker does that starts before anybody logs in

	// turn is full while the Security framework is in a call. There is one at a
	// time: a call that needs a person's consent opens a window and waits for it,
	// and one window is enough.
	turn chan struct{}
}

func open(label, _ string) Items {
	s := &store{service: application + "/" + label, turn: make(chan struct{}, 1)}
	s.again, s.early = "secretctl set NAME", "keeps its secrets in the age store"
	if label == identityLabel {
		s.again, s.early = "secretctl identity move --from FILE keychain:ANOTHER, with your copy of it", "has its identity in a file"
	}
	return s
}

// do calls the Security framework, which knows no deadlines. A call that is given
// up goes on until somebody has answered its window; till then others are given up
// too. what must not touch anything of the caller's once done has been closed.
func do[T any](ctx context.Context, s *store, what func() (T, error), unwanted func(T)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	var none T
	if err := ctx.Err(); err != nil {
		return none, s.explain(err)
	}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return none, s.explain(ctx.Err())
	}
	done := make(chan outcome)
	go func() {
		value, err := what()
		<-s.turn
		select {
		case done <- outcome{value, err}:
		case <-ctx.Done():
			unwanted(value)
		}
	}()
	select {
	case o := <-done:
		return o.value, s.explain(o.err)
	case <-ctx.Done():
		return none, s.explain(ctx.Err())
	}
}

// explain makes an error of the contract, which tells what to type.
func (s *store) explain(err error) error {
	failed := &providers.StoreError{Kind: providers.ErrUnavailable, Err: err}
	var already *providers.StoreError
	switch {
	case err == nil, errors.As(err, &already), errors.Is(err, providers.ErrAbsent), errors.Is(err, providers.ErrExists), errors.Is(err, providers.ErrChanged):
		return err
	case errors.Is(err, context.Canceled):
	case errors.Is(err, context.DeadlineExceeded):
		failed.Kind, failed.Problem = providers.ErrLocked, "the keychain waits for somebody to answer its window"
		failed.Remedy = "answer it at the screen: Always Allow; without a screen: security unlock-keychain"
	case errors.Is(err, keychain.ErrorInteractionNotAllowed):
		failed.Kind, failed.Problem = providers.ErrLocked, "the keychain is locked, or would have to ask and there is no screen"
		failed.Remedy = "security unlock-keychain; a broker that starts before anybody logs in " + s.early
	case errors.Is(err, keychain.ErrorAuthFailed):
		failed.Kind, failed.Problem = providers.ErrRefused, "the keychain does not let this program have the item: it was put there by another build of it"
		failed.Remedy = "put it there again: " + s.again + "; or sign each build alike: codesign --force --sign IDENTITY secretctl"
	case errors.Is(err, keychain.ErrorNoAccessForItem), errors.Is(err, keychain.ErrorUserCanceled):
		failed.Kind, failed.Problem = providers.ErrRefused, "somebody said no to the keychain's question"
		failed.Remedy = "ask again and answer Always Allow"
	case errors.Is(err, keychain.ErrorNotAvailable), errors.Is(err, keychain.ErrorNoSuchKeychain):
		failed.Problem, failed.Remedy = "this user has no keychain", "log in at the screen once, or security create-keychain"
	default:
		var code keychain.Error
		if errors.As(err, &code) {
			failed.Problem, failed.Remedy = fmt.Sprintf("the keychain does not work (error %d)", int(code)), fmt.Sprintf("security error %d says what it is", int(code))
		}
	}
	return failed
}

// account is what a version is called: a name has no @.
func account(name secret.Name, version uint64) string {
	return string(name) + "@" + strconv.FormatUint(version, 10)
}

// versionOf reads an account back. ok is false when it is not one of ours.
func versionOf(account string) (name secret.Name, version uint64, ok bool) {
	text, number, found := strings.Cut(account, "@")
	if !found {
		return "", 0, false
	}
	version, err := strconv.ParseUint(number, 10, 64)
	if err != nil || version == 0 || strconv.FormatUint(version, 10) != number {
		return "", 0, false
	}
	name, err = secret.ParseName(text)
	return name, version, err == nil
}

// item is one version, or all of them where the account is "".
func (s *store) item(account string) keychain.Item {
	item := keychain.NewItem()
	item.SetSecClass(keychain.SecClassGenericPassword)
	item.SetService(s.service)
	if account != "" {
		item.SetAccount(account)
	}
	return item
}

// opened is a version as it lies there.
type opened struct{ salt, value []byte }

// wipe clears what nobody wants any more.
func wipe(o opened) { clear(o.value) }

// find opens a version.
func (s *store) find(account string) (opened, error) {
	query := s.item(account)
	query.SetMatchLimit(keychain.MatchLimitOne)
	query.SetReturnAttributes(true)
	query.SetReturnData(true)
	found, err := keychain.QueryItem(query)
	switch {
	case errors.Is(err, keychain.ErrorItemNotFound), err == nil && len(found) == 0:
		return opened{}, providers.ErrAbsent
	case err != nil:
		return opened{}, err
	}
	salt, err := hex.DecodeString(found[0].Comment)
	if err != nil || len(salt) != saltLen {
		clear(found[0].Data)
		return opened{}, providers.ErrChanged
	}
	return opened{salt, found[0].Data}, nil
}

// Get implements [providers.Store].
func (s *store) Get(ctx context.Context, name secret.Name, version uint64, want providers.Sum) (secret.Value, error) {
	o, err := do(ctx, s, func() (opened, error) { return s.find(account(name, version)) }, wipe)
	if err != nil {
		return secret.Value{}, err
	}
	v, err := checked(o.salt, o.value, want)
	return v, providers.Unavailable(err)
}

// Sum implements [providers.Store].
func (s *store) Sum(ctx context.Context, name secret.Name, version uint64) (providers.Sum, error) {
	o, err := do(ctx, s, func() (opened, error) { return s.find(account(name, version)) }, wipe)
	if err != nil {
		return providers.Sum{}, err
	}
	defer clear(o.value)
	return providers.SaltedSum(o.salt, o.value), nil
}

// Put implements [providers.Store].
func (s *store) Put(ctx context.Context, name secret.Name, version uint64, v secret.Value) (providers.Sum, error) {
	salt := make([]byte, saltLen)
	_, _ = rand.Read(salt) // never fails
	var value []byte
	if err := v.Use(func(b []byte) error { value = append([]byte{}, b...); return nil }); err != nil {
		return providers.Sum{}, providers.Unavailable(err)
	}
	sum := providers.SaltedSum(salt, value)
	_, err := do(ctx, s, func() (struct{}, error) {
		defer clear(value) // also of a call that was given up
		item := s.item(account(name, version))
		item.SetLabel(fmt.Sprintf("%s: %s version %d", s.service, name, version))
		item.SetComment(hex.EncodeToString(salt))
		item.SetData(value)
		err := keychain.AddItem(item)
		if errors.Is(err, keychain.ErrorDuplicateItem) {
			err = providers.ErrExists
		}
		return struct{}{}, err
	}, func(struct{}) {})
	if err != nil {
		return providers.Sum{}, err
	}
	return sum, nil
}

// Delete implements [providers.Store].
func (s *store) Delete(ctx context.Context, name secret.Name, version uint64) error {
	_, err := do(ctx, s, func() (struct{}, error) {
		err := keychain.DeleteItem(s.item(account(name, version)))
		if errors.Is(err, keychain.ErrorItemNotFound) {
			err = nil
		}
		return struct{}{}, err
	}, func(struct{}) {})
	return err
}

// accounts are those of the versions that are there. Their values are not
// returned with them: the keychain of a file does not do that for many at once.
func (s *store) accounts() ([]string, error) {
	query := s.item("")
	query.SetMatchLimit(keychain.MatchLimitAll)
	query.SetReturnAttributes(true)
	found, err := keychain.QueryItem(query)
	if errors.Is(err, keychain.ErrorItemNotFound) {
		return nil, nil
	}
	var all []string
	for _, f := range found {
		all = append(all, f.Account)
	}
	return all, err
}

// List implements [providers.Store].
func (s *store) List(ctx context.Context, fn func(secret.Name, uint64, providers.Sum) error) error {
	all, err := do(ctx, s, s.accounts, func([]string) {})
	if err != nil {
		return err
	}
	for _, a := range all {
		name, version, ok := versionOf(a)
		if !ok {
			continue
		}
		sum, err := s.Sum(ctx, name, version)
		if errors.Is(err, providers.ErrAbsent) { // deleted meanwhile
			continue
		}
		if err != nil {
			return err
		}
		if err := fn(name, version, sum); err != nil {
			return err
		}
	}
	return nil
}

// Versions implements [Items]. It asks for what needs nobody's consent.
func (s *store) Versions(ctx context.Context, name secret.Name) (versions []uint64, err error) {
	all, err := do(ctx, s, s.accounts, func([]string) {})
	for _, a := range all {
		if n, version, ok := versionOf(a); ok && n == name {
			versions = append(versions, version)
		}
	}
	slices.Sort(versions)
	return versions, err
}

// Health implements [providers.Store]. It asks for what needs nobody's consent.
func (s *store) Health(ctx context.Context) error {
	_, err := do(ctx, s, s.accounts, func([]string) {})
	return err
}
