package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"secretctl/broker/secret"
)

const runHelp = `Runs a command with secrets that are leased for as long as it runs. It is given
those that are named, and no others:

  --env KEY=NAME     in the environment variable KEY; --env NAME alone takes the
                     variable that the config names for the secret
  --env-file FILE    what the .env file assigns; a value that is secret://NAME
                     is that secret's, any other is passed on as it is
  --file NAME=PATH   in a file of mode 0400, in a private directory in memory,
                     that ends with the command. The directory's path is in the
                     variable SECRETCTL_FILES, and PATH is a path in it; where
                     PATH is absolute, a link to the file is made there

Later ones win over earlier ones, --env over --env-file, and both over what is in
the environment already.

What the command prints is searched for the values, also encoded, and
[secretctl:NAME] is put in their place. Values that are too short or too plain
for that are named on stderr. --no-mask leaves the output alone.

A terminal stays a terminal. Signals are passed on. A secret that is replaced
while the command runs is said on stderr (--on-rotate warn), or the command gets
a signal (signal:HUP; its files are new by then), or is ended by SIGTERM and
started again with the new one (restart). A command that has a value has it for
good: revoke and kill end the lease, and do not end the command.

An owner's command does not take a file that an agent can write, since that would
let the agent choose which secrets it gets. With --as-agent it does.

Exit codes: the command's own, 128 and the signal's number where a signal ended
it, 125 when run itself failed, 126 when the command cannot be run, 127 when it
is not found.`

func runCommand(w *world) *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:        "run [--env KEY=NAME]… [--env-file FILE]… [--file NAME=PATH]… -- CMD [ARG…]",
		SuggestFor: []string{"exec"},
		Short:      "run a command with secrets in its environment",
		Long:       runHelp,
		Example: `  secretctl run --env OPENAI_API_KEY=openai/api-key -- node agent.js
  secretctl run --env-file .env -- docker compose up
  secretctl run --file tls/key=key.pem -- sh -c 'server --key $SECRETCTL_FILES/key.pem'`,
		Args: func(c *cobra.Command, args []string) error {
			return misplacedDash(c, len(args))
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			p, err := f.plan(c, args)
			if err == nil {
				err = (&runner{w: w, plan: p}).run(c.Context())
			}
			if errors.As(err, new(exitAnswer)) || errors.As(err, new(commandFailure)) {
				return err
			}
			return runFailure{err}
		},
	}
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if c.Flags().NArg() > 0 { // the flag is the command's
			return misplacedDash(c, c.Flags().NArg())
		}
		return runFailure{badFlag(c, err)}
	})
	flags := c.Flags()
	flags.StringArrayVar(&f.env, "env", nil, "`KEY=NAME`: a secret, in an environment variable")
	flags.StringArrayVar(&f.envFiles, "env-file", nil, "a .env `FILE` with references to secrets")
	flags.StringArrayVar(&f.files, "file", nil, "`NAME=PATH`: a secret, in a file that ends with the command")
	flags.BoolVar(&f.noMask, "no-mask", false, "let the values show in what the command prints")
	flags.StringVar(&f.onRotate, "on-rotate", "warn", "what to do when a secret was replaced: `warn`, restart or signal:NAME")
	flags.Var(&f.ttl, "ttl", "how long the leases may live between renewals; a grant may clip it")
	flags.StringVar(&f.reason, "reason", "", "why, in your words; it goes into the audit log")
	flags.BoolVar(&f.asAgent, "as-agent", false, "ask at the agent's socket although this user is an owner")
	return c
}

// misplacedDash reports that the -- is not before the command, the first of n
// arguments. It repeats none: one may be a value.
func misplacedDash(c *cobra.Command, n int) error {
	say := func(text, hint string) error { return runFailure{&usageError{pathOf(c), text, hint}} }
	switch dash := c.ArgsLenAtDash(); {
	case n == 0:
		return say("run needs --, then a command", "")
	case dash < 0:
		return say("run needs -- before the command", "secretctl run --env NAME -- CMD ARG…")
	case dash > 0:
		return say("run takes nothing but flags before the --: a secret is named with --env NAME", "secretctl run --env NAME -- CMD ARG…")
	}
	return nil
}

