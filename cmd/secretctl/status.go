package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/providers"
)

// errOverdue ends status --check.
var errOverdue = errors.New("overdue")

const statusHelp = `Says how the broker is: the mode with its reasons, stores, secrets and leases,
what is overdue or will be soon, the audit log, and what no mode protects
against.

Exit codes: 7 with --check, when something is overdue.`

func statusCommand(w *world) *cobra.Command {
	var asJSON, check bool
	c := &cobra.Command{
		Use:     "status",
		Short:   "say how the broker is and what is overdue",
		Long:    statusHelp,
		Example: "  secretctl status\n  secretctl status --check || mail -s 'rotate these' joel",
		Args:    takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			return w.asOwner(c.Context(), func(client *broker.Client) error {
				status, err := client.Status(c.Context())
				if err != nil {
					return err
				}
				if asJSON {
					err = w.printJSON(status)
				} else {
					err = w.printStatus(c, client, status)
				}
				if err == nil && check && len(status.Overdue) > 0 {
					err = hinted(fmt.Errorf("%w: %s", errOverdue, strings.Join(status.Overdue, ", ")), "replace the keys at their services, then: secretctl set NAME")
				}
				return err
			})
		},
	}
	c.Flags().BoolVar(&check, "check", false, "exit with 7 when something is overdue")
	jsonFlag(c, &asJSON)
	return c
}

func (w *world) printStatus(c *cobra.Command, client *broker.Client, s broker.Status) error {
	if err := w.printColumns(w.statusRows(s)); err != nil {
		return err
	}
	if s.Secrets == 0 {
		return nil
	}
	all, err := client.List(c.Context(), "")
	if err != nil {
		return err
	}
	due := soon(all)
	if len(due) == 0 {
		return nil
	}
	if err := w.printf("\n"); err != nil {
		return err
	}
	if err := w.printTable([]string{"DUE", "STORE", "VERSION", "AGE", "OF MAX AGE", "NEXT ROTATION", "STATE"}, infoRows(due[:min(len(due), maxDue)])); err != nil {
		return err
	}
	if more := len(due) - maxDue; more > 0 {
		return w.printf("and %d more: secretctl ls\n", more)
	}
	return nil
}

// statusRows are the facts, and below each what explains it.
func (w *world) statusRows(s broker.Status) (rows [][]cell) {
	add := func(name string, text string, st style) {
		rows = append(rows, []cell{{name, bold}, {text, st}})
	}
	list := func(texts []string) {
		for _, text := range texts {
			rows = append(rows, []cell{{}, {"- " + text, faint}})
		}
	}
	add("mode", s.Mode, good(s.Mode == "separate" && len(s.ModeReasons) == 0))
	if !strings.Contains(s.Mode, "(") { // else it says them itself
		list(s.ModeReasons)
	}
	add("home", s.Home, "")
	add("broker", fmt.Sprintf("%s, pid %d, up %s", s.Version, s.PID, span(w.since(s.StartedAt))), "")
	if s.Killed {
		add("killed", "yes: nothing is handed out (secretctl resume)", red)
	} else {
		add("killed", "no", "")
	}
	secrets := strconv.Itoa(s.Secrets)
	if n := len(s.Overdue); n > 0 {
		secrets += fmt.Sprintf(", %d overdue", n)
	}
	add("secrets", secrets, good(len(s.Overdue) == 0))
	add("leases", strconv.Itoa(s.Leases), "")
	for i, p := range s.Rotations {
		name := ""
		if i == 0 {
			name = "rotations"
		}
		add(name, rotationLine(p), good(p.State != "needs-owner"))
		if p.Hint != "" && p.State == "needs-owner" {
			rows = append(rows, []cell{{}, {"- " + p.Hint, faint}})
		}
	}
	for _, store := range s.Stores {
		add("store "+store.Name, working(store.Error), good(store.OK))
		if store.Note != "" {
			rows = append(rows, []cell{{}, {store.Note, faint}})
		}
	}
	add("audit", fmt.Sprintf("%d records, %s", s.Audit.Records, working(s.Audit.Error)), good(s.Audit.OK))
	if s.Audit.Head != "" {
		rows = append(rows, []cell{{}, {"head " + s.Audit.Head, faint}})
	}
	rows = append(rows, []cell{{"not protected", bold}})
	list(s.Limits)
	return rows
}

// rotationLine says how one rotation under way stands.
func rotationLine(p providers.Progress) string {
	text := fmt.Sprintf("%s %d → %d %s", p.Secret, p.From, p.To, p.State)
	if p.Error != nil {
		text += ": " + *p.Error
	}
	return text
}

func good(yes bool) style {
	if yes {
		return green
	}
	return red
}

// working says how something is that has an error when it does not work.
func working(err *string) string {
	if err == nil {
		return "ok"
	}
	return *err
}

// maxDue is how many secrets that are due status lists.
const maxDue = 10

// soon returns the secrets that are overdue or near it, at three quarters of
// their max_age, the most urgent first.
func soon(all []broker.SecretInfo) (due []broker.SecretInfo) {
	used := func(i broker.SecretInfo) float64 {
		switch {
		case i.MaxAgeSeconds != nil && *i.MaxAgeSeconds > 0:
			return float64(i.AgeSeconds) / float64(*i.MaxAgeSeconds)
		case i.Overdue:
			return 1
		}
		return 0
	}
	for _, i := range all {
		if i.Overdue || used(i) >= 0.75 {
			due = append(due, i)
		}
	}
	slices.SortStableFunc(due, func(a, b broker.SecretInfo) int { return cmp.Compare(used(b), used(a)) })
	return due
}
