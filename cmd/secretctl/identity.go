package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/providers/age"
	"secretctl/rotation"
)

const identityHelp = `The identity is the private key that opens the vault, identity.txt in the home
unless the config says otherwise. show prints its public half; rotate seals the
whole vault to another one; move puts it into the keyring, or into a file.`

func identityCommand(w *world) *cobra.Command {
	c := &cobra.Command{
		Use:     "identity",
		Short:   "show what opens the vault, or replace it",
		Long:    identityHelp,
		Example: "  secretctl identity show\n  secretctl identity rotate",
		Args:    takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			return usage(c, "identity needs show, rotate, or move")
		},
	}
	c.AddCommand(identityShowCommand(w), identityRotateCommand(w), identityMoveCommand(w))
	return c
}

// identityReport is what identity show and identity rotate print.
type identityReport struct {
	age.Public
	Recipients []string `json:"recipients"` // of the config
}

const identityShowHelp = `Prints of which kind the identity is, its public half, and the recipients of the
config that each version is sealed to besides. None of it opens anything. It asks
for the passphrase, if the identity has one.`

func identityShowCommand(w *world) *cobra.Command {
	var asJSON bool
	var passphrase string
	c := &cobra.Command{
		Use:     "show",
		Short:   "print the public half of what opens the vault",
		Long:    identityShowHelp,
		Example: "  secretctl identity show",
		Args:    takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			ask, err := w.passphraseFrom(c, passphrase)
			if err != nil {
				return err
			}
			h, err := w.home()
			if err != nil {
				return err
			}
			disk, err := h.own()
			if err != nil {
				return err
			}
			cfg, err := h.load(disk)
			if err != nil {
				return err
			}
			vault := w.embedded(disk, cfg, ask)
			if err := h.checkIdentity(vault); err != nil {
				return err
			}
			report := identityReport{Recipients: []string{}}
			public, others, err := vault.Identity()
			if err != nil {
				return err
			}
			report.Public, report.Recipients = public, append(report.Recipients, others...)
			if asJSON {
				return w.printJSON(report)
			}
			return w.printIdentity(report)
		},
	}
	c.Flags().StringVar(&passphrase, "passphrase-from", "", passphraseFromHelp)
	jsonFlag(c, &asJSON)
	return c
}

func (w *world) printIdentity(r identityReport) error {
	kind := r.Kind
	if r.Passphrase {
		kind += ", with a passphrase"
	}
	recipient := r.Recipient
	if recipient == "" {
		recipient = "known to its plugin alone"
	}
	if err := w.printf("%-10s %s\n%-10s %s\n", "kind", shown(kind), "recipient", shown(recipient)); err != nil {
		return err
	}
	for _, other := range r.Recipients {
		if err := w.printf("%-10s %s\n", "also", shown(other)); err != nil {
			return err
		}
	}
	return nil
}

const identityRotateHelp = `Makes a new identity of the same kind and seals every version in the vault to it,
and to the recipients of the config. The broker must be down. When all is done the
new identity takes the place of the old one, in identity.txt or in the keyring;
where it is cut short both are kept and both open the vault, and the same command
goes on.

A backup from before is opened by the old identity alone: keep your copy of it as
long as the backup. Rotating the identity does not change the secrets: whoever had
the old one, and the vault, has read them (secretctl rotate --all).`

// identityChange is what identity rotate was asked for.
type identityChange struct {
	w                          *world
	kind, from, passphraseFrom string
	passphrase, noPassphrase   bool
	yes, json                  bool
	ask                        asker
	current                    secret.Value // the passphrase there is; zero: none
}

func identityRotateCommand(w *world) *cobra.Command {
	o := &identityChange{w: w}
	c := &cobra.Command{
		Use:     "rotate",
		Short:   "seal the vault to a new identity",
		Long:    identityRotateHelp,
		Example: "  secretctl identity rotate\n  secretctl identity rotate --kind post-quantum --passphrase",
		Args:    takes(),
		RunE:    func(c *cobra.Command, _ []string) error { return o.run(c) },
	}
	f := c.Flags()
	f.StringVar(&o.kind, "kind", "", "of the new identity: x25519 or post-quantum (else: as the old one)")
	f.StringVar(&o.from, "from", "", "take the new identity from a file: of a plugin, a key of ssh, any kind")
	f.BoolVar(&o.passphrase, "passphrase", false, "seal the new identity with a new passphrase (else: with the one it has, if any)")
	f.BoolVar(&o.noPassphrase, "no-passphrase", false, "the new identity has no passphrase")
	f.StringVar(&o.passphraseFrom, "passphrase-from", "", passphraseFromHelp)
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	jsonFlag(c, &o.json)
	return c
}

