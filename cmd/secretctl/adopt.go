package main

import (
	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/broker/secret"
)

func adoptCommand(w *world) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "adopt NAME",
		Short: "take a version file that was changed outside",
		Long: `Takes the version files of a secret as they lie in the vault now. A file that
was changed behind the broker's back is not served until it has been adopted:
adopt it only when you know who changed it.

Of a secret that the config has a ref of, it takes over at once the value that
lies there now.`,
		Example:           "  secretctl adopt openai/api-key",
		Args:              takes("NAME"),
		ValidArgsFunction: completeName(w),
		RunE: func(c *cobra.Command, args []string) error {
			name, err := nameArg(c, args[0])
			if err != nil {
				return err
			}
			return w.asOwner(c.Context(), func(client *broker.Client) error {
				adopted, err := client.Adopt(c.Context(), name)
				if err != nil {
					return err
				}
				return w.printAdopted(asJSON, name, adopted)
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func (w *world) printAdopted(asJSON bool, name secret.Name, adopted []uint64) error {
	if asJSON {
		return w.printJSON(struct {
			Secret  string   `json:"secret"`
			Adopted []uint64 `json:"adopted"`
		}{string(name), adopted})
	}
	if len(adopted) == 0 {
		return w.printf("%s is as the broker knows it: there is nothing to adopt\n", name)
	}
	for _, version := range adopted {
		if err := w.printf("%s version %d is adopted\n", name, version); err != nil {
			return err
		}
	}
	return nil
}
