// Package passage is a store in the directory of passage, the age-backed password
// manager (https://github.com/FiloSottile/passage), read and written in place.
//
// What passage shows as NAME is NAME.age: the newest version. The number of it,
// and the versions before, are where passage does not look:
//
//	store/NAME.age                   the newest version
//	store/.secretctl/NAME/@N.age     every version, the newest too
//
// A version that was put by passage alone is number 1. What passage changed is, as
// anything that is changed outside, not served until the owner adopts it; what it
// removed is absent. A file holds its value and a newline, as those of passage do;
// one newline at the end is not part of the value.
//
// It guards against an agent that adds itself to whom passwords are sealed to:
// the directory, the identities and every .age-recipients on the way must be
// beyond everybody else's reach, or nothing is done. It does not commit to a git
// repository that is there.
package passage

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/age"
)

const (
	extension  = ".age"
	versions   = ".secretctl"      // the directory with the versions
	recipients = ".age-recipients" // of passage
	maxValue   = 1 << 20
	maxFile    = maxValue + maxValue/64 + 64<<10 // a sanity check
)

// Kind is the type "passage".
func Kind() providers.StoreKind {
	return providers.StoreKind{
		Name:    "passage",
		Summary: "a directory of passage, read and written in place",
		Options: []providers.Option{
			{Name: "dir", Type: providers.File, Required: true, Help: "the directory with the passwords", Example: `"/home/joel/.passage/store"`},
			{Name: "identities", Type: providers.File, Help: "the file with the identity that opens them; without it, identities beside the directory", Example: `"/home/joel/.passage/identities"`},
		},
		Open: func(s providers.StoreSetup) (providers.Store, error) {
			return New(s.Options.Text("dir"), s.Options.Text("identities")), nil
		},
	}
}

// Store is a passage directory.
type Store struct {
	dir  string
	keys *age.Store

	mu   sync.RWMutex // a version is in the file that passage shows, or beside it
	open sync.Mutex
	disk durable.Disk // nil: it was not opened yet
}

var _ providers.Store = (*Store)(nil)

// New returns the store in a directory, with the identity in a file; "": that of
// passage.
func New(dir, identities string) *Store {
	if identities == "" {
		identities = filepath.Join(filepath.Dir(dir), "identities")
	}
	return &Store{dir: dir, keys: age.Open(age.Options{Identity: identities, Passphrase: func(file string, _ int) (secret.Value, error) {
		return secret.Value{}, &providers.StoreError{Kind: providers.ErrLocked,
			Problem: file + " has a passphrase, and nobody can be asked for it",
			Remedy:  `name a file with an identity that has none: identities = "…" of the store`}
	}})}
}

// ready returns the directory's disk, if nobody else can change what is there.
func (s *Store) ready() (durable.Disk, error) {
	if err := s.trusted(s.dir); err != nil {
		return nil, err
	}
	s.open.Lock()
	defer s.open.Unlock()
	if s.disk == nil {
		d, err := durable.OpenHome(s.dir)
		if err != nil {
			return nil, providers.Unavailable(fmt.Errorf("opening the passage directory: %w", err))
		}
		s.disk = d
	}
	return s.disk, nil
}

func (s *Store) trusted(path string) error {
	var call *providers.CallError
	if err := providers.Trusted("the passage directory's", path); errors.As(err, &call) {
		return &providers.StoreError{Kind: providers.ErrUnavailable, Problem: call.Problem, Remedy: call.Remedy}
	}
	return nil
}

func shown(name secret.Name) string { return string(name) + extension }

func folder(name secret.Name) string { return path.Join(versions, string(name)) }

func kept(name secret.Name, version uint64) string {
	return path.Join(folder(name), "@"+strconv.FormatUint(version, 10)+extension)
}