func (o *identityChange) run(c *cobra.Command) error {
	switch {
	case o.kind != "" && o.kind != age.X25519 && o.kind != age.PostQuantum:
		return usage(c, "--kind is x25519 or post-quantum")
	case o.from != "" && (o.kind != "" || o.passphrase || o.noPassphrase):
		return usage(c, "--from takes the identity as it is: neither --kind nor a passphrase goes with it")
	case o.passphrase && o.noPassphrase:
		return usage(c, "there is a passphrase, or there is none")
	}
	ask, err := o.w.passphraseFrom(c, o.passphraseFrom)
	if err != nil {
		return err
	}
	defer func() { o.current.Clear() }()
	o.ask = func(file string, tries int) (secret.Value, error) {
		v, err := ask(file, tries)
		if err == nil {
			o.current.Clear()
			o.current, err = copyOf(v)
		}
		return v, err
	}
	h, err := o.w.home()
	if err != nil {
		return err
	}
	disk, err := h.own()
	if err != nil {
		return err
	}
	lock, err := lockIdentity(disk, "secretctl identity rotate")
	if err != nil {
		return err
	}
	defer lock.Close()
	return o.rotate(c, h, disk)
}

// lockIdentity locks the home, so that nobody else uses the identity or replaces it.
func lockIdentity(disk durable.Disk, command string) (io.Closer, error) {
	lock, err := disk.Lock()
	if errors.Is(err, durable.ErrLocked) {
		return nil, hinted(errors.New("the broker runs: it must be down"), "end the broker, then: "+command)
	} else if err != nil {
		return nil, fmt.Errorf("locking the home: %w", err)
	}
	return lock, nil
}

func (o *identityChange) rotate(c *cobra.Command, h home, disk durable.Disk) error {
	cfg, err := h.load(disk)
	if err != nil {
		return err
	}
	vault := o.w.embedded(disk, cfg, o.ask)
	if err := h.checkIdentity(vault); err != nil {
		return err
	}
	want, err := o.wanted(c, vault)
	defer func() { want.Passphrase.Clear(); want.Current.Clear() }()
	if err != nil {
		return err
	}
	if err := o.w.confirm(o.yes, "Seal the vault of "+h.dir+" to a new identity? What you have copied of the old one will not open it any more."); err != nil {
		return err
	}
	r, err := vault.Reseal(o.w.clock.Now().Wall, want)
	if err != nil {
		return err
	}
	if r.GoesOn {
		o.w.say("a rotation of the identity was cut short: it goes on, to the identity that was made then")
	}
	done, err := o.w.reseal(c.Context(), disk, r)
	if err != nil {
		return hinted(fmt.Errorf("rotating the identity: %w", err), "both identities are kept, and both open the vault: secretctl identity rotate")
	}
	if len(done.Left) > 0 {
		for _, why := range done.Left {
			o.w.say("left as it is: %s", why)
		}
		return hinted(fmt.Errorf("%s could not be sealed anew: both identities are kept", counted(len(done.Left), "version")),
			"put them right, or secretctl rm what they belong to; then again: secretctl identity rotate")
	}
	if o.json {
		return o.w.printJSON(struct {
			age.Public
			broker.Resealed
		}{r.Public, done})
	}
	err = o.w.printf("%s sealed to a new identity\n", counted(done.Versions, "version"))
	const keep = "somewhere safe, and the old one as long as you have backups from before"
	if vault.InKeyring() {
		o.w.say("keep a copy of the identity " + keep)
		o.w.hint("secretctl identity move FILE writes one")
	} else {
		o.w.say("keep a copy of %s "+keep, filepath.Join(h.dir, age.IdentityFile))
	}
	return err
}

// reseal seals what a home keeps to another identity.
func (w *world) reseal(ctx context.Context, disk durable.Disk, r *age.Resealing) (broker.Resealed, error) {
	var p *progress
	defer func() {
		if p != nil {
			p.end()
		}
	}()
	return broker.Reseal(ctx, disk, w.clock, r,
		func(db durable.DB) error { return rotation.Reseal(db, r.Seal) },
		func(done, of int) {
			if p == nil {
				p = w.progress(of, "versions sealed")
			}
			for p.done < done {
				p.step()
			}
		})
}

// wanted is what the new identity is to be: as the old one, where nothing else was
// said.
func (o *identityChange) wanted(c *cobra.Command, vault *age.Store) (want age.Wanted, err error) {
	if o.from != "" {
		return age.Wanted{From: o.from}, nil
	}
	now, _, err := vault.Identity()
	if err != nil || vault.Halfway() {
		return want, err
	}
	want.Kind = o.kind
	switch {
	case want.Kind != "":
	case now.Kind == age.X25519, now.Kind == age.PostQuantum:
		want.Kind = now.Kind
	default:
		return want, usage(c, "a new identity of kind %s is not made here: make it with its own tool and say --from FILE, or say --kind x25519", now.Kind)
	}
	if now.Passphrase {
		if want.Current, err = copyOf(o.current); err != nil {
			return want, err
		}
	}
	switch {
	case o.passphrase:
		want.Passphrase, err = o.w.newPassphrase(c)
	case now.Passphrase && !o.noPassphrase:
		want.Passphrase, err = copyOf(o.current)
	}
	return want, err
}

// copyOf returns a copy of a value, which has a life of its own.
func copyOf(v secret.Value) (out secret.Value, err error) {
	err = v.Use(func(b []byte) error {
		out, err = secret.Fill(len(b), func(to []byte) error { copy(to, b); return nil })
		return err
	})
	return out, err
}
