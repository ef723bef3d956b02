package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"secretctl/broker"
)

func leasesCommand(w *world) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "leases",
		Short:   "list who holds what until when",
		Long:    "Lists the leases in force. The id of one is a handle for revoke, and gives nobody any right.",
		Example: "  secretctl leases\n  secretctl leases --json | jq '.[] | select(.agent == \"openclaw\")'",
		Args:    takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			return w.asOwner(c.Context(), func(client *broker.Client) error {
				list, err := client.Leases(c.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return w.printJSON(list)
				}
				if len(list) == 0 {
					w.say("nobody holds a lease")
				}
				return w.printTable([]string{"LEASE", "AGENT", "SECRET", "VERSION", "DOOR", "PID", "AGE", "EXPIRES IN"}, w.leaseRows(list))
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func (w *world) leaseRows(list []broker.LeaseInfo) (rows [][]cell) {
	for _, l := range list {
		rows = append(rows, cells(l.ID, l.Agent, l.Secret, strconv.FormatUint(l.Version, 10), l.Door,
			strconv.Itoa(int(l.PID)), span(w.since(l.IssuedAt)), span(-w.since(l.ExpiresAt))))
	}
	return rows
}
