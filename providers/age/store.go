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
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
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

	mu      sync.Mutex         // held while folders are removed
	writing int                // versions being written: their folders stay
	folders map[string]*making // of those that are being written
}

var _ providers.Store = (*Store)(nil)

// New returns the store in dir, which is made when something is put there. The
// identity is read when it is first needed, and until that works.
func New(d durable.Disk, dir string) *Store {
	s := &Store{disk: d, dir: dir, folders: make(map[string]*making)}
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
	if v.Len() > maxValue { // it could not be opened again
		return providers.Sum{}, fmt.Errorf("sealing the value: %w", secret.ErrTooLong)
	}
	id, err := s.identity()
	if err != nil {
		return providers.Sum{}, err
	}
	sealed, err := seal(v, id.Recipient())
	if err != nil {
		return providers.Sum{}, fmt.Errorf("sealing the value: %w", err)
	}
	if err := s.makeFolder(name); err != nil {
		return providers.Sum{}, err
	}
	defer s.letFolderGo()
	if err := durable.WriteFile(s.disk, file, sealed, 0o600); err != nil {
		return providers.Sum{}, err
	}
	return sha256.Sum256(sealed), nil
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
	v, err := open(sealed, id)
	if err != nil {
		return secret.Value{}, fmt.Errorf("opening %s: %w", s.file(name, version), reason(err))
	}
	return v, nil
}

// reason says why a file did not open. What age says of it may quote the file.
func reason(err error) error {
	var other *age.NoIdentityMatchError
	switch {
	case errors.Is(err, secret.ErrFull), errors.Is(err, secret.ErrTooLong):
		return err
	case errors.As(err, &other) && !slices.Contains(other.StanzaTypes, "X25519"):
		return errors.New("it is sealed to no X25519 recipient (age1…), the only kind that is opened here")
	case errors.As(err, &other):
		return errors.New("it is sealed to another identity than " + IdentityFile)
	}
	return errors.New("it is damaged, cut short or not an age file")
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
	s.removeFolders(name)
	return nil
}

// List walks the vault. Files that are not versions of ours are passed over, and
// so is what is deleted meanwhile.
func (s *Store) List(ctx context.Context, fn func(secret.Name, uint64, providers.Sum) error) error {
	return s.walk(ctx, "", fn)
}

func (s *Store) walk(ctx context.Context, under string, fn func(secret.Name, uint64, providers.Sum) error) error {
	entries, err := s.disk.ReadDir(path.Join(s.dir, under))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.visit(ctx, under, e, fn); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) visit(ctx context.Context, under string, e fs.DirEntry, fn func(secret.Name, uint64, providers.Sum) error) error {
	name, version, ok := versionOf(under, e.Name())
	if !ok && e.IsDir() {
		return s.walk(ctx, path.Join(under, e.Name()), fn)
	}
	if !ok {
		return nil
	}
	sum, err := s.Sum(ctx, name, version)
	if errors.Is(err, providers.ErrAbsent) {
		return nil
	}
	if err != nil {
		return err
	}
	return fn(name, version, sum)
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
