package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// groups are the headings of the help, in its order.
var groups = [...]struct{ id, title string }{
	{"run", "The broker:"},
	{"secrets", "Secrets:"},
	{"plaintext", "Out of plaintext:"},
	{"leases", "Who holds what, and ending it:"},
	{"tools", "Tools that ask by themselves:"},
	{"record", "What happened, and what would:"},
}

// rootCommand is the tree of all commands.
func rootCommand(w *world) *cobra.Command {
	root := &cobra.Command{
		Use:           "secretctl",
		Short:         "a secrets broker for AI agents",
		Long:          rootHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			return unknownCommand(c, args[0])
		},
		SuggestionsMinimumDistance: 2,
		CompletionOptions:          cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetOut(w.stdout)
	root.SetErr(w.stderr)
	root.SetFlagErrorFunc(badFlag)
	root.SetHelpCommand(helpCommand())
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
	}
	grouped(root, "run", initCommand(w), serveCommand(w), statusCommand(w), recoverCommand(w), serviceCommand(w))
	grouped(root, "secrets", setCommand(w), getCommand(w), runCommand(w), lsCommand(w), rmCommand(w), versionsCommand(w),
		rollbackCommand(w), adoptCommand(w), watchCommand(w))
	grouped(root, "plaintext", importCommand(w), scanCommand(w), redactCommand(w))
	grouped(root, "leases", leasesCommand(w), revokeCommand(w), killCommand(w), resumeCommand(w))
	grouped(root, "tools", openclawCommand(w), helperCommand(w), hookCommand(w))
	grouped(root, "record", auditCommand(w), checkCommand(w), demoCommand(w))
	root.AddCommand(versionCommand(w), completionCommand(), importAsUserCommand())
	return root
}

func grouped(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
	}
	root.AddCommand(commands...)
}

const rootHelp = `secretctl holds secrets and hands an AI agent only what a grant allows, for as
long as the grant allows, over a unix socket, with the kernel saying who is at
the other end.

Exit codes: 0 ok, 1 error, 2 usage, 3 denied, 4 not found, 5 the broker is not
running, 6 killed (the kill switch is on), 7 something is overdue (status
--check). run ends as its command does, and with 125 to 127 where it cannot.

Environment: SECRETCTL_HOME is the broker's directory (~/.secretctl),
SECRETCTL_SOCKET the socket that a client speaks to, whatever the home says.`

// unknownCommand names the commands that were probably meant.
func unknownCommand(root *cobra.Command, name string) error {
	err := &usageError{text: "there is no such command"}
	if near := root.SuggestionsFor(name); len(near) > 0 {
		err.hint = "secretctl " + strings.Join(near, ", or secretctl ")
	}
	return err
}

// helpCommand prints what a command does.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "say what a command does",
		Args:  cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			root := c.Root()
			found, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(root, args[0])
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
			if found, _, err := c.Root().Find(args); err == nil {
				for _, sub := range found.Commands() {
					names = append(names, cobra.CompletionWithDesc(sub.Name(), sub.Short))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
}
