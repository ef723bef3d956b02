package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/broker/secret"
)

const mvHelp = `Moves all versions of secrets to another store: each is copied, read back and
compared, then used from there, and only then removed where it was. Leases go
on, and a crash anywhere leaves each secret whole in one of the two: the same
command goes on from there.

What secretctl.toml says of a secret's store comes first: change it there, and
reload, before a secret that it names is moved.`

func mvCommand(w *world) *cobra.Command {
	var m struct {
		store string
		json  bool
	}
	c := &cobra.Command{
		Use:               "mv NAME… --store STORE",
		SuggestFor:        []string{"move", "migrate"},
		Short:             "move secrets to another store",
		Long:              mvHelp,
		Example:           "  secretctl mv github/token --store keychain",
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completeName(w),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(c, "%s needs NAME", pathOf(c))
			}
			if m.store == "" {
				return usage(c, "say where to: --store STORE; secretctl status lists the stores")
			}
			var names []secret.Name
			for _, arg := range args {
				name, err := nameArg(c, arg)
				if err != nil {
					return err
				}
				names = append(names, name)
			}
			moved, err := w.moveAll(c, names, m.store)
			if m.json {
				return errors.Join(err, w.printJSON(moved))
			}
			for _, one := range moved {
				text := fmt.Sprintf("%s is in store %s: %d versions moved from %s", one.Secret, one.To, one.Versions, one.From)
				if one.From == one.To {
					text = fmt.Sprintf("%s is in store %s already", one.Secret, one.To)
				}
				err = errors.Join(err, w.printf("%s\n", text))
			}
			return err
		},
	}
	c.Flags().StringVar(&m.store, "store", "", "the store they go to")
	jsonFlag(c, &m.json)
	return c
}

// moveAll moves one after the other, until one cannot be.
func (w *world) moveAll(c *cobra.Command, names []secret.Name, store string) (moved []broker.Moved, err error) {
	moved = []broker.Moved{}
	progress := w.progress(len(names), "moved")
	defer progress.end()
	err = w.asOwner(c.Context(), func(client *broker.Client) error {
		for _, name := range names {
			one, err := client.Move(c.Context(), name, store)
			if err != nil {
				return err
			}
			moved = append(moved, one)
			progress.step()
		}
		return nil
	})
	return moved, err
}
