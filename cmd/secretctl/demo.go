package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

const demoHelp = `Does the whole job once, in a throw-away directory with a real broker and real
sockets: each command is shown as it would be typed, with what it prints. Every
outcome is checked, the denials too. It touches nothing of yours and removes
everything at the end.

As root the agent is a real second user; else it is you, which shows how it
works but is no boundary.`

func demoCommand(w *world) *cobra.Command {
	return &cobra.Command{
		Use:     "demo",
		Short:   "show the whole job in a throw-away home",
		Long:    demoHelp,
		Example: "  sudo secretctl demo",
		Args:    takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			context.AfterFunc(ctx, stop) // so that a second signal ends it at once
			// A reader that goes away is told of by the write, so that all is removed.
			pipe := make(chan os.Signal, 1)
			signal.Notify(pipe, syscall.SIGPIPE)
			defer signal.Stop(pipe)
			err := w.demo(ctx)
			if errors.Is(err, syscall.EPIPE) {
				return exitAnswer(128 + int(syscall.SIGPIPE))
			}
			return err
		},
	}
}

func (w *world) demo(ctx context.Context) (err error) {
	d := &demo{w: w, paint: w.paints(w.stdout)}
	if err := d.setStage(); err != nil {
		return fmt.Errorf("setting up the demo: %w", err)
	}
	defer func() { err = errors.Join(err, d.clear()) }()
	if d.host, err = d.startHost(ctx); err != nil {
		return fmt.Errorf("setting up the demo: %w", err)
	}
	began := w.clock.Now().Boot
	for _, a := range d.script() {
		if err := a(ctx); err != nil {
			return fmt.Errorf("the demo did not come out as it must: %w", errors.Join(ctx.Err(), err))
		}
	}
	return w.printf("\nThe agent got what it was granted and nothing else, and each thing that happened is in a log that shows when it is changed.\n"+
		"That took %.1f s with a real broker in %s, which is removed now.\n", (w.clock.Now().Boot - began).Seconds(), d.dir)
}

// act is one thing that happens in the demo. It fails when it does not come out
// as it must.
type act func(ctx context.Context) error

// step is one command of the demo.
type step struct {
	asAgent bool
	input   string // stdin
	shown   string // what a person would type; "" for the arguments
	args    []string
	exit    int    // how it must end
	shows   string // what it must print
	hides   string // what it must not
	home    string // "" for the demo's own
}

// typed is the command line as a person would type it.
func (d *demo) typed(s step) string {
	if s.shown != "" {
		return s.shown
	}
	line := "secretctl " + strings.Join(s.args, " ")
	if s.home != "" {
		line = "SECRETCTL_HOME=" + s.home + " " + line
	}
	if s.input != "" {
		line = "echo " + s.input + " | " + line
	}
	return line
}

// run shows a command and what it prints, and holds it to how it must end.
func (d *demo) run(s step) act {
	return func(ctx context.Context) error {
		if s.asAgent && d.agent == nil {
			s.args = append(s.args, "--as-agent")
		}
		if err := d.showCommand(s.asAgent, d.typed(s)); err != nil {
			return err
		}
		cmd := d.command(ctx, s.asAgent, s.args...)
		if s.home != "" {
			cmd.Env = append(cmd.Env, "SECRETCTL_HOME="+s.home)
		}
		if s.input != "" {
			cmd.Stdin = strings.NewReader(s.input + "\n")
		}
		var printed bytes.Buffer
		cmd.Stdout, cmd.Stderr = &printed, &printed
		err := cmd.Run()
		if _, err := d.w.stdout.Write(printed.Bytes()); err != nil {
			return err
		}
		return s.judge(d.typed(s), err, printed.String())
	}
}

// judge says what is wrong with how a step came out.
func (s step) judge(typed string, err error, printed string) error {
	code := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		code = exit.ExitCode()
	case err != nil:
		return fmt.Errorf("%s: %w", typed, err)
	}
	switch {
	case code != s.exit:
		return fmt.Errorf("%s: it ended with %d and must end with %d", typed, code, s.exit)
	case !strings.Contains(printed, s.shows):
		return fmt.Errorf("%s: it must print %q", typed, s.shows)
	case s.hides != "" && strings.Contains(printed, s.hides):
		return fmt.Errorf("%s: it must not print what it printed", typed)
	}
	return nil
}

// tell says what comes next.
func (d *demo) tell(format string, args ...any) act {
	return func(context.Context) error {
		return d.w.printf("\n%s\n", d.paint.paint(bold, "# "+fmt.Sprintf(format, args...)))
	}
}

func (d *demo) showCommand(asAgent bool, line string) error {
	prompt := "$ "
	if asAgent {
		prompt = demoAgent + "$ "
	}
	return d.w.printf("%s\n", d.paint.paint(faint, prompt+line))
}

// command prepares a process of the copied binary, of the agent's user or ours.
func (d *demo) command(ctx context.Context, asAgent bool, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.binary, args...)
	cmd.Env, cmd.Dir = d.env, "/"
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	if asAgent && d.agent != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: d.agent}
	}
	return cmd
}
