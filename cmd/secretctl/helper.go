package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/broker/grant"
	"secretctl/broker/secret"
	"secretctl/cmd/secretctl/settings"
)

const helperHelp = `Prints a key for a tool that asks a program for it whenever it needs one: so that
the key is in none of the tool's files. It asks at the agent's socket; the grants
of the user that the tool runs as decide.

--install puts the helper into the tool's settings and changes nothing else in
them; --uninstall takes exactly that out again.`

func helperCommand(w *world) *cobra.Command {
	c := &cobra.Command{
		Use:     "helper",
		Short:   "give a tool its key when it asks",
		Long:    helperHelp,
		Example: "  secretctl helper claude anthropic/api-key --install",
		Args:    takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			return usage(c, "helper needs claude or codex")
		},
	}
	c.AddCommand(helperClaudeCommand(w), helperCodexCommand(w))
	return c
}

func helperClaudeCommand(w *world) *cobra.Command {
	h := helping{tool: "claude"}
	c := h.command(w, "Claude Code", "  secretctl helper claude anthropic/api-key --install\n  secretctl helper claude --uninstall",
		`It is apiKeyHelper in ~/.claude/settings.json. Claude Code asks every five minutes,
and after an answer that the key is not good. ANTHROPIC_API_KEY and
ANTHROPIC_AUTH_TOKEN in its environment outrank it.`)
	return c
}

func helperCodexCommand(w *world) *cobra.Command {
	h := helping{tool: "codex"}
	c := h.command(w, "Codex", "  secretctl helper codex openai/api-key --install\n  secretctl helper codex --uninstall",
		`It is a model provider in ~/.codex/config.toml, called secretctl, and in use from
then on: the provider that Codex has built in takes no helper.`)
	c.Flags().StringVar(&h.baseURL, "base-url", "https://api.openai.com/v1", "where the provider's API is, for --install")
	return c
}

// helping is what helper was asked for.
type helping struct {
	tool               string
	install, uninstall bool
	baseURL            string // of Codex's provider
}

func (h *helping) command(w *world, title, example, long string) *cobra.Command {
	c := &cobra.Command{
		Use:               h.tool + " [NAME]",
		Short:             "give " + title + " its key when it asks",
		Long:              helperHelp + "\n\n" + long,
		Example:           example,
		Args:              takesSome(0, "NAME"),
		ValidArgsFunction: completeName(w),
		RunE:              func(c *cobra.Command, args []string) error { return h.run(w, c, args) },
	}
	c.Flags().BoolVar(&h.install, "install", false, "put the helper into the tool's settings")
	c.Flags().BoolVar(&h.uninstall, "uninstall", false, "take it out of them")
	return c
}

func (h *helping) run(w *world, c *cobra.Command, args []string) error {
	switch {
	case h.install && h.uninstall:
		return usage(c, "--install and --uninstall are one or the other")
	case h.uninstall && len(args) > 0:
		return usage(c, "--uninstall needs no NAME")
	case h.uninstall:
		return h.edit(w, "")
	case len(args) == 0:
		return usage(c, "%s needs NAME", pathOf(c))
	}
	name, err := nameArg(c, args[0])
	if err != nil {
		return err
	}
	if h.install {
		if err := h.edit(w, name); err != nil {
			return err
		}
		w.warnUnhelpful(c.Context(), name)
		return nil
	}
	return w.help(c.Context(), name)
}

// warnUnhelpful says why a helper that was installed will not get its key, as the
// tool would not. It leases nothing.
func (w *world) warnUnhelpful(ctx context.Context, name secret.Name) {
	var may []broker.Available
	err := w.asAgent(ctx, func(client *broker.Client) (err error) {
		may, err = client.Available(ctx)
		return err
	})
	if err != nil {
		w.say("warning: the helper will not get the key as things are: %v", err)
		w.hint(hintOf(err))
		return
	}
	for _, a := range may {
		if a.Name == string(name) && slices.Contains(a.Doors, grant.DoorValue) {
			return
		}
	}
	w.say("warning: the helper will not get the key as things are: this user is not granted %s, or there is no such secret", name)
	w.hint(fmt.Sprintf("the owner types: secretctl check AGENT %s", name))
}

