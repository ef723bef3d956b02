package main

import (
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"secretctl/broker"
)

func versionsCommand(w *world) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "versions NAME",
		Short: "list the versions of a secret",
		Long: `Lists the versions of a secret, newest first: the current one, the previous one
that rollback goes back to, and one that is pending.`,
		Example:           "  secretctl versions openai/api-key",
		Args:              takes("NAME"),
		ValidArgsFunction: completeName(w),
		RunE: func(c *cobra.Command, args []string) error {
			name, err := nameArg(c, args[0])
			if err != nil {
				return err
			}
			return w.asOwner(c.Context(), func(client *broker.Client) error {
				list, err := client.Versions(c.Context(), name)
				if err != nil {
					return err
				}
				if asJSON {
					return w.printJSON(list)
				}
				return w.printTable([]string{"VERSION", "STATE", "CREATED", "AGE", "LEASES"}, w.versionRows(list))
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func (w *world) versionRows(list []broker.VersionInfo) (rows [][]cell) {
	for _, v := range list {
		row := cells(strconv.FormatUint(v.Version, 10), v.State, v.CreatedAt.Local().Format(time.DateTime),
			span(w.since(v.CreatedAt)), strconv.Itoa(v.Leases))
		if v.State == "current" {
			row[1].style = green
		}
		rows = append(rows, row)
	}
	return rows
}
