package main

import (
	"github.com/spf13/cobra"

	"secretctl/broker"
)

func rollbackCommand(w *world) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "rollback NAME",
		Short: "go back to the previous value of a secret",
		Long: `Makes the previous version of a secret current again; the current one becomes
the previous, so that a second rollback undoes the first.`,
		Example:           "  secretctl rollback openai/api-key",
		Args:              takes("NAME"),
		ValidArgsFunction: completeName(w),
		RunE: func(c *cobra.Command, args []string) error {
			name, err := nameArg(c, args[0])
			if err != nil {
				return err
			}
			return w.asOwner(c.Context(), func(client *broker.Client) error {
				version, err := client.Rollback(c.Context(), name)
				if err != nil {
					return err
				}
				return w.printVersion(asJSON, name, version)
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}