// help prints a key as the tools want it: one word of printable ASCII.
func (w *world) help(ctx context.Context, name secret.Name) error {
	return w.asAgent(ctx, func(client *broker.Client) error {
		// The tool keeps the key until it asks again.
		handed, err := client.Lease(ctx, broker.LeaseRequest{
			Secret: string(name), TTLSeconds: int64(longest / time.Second), Pinned: true, Reuse: true, Reason: "a key helper was asked",
		})
		if err != nil {
			return err
		}
		defer handed.Value.Clear()
		if err := handed.Value.Use(checkToken); err != nil {
			return fmt.Errorf("%s cannot be a key: %w", name, err)
		}
		return w.printValue(handed.Value, false)
	})
}

// checkToken refuses what a tool would not take for a key.
func checkToken(b []byte) error {
	if len(b) == 0 {
		return errors.New("it is empty")
	}
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return errors.New("it is not one word of printable ASCII")
		}
	}
	return nil
}

// edit puts the helper for a secret into the tool's settings, or takes it out.
func (h *helping) edit(w *world, name secret.Name) error {
	self, err := ownPath()
	if err != nil {
		return err
	}
	ours := oursFor("helper " + h.tool)
	switch h.tool {
	case "claude":
		return w.editSettings(claudeSettings(w), func(b []byte) ([]byte, error) {
			if name == "" {
				return takenOut(b, func() ([]byte, error) { return settings.RemoveClaudeHelper(b, ours) })
			}
			return settings.AddClaudeHelper(b, fmt.Sprintf("%s helper claude %s", shellWord(self), name), ours)
		})
	default:
		return w.editSettings(codexSettings(w), func(b []byte) ([]byte, error) {
			if name == "" {
				return takenOut(b, func() ([]byte, error) { return settings.RemoveCodexHelper(b) })
			}
			return settings.AddCodexHelper(b, settings.CodexHelper{
				Command: self, Args: []string{"helper", "codex", string(name)}, BaseURL: h.baseURL,
			})
		})
	}
}

// takenOut is what remove leaves of a file, if there is one.
func takenOut(b []byte, remove func() ([]byte, error)) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	return remove()
}

// claudeSettings is where Claude Code's settings of this user are.
func claudeSettings(w *world) string {
	return settingsPath(w, "CLAUDE_CONFIG_DIR", ".claude", "settings.json")
}

// codexSettings is where Codex's are.
func codexSettings(w *world) string { return settingsPath(w, "CODEX_HOME", ".codex", "config.toml") }

func settingsPath(w *world, variable, dir, file string) string {
	if named := w.getenv(variable); named != "" {
		return filepath.Join(named, file)
	}
	return filepath.Join(w.getenv("HOME"), dir, file)
}

// ownPath is this program as it was called, so that an upgrade behind a symbolic
// link is found.
func ownPath() (string, error) {
	if path, err := exec.LookPath(os.Args[0]); err == nil {
		return filepath.Abs(path)
	}
	return os.Executable()
}

// oursFor tells commands of this program from others.
func oursFor(what string) settings.Ours {
	return func(command string) bool {
		program, _, ok := strings.Cut(command, " "+what)
		return ok && strings.Contains(filepath.Base(strings.Trim(program, `'"`)), "secretctl")
	}
}

// shellWord spells a path as one word of a shell's.
func shellWord(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// editSettings rewrites a settings file as a whole, with its mode; edit is given
// nil where there is none, and removes it by returning nil.
func (w *world) editSettings(path string, edit func(b []byte) ([]byte, error)) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // what the link leads to is edited, not the link
	}
	before, err := os.ReadFile(path)
	mode := fs.FileMode(0o600)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		before = nil
	case err != nil:
		return fmt.Errorf("reading %s: %w", path, reason(err))
	default:
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		mode = info.Mode().Perm()
	}
	after, err := edit(before)
	switch {
	case err != nil:
		return fmt.Errorf("editing %s: %w", path, err)
	case after == nil && before == nil, after != nil && before != nil && string(after) == string(before):
		w.say("%s is as it should be", path)
		return nil
	case after == nil:
		err = os.Remove(path)
	default:
		err = replaceSettings(path, after, mode)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, reason(err))
	}
	w.say("edited %s", path)
	return nil
}

func replaceSettings(path string, text []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDirectory(filepath.Dir(path))
}
