package main

import (
	"context"
	"fmt"
	"path"
	"time"

	"secretctl/broker/config"
	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/age"
	"secretctl/providers/builtin"
	"secretctl/providers/keychain"
)

// embedded is the store that is always there, with what the config says of it,
// which may be nil. ask is asked for the passphrase of its identity, if it has one.
func (w *world) embedded(disk durable.Disk, cfg *config.Config, ask asker) *age.Store {
	o := age.Options{
		Disk: disk, Dir: "vault", Credentials: w.getenv("CREDENTIALS_DIRECTORY"), Keyring: keychain.Identities(), Passphrase: ask,
		Tell: func(text string) { w.say("%s", text) },
	}
	if cfg != nil {
		o.Identity, o.Recipients = cfg.Age.Identity, cfg.Age.Recipients
	}
	return age.Open(o)
}

// openOn returns what opens another store of the config, which keeps its state on
// this disk.
func (w *world) openOn(disk durable.Disk) func(config.Store, func(context.Context, secret.Name) (secret.Value, error)) (providers.Store, error) {
	return func(s config.Store, own func(context.Context, secret.Name) (secret.Value, error)) (providers.Store, error) {
		return w.openStore(disk, s, own)
	}
}

func (w *world) openStore(disk durable.Disk, s config.Store, own func(context.Context, secret.Name) (secret.Value, error)) (providers.Store, error) {
	kind, ok := builtin.FindStore(s.Type)
	if !ok {
		return nil, fmt.Errorf("there is no store type %q", s.Type)
	}
	return kind.Open(providers.StoreSetup{Name: s.Name, Options: s.Options, Own: own, Now: func() time.Time { return w.clock.Now().Wall }, State: stateFile{disk, s.Name}})
}

// stateFile is where a store keeps what it knows beside the secrets.
type stateFile struct {
	disk durable.Disk
	name string // of the store
}

const stateDir = "stores"

func (f stateFile) path() string { return path.Join(stateDir, f.name+".json") }

func (f stateFile) Load() ([]byte, error) { return durable.ReadFile(f.disk, f.path()) }

func (f stateFile) Save(b []byte) error {
	if err := durable.MkdirAll(f.disk, stateDir, 0o700); err != nil {
		return err
	}
	return durable.WriteFile(f.disk, f.path(), b, 0o600)
}

// storesOf are all stores of a home that has no broker, by their name in the
// config, as far as that can be read.
func (w *world) storesOf(h home, disk durable.Disk) map[string]providers.Store {
	cfg, err := h.load(disk)
	vault := w.embedded(disk, cfg, w.askAtTerminal)
	all := map[string]providers.Store{"age": vault}
	if err != nil {
		w.say("warning: only the embedded store is looked through: %v", err)
		return all
	}
	for _, s := range cfg.Stores {
		if all[s.Name] != nil {
			continue
		}
		store, err := w.openStore(disk, s, func(ctx context.Context, name secret.Name) (secret.Value, error) { return newest(ctx, vault, name) })
		if err != nil {
			w.say("warning: opening store %q: %v", s.Name, err)
			continue
		}
		all[s.Name] = store
	}
	return all
}

// newest opens the newest version of a secret that a store has.
func newest(ctx context.Context, store providers.Store, name secret.Name) (secret.Value, error) {
	version := uint64(0)
	err := store.List(ctx, func(n secret.Name, v uint64, _ providers.Sum) error {
		if n == name {
			version = max(version, v)
		}
		return nil
	})
	if err == nil && version == 0 {
		err = fmt.Errorf("there is no secret %q", name)
	}
	if err != nil {
		return secret.Value{}, err
	}
	return store.Get(ctx, name, version, providers.Sum{})
}
