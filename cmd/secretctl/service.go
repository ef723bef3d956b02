package main

import (
	_ "embed"

	"github.com/spf13/cobra"
)

//go:embed service/secretctl.service
var systemdUnit string

//go:embed service/com.secretctl.broker.plist
var launchdUnit string

const serviceHelp = `Prints the unit file that runs the broker as a user of its own, _secretctl, from
boot on. How to put it in place is in the comments at its beginning.`

func serviceCommand(w *world) *cobra.Command {
	c := &cobra.Command{
		Use:   "service",
		Short: "print the unit file that runs the broker at boot",
		Long:  serviceHelp,
		Args:  takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			return usage(c, "service needs print systemd, or print launchd")
		},
	}
	c.AddCommand(&cobra.Command{
		Use:       "print systemd|launchd",
		Short:     "print the unit file",
		Long:      serviceHelp,
		Example:   "  secretctl service print systemd | sudo tee /etc/systemd/system/secretctl.service",
		Args:      takes("systemd or launchd"),
		ValidArgs: []string{"systemd", "launchd"},
		RunE: func(c *cobra.Command, args []string) error {
			switch args[0] {
			case "systemd":
				return w.printf("%s", systemdUnit)
			case "launchd":
				return w.printf("%s", launchdUnit)
			}
			return usage(c, "there is a unit file for systemd and one for launchd")
		},
	})
	return c
}
