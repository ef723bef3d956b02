package age

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"secretctl/broker/durable"
	"secretctl/providers"
)

// IdentityFile is the name, in the home, of the file with the private key.
const IdentityFile = "identity.txt"

// place is where an identity is kept.
type place interface {
	// check reports why no identity will be read there, as far as that can be told
	// without reading it.
	check(context.Context) error
	// read returns the identity's text, which the caller clears.
	read(context.Context) ([]byte, error)
	String() string // for people
}

// file is a place: a file.
type file struct {
	open   func() (durable.Disk, error)
	name   string // on that disk
	shown  string
	others fs.FileMode // of its mode: who must not have been able to read it
}

// inHome is a file in the home.
func inHome(d durable.Disk, name string) *file {
	return &file{func() (durable.Disk, error) { return d, nil }, name, name, 0o077}
}

func (f *file) String() string { return f.shown }

func (f *file) check(context.Context) error {
	d, err := f.open()
	if err != nil {
		return err
	}
	info, err := d.Stat(f.name)
	switch {
	case err != nil:
		return fmt.Errorf("opening vault: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("opening vault: %s is not a file", f.shown)
	case info.Mode().Perm()&f.others != 0:
		return fmt.Errorf("opening vault: %s has mode %04o, so others may have read it: chmod 600 it, and if they did, make a new vault", f.shown, info.Mode().Perm())
	case info.Size() > maxIdentity:
		return tooLong(f)
	}
	return nil
}

// maxIdentity is the longest text of an identity that is read, in bytes. A
// sanity check.
const maxIdentity = 64 << 10

func tooLong(p place) error {
	return fmt.Errorf("opening vault: %s is too long for an identity", p)
}

func (f *file) read(ctx context.Context) ([]byte, error) {
	if err := f.check(ctx); err != nil {
		return nil, err
	}
	d, err := f.open()
	if err != nil {
		return nil, err
	}
	text, err := durable.ReadFile(d, f.name)
	if err != nil {
		return nil, fmt.Errorf("opening vault: %w", err)
	}
	return text, nil
}

// there reports whether anything is in the place.
func (f *file) there() (bool, error) {
	d, err := f.open()
	if err != nil {
		return false, err
	}
	if _, err = d.Stat(f.name); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// credentialScheme begins, in the config, the name of a credential of systemd.
const credentialScheme = "credential:"

// place returns where the options say that the identity is.
func (o *Options) place() place {
	name, isCredential := strings.CutPrefix(o.Identity, credentialScheme)
	switch {
	case o.Identity == "":
		return inHome(o.Disk, IdentityFile)
	case strings.HasPrefix(o.Identity, KeyringScheme):
		return o.inKeyring(0)
	case isCredential:
		// systemd makes them for the unit alone; where it cannot give a file away it
		// adds an access list, which shows as the group's bits.
		return outside(filepath.Join(o.Credentials, name), "the credential "+name, 0o007, func() error { return o.credential(name) })
	}
	return elsewhere(o.Identity)
}

// elsewhere is a file that is named by its path.
func elsewhere(path string) *file { return outside(path, path, 0o077, func() error { return nil }) }

// outside is a file that is not in the home. Whoever can write it says what
// values are sealed to, so nobody else may.
func outside(path, shown string, others fs.FileMode, check func() error) *file {
	return &file{func() (durable.Disk, error) {
		if err := check(); err != nil {
			return nil, err
		}
		if err := trusted(path); err != nil {
			return nil, err
		}
		d, err := durable.OpenHome(filepath.Dir(path))
		if err != nil {
			return nil, fmt.Errorf("opening vault: %w", err)
		}
		return d, nil
	}, filepath.Base(path), shown, others}
}

// trusted reports why an identity cannot be in the file, or the directory.
func trusted(path string) error {
	var call *providers.CallError
	if err := providers.Trusted("the identity", path); errors.As(err, &call) {
		return &providers.StoreError{Kind: providers.ErrUnavailable, Problem: "opening vault: " + call.Problem, Remedy: call.Remedy}
	} else if err != nil {
		return err
	}
	return nil
}

// credential reports why the process has no such credential.
func (o *Options) credential(name string) error {
	problem := ""
	switch {
	case o.Credentials == "":
		problem = fmt.Sprintf("opening vault: the identity is the credential %s of systemd, and this process was given none", name)
	case !filepath.IsAbs(o.Credentials):
		problem = "opening vault: CREDENTIALS_DIRECTORY is not an absolute path"
	default:
		return nil
	}
	return &providers.StoreError{Kind: providers.ErrLocked, Problem: problem,
		Remedy: fmt.Sprintf("LoadCredentialEncrypted=%s:/etc/credstore.encrypted/%s in the unit; secretctl service print systemd shows how", name, name)}
}

// IsCredential reports whether the identity is a credential of systemd.
func (s *Store) IsCredential() bool { return strings.HasPrefix(s.options.Identity, credentialScheme) }

// CheckIdentity reports why no value will be opened, as far as that can be told
// without reading the private key: it is not there, or others could have read it
// too.
func (s *Store) CheckIdentity() error {
	ctx, stop := s.options.inTime(context.Background())
	defer stop()
	return s.options.place().check(ctx)
}
