package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// groups are the headings of the help, in its order.
var groups = [...]struct{ id, title string }{
	{"run", "The broker:"},
	{"secrets", "Secrets:"},
	{"rotation", "Replacing them:"},
	{"plaintext", "Out of plaintext:"},
	{"leases", "Who holds what, and ending it:"},
	{"tools", "Tools that ask by themselves:"},
	{"record", "What happened, and what would:"},
}

// command is one of the root's commands, and how it is made.
type command struct {
	name, group string
	make        func(w *world) *cobra.Command
}

// commands are the commands of the root by their names, each in its group of
// the help.
var commands = [...]command{
	{"init", "run", initCommand}, {"serve", "run", serveCommand}, {"reload", "run", reloadCommand},
	{"status", "run", statusCommand}, {"identity", "run", identityCommand}, {"recover", "run", recoverCommand}, {"service", "run", serviceCommand},

	{"set", "secrets", setCommand}, {"get", "secrets", getCommand}, {"run", "secrets", runCommand}, {"ls", "secrets", lsCommand},
	{"rm", "secrets", rmCommand}, {"versions", "secrets", versionsCommand}, {"rollback", "secrets", rollbackCommand},
	{"adopt", "secrets", adoptCommand}, {"mv", "secrets", mvCommand}, {"watch", "secrets", watchCommand},

	{"rotate", "rotation", rotateCommand}, {"providers", "rotation", providersCommand},

	{"import", "plaintext", importCommand}, {"scan", "plaintext", scanCommand}, {"redact", "plaintext", redactCommand},

	{"leases", "leases", leasesCommand}, {"revoke", "leases", revokeCommand}, {"kill", "leases", killCommand},
	{"resume", "leases", resumeCommand},

	{"openclaw", "tools", openclawCommand}, {"helper", "tools", helperCommand}, {"hook", "tools", hookCommand},

	{"audit", "record", auditCommand}, {"check", "record", checkCommand}, {"demo", "record", demoCommand},

	{"version", "", versionCommand}, {"completion", "", completionCommand}, {asUserCommand, "", importAsUserCommand},
}

// rootCommand is the tree of all commands, or, where the first argument names
// one, the root and that one: making the others takes longer than most of them
// run.
func rootCommand(w *world) *cobra.Command {
	var version bool
	root := &cobra.Command{
		Use:           "secretctl",
		Short:         "a secrets broker for AI agents",
		Long:          rootHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case version && len(args) == 0:
				return w.printOwnVersion()
			case len(args) == 0:
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
	root.Flags().BoolVar(&version, "version", false, "say which version this is")
	root.SetHelpCommand(helpCommand())
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
	}
	wanted := commands[:]
	if i := slices.IndexFunc(wanted, func(c command) bool { return len(w.args) > 0 && c.name == w.args[0] }); i >= 0 {
		wanted = wanted[i : i+1]
	}
	for _, c := range wanted {
		made := c.make(w)
		made.GroupID = c.group
		root.AddCommand(made)
	}
	return root
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
