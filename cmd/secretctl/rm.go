package main

import (
	"github.com/spf13/cobra"

	"secretctl/broker"
)

func rmCommand(w *world) *cobra.Command {
	var yes, asJSON bool
	c := &cobra.Command{
		Use:        "rm NAME",
		SuggestFor: []string{"delete", "remove", "unset"},
		Short:      "remove a secret with all its versions",
		Long: `Removes a secret: every version of it goes, and every lease on it ends. It asks
first on a terminal; elsewhere it wants --yes.

The value is not un-known to whoever was given it: replace the key at its
service.`,
		Example:           "  secretctl rm openai/api-key",
		Args:              takes("NAME"),
		ValidArgsFunction: completeName(w),
		RunE: func(c *cobra.Command, args []string) error {
			name, err := nameArg(c, args[0])
			if err != nil {
				return err
			}
			if err := w.confirm(yes, "Remove "+string(name)+" with all its versions?"); err != nil {
				return err
			}
			return w.asOwner(c.Context(), func(client *broker.Client) error {
				if err := client.Remove(c.Context(), name); err != nil {
					return err
				}
				if asJSON {
					return w.printJSON(struct {
						Secret  string `json:"secret"`
						Removed bool   `json:"removed"`
					}{string(name), true})
				}
				return w.printf("%s is removed\n", name)
			})
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	jsonFlag(c, &asJSON)
	return c
}
