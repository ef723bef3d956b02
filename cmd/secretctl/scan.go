package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/broker/mask"
	"secretctl/cmd/secretctl/scan"
	"secretctl/providers/age"
	"secretctl/sock"
)

const scanHelp = `Finds secrets in plaintext: known kinds of keys, passwords in URLs and where they
are assigned, private keys, and, for an owner while the broker runs, the very
values that the vault holds, in any encoding.

A PATH is a file or a tree. Binaries are passed over, and .git, node_modules,
vendor and their like, but not what .gitignore names. Without a PATH it looks at
the places in your home where tools leave secrets: .env files, shell histories,
the configs and transcripts of agents, the credentials of clouds and registries.

A find is shown as path:line:column, what it is, its [rule] and a fingerprint,
never as the value. What is no secret is allowed by a comment in its line,
secretctl:allow, or by its fingerprint in a file .secretctl-allow beside .git.
Neither allows a value that the vault holds.

Exit codes: 0 nothing was found, 1 something was, 2 something could not be
searched.`

func scanCommand(w *world) *cobra.Command {
	var o scanning
	c := &cobra.Command{
		Use:   "scan [PATH…]",
		Short: "find secrets in plaintext",
		Long:  scanHelp,
		Example: `  secretctl scan
  secretctl scan --history ~/src
  echo 'exec secretctl scan --pre-commit' > .git/hooks/pre-commit && chmod +x .git/hooks/pre-commit`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case o.json && o.sarif:
				return usage(c, "--json and --sarif are two answers: give one of them")
			case o.staged && (len(args) > 0 || o.history):
				return usage(c, "--pre-commit takes no PATH and no --history: it looks at what is staged here")
			case o.history && len(args) == 0:
				return usage(c, "--history needs a PATH")
			}
			o.w, o.paths = w, args
			return o.run(c.Context())
		},
	}
	c.Flags().BoolVar(&o.history, "history", false, "search the history of git repositories, too")
	c.Flags().BoolVar(&o.staged, "pre-commit", false, "search what is staged in this repository, and report what is new")
	c.Flags().BoolVar(&o.sarif, "sarif", false, "print SARIF 2.1.0")
	jsonFlag(c, &o.json)
	return c
}

// The exit codes of scan, which are those of grep.
const (
	scanFound   = 1
	scanTrouble = 2
)

// scanning is what scan was asked for.
type scanning struct {
	w                            *world
	paths                        []string
	history, staged, json, sarif bool
}

func (o *scanning) run(ctx context.Context) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, stop) // the second one kills
	s := &scan.Scanner{History: o.history}
	err := errors.Join(o.know(ctx, s), o.search(ctx, s))
	if ctx.Err() != nil {
		return errors.New("stopped before the end")
	}
	troubles := s.Troubles()
	if err != nil {
		troubles = append(troubles, err)
	}
	if !o.sarif {
		for _, err := range troubles {
			o.w.say("%v", err)
		}
	}
	found := o.withoutIdentity(s.Findings())
	if err := o.print(found, troubles, s.Progress()); err != nil {
		return err
	}
	switch {
	case len(troubles) > 0:
		return exitAnswer(scanTrouble)
	case len(found) > 0:
		return exitAnswer(scanFound)
	}
	return nil
}

// withoutIdentity leaves the broker's own identity out: it lies where it belongs,
// and whoever took it away as one finds told would have lost the vault.
func (o *scanning) withoutIdentity(found []scan.Finding) []scan.Finding {
	h, err := o.w.ofSudoer().home()
	if err != nil {
		return found
	}
	identity, next := filepath.Join(h.dir, age.IdentityFile), filepath.Join(h.dir, age.NextFile)
	return slices.DeleteFunc(found, func(f scan.Finding) bool {
		path, err := filepath.Abs(f.Path)
		return err == nil && (path == identity || path == next) && f.Commit == ""
	})
}

// know tells the scanner the values in the vault, as far as this user may know
// them: by their fingerprints. Whoever has no vault hears nothing of it.
func (o *scanning) know(ctx context.Context, s *scan.Scanner) error {
	salt := mask.NewSalt()
	var prints []mask.Fingerprint
	err := o.w.asOwner(ctx, func(c *broker.Client) (err error) {
		prints, err = c.Fingerprints(ctx, salt)
		return err
	})
	switch {
	case err == nil:
		set := mask.New(salt, prints)
		s.Longest = set.Longest()
		s.Known = func(b []byte) (hits []scan.Hit) {
			for _, h := range set.Find(nil, b) {
				hits = append(hits, scan.Hit(h))
			}
			return hits
		}
		return nil
	case errors.Is(err, sock.ErrNotRunning) && !o.w.hasHome():
		return nil
	case errors.Is(err, sock.ErrNotRunning), errors.Is(err, broker.ErrKilled), errors.Is(err, errNotOwner),
		errors.Is(err, broker.ErrBadRequest): // from an agent's socket
		if !o.sarif {
			o.w.say("the values in the vault are not looked for: %v", err)
		}
		return nil
	}
	return err
}

