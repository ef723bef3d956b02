package main

import (
	"github.com/spf13/cobra"

	"secretctl/broker"
)

// forgotten is the answer of rm --json.
type forgotten struct {
	Secret  string `json:"secret"`
	Removed bool   `json:"removed"`
	Stays   string `json:"stays_at,omitempty"` // where it lies by itself, and still does
}

func rmCommand(w *world) *cobra.Command {
	var yes, asJSON bool
	c := &cobra.Command{
		Use:        "rm NAME",
		SuggestFor: []string{"delete", "remove", "unset"},
		Short:      "remove a secret with all its versions",
		Long: `Removes a secret: every version of it goes, and every lease on it ends. It asks
first on a terminal; elsewhere it wants --yes.

The value is not un-known to whoever was given it: replace the key at its
service. What lies in a store by itself (ref in the config) stays there.`,
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
				list, err := client.List(c.Context(), string(name))
				if err != nil {
					return err
				}
				if err := client.Remove(c.Context(), name); err != nil {
					return err
				}
				out := forgotten{Secret: string(name), Removed: true}
				if len(list) == 1 {
					out.Stays = list[0].Ref
				}
				switch {
				case asJSON:
					return w.printJSON(out)
				case out.Stays != "":
					w.say("it stays at %s, and is taken over from there when it is next asked for", out.Stays)
					w.hint("to have it here no more, take it out of secretctl.toml")
					return w.printf("%s is forgotten\n", name)
				}
				return w.printf("%s is removed\n", name)
			})
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	jsonFlag(c, &asJSON)
	return c
}
