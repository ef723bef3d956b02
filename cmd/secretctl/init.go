package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/broker/durable"
	"secretctl/providers/age"
)

const initHelp = `Makes the broker's directory, ~/.secretctl or SECRETCTL_HOME: the identity that
opens the vault, a commented secretctl.toml, an empty vault and the audit log.
It refuses a directory that is a home already, and completes one that a crash
left half made.

With --post-quantum the identity is a hybrid one (ML-KEM-768 and X25519), which a
quantum computer does not open: age 1.3 reads such a vault, and age before it
does not. With --passphrase its file has one, asked for twice, or read from
stdin; secretctl serve then asks for it when it starts.`

func initCommand(w *world) *cobra.Command {
	var postQuantum, passphrase bool
	c := &cobra.Command{
		Use:     "init",
		Short:   "make the broker's directory",
		Long:    initHelp,
		Example: "  secretctl init && secretctl serve",
		Args:    takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			h, err := w.home()
			if err != nil {
				return err
			}
			var want age.Wanted
			if postQuantum {
				want.Kind = age.PostQuantum
			}
			if passphrase {
				if disk, err := h.read(); err == nil { // nobody should type it for nothing
					return w.makeHome(h, want)
				} else if disk != nil || !errors.Is(err, errNoHome) {
					return err
				}
				if want.Passphrase, err = w.newPassphrase(c); err != nil {
					return err
				}
				defer want.Passphrase.Clear()
			}
			return w.makeHome(h, want)
		},
	}
	c.Flags().BoolVar(&postQuantum, "post-quantum", false, "make a post-quantum identity")
	c.Flags().BoolVar(&passphrase, "passphrase", false, "seal the identity with a passphrase")
	return c
}

// makeHome makes the home and says what to do with it.
func (w *world) makeHome(h home, want age.Wanted) error {
	if err := h.mkdir(); err != nil {
		return fmt.Errorf("making the home: %w", err)
	}
	if err := h.checkOwner(); err != nil {
		return err
	}
	disk, err := durable.OpenHome(h.dir)
	if err != nil {
		return fmt.Errorf("making the home: %w", err)
	}
	lock, err := disk.Lock()
	if errors.Is(err, durable.ErrLocked) {
		return hinted(fmt.Errorf("a broker runs on the home %s", h.dir), "secretctl status")
	} else if err != nil {
		return fmt.Errorf("making the home: %w", err)
	}
	defer lock.Close()
	var identity age.Public
	err = broker.Init(disk, w.clock, func() (err error) {
		identity, err = age.Init(disk, w.clock.Now().Wall, want)
		return err
	})
	if errors.Is(err, broker.ErrHome) {
		return hinted(fmt.Errorf("%w: %s", err, h.dir), "secretctl serve")
	} else if err != nil {
		return err
	}
	return w.welcome(h, identity)
}

// mkdir makes the directory, which others may pass through on their way to the
// sockets, whatever the umask says.
func (h home) mkdir() error {
	if _, err := os.Lstat(h.dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(h.dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(h.dir, 0o711); err != nil {
		return err
	}
	return os.Chmod(h.dir, 0o711)
}

func (w *world) welcome(h home, identity age.Public) error {
	told := "its public half is " + identity.Recipient
	switch {
	case identity.Recipient == "":
		told = "it has a passphrase, and was there already"
	case identity.Kind == age.PostQuantum: // its public half fills a screen
		told = "it is post-quantum: secretctl identity show"
	}
	err := w.printf(`made %s
  %-15s who may have what: nobody yet, so edit it
  %-15s opens the vault; %s
  %-15s one age file a version, empty now
  %-15s what happened, chained and signed

next
  secretctl serve
  secretctl set openai/api-key
`, shown(h.dir), broker.ConfigFile, age.IdentityFile, told, "vault/", broker.AuditDir+"/")
	file := filepath.Join(h.dir, age.IdentityFile)
	if identity.Passphrase {
		w.say("keep a copy of %s somewhere safe, and the passphrase elsewhere: without both the vault cannot be opened", file)
	} else {
		w.say("keep a copy of %s somewhere safe: without it the vault cannot be opened, and with it anybody can", file)
	}
	w.say("names, sizes and times of secrets are visible to whoever can read the disk; values are not")
	return err
}
