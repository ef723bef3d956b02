package main

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/cmd/secretctl/openclaw"
)

const installHelp = `Puts a copy of secretctl into the home of the user that OpenClaw runs as, where
OpenClaw accepts it: a program of that user's own, which nobody else can write.
Run it again after an upgrade; the copy is replaced as a whole.

It prints what to put into openclaw.json, which "openclaw migrate" does by itself,
and a unit that has the gateway reload when a secret changes.

With sudo and --user it works as that user: root opens none of the user's files.`

//go:embed openclaw/watch.service
var openclawSystemd string

//go:embed openclaw/watch.plist
var openclawLaunchd string

func openclawInstallCommand(w *world) *cobra.Command {
	var i installing
	c := &cobra.Command{
		Use:     "install",
		Short:   "put a copy of secretctl where OpenClaw accepts it",
		Long:    installHelp,
		Example: "  sudo secretctl openclaw install --user aiagent\n  secretctl openclaw install --print systemd > ~/.config/systemd/user/secretctl-openclaw.service",
		Args:    takes(),
		RunE:    func(c *cobra.Command, _ []string) error { return i.run(w, c) },
	}
	i.place.flags(c)
	c.Flags().StringVar(&i.print, "print", "", "print only this, and install nothing: provider, systemd or launchd")
	return c
}

// place is where OpenClaw is.
type place struct {
	user    string // whose it is; "" is the caller
	dir     string // its files
	command string // the program itself
	socket  string // where the broker answers; "" where the copy looks by itself
	child   bool   // this is the process that has become the user
}

func (p *place) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&p.user, "user", "", "the user that OpenClaw runs as (needs root)")
	f.StringVar(&p.dir, "dir", "", "OpenClaw's directory (OPENCLAW_STATE_DIR, or ~/.openclaw)")
	f.StringVar(&p.command, "openclaw", "", "the openclaw program, where it is not on the user's PATH")
	f.BoolVar(&p.child, "as-child", false, "this process has become the user for good")
	f.Lookup("as-child").Hidden = true
	f.StringVar(&p.socket, "socket", "", "where the broker answers agents, where OpenClaw does not find it by itself")
}

// args are the flags again, for a child.
func (p *place) args(w *world) (args []string) {
	p.findSocket(w)
	args = append(args, "--as-child")
	for _, flag := range [][2]string{{"dir", p.dir}, {"openclaw", p.command}, {"socket", p.socket}} {
		if flag[1] != "" {
			args = append(args, "--"+flag[0]+"="+flag[1])
		}
	}
	return args
}

// findSocket fills in the agent's socket: OpenClaw hands its environment on to
// nobody, so where the copy would not find the socket by itself, it is named in the
// provider block.
func (p *place) findSocket(w *world) {
	if p.socket == "" {
		p.socket = w.getenv("SECRETCTL_SOCKET")
	}
	if h, err := w.home(); p.socket == "" && err == nil {
		path := h.socket(broker.AgentSocket)
		if _, err := os.Stat(path); err == nil {
			p.socket = path
		}
	}
}

// find fills in what was not said, as the user that works here.
func (p *place) find(w *world) error {
	if p.child {
		if err := withoutNewPrivileges(); err != nil {
			return fmt.Errorf("giving up the way to other users: %w", err)
		}
		if err := isForGood(uint32(os.Getuid()), uint32(os.Getgid())); err != nil {
			return err
		}
	}
	p.findSocket(w)
	if p.dir == "" {
		p.dir = w.getenv("OPENCLAW_STATE_DIR")
	}
	if p.dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return err
		}
		p.dir = filepath.Join(home, ".openclaw")
	}
	var err error
	p.dir, err = filepath.Abs(p.dir)
	return err
}

// shellTime is how long a login shell may take to say its PATH.
const shellTime = 5 * time.Second

// path is where programs are looked for: where a login shell of the user's would,
// and then where this process does.
func (p *place) path(w *world) string {
	path := w.getenv("PATH")
	shell := "/bin/sh"
	if s := w.getenv("SHELL"); filepath.IsAbs(s) {
		shell = s
	}
	ctx, stop := context.WithTimeout(context.Background(), shellTime)
	defer stop()
	cmd := exec.CommandContext(ctx, shell, "-lc", `printf '%s' "$PATH"`)
	cmd.WaitDelay = time.Second // what the shell left in the background may hold its output open
	cmd.Env = append(os.Environ(), "PATH="+path)
	if out, err := cmd.Output(); err == nil && !bytes.ContainsAny(out, "\n\x00") {
		path = string(out) + ":" + path
	}
	return path
}

// findCommand returns the openclaw program.
func (p *place) findCommand(path string) (string, error) {
	if p.command != "" {
		return filepath.Abs(p.command)
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, "openclaw")
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 && filepath.IsAbs(dir) {
			return file, nil
		}
	}
	return "", hinted(errors.New("openclaw is not on the PATH of this user"), "say where it is: --openclaw FILE")
}

// installing is what install was asked for.
type installing struct {
	place
	print string
}

func (i *installing) run(w *world, c *cobra.Command) error {
	if i.print != "" && !slices.Contains([]string{"provider", "systemd", "launchd"}, i.print) {
		return usage(c, "--print knows provider, systemd and launchd")
	}
	if i.user != "" {
		a, err := agentAccount(i.user)
		if err != nil {
			return err
		}
		w = w.ofSudoer()
		args := append([]string{"openclaw", "install"}, i.args(w)...)
		if i.print != "" {
			args = append(args, "--print", i.print)
		}
		cmd := a.command(c.Context(), w, args...)
		return a.ended(cmd, cmd.Run())
	}
	if err := i.find(w); err != nil {
		return err
	}
	if i.print != "" {
		return i.printOne(w, i.print)
	}
	copied, err := installCopy()
	if err != nil {
		return err
	}
	return i.printAll(w, copied)
}

