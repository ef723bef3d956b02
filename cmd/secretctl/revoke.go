package main

import (
	"github.com/spf13/cobra"

	"secretctl/broker"
)

func revokeCommand(w *world) *cobra.Command {
	var s broker.Selection
	var asJSON bool
	c := &cobra.Command{
		Use:   "revoke ID…",
		Short: "end leases",
		Long: `Ends leases: those with these ids, an agent's, a secret's, or all of them.
--agent and --secret together end that agent's leases on that secret.

A lease that has ended is dead everywhere at once. The value it gave is not
un-known: replace the key at its service.

Exit codes: 4 when an id names no lease in force.`,
		Example: "  secretctl revoke --agent openclaw\n  secretctl revoke --all",
		Args: func(c *cobra.Command, ids []string) error {
			s.IDs = ids
			return checkSelection(c, s)
		},
		RunE: func(c *cobra.Command, _ []string) error {
			return w.asOwner(c.Context(), func(client *broker.Client) error {
				ended, err := client.Revoke(c.Context(), s)
				if err != nil {
					return err
				}
				return w.printEnded(asJSON, ended)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&s.Agent, "agent", "", "the leases of this agent (owner: those of owners)")
	f.StringVar(&s.Secret, "secret", "", "the leases on this secret")
	f.BoolVar(&s.All, "all", false, "every lease")
	jsonFlag(c, &asJSON)
	return c
}

// checkSelection refuses a selection that says nothing, or two things at once.
func checkSelection(c *cobra.Command, s broker.Selection) error {
	some := s.Agent != "" || s.Secret != ""
	switch {
	case len(s.IDs) == 0 && !some && !s.All:
		return usage(c, "revoke needs ids of leases, --agent, --secret or --all")
	case len(s.IDs) > 0 && (some || s.All), some && s.All:
		return usage(c, "revoke takes ids, or --agent and --secret, or --all, not several of these")
	case s.Secret != "":
		_, err := nameArg(c, s.Secret)
		return err
	}
	return nil
}

// printEnded prints how many leases a command ended.
func (w *world) printEnded(asJSON bool, ended int) error {
	if asJSON {
		return w.printJSON(struct {
			Ended int `json:"ended"`
		}{ended})
	}
	if ended == 1 {
		return w.printf("1 lease ended\n")
	}
	return w.printf("%d leases ended\n", ended)
}
