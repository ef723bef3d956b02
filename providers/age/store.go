// Package age is the embedded store: one standard age file a version.
//
// It guards against a stolen disk: values rest sealed to the home's
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
	"strconv"
	"strings"
	"sync"

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

// Options is what a store is opened with.
type Options struct {
	Disk durable.Disk // the home's; nil: there is none, for whoever only seals and opens files
	Dir  string       // below it, where the versions are; made when something is put there

	// Identity is where the identity is: an absolute path, credential:NAME for a
	// credential of systemd, or keychain:NAME for an item of the user's keyring; "":
	// [IdentityFile] in the home.
	Identity    string
	Credentials string   // the directory of this process's credentials; "": it has none
	Keyring     Keyring  // that of the user; nil: there is none
	Recipients  []string // that each version is sealed to besides the identity

	// Passphrase gives that of a file with an identity; tries is how often it gave
	// a wrong one before. The store clears it. Nil: nobody can be asked.
	Passphrase func(file string, tries int) (secret.Value, error)
	Tell       func(string) // is told what an age plugin has to say; nil: dropped
}

// Store keeps versions as `<dir>/<name>/@<version>.age`. A name's segments
// never begin with @, so a version is never mistaken for a secret.
type Store struct {
	options Options
	disk    durable.Disk
	dir     string

	reading chan struct{} // full while the identity is read, or forgotten
	keys    *keys         // nil: it was not yet

	mu      sync.Mutex // held while folders are removed
	writing int        // batches being written: the folders stay
}

var _ providers.Store = (*Store)(nil)

// New returns the store in dir, with the identity in the home. The identity is
// read when it is first needed, and until that works.
func New(d durable.Disk, dir string) *Store { return Open(Options{Disk: d, Dir: dir}) }

// Open is New for an identity that may be elsewhere.
func Open(o Options) *Store {
	return &Store{options: o, disk: o.Disk, dir: o.Dir, reading: make(chan struct{}, 1)}
}

func (s *Store) file(name secret.Name, version uint64) string {
	return path.Join(s.folder(name), "@"+strconv.FormatUint(version, 10)+extension)
}

// Get opens a version's file.
func (s *Store) Get(ctx context.Context, name secret.Name, version uint64, want providers.Sum) (secret.Value, error) {
	v, err := s.get(ctx, name, version, want)
	return v, providers.Unavailable(err)
}

func (s *Store) get(ctx context.Context, name secret.Name, version uint64, want providers.Sum) (secret.Value, error) {
	sealed, err := s.read(name, version)
	if err != nil {
		return secret.Value{}, err
	}
	if !want.IsZero() && sha256.Sum256(sealed) != want {
		return secret.Value{}, providers.ErrChanged
	}
	k, err := s.key(ctx)
	if err != nil {
		return secret.Value{}, err
	}
	v, err := open(ctx, sealed, k)
	if err != nil {
		return secret.Value{}, fmt.Errorf("opening %s: %w", s.file(name, version), k.reason(err))
	}
	if v.Len() > maxValue {
		v.Clear()
		return secret.Value{}, fmt.Errorf("opening %s: %w", s.file(name, version), secret.ErrTooLong)
	}
	return v, nil
}

func (s *Store) read(name secret.Name, version uint64) ([]byte, error) {
	sealed, err := durable.ReadFileMax(s.disk, s.file(name, version), maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, providers.ErrAbsent
	}
	return sealed, err
}

// Sum returns the sum of a version's file.
func (s *Store) Sum(_ context.Context, name secret.Name, version uint64) (providers.Sum, error) {
	sealed, err := s.read(name, version)
	if err != nil {
		return providers.Sum{}, providers.Unavailable(err)
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
		return providers.Unavailable(err)
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
		return providers.Unavailable(err)
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

// Health reports whether the identity and the vault's directory can be read.
func (s *Store) Health(ctx context.Context) error {
	k, err := s.key(ctx)
	if err == nil {
		err = k.mixed
	}
	if err == nil {
		if _, err = s.disk.Stat(s.dir); errors.Is(err, fs.ErrNotExist) {
			err = nil // nothing was ever put
		}
	}
	return providers.Unavailable(err)
}
