package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"secretctl/broker"
)

func completionCommand(*world) *cobra.Command {
	return &cobra.Command{
		Use:       "completion bash|zsh|fish",
		Short:     "print the completion script of a shell",
		Long:      "Prints what makes a shell complete commands, flags and the names of secrets.",
		Example:   "  source <(secretctl completion bash)\n  secretctl completion fish > ~/.config/fish/completions/secretctl.fish",
		Args:      takes("SHELL (bash, zsh or fish)"),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(c *cobra.Command, args []string) error {
			switch root, out := c.Root(), c.OutOrStdout(); args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			}
			return usage(c, "there is a completion for bash, zsh and fish")
		},
	}
}

// completionTime is how long a shell may be kept waiting for names.
const completionTime = time.Second

// completeName offers the names of secrets that this user may know of. A broker
// that does not answer offers none.
func completeName(w *world) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(c *cobra.Command, args []string, begun string) (names []string, _ cobra.ShellCompDirective) {
		if len(args) > 0 && c.Name() != "watch" && c.Name() != "rotate" {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, stop := context.WithTimeout(c.Context(), completionTime)
		defer stop()
		err := w.ask(ctx, c.Name() == "watch", func(client *broker.Client, s broker.Socket) error {
			list, err := client.List(ctx, begun+"*")
			for _, info := range list {
				if matches(begun+"*", info.Name) {
					names = append(names, info.Name)
				}
			}
			return err
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