// hasHome reports whether there is a vault that this user might own.
func (w *world) hasHome() bool {
	h, err := w.home()
	return err == nil && exists(h.configPath())
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// search searches what was asked for, and shows meanwhile how far it is.
func (o *scanning) search(ctx context.Context, s *scan.Scanner) error {
	defer o.w.showProgress(s)()
	switch {
	case o.staged:
		s.Staged(ctx, ".")
	case len(o.paths) > 0:
		s.Paths(ctx, o.paths)
	default:
		home, err := os.UserHomeDir()
		if err != nil || !filepath.IsAbs(home) {
			return errors.New("no home directory is known for this user: give a PATH")
		}
		s.Places(ctx, home, true)
	}
	return nil
}

// found is a finding as JSON.
type foundJSON struct {
	Path        string  `json:"path"`
	Commit      *string `json:"commit"`
	Line        int     `json:"line"`
	Column      int     `json:"column"`
	Rule        string  `json:"rule"`
	What        string  `json:"what"`
	Secret      *string `json:"secret"`
	Fingerprint string  `json:"fingerprint"`
}

func (o *scanning) print(found []scan.Finding, troubles []error, p scan.Progress) error {
	switch {
	case o.sarif:
		return scan.WriteSARIF(o.w.stdout, versionText(), found, troubles)
	case o.json:
		return o.printJSON(found, troubles, p)
	}
	for _, f := range found {
		place := f.Path
		if f.Commit != "" {
			place = f.Commit[:min(len(f.Commit), 12)] + ":" + f.Path
		}
		what := f.What
		if f.Secret != "" {
			what += " (" + f.Secret + ")"
		}
		if err := o.w.printf("%s:%d:%d: %s [%s] %s\n", shown(place), f.Line, f.Column, shown(what), f.Rule, f.Fingerprint); err != nil {
			return err
		}
	}
	if p.Allowed > 0 {
		o.w.say("%s allowed by comments or %s", counted(int(p.Allowed), "find"), scan.AllowFile)
	}
	searched := fmt.Sprintf("%s (%s)", counted(int(p.Files), "file"), size(p.Bytes))
	if len(found) > 0 {
		o.w.say("found %s in %s", counted(len(found), "secret"), searched)
		o.w.hint(hintFor(found))
	} else if _, ok := terminal(o.w.stderr); ok && !o.staged { // of a commit nobody waits to hear that it is clean
		o.w.say("found no secret in %s", searched)
	}
	return nil
}

// hintFor says what to do about finds.
func hintFor(found []scan.Finding) string {
	env := func(f scan.Finding) bool { return strings.HasPrefix(filepath.Base(f.Path), ".env") && f.Commit == "" }
	held := func(f scan.Finding) bool { return f.Secret != "" }
	first, _ := filepath.Abs(found[0].Path)
	switch {
	case !slices.ContainsFunc(found, func(f scan.Finding) bool { return !env(f) }):
		return "secretctl import " + shown(first)
	case !slices.ContainsFunc(found, func(f scan.Finding) bool { return !held(f) }):
		return "the vault has it: remove it here, and replace it at its service if others could read it"
	}
	return "put it into the vault with secretctl import FILE or secretctl set NAME, replace it at its service, and remove it here"
}

func (o *scanning) printJSON(found []scan.Finding, troubles []error, p scan.Progress) error {
	answer := struct {
		Findings []foundJSON `json:"findings"`
		Files    int64       `json:"files"`
		Bytes    int64       `json:"bytes"`
		Allowed  int64       `json:"allowed"`
		Errors   []string    `json:"errors"`
	}{[]foundJSON{}, p.Files, p.Bytes, p.Allowed, []string{}}
	for _, f := range found {
		answer.Findings = append(answer.Findings, foundJSON{f.Path, orNull(f.Commit), f.Line, f.Column, f.Rule, f.What, orNull(f.Secret), f.Fingerprint})
	}
	for _, err := range troubles {
		answer.Errors = append(answer.Errors, err.Error())
	}
	return o.w.printJSON(answer)
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// size shows a number of bytes.
func size(n int64) string {
	if n < 1<<20 {
		return strconv.FormatInt((n+1023)/1024, 10) + " KB"
	}
	return strconv.FormatInt(n>>20, 10) + " MB"
}

// When progress is shown, and how often.
const (
	progressAfter = time.Second
	progressEvery = 200 * time.Millisecond
)

// showProgress shows on a terminal how far a scan is, until the function that
// it returns is called.
func (w *world) showProgress(s *scan.Scanner) (end func()) {
	if _, ok := terminal(w.stderr); !ok {
		return func() {}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		next, shown := time.NewTimer(progressAfter), false
		defer next.Stop()
		for {
			select {
			case <-next.C:
				p := s.Progress()
				fmt.Fprintf(w.stderr, "\r\x1b[Ksecretctl: scanning: %s, %s, %s so far", counted(int(p.Files), "file"), size(p.Bytes), counted(p.Findings, "secret"))
				shown = true
				next.Reset(progressEvery)
			case <-stop:
				if shown {
					fmt.Fprint(w.stderr, "\r\x1b[K")
				}
				return
			}
		}
	}()
	return func() { close(stop); <-stopped }
}