// runFailure is a failure of run itself, not of the command it runs.
type runFailure struct{ error }

func (f runFailure) Unwrap() error { return f.error }

// runFlags are the flags of run as they were typed.
type runFlags struct {
	env, envFiles, files []string
	noMask, asAgent      bool
	onRotate             string
	ttl                  durationFlag
	reason               string
}

// runPlan is what run was asked for.
type runPlan struct {
	runFlags
	argv   []string
	env    []envWish
	files  []fileWish
	rotate rotateAction
	signal syscall.Signal // with onRotateSignal
}

// envWish is a secret that is wanted in a variable.
type envWish struct {
	key  string // "" is what the config says
	name secret.Name
}

// fileWish is a secret that is wanted in a file.
type fileWish struct {
	name secret.Name
	path string
}

// rotateAction is what is done when a secret was replaced.
type rotateAction string

// The actions.
const (
	onRotateWarn    rotateAction = "warn"
	onRotateSignal  rotateAction = "signal"
	onRotateRestart rotateAction = "restart"
)

// plan reads the flags. What follows a "=" may be a value, typed by somebody who
// has not read the help, so it is not repeated.
func (f *runFlags) plan(c *cobra.Command, argv []string) (*runPlan, error) {
	p := &runPlan{runFlags: *f, argv: argv}
	for _, arg := range f.env {
		key, name, ok := strings.Cut(arg, "=")
		if !ok {
			key, name = "", arg
		}
		wish := envWish{key: key}
		var err error
		if wish.name, err = secret.ParseName(name); err != nil && ok {
			return nil, usage(c, "--env %s=…: what follows the = is not the name of a secret; it never is a value", key)
		} else if err != nil {
			return nil, usage(c, "--env: it is neither KEY=NAME nor the name of a secret")
		}
		if ok && !isVariable(key) {
			return nil, usage(c, "--env %q=…: that is not the name of a variable", key)
		}
		p.env = append(p.env, wish)
	}
	for _, arg := range f.files {
		name, path, _ := strings.Cut(arg, "=")
		parsed, err := secret.ParseName(name)
		if err != nil {
			return nil, usage(c, "--file: it is not NAME=PATH with the name of a secret")
		}
		if !filepath.IsAbs(path) && (!filepath.IsLocal(path) || filepath.Clean(path) == ".") {
			return nil, usage(c, "--file %s=%s: the path is neither absolute nor one of a file in $SECRETCTL_FILES", name, path)
		}
		p.files = append(p.files, fileWish{parsed, filepath.Clean(path)})
	}
	kind, name, _ := strings.Cut(f.onRotate, ":")
	p.rotate, p.signal = rotateAction(kind), unix.SignalNum("SIG"+strings.TrimPrefix(name, "SIG"))
	switch {
	case p.rotate == onRotateSignal && p.signal != 0:
	case f.onRotate == string(onRotateWarn), f.onRotate == string(onRotateRestart):
	default:
		return nil, usage(c, "--on-rotate %q: it is warn, restart or signal:NAME, such as signal:HUP", f.onRotate)
	}
	return p, nil
}

// isVariable reports whether shells and programs can have a variable of this
// name.
func isVariable(key string) bool {
	for i, c := range []byte(key) {
		digit, letter := c >= '0' && c <= '9', c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || !digit) {
			return false
		}
	}
	return key != ""
}

// needsBroker reports whether there is anything to ask for.
func (p *runPlan) needsBroker() bool { return len(p.env)+len(p.envFiles)+len(p.files) > 0 }

// streams returns our own files, where the streams are that.
func (w *world) streams() (in, out, diag *os.File, err error) {
	in, ok := w.stdin.(*os.File)
	out, ok2 := w.stdout.(*os.File)
	diag, ok3 := w.stderr.(*os.File)
	if !ok || !ok2 || !ok3 {
		return nil, nil, nil, errors.New("a command needs files as its stdin, stdout and stderr")
	}
	return in, out, diag, nil
}

// commandFailure is a command that could not be started, and the exit code that
// says so.
type commandFailure struct {
	error
	code int
}

func (f commandFailure) Unwrap() error { return f.error }
