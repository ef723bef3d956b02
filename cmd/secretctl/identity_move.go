package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"secretctl/broker/config"
	"secretctl/broker/secret"
	"secretctl/providers/age"
	"secretctl/providers/keychain"
)

const identityMoveHelp = `Puts the identity into another place, reads it back there, and says what is left to
do: a line in the config, and the command that removes it from where it is. Neither
is done by itself. keychain:NAME is an item of the keyring of whoever types this
(the Keychain of macOS, the Secret Service on Linux), which must be the user that
the broker runs as; NAME is free. FILE must not be there yet.

The broker must be down. One that opens nothing of the vault is not taken.`

// identityMove is what identity move was asked for.
type identityMove struct {
	w              *world
	from           string
	to             string // keychain:NAME, or an absolute path
	passphraseFrom string
}

func identityMoveCommand(w *world) *cobra.Command {
	o := &identityMove{w: w}
	c := &cobra.Command{
		Use:     "move keychain:NAME|FILE",
		Short:   "put the identity into the keyring, or into a file",
		Long:    identityMoveHelp,
		Example: "  secretctl identity move keychain:vault\n  secretctl identity move ~/.secretctl/identity.txt",
		Args:    takes("keychain:NAME or FILE"),
		RunE: func(c *cobra.Command, args []string) (err error) {
			if o.to, err = o.place(c, args[0]); err != nil {
				return err
			}
			return o.run(c)
		},
	}
	c.Flags().StringVar(&o.from, "from", "", "take it from this file, your copy, and not from where the config says that it is")
	c.Flags().StringVar(&o.passphraseFrom, "passphrase-from", "", passphraseFromHelp)
	return c
}

// place reads an argument as where an identity can be.
func (o *identityMove) place(c *cobra.Command, arg string) (string, error) {
	name, is := strings.CutPrefix(arg, age.KeyringScheme)
	if !is {
		return filepath.Abs(arg)
	}
	if _, err := secret.ParseName(name); err != nil {
		return "", usage(c, "keychain:NAME: %v", err)
	}
	return arg, nil
}

func (o *identityMove) run(c *cobra.Command) error {
	ask, err := o.w.passphraseFrom(c, o.passphraseFrom)
	if err != nil {
		return err
	}
	h, err := o.w.home()
	if err != nil {
		return err
	}
	disk, err := h.own()
	if err != nil {
		return err
	}
	lock, err := lockIdentity(disk, "secretctl identity move "+o.to)
	if err != nil {
		return err
	}
	defer lock.Close()
	cfg, err := h.load(disk)
	if err != nil {
		return err
	}
	now := *cfg
	if o.from != "" {
		if now.Age.Identity, err = filepath.Abs(o.from); err != nil {
			return err
		}
	}
	vault := o.w.embedded(disk, &now, ask)
	if err := h.checkIdentity(vault); err != nil {
		return err
	}
	public, err := vault.CopyIdentity(c.Context(), o.to)
	if err != nil {
		return fmt.Errorf("moving the identity: %w", err)
	}
	return o.report(c.Context(), h, cfg.Age, public)
}

// report says what is left to do.
func (o *identityMove) report(ctx context.Context, h home, was config.Age, public age.Public) error {
	own := filepath.Join(h.dir, age.IdentityFile)
	before := was.Identity
	if before == "" {
		before = own
	}
	what := public.Recipient
	if what == "" {
		what = "an identity of kind " + public.Kind
	}
	err := o.w.printf("%s has %s, and returns it as it was put there\n", shown(o.to), shown(what))
	if err != nil || before == o.to {
		return err
	}
	line := fmt.Sprintf("under [store.age] in %s: identity = %q", h.configPath(), o.to)
	if o.to == own {
		line = fmt.Sprintf("in %s take identity out of [store.age]", h.configPath())
	}
	steps := []string{line, "secretctl check, then start the broker, and see that it opens the vault: secretctl status"}
	name, inKeyring := strings.CutPrefix(before, age.KeyringScheme)
	switch {
	case inKeyring:
		versions, err := keychain.Identities().Versions(ctx, secret.Name(name))
		if err != nil {
			return err
		}
		for _, v := range versions {
			steps = append(steps, keychain.RemoveIdentity(secret.Name(name), v))
		}
	case filepath.IsAbs(before):
		steps = append(steps, "rm "+before)
	}
	if strings.HasPrefix(o.to, age.KeyringScheme) && !inKeyring {
		steps = append([]string{"keep a copy on paper, or on a disk in a drawer: without the keyring it is all that opens the vault"}, steps...)
	}
	if err := o.w.printf("\nnext\n"); err != nil {
		return err
	}
	for _, step := range steps {
		if err := o.w.printf("  %s\n", shown(step)); err != nil {
			return err
		}
	}
	return nil
}
