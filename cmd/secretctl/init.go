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
left half made.`

func initCommand(w *world) *cobra.Command {
	return &cobra.Command{
		Use:     "init",
		Short:   "make the broker's directory",
		Long:    initHelp,
		Example: "  secretctl init && secretctl serve",
		Args:    takes(),
		RunE: func(*cobra.Command, []string) error {
			h, err := w.home()
			if err != nil {
				return err
			}
			return w.makeHome(h)
		},
	}
}

// makeHome makes the home and says what to do with it.
func (w *world) makeHome(h home) error {
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
	var recipient string
	err = broker.Init(disk, w.clock, func() (err error) {
		recipient, err = age.Init(disk, w.clock.Now().Wall)
		return err
	})
	if errors.Is(err, broker.ErrHome) {
		return hinted(fmt.Errorf("%w: %s", err, h.dir), "secretctl serve")
	} else if err != nil {
		return err
	}
	return w.welcome(h, recipient)
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

func (w *world) welcome(h home, recipient string) error {
	err := w.printf(`made %s
  %-15s who may have what: nobody yet, so edit it
  %-15s opens the vault; its public half is %s
  %-15s one age file a version, empty now
  %-15s what happened, chained and signed

next
  secretctl serve
  secretctl set openai/api-key
`, shown(h.dir), broker.ConfigFile, age.IdentityFile, recipient, "vault/", broker.AuditDir+"/")
	w.say("keep a copy of %s somewhere safe: without it the vault cannot be opened, and with it anybody can", filepath.Join(h.dir, age.IdentityFile))
	w.say("names, sizes and times of secrets are visible to whoever can read the disk; values are not")
	return err
}
