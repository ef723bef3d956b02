package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"secretctl/cmd/secretctl/hook"
	"secretctl/cmd/secretctl/settings"
)

const hookHelp = `Claude Code runs this before and after each use of a tool. Before: a command that
would print a secret is stopped (exit code 2), and Claude is told why: secretctl
get into the transcript, cat of a .env file, env, echo of a variable that is
called a key. After: what looks like a credential in the tool's output is masked
before the model and the transcript have it.

It is a seat belt and no wall: it knows the looks of credentials and the usual
ways of printing them. What keeps a secret from an agent is that no grant gives
it.

--install puts the hooks into ~/.claude/settings.json and changes nothing else in
it; --uninstall takes exactly that out again. The broker need not run.`

func hookCommand(w *world) *cobra.Command {
	c := &cobra.Command{
		Use:     "hook",
		Short:   "keep secrets out of a tool's transcripts",
		Long:    hookHelp,
		Example: "  secretctl hook claude --install",
		Args:    takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			return usage(c, "hook needs claude")
		},
	}
	c.AddCommand(hookClaudeCommand(w))
	return c
}

func hookClaudeCommand(w *world) *cobra.Command {
	var install, uninstall bool
	c := &cobra.Command{
		Use:     "claude",
		Short:   "keep secrets out of Claude Code's transcripts",
		Long:    hookHelp,
		Example: "  secretctl hook claude --install\n  secretctl hook claude --uninstall",
		Args:    takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case install && uninstall:
				return usage(c, "--install and --uninstall are one or the other")
			case install || uninstall:
				return w.editHooks(install)
			}
			return w.hook()
		},
	}
	c.Flags().BoolVar(&install, "install", false, "put the hooks into Claude Code's settings")
	c.Flags().BoolVar(&uninstall, "uninstall", false, "take them out of the settings")
	return c
}

func (w *world) editHooks(install bool) error {
	self, err := ownPath()
	if err != nil {
		return err
	}
	ours := oursFor("hook claude")
	return w.editSettings(claudeSettings(w), func(b []byte) ([]byte, error) {
		if install {
			return settings.AddClaudeHooks(b, shellWord(self)+" hook claude", ours)
		}
		return takenOut(b, func() ([]byte, error) { return settings.RemoveClaudeHooks(b, ours) })
	})
}

// exitBlocked is the code with which a hook stops a tool.
const exitBlocked = 2

// hook answers one event.
func (w *world) hook() error {
	text, err := io.ReadAll(io.LimitReader(w.stdin, hook.MaxEvent+1))
	if err == nil && len(text) > hook.MaxEvent {
		err = fmt.Errorf("it is larger than %d MiB", hook.MaxEvent>>20)
	}
	if err != nil {
		return fmt.Errorf("reading the event: %w", err)
	}
	e, err := hook.Parse(text)
	if err != nil {
		return hinted(fmt.Errorf("reading the event: %w", err), "Claude Code runs this by itself: secretctl hook claude --install")
	}
	switch e.Name {
	case "PreToolUse":
		if why := e.Blocked(); why != "" {
			w.say("this is not run, because %s, and what is printed is in the transcript", why)
			w.hint("have the program read it by itself, or give it the secret with secretctl run")
			return exitAnswer(exitBlocked)
		}
	case "PostToolUse":
		masked, err := e.Mask()
		if err != nil || masked == nil {
			return err
		}
		if _, err := w.stdout.Write(hook.Reply(masked)); err != nil {
			return fmt.Errorf("writing the answer: %w", err)
		}
	}
	return nil
}
