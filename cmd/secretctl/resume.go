package main

import (
	"github.com/spf13/cobra"

	"secretctl/broker"
)

func resumeCommand(w *world) *cobra.Command {
	return &cobra.Command{
		Use:        "resume",
		SuggestFor: []string{"unkill", "start"},
		Short:      "end the kill switch",
		Long: `Ends the kill switch: leases are given again. Nothing that was ended comes
back.`,
		Example: "  secretctl resume",
		Args:    takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			err := w.asOwner(c.Context(), func(client *broker.Client) error { return client.Resume(c.Context()) })
			if err == nil {
				w.say("the kill switch is off")
			}
			return err
		},
	}
}
