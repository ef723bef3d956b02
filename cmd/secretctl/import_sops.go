package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	plain "filippo.io/age"
	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/broker/config"
	"secretctl/broker/secret"
	"secretctl/cmd/secretctl/dotenv"
	"secretctl/cmd/secretctl/sops"
)

// parseSOPS checks what does not go with --sops: such a file is left as it is.
func (m *importing) parseSOPS(c *cobra.Command) error {
	if !m.sops {
		if m.identity != "" {
			return usage(c, "--identity is for --sops")
		}
		return nil
	}
	for _, flag := range []string{"undo", "user"} {
		if c.Flags().Changed(flag) {
			return usage(c, "--sops does not go with --%s", flag)
		}
	}
	m.keep = true
	return nil
}

// runSOPS takes in what files of SOPS hold.
func (m *importing) runSOPS(ctx context.Context) error {
	ids, err := m.sopsIdentities()
	if err != nil {
		return err
	}
	files, err := m.open(ctx)
	if err != nil {
		return err
	}
	var plans []*plan
	var values []sops.Value
	defer func() { sops.Clear(values); _ = files.close() }()
	for _, path := range m.paths {
		content, err := files.open(path)
		if err != nil {
			return err
		}
		found, err := sops.Read(path, content, ids...)
		switch {
		case errors.Is(err, sops.ErrNotSOPS):
			return hinted(fmt.Errorf("reading %s: %w", path, err), "a .env file is imported without --sops")
		case errors.Is(err, sops.ErrNoKey):
			return hinted(fmt.Errorf("reading %s: %w", path, err), "name the file with the one that does: --identity FILE")
		case err != nil:
			return fmt.Errorf("reading %s: %w", path, err)
		}
		values = append(values, found...)
		p, err := m.choosing.planSOPS(path, found)
		if err != nil {
			return err
		}
		plans = append(plans, p)
	}
	if err := m.checkMaps(plans); err != nil {
		return err
	}
	if err := differ(plans); err != nil {
		return err
	}
	if err := m.take(ctx, plans); err != nil {
		return err
	}
	return m.report(ctx, plans)
}

// planSOPS decides what becomes of the values of a file: what is encrypted there
// goes in.
func (c *choosing) planSOPS(path string, values []sops.Value) (*plan, error) {
	empty, err := dotenv.Parse(nil)
	if err != nil {
		return nil, err
	}
	p := &plan{path: path, file: empty}
	for i, v := range values {
		m := move{entry: &dotenv.Entry{Key: strings.Join(v.Path, "."), Value: v.Bytes}, index: i}
		_, mapped := c.names[m.entry.Key]
		switch {
		case len(v.Bytes) == 0:
			m.leave("it is empty")
		case len(v.Bytes) > broker.MaxValue:
			m.leave("it is longer than 1 MiB")
		case mapped:
			m.why = "--map"
		case v.Encrypted:
			m.why = "it is encrypted there"
		case c.all:
			m.why = "--all"
		default:
			m.leave("it is not encrypted there")
		}
		if m.taken() {
			if err := c.nameSOPS(p, &m, v.Path); err != nil {
				return nil, err
			}
		}
		p.moves = append(p.moves, m)
	}
	return p, nil
}

// nameSOPS makes the name of a secret from where its value is: db: password: is
// db/password.
func (c *choosing) nameSOPS(p *plan, m *move, path []string) error {
	text := string(c.names[m.entry.Key])
	if text == "" {
		words := make([]string, len(path))
		for i, key := range path {
			words[i] = keyName(key)
		}
		text = c.prefix + strings.Join(words, "/")
	}
	name, err := secret.ParseName(text)
	if err == nil && name.Own() {
		err = errors.New(ownNames)
	}
	if err != nil {
		return hinted(fmt.Errorf("%s: %s: %w", p.path, m.entry.Key, err), "secretctl import --sops --map "+shellWord(m.entry.Key+"=NAME")+" "+p.path)
	}
	m.name = name
	if len(path) == 1 && config.IsEnv(path[0]) {
		m.env = path[0]
	}
	return nil
}

// sopsIdentities are those that sops itself would try: of the file that is named,
// by the flag or for sops, or where sops keeps them.
func (m *importing) sopsIdentities() ([]plain.Identity, error) {
	path := m.identity
	if path == "" {
		path = m.w.getenv("SOPS_AGE_KEY_FILE")
	}
	if path == "" {
		path = m.w.sopsKeys()
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, hinted(fmt.Errorf("reading the age identities: %w", err), "name the file that opens it: --identity FILE")
	}
	if !info.Mode().IsRegular() || info.Size() > 1<<20 {
		return nil, fmt.Errorf("reading the age identities: %s is not a file with identities", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the age identities: %w", err)
	}
	defer clear(text)
	ids, err := plain.ParseIdentities(bytes.NewReader(text))
	if err != nil { // what age says of it may quote it
		return nil, fmt.Errorf("reading the age identities: %s is not a file with age identities (AGE-SECRET-KEY-1…)", path)
	}
	return slices.Clip(ids), nil
}

// sopsKeys is where sops keeps its age identities.
func (w *world) sopsKeys() string {
	dir := w.getenv("XDG_CONFIG_HOME")
	home := w.getenv("HOME")
	switch {
	case dir != "":
	case runtime.GOOS == "darwin":
		dir = filepath.Join(home, "Library", "Application Support")
	default:
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "sops", "age", "keys.txt")
}
