package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/broker/durable"
	"secretctl/rotation"
)

const recoverHelp = `Rebuilds the ledger from the vault: after a backup was restored, or when the
ledger, the log or the halt file is lost or cannot be read. The broker must be
down.

Every lease dies and every secret is marked for rotation, since whoever had the
copy may have read it. It asks first on a terminal; elsewhere it wants --yes.`

func recoverCommand(w *world) *cobra.Command {
	var yes, asJSON bool
	c := &cobra.Command{
		Use:     "recover",
		Short:   "rebuild the ledger from the vault",
		Long:    recoverHelp,
		Example: "  cp -a /backup/secretctl ~/.secretctl && secretctl recover",
		Args:    takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			h, err := w.home()
			if err != nil {
				return err
			}
			found, err := w.recover(c.Context(), h, yes)
			switch {
			case err != nil:
				return err
			case asJSON:
				return w.printJSON(found)
			}
			return w.printRecovered(h, found)
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	jsonFlag(c, &asJSON)
	return c
}

// recover rebuilds the ledger of a home whose broker is down.
func (w *world) recover(ctx context.Context, h home, yes bool) (found broker.Recovered, err error) {
	disk, err := h.own()
	if err != nil {
		return found, err
	}
	lock, err := disk.Lock()
	if errors.Is(err, durable.ErrLocked) {
		return found, hinted(errors.New("the broker runs: it must be down"), "end the broker, then: secretctl recover")
	} else if err != nil {
		return found, fmt.Errorf("recovering: %w", err)
	}
	defer lock.Close()
	if err := w.confirm(yes, "Rebuild the ledger of "+h.dir+"? Every lease ends, and every secret is to be rotated."); err != nil {
		return found, err
	}
	if found, err = broker.Recover(ctx, disk, w.clock, w.storesOf(h, disk), rotation.Recovered); err != nil {
		return found, fmt.Errorf("recovering: %w", err)
	}
	return found, nil
}

func (w *world) printRecovered(h home, found broker.Recovered) error {
	err := w.printf("found %d versions of %d secrets\n", found.Versions, found.Secrets)
	if found.Log != "" {
		w.say("the audit log could not be read and was put aside: %s", filepath.Join(h.dir, found.Log))
	}
	w.say("every lease has ended")
	for _, store := range found.Unread {
		w.say("warning: store %s; what the ledger knew of it is kept", store)
	}
	if len(found.Gone) > 0 {
		w.say("warning: the ledger knew of %s, and no store has them", strings.Join(found.Gone, ", "))
	}
	if len(found.Rotations) > 0 {
		w.say("rotations go on, and the new values are verified again: %s", strings.Join(found.Rotations, ", "))
	}
	if found.Journal != "" {
		w.say("warning: rotations under way are forgotten: %s; it is kept in %s", found.Journal, filepath.Join(h.dir, "ledger.db.old"))
	}
	if found.Secrets > 0 {
		w.say("every secret is marked for rotation: whoever had this copy may have read it")
		w.hint("secretctl serve, then: secretctl status")
	}
	return err
}
