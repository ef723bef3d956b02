package main

import (
	"github.com/spf13/cobra"

	"secretctl/broker"
)

func reloadCommand(w *world) *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "put the config in force again",
		Long: `Has the broker read secretctl.toml again. When it returns, the file is in force;
one with a mistake changes nothing. SIGHUP to the broker does the same, and
what the broker says of it is on its own stderr.`,
		Example: "  secretctl check && secretctl reload",
		Args:    takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			return w.asOwner(c.Context(), func(client *broker.Client) error {
				if err := client.Reload(c.Context()); err != nil {
					return err
				}
				w.say("the config is in force")
				return nil
			})
		},
	}
}
