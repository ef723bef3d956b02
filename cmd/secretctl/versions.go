package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/providers"
)

func versionsCommand(w *world) *cobra.Command {
	var asJSON, history bool
	c := &cobra.Command{
		Use:   "versions NAME",
		Short: "list the versions of a secret",
		Long: `Lists the versions of a secret, newest first: the current one, the previous one
that rollback goes back to, and one that is pending; and below it the rotations
it went through. One that was ended at its service is handed out no more.
--json lists the versions alone, --json --history the rotations.

Of a secret that the config has a ref of, the versions are the values that were
seen there, and only the current one can still be had.`,
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
				past, err := client.History(c.Context(), name)
				switch {
				case err != nil:
					return err
				case asJSON && history:
					return w.printJSON(past)
				case asJSON:
					return w.printJSON(list)
				}
				if len(list) == 0 {
					w.say("%s has not been opened yet: its first version is what will be found then", name)
					w.hint("secretctl get " + string(name))
				}
				if err := w.printTable([]string{"VERSION", "STATE", "CREATED", "AGE", "LEASES"}, w.versionRows(list)); err != nil || len(past) == 0 {
					return err
				}
				if err := w.printf("\n"); err != nil {
					return err
				}
				return w.printTable([]string{"ROTATED", "VERSIONS", "BY", "STATE", ""}, historyRows(past))
			})
		},
	}
	c.Flags().BoolVar(&history, "history", false, "with --json: the rotations")
	jsonFlag(c, &asJSON)
	return c
}

// historyRows are the rotations of a secret, newest first.
func historyRows(past []providers.Progress) (rows [][]cell) {
	for _, p := range past {
		versions := fmt.Sprintf("%d → %d", p.From, p.To)
		if p.To == 0 {
			versions = strconv.FormatUint(p.From, 10)
		}
		why := ""
		if p.Error != nil {
			why = *p.Error
		}
		row := cells(p.Started.Local().Format(time.DateTime), versions, p.By, p.State, why)
		row[3].style = good(p.State == "done" || p.Error == nil)
		rows = append(rows, row)
	}
	return rows
}

func (w *world) versionRows(list []broker.VersionInfo) (rows [][]cell) {
	for _, v := range list {
		state := v.State
		if v.Ended {
			state += ", ended"
		}
		row := cells(strconv.FormatUint(v.Version, 10), state, v.CreatedAt.Local().Format(time.DateTime),
			span(w.since(v.CreatedAt)), strconv.Itoa(v.Leases))
		switch {
		case v.Ended:
			row[1].style = red
		case v.State == "current":
			row[1].style = green
		}
		rows = append(rows, row)
	}
	return rows
}
