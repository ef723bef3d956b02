package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/broker/audit"
	"secretctl/sock"
)

const auditHelp = `Prints the audit log, newest last: what was decided about whom, and why. It is
asked of the broker, and read from the disk when none runs.

--json prints the log's own lines.

Events: init, start, stop, connect, lease, renew, release, expire, undelivered,
revoke, kill, resume, set, rm, mv, rollback, adopt, rotate, identity, recover,
reload, read, fingerprint, clock-step, repair, prune, dropped.`

func auditCommand(w *world) *cobra.Command {
	a := &auditing{w: w}
	c := &cobra.Command{
		Use:   "audit",
		Short: "print what happened, or check the log",
		Long:  auditHelp,
		Example: `  secretctl audit --since 1d --agent openclaw
  secretctl audit --follow --json | jq 'select(.decision == "deny")'
  secretctl audit verify`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(c, "audit takes no arguments but verify")
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return a.run(c) },
	}
	f := c.Flags()
	f.Var(&a.since, "since", "only what is no older than this, such as 7d")
	f.StringVar(&a.agent, "agent", "", "only what this agent asked (owner: what owners did)")
	f.StringVar(&a.secret, "secret", "", "only what is about this secret")
	f.StringVar(&a.event, "event", "", "only this event, such as lease, set or kill")
	f.BoolVar(&a.follow, "follow", false, "go on with what happens next")
	jsonFlag(c, &a.json)
	c.AddCommand(verifyCommand(w))
	return c
}

// events are the events of the log, as --event wants them.
var events = []string{
	"init", "start", "stop", "connect", "lease", "renew", "release", "expire", "undelivered", "revoke", "kill", "resume",
	"set", "rm", "mv", "rollback", "adopt", "rotate", "identity", "recover", "reload", "read", "fingerprint", "clock-step", "repair", "prune", "dropped",
}

// auditing is what audit was asked for, and how far it has come.
type auditing struct {
	w                    *world
	since                durationFlag
	agent, secret, event string
	json, follow         bool

	last uint64 // the last record that was seen, whether printed or not
}

func (a *auditing) run(c *cobra.Command) error {
	switch {
	case a.event != "" && !slices.Contains(events, a.event):
		return usage(c, "there is no event %q", a.event)
	case a.secret != "":
		if _, err := nameArg(c, a.secret); err != nil {
			return err
		}
	}
	err := a.w.asOwner(c.Context(), func(client *broker.Client) error { return a.ask(c.Context(), client) })
	if errors.Is(err, sock.ErrNotRunning) && a.last == 0 && !a.follow {
		return a.scan(err)
	}
	return err
}

// from returns the time that --since means; zero for all.
func (a *auditing) from() time.Time {
	if a.since == 0 {
		return time.Time{}
	}
	return a.w.clock.Now().Wall.Add(-time.Duration(a.since))
}

// ask reads the log through the broker, and goes on for as long as it is there
// when that was asked.
func (a *auditing) ask(ctx context.Context, client *broker.Client) error {
	status, err := client.Status(ctx)
	if err != nil {
		return err
	}
	if err := a.part(ctx, client, 0, a.from(), false); err != nil {
		return err
	}
	// What --since left out has been seen too.
	a.last = max(a.last, status.Audit.Records)
	for a.follow {
		if err := a.part(ctx, client, a.last+1, time.Time{}, true); err != nil {
			return err
		}
	}
	return nil
}

// part prints the records from a sequence number on.
func (a *auditing) part(ctx context.Context, client *broker.Client, from uint64, since time.Time, wait bool) error {
	answer, err := client.Audit(ctx, from, since, wait)
	if err != nil {
		return err
	}
	defer answer.Close()
	in := bufio.NewReader(answer)
	for {
		line, err := in.ReadBytes('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case err != nil:
			return fmt.Errorf("reading the log: %w", err)
		}
		if err := a.print(line[:len(line)-1]); err != nil {
			return err
		}
	}
}

// scan reads the log from the disk. Where there is no home to read it returns
// the error that led here.
func (a *auditing) scan(notRunning error) error {
	h, err := a.w.home()
	if err != nil {
		return err
	}
	disk, err := h.read()
	if err != nil {
		return notRunning
	}
	return audit.Scan(disk, broker.AuditDir, 0, a.from(), func(_ *audit.Record, line []byte) error { return a.print(line) })
}

// auditLine is what people are shown of a line of the log.
type auditLine struct {
	Seq      uint64    `json:"seq"`
	Time     time.Time `json:"time"`
	Event    string    `json:"event"`
	Decision string    `json:"decision"`
	Reason   string    `json:"reason"`
	Stated   string    `json:"stated_reason"`
	Agent    string    `json:"agent"`
	Exe      string    `json:"exe"`
	Secret   string    `json:"secret"`
	Version  uint64    `json:"version"`
	Count    uint64    `json:"count"`
}

// print prints a line, if it is wanted.
func (a *auditing) print(line []byte) error {
	var l auditLine
	if err := json.Unmarshal(line, &l); err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	a.last = max(a.last, l.Seq)
	switch {
	case a.agent != "" && l.Agent != a.agent,
		a.secret != "" && l.Secret != a.secret,
		a.event != "" && l.Event != a.event:
		return nil
	case a.json:
		return a.w.printf("%s\n", line)
	}
	return a.w.printf("%s\n", l.text(a.w.paints(a.w.stdout)))
}

// text is the line as people read it: when, what, how it ended, who, which
// secret, why. The widths are those of common words, since the log is printed
// as it is read.
func (l *auditLine) text(paint painter) string {
	secret, why := l.Secret, l.Reason
	if l.Version > 0 {
		secret += fmt.Sprintf("@%d", l.Version)
	}
	if l.Count > 0 {
		why = strings.TrimSpace(fmt.Sprintf("%s (%d)", why, l.Count))
	}
	if l.Stated != "" {
		why += fmt.Sprintf(" %q", l.Stated)
	}
	if l.Exe != "" {
		why += " by " + l.Exe
	}
	decided := style("")
	if l.Decision == string(audit.Deny) {
		decided = red
	}
	text := l.Time.Local().Format(time.DateTime) +
		"  " + pad(l.Event, 11) + " " + paint.paint(decided, pad(l.Decision, 5)) +
		"  " + pad(l.Agent, 10) + "  " + pad(secret, 26) + "  " + shown(why)
	return strings.TrimRight(text, " ")
}

func pad(text string, width int) string { return fmt.Sprintf("%-*s", width, shown(text)) }