// copyDir and copyName are where the copy is, below the user's home.
var copyDir, copyName = filepath.Join(".local", "libexec"), "secretctl-openclaw"

func copyPath() (string, error) {
	home, err := os.UserHomeDir()
	return filepath.Join(home, copyDir, copyName), err
}

// installCopy puts a copy of this program in the caller's home and returns its
// path.
func installCopy() (to string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("installing the copy: %w", err)
		}
	}()
	to, err = copyPath()
	if err != nil {
		return "", err
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return "", err
	}
	temp := filepath.Join(filepath.Dir(to), "."+copyName+"."+rand.Text()[:8]+".tmp")
	if err := copyProgram(self, temp); err != nil {
		return "", errors.Join(err, removed(temp))
	}
	if err := os.Rename(temp, to); err != nil {
		return "", errors.Join(err, removed(temp))
	}
	return to, syncDirectory(filepath.Dir(to))
}

// copyProgram copies a program durably, for the caller alone.
func copyProgram(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

func removed(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// printAll prints what there is to do now.
func (i *installing) printAll(w *world, copied string) error {
	unit, file, begin := "systemd", "~/.config/systemd/user/secretctl-openclaw.service", "systemctl --user enable --now secretctl-openclaw"
	if runtime.GOOS == "darwin" {
		unit, file = "launchd", "~/Library/LaunchAgents/com.secretctl.openclaw.plist"
		begin = "launchctl bootstrap gui/$(id -u) " + file
	}
	me := "the user that OpenClaw runs as"
	if u, err := user.Current(); err == nil {
		me = u.Username
	}
	err := w.printf("installed %s\n\nIn openclaw.json (secretctl openclaw migrate does it for you):\n\n", copied)
	if err == nil {
		err = i.printOne(w, "provider")
	}
	if err == nil {
		err = w.printf("\nTo have the gateway reload when a secret changes, as %s in %s, then: %s\n\n", me, file, begin)
	}
	if err == nil {
		err = i.printOne(w, unit)
	}
	return err
}

// printOne prints the provider block or a unit.
func (i *installing) printOne(w *world, what string) error {
	copied, err := copyPath()
	if err != nil {
		return err
	}
	if what == "provider" {
		block, err := json.MarshalIndent(openclaw.NewProvider(copied, i.socket), "    ", "  ")
		if err != nil {
			return err
		}
		return w.printf("secrets: {\n  providers: {\n    %s: %s\n  }\n}\n", openclaw.ProviderAlias, block)
	}
	return i.printUnit(w, what == "launchd", copied)
}

// printUnit fills in a unit. It does without text/template, which calls methods
// by their names: with it, the linker keeps each method of everything.
func (i *installing) printUnit(w *world, launchd bool, copied string) error {
	path := i.path(w)
	command, err := i.findCommand(path)
	if err != nil {
		w.say("%v: the unit calls it openclaw", err)
		w.hint(hintOf(err))
		command = "openclaw"
	}
	unit, name, variable, escape := openclawSystemd, " %s", "\nEnvironment=\"SECRETCTL_SOCKET=%s\"", strings.Clone
	if launchd {
		unit, name, escape = openclawLaunchd, "\n\t\t<string>%s</string>", html.EscapeString
		variable = "\n\t\t<key>SECRETCTL_SOCKET</key>\n\t\t<string>%s</string>"
	}
	var names, socket string
	for _, n := range i.watched() {
		names += fmt.Sprintf(name, escape(n))
	}
	if i.socket != "" {
		socket = fmt.Sprintf(variable, escape(i.socket))
	}
	return w.printf("%s", strings.NewReplacer("{copy}", escape(copied), "{openclaw}", escape(command),
		"{path}", escape(pathFor(command, path)), "{names}", names, "{socket}", socket).Replace(unit))
}

// pathFor is the PATH of a unit: where openclaw is, where node is, and the rest.
func pathFor(command, path string) string {
	dirs := []string{"/usr/local/bin", "/usr/bin", "/bin"}
	for _, program := range []string{"node", "openclaw"} {
		for _, dir := range filepath.SplitList(path) {
			if info, err := os.Stat(filepath.Join(dir, program)); err == nil && !info.IsDir() && filepath.IsAbs(dir) {
				dirs = append([]string{dir}, dirs...)
				break
			}
		}
	}
	if filepath.IsAbs(command) {
		dirs = append([]string{filepath.Dir(command)}, dirs...)
	}
	var once []string
	for _, dir := range dirs {
		if !slices.Contains(once, dir) {
			once = append(once, dir)
		}
	}
	return strings.Join(once, ":")
}

// watched are the names that OpenClaw's config refers to, or those that migrate
// gives.
func (i *installing) watched() []string {
	dir, err := os.OpenRoot(i.dir)
	if err == nil {
		defer dir.Close()
		if config, err := openclaw.ReadConfig(dir); err == nil {
			defer config.Clear()
			if names := config.Uses(openclaw.ProviderAlias); len(names) > 0 {
				return names
			}
		}
	}
	return []string{defaultPrefix + "/*"}
}

// defaultPrefix begins the names of what migrate moves.
const defaultPrefix = "openclaw"