// numbers returns the versions of a secret that are kept, ascending.
func numbers(d durable.Disk, name secret.Name) (all []uint64, err error) {
	entries, err := d.ReadDir(folder(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		text, ok := strings.CutSuffix(e.Name(), extension)
		if !ok || !strings.HasPrefix(text, "@") {
			continue
		}
		if n, err := strconv.ParseUint(text[1:], 10, 64); err == nil && n > 0 && strconv.FormatUint(n, 10) == text[1:] {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all, nil
}

// read returns a file's bytes, nil where there is none.
func read(d durable.Disk, file string) ([]byte, error) {
	b, err := durable.ReadFileMax(d, file, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// bytesOf returns a version's bytes at rest.
func (s *Store) bytesOf(d durable.Disk, name secret.Name, version uint64) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all, err := numbers(d, name)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 && version == 1 || len(all) > 0 && version == all[len(all)-1] {
		return s.newest(d, name, all)
	}
	b, err := read(d, kept(name, version))
	if b == nil && err == nil {
		err = providers.ErrAbsent
	}
	return b, err
}

// newest returns the bytes of the newest of all versions: what passage shows. But
// where a crash came between the two files of it, passage still shows the one
// before.
func (s *Store) newest(d durable.Disk, name secret.Name, all []uint64) ([]byte, error) {
	b, err := read(d, shown(name))
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, providers.ErrAbsent
	}
	if len(all) < 2 {
		return b, nil
	}
	before, err := read(d, kept(name, all[len(all)-2]))
	if err != nil || before == nil || sha256.Sum256(before) != sha256.Sum256(b) {
		return b, err
	}
	return read(d, kept(name, all[len(all)-1]))
}

// Get opens a version.
func (s *Store) Get(ctx context.Context, name secret.Name, version uint64, want providers.Sum) (secret.Value, error) {
	v, err := s.get(ctx, name, version, want)
	return v, providers.Unavailable(err)
}

func (s *Store) get(ctx context.Context, name secret.Name, version uint64, want providers.Sum) (secret.Value, error) {
	d, err := s.ready()
	if err != nil {
		return secret.Value{}, err
	}
	b, err := s.bytesOf(d, name, version)
	if err != nil {
		return secret.Value{}, err
	}
	if !want.IsZero() && sha256.Sum256(b) != want {
		return secret.Value{}, providers.ErrChanged
	}
	v, err := s.keys.OpenFile(ctx, b)
	if err == nil {
		v, err = withoutNewline(v)
	}
	if err != nil {
		return secret.Value{}, fmt.Errorf("opening %s: %w", shown(name), err)
	}
	return v, nil
}

// withoutNewline takes a value over and drops one newline at its end.
func withoutNewline(v secret.Value) (out secret.Value, err error) {
	defer v.Clear()
	err = v.Use(func(b []byte) error {
		n := len(b)
		if n > 0 && b[n-1] == '\n' {
			n--
		}
		if n > maxValue {
			return secret.ErrTooLong
		}
		out, err = secret.Fill(n, func(to []byte) error { copy(to, b[:n]); return nil })
		return err
	})
	return out, err
}

func withNewline(v secret.Value) (out secret.Value, err error) {
	err = v.Use(func(b []byte) error {
		out, err = secret.Fill(len(b)+1, func(to []byte) error { to[copy(to, b)] = '\n'; return nil })
		return err
	})
	return out, err
}

// Put seals the value into a new version.
func (s *Store) Put(ctx context.Context, name secret.Name, version uint64, v secret.Value) (providers.Sum, error) {
	sum, err := s.put(ctx, name, version, v)
	return sum, providers.Unavailable(err)
}

func (s *Store) put(ctx context.Context, name secret.Name, version uint64, v secret.Value) (sum providers.Sum, err error) {
	d, err := s.ready()
	if err != nil {
		return sum, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.Len() > maxValue {
		return sum, fmt.Errorf("sealing the value: %w", secret.ErrTooLong)
	}
	all, err := s.settled(d, name)
	if err != nil {
		return sum, err
	}
	if slices.Contains(all, version) {
		return sum, providers.ErrExists
	}
	line, err := withNewline(v)
	if err != nil {
		return sum, err
	}
	defer line.Clear()
	to, err := s.recipients(d, name)
	if err != nil {
		return sum, err
	}
	sealed, err := s.keys.SealFile(ctx, line, to)
	if err != nil {
		return sum, fmt.Errorf("sealing the value: %w", err)
	}
	if err := durable.MkdirAll(d, folder(name), 0o700); err != nil {
		return sum, err
	}
	if err := durable.WriteFile(d, kept(name, version), sealed, 0o600); err != nil {
		return sum, err
	}
	if len(all) == 0 || version > all[len(all)-1] {
		err = show(d, name, sealed)
	}
	return sha256.Sum256(sealed), err
}

// show has passage show these bytes.
func show(d durable.Disk, name secret.Name, b []byte) error {
	if err := durable.MkdirAll(d, path.Dir(shown(name)), 0o700); err != nil {
		return err
	}
	return durable.WriteFile(d, shown(name), b, 0o600)
}

// settled returns the versions of a secret, each of which is kept as it is: what
// passage put or changed is lost no more when it shows another.
func (s *Store) settled(d durable.Disk, name secret.Name) ([]uint64, error) {
	all, err := numbers(d, name)
	if err != nil {
		return nil, err
	}
	b, err := s.newest(d, name, all)
	if errors.Is(err, providers.ErrAbsent) {
		return all, nil
	} else if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		all = []uint64{1}
	}
	file := kept(name, all[len(all)-1])
	if was, err := read(d, file); err != nil || was != nil && sha256.Sum256(was) == sha256.Sum256(b) {
		return all, err
	}
	if err := durable.MkdirAll(d, folder(name), 0o700); err != nil {
		return nil, err
	}
	return all, durable.WriteFile(d, file, b, 0o600)
}

// recipients returns whom passage seals a password to: those of the nearest
// directory that names any; none: the identity itself.
func (s *Store) recipients(d durable.Disk, name secret.Name) ([]string, error) {
	for dir := path.Dir(string(name)); ; dir = path.Dir(dir) {
		file := path.Join(dir, recipients)
		if _, err := d.Stat(file); err == nil {
			return s.readRecipients(d, file)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if dir == "." {
			return nil, nil
		}
	}
}

func (s *Store) readRecipients(d durable.Disk, file string) (all []string, err error) {
	if err := s.trusted(filepath.Join(s.dir, filepath.FromSlash(file))); err != nil {
		return nil, err
	}
	text, err := read(d, file)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			all = append(all, line)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s names nobody", file)
	}
	return all, nil
}

// Sum returns the sum of a version's bytes.
func (s *Store) Sum(_ context.Context, name secret.Name, version uint64) (sum providers.Sum, err error) {
	d, err := s.ready()
	if err != nil {
		return sum, err
	}
	b, err := s.bytesOf(d, name, version)
	if err != nil {
		return sum, providers.Unavailable(err)
	}
	return sha256.Sum256(b), nil
}

// Delete removes a version. Passage then shows the newest of those that stay.
func (s *Store) Delete(_ context.Context, name secret.Name, version uint64) error {
	d, err := s.ready()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return providers.Unavailable(s.delete(d, name, version))
}

func (s *Store) delete(d durable.Disk, name secret.Name, version uint64) error {
	all, err := numbers(d, name)
	if err != nil {
		return err
	}
	last := len(all) - 1
	switch {
	case len(all) == 0 && version == 1, last == 0 && version == all[0]:
		err = remove(d, shown(name))
	case last > 0 && version == all[last]:
		var before []byte
		if before, err = read(d, kept(name, all[last-1])); err == nil && before != nil {
			err = show(d, name, before)
		}
	}
	if err != nil {
		return err
	}
	if err := remove(d, kept(name, version)); err != nil {
		return err
	}
	clean(d, folder(name), versions)
	clean(d, path.Dir(shown(name)), ".")
	return nil
}

// remove removes a file, durably, if it is there.
func remove(d durable.Disk, file string) error {
	if _, err := d.Stat(path.Dir(file)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := durable.Remove(d, file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// clean removes a directory and those around it, up to one that stays, where they
// are empty.
func clean(d durable.Disk, dir, stays string) {
	for ; dir != stays && dir != "."; dir = path.Dir(dir) {
		if d.Remove(dir) != nil {
			return
		}
	}
}

// List lists what is kept, and what passage alone has. A password whose name is
// none of ours is passed over.
func (s *Store) List(ctx context.Context, fn func(secret.Name, uint64, providers.Sum) error) error {
	d, err := s.ready()
	if err != nil {
		return err
	}
	names := make(map[secret.Name]bool)
	if err := walk(ctx, d, ".", "", func(name secret.Name) { names[name] = true }); err != nil {
		return providers.Unavailable(err)
	}
	for name := range names {
		all, err := numbers(d, name)
		if err != nil {
			return providers.Unavailable(err)
		}
		if len(all) == 0 {
			all = []uint64{1}
		}
		for _, n := range all {
			if err := ctx.Err(); err != nil {
				return err
			}
			sum, err := s.Sum(ctx, name, n)
			if errors.Is(err, providers.ErrAbsent) {
				continue
			} else if err != nil {
				return err
			}
			if err := fn(name, n, sum); err != nil {
				return err
			}
		}
	}
	return nil
}

// walk calls fn with every name there is below a directory: that of a file that
// passage shows, or of a directory with versions.
func walk(ctx context.Context, d durable.Disk, dir, under string, fn func(secret.Name)) error {
	entries, err := d.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		text, isFile := strings.CutSuffix(e.Name(), extension)
		switch {
		case dir == "." && e.Name() == versions:
			err = walk(ctx, d, versions, "", fn)
		case e.IsDir() && !strings.HasPrefix(e.Name(), "."):
			err = walk(ctx, d, path.Join(dir, e.Name()), path.Join(under, e.Name()), fn)
		case isFile && strings.HasPrefix(text, "@"):
			text = ""
			fallthrough
		case isFile:
			if name, err := secret.ParseName(path.Join(under, text)); err == nil {
				fn(name)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Health reports whether the directory and the identity can be used.
func (s *Store) Health(context.Context) error {
	d, err := s.ready()
	if err != nil {
		return err
	}
	if _, err := d.ReadDir("."); err != nil {
		return providers.Unavailable(err)
	}
	return s.keys.Unlock()
}
