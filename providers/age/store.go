// Package age is the embedded store: one standard age file a version.
//
// It guards against a stolen disk: values rest sealed to the home's X25519
// identity, and the plain age program opens them with it, so that nobody
// depends on us to get their secrets back. Names, sizes and times of secrets
// are visible to whoever can read the directory. A file that does not open to
// its very end is an error and never a value: age gives out the beginning of a
// cut file before it notices.
package age

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"sync"

	"filippo.io/age"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// maxValue is the largest value, in bytes: what the broker accepts.
const maxValue = 1 << 20

// maxFile is the largest file that is read, in bytes: a value, age's 16 bytes a
// 64 KiB chunk and a header. A sanity check, not a limit of the format.
const maxFile = maxValue + maxValue/64 + 64<<10

// extension ends the name of a version's file.
const extension = ".age"

// Store keeps versions as `<dir>/<name>/@<version>.age`. A name's segments
// never begin with @, so a version is never mistaken for a secret.
type Store struct {
	disk     durable.Disk
	dir      string
	identity func() (*age.X25519Identity, error)
}

var _ providers.Store = (*Store)(nil)

// New returns the store in dir, which is made when something is put there. The
// identity is read when it is first needed, and until that works.
func New(d durable.Disk, dir string) *Store {
	s := &Store{disk: d, dir: dir}
	var mu sync.Mutex
	var id *age.X25519Identity
	s.identity = func() (_ *age.X25519Identity, err error) {
		mu.Lock()
		defer mu.Unlock()
		if id == nil {
			id, err = readIdentity(d)
		}
		return id, err
	}
	return s
}

func (s *Store) folder(name secret.Name) string { return path.Join(s.dir, string(name)) }

func (s *Store) file(name secret.Name, version uint64) string {
	return path.Join(s.folder(name), "@"+strconv.FormatUint(version, 10)+extension)
}

// Put seals the value into a new file.
func (s *Store) Put(_ context.Context, name secret.Name, version uint64, v secret.Value) (providers.Sum, error) {
	file := s.file(name, version)
	if _, err := s.disk.Stat(file); err == nil {
		return providers.Sum{}, providers.ErrExists
	} else if !errors.Is(err, fs.ErrNotExist) {
		return providers.Sum{}, err
	}
	id, err := s.identity()
	if err != nil {
		return providers.Sum{}, err
	}
	var sealed bytes.Buffer
	err = v.Use(func(b []byte) error {
		w, err := age.Encrypt(&sealed, id.Recipient())
		if err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		return w.Close()
	})
	if err != nil {
		return providers.Sum{}, fmt.Errorf("sealing the value: %w", err)
	}
	if err := durable.MkdirAll(s.disk, s.folder(name), 0o700); err != nil {
		return providers.Sum{}, err
	}
	if err := durable.WriteFile(s.disk, file, sealed.Bytes(), 0o600); err != nil {
		return providers.Sum{}, err
	}
	return sha256.Sum256(sealed.Bytes()), nil
}

// Get opens a version's file.
func (s *Store) Get(_ context.Context, name secret.Name, version uint64, want providers.Sum) (secret.Value, error) {
	sealed, err := s.read(name, version)
	if err != nil {
		return secret.Value{}, err
	}
	if !want.IsZero() && sha256.Sum256(sealed) != want {
		return secret.Value{}, providers.ErrChanged
	}
	id, err := s.identity()
	if err != nil {
		return secret.Value{}, err
	}
	r, err := age.Decrypt(bytes.NewReader(sealed), id)
	if err != nil {
		var other *age.NoIdentityMatchError
		if errors.As(err, &other) {
			return secret.Value{}, fmt.Errorf("opening %s: it is sealed to another identity than %s", s.file(name, version), IdentityFile)
		}
		return secret.Value{}, fmt.Errorf("opening %s: it is damaged or not an age file", s.file(name, version))
	}
	v, err := secret.Read(r, maxValue)
	switch {
	case errors.Is(err, secret.ErrFull), errors.Is(err, secret.ErrTooLong):
		return secret.Value{}, fmt.Errorf("opening %s: %w", s.file(name, version), err)
	case err != nil:
		return secret.Value{}, fmt.Errorf("opening %s: it is damaged or cut short", s.file(name, version))
	}
	return v, nil
}

func (s *Store) read(name secret.Name, version uint64) ([]byte, error) {
	file := s.file(name, version)
	info, err := s.disk.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, providers.ErrAbsent
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("opening %s: it is not a file of ours", file)
	}
	return durable.ReadFile(s.disk, file)
}

// Sum returns the sum of a version's file.
func (s *Store) Sum(_ context.Context, name secret.Name, version uint64) (providers.Sum, error) {
	sealed, err := s.read(name, version)
	if err != nil {
		return providers.Sum{}, err
	}
	return sha256.Sum256(sealed), nil
}

// Delete removes a version's file, and the folders it leaves empty.
func (s *Store) Delete(_ context.Context, name secret.Name, version uint64) error {
	err := durable.Remove(s.disk, s.file(name, version))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for dir := s.folder(name); dir != s.dir; dir = path.Dir(dir) {
		if s.disk.Remove(dir) != nil {
			break // not empty, or it will be empty again some other time
		}
	}
	return nil
}

// List walks the vault. Files that are not versions of ours are passed over.
func (s *Store) List(ctx context.Context, fn func(secret.Name, uint64, providers.Sum) error) error {
	return s.walk(ctx, "", fn)
}

func (s *Store) walk(ctx context.Context, under string, fn func(secret.Name, uint64, providers.Sum) error) error {
	entries, err := s.disk.ReadDir(path.Join(s.dir, under))
	if errors.Is(err, fs.ErrNotExist) && under == "" {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if e.IsDir() {
			if err := s.walk(ctx, path.Join(under, e.Name()), fn); err != nil {
				return err
			}
			continue
		}
		name, version, ok := versionOf(under, e.Name())
		if !ok {
			continue
		}
		sum, err := s.Sum(ctx, name, version)
		if err != nil {
			return err
		}
		if err := fn(name, version, sum); err != nil {
			return err
		}
	}
	return nil
}

// versionOf reads a file's place in the vault back into what it holds.
func versionOf(under, file string) (secret.Name, uint64, bool) {
	number, ok := strings.CutSuffix(file, extension)
	if !ok || !strings.HasPrefix(number, "@") {
		return "", 0, false
	}
	version, err := strconv.ParseUint(number[1:], 10, 64)
	if err != nil || version == 0 || strconv.FormatUint(version, 10) != number[1:] {
		return "", 0, false
	}
	name, err := secret.ParseName(under)
	return name, version, err == nil
}

// Check reports whether the identity can be read, for status.
func (s *Store) Check() error {
	_, err := s.identity()
	return err
}
