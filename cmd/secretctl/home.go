package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"secretctl/broker"
	"secretctl/broker/config"
	"secretctl/broker/durable"
	"secretctl/providers/age"
	"secretctl/sock"
)

// home is the directory a broker works in.
type home struct {
	dir   string // absolute
	named bool   // by SECRETCTL_HOME, so a sticky directory may be on the way
}

// home returns which directory it is. It touches nothing.
func (w *world) home() (home, error) {
	if dir := w.getenv("SECRETCTL_HOME"); dir != "" {
		dir, err := filepath.Abs(dir)
		return home{dir, true}, err
	}
	user, err := os.UserHomeDir()
	if err != nil {
		return home{}, hinted(errors.New("no home directory is known for this user"), "set SECRETCTL_HOME to the directory of the broker")
	}
	return home{filepath.Join(user, ".secretctl"), false}, nil
}

// socket returns where one of the home's sockets is.
func (h home) socket(s broker.Socket) string {
	return filepath.Join(h.dir, "run", string(s)+".sock")
}

// configPath returns where the config is, for messages and for people.
func (h home) configPath() string { return filepath.Join(h.dir, broker.ConfigFile) }

// errNoHome means that there is no home where it should be.
var errNoHome = errors.New("there is no home")

func (h home) absent() error {
	return hinted(fmt.Errorf("%w at %s", errNoHome, h.dir), "secretctl init")
}

// read opens the home for looking at it.
func (h home) read() (durable.Disk, error) {
	disk, err := durable.OpenHome(h.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, h.absent()
	} else if err != nil {
		return nil, fmt.Errorf("opening the home: %w", err)
	}
	is, err := broker.IsHome(disk)
	switch {
	case err != nil:
		return nil, fmt.Errorf("opening the home: %w", err)
	case !is:
		return nil, h.absent()
	}
	return disk, nil
}

// own opens the home for writing: it must be of this user, and nobody else may
// be able to put another in its place.
func (h home) own() (durable.Disk, error) {
	disk, err := h.read()
	if err != nil {
		return nil, err
	}
	return disk, h.checkOwner()
}

func (h home) checkOwner() error {
	info, err := os.Stat(h.dir)
	if err != nil {
		return fmt.Errorf("opening the home: %w", err)
	}
	us := uint32(os.Geteuid())
	if owner := info.Sys().(*syscall.Stat_t).Uid; owner != us {
		return hinted(fmt.Errorf("the home %s belongs to uid %d, and this is uid %d", h.dir, owner, us),
			fmt.Sprintf("run it as its owner: sudo -u '#%d' secretctl …", owner))
	}
	if err := sock.TrustedPath(h.dir, us, h.named); err != nil {
		return fmt.Errorf("the home cannot be used: %w", err)
	}
	return nil
}

// load reads the config.
func (h home) load(disk durable.Disk) (*config.Config, error) {
	info, err := disk.Stat(broker.ConfigFile)
	if err != nil {
		return nil, fmt.Errorf("reading the config: %w", err)
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, hinted(fmt.Errorf("%s is not a file", h.configPath()), "put the file itself there: a link would let somebody else decide")
	case info.Mode().Perm()&0o022 != 0:
		return nil, hinted(fmt.Errorf("%s has mode %04o, so others may have written it", h.configPath(), info.Mode().Perm()),
			"read it through, then: chmod 600 "+h.configPath())
	}
	text, err := durable.ReadFile(disk, broker.ConfigFile)
	if err != nil {
		return nil, fmt.Errorf("reading the config: %w", err)
	}
	return parseOptions().Parse(h.configPath(), text)
}

// checkIdentity reports why no value in the vault will be opened.
func (h home) checkIdentity(vault *age.Store) error {
	err := vault.CheckIdentity()
	if errors.Is(err, fs.ErrNotExist) {
		path := filepath.Join(h.dir, age.IdentityFile)
		return hinted(fmt.Errorf("%s is missing: no value in the vault can be opened", path), "put your copy of it there, and chmod 600 "+path)
	}
	return err
}
