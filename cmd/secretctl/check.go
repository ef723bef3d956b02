package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/broker/config"
	"secretctl/broker/durable"
	"secretctl/broker/grant"
)

const checkHelp = `Reads secretctl.toml strictly and says everything that is wrong with it, with
lines and what would be right; and whether what opens the vault is there. No
broker is needed.

With AGENT and SECRET it asks the broker what would be decided now, and by which
rule. DOOR is "value" unless given.

Exit codes: 1 there is a mistake, 3 the agent would be denied.`

func checkCommand(w *world) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "check [AGENT SECRET [DOOR]]",
		Short:   "check the config, or say what would be decided",
		Long:    checkHelp,
		Example: "  secretctl check\n  secretctl check openclaw openai/api-key",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				return usage(c, "check needs SECRET after AGENT, or neither")
			}
			return takesSome(0, "AGENT", "SECRET", "DOOR")(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return w.checkConfig(asJSON)
			}
			return w.checkRequest(c, asJSON, append(args, "")[:3])
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

// mistake is something wrong with the config, or worth a warning.
type mistake struct {
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Problem string `json:"problem"`
	Remedy  string `json:"remedy"`
}

func mistakes(list []*config.Error) []mistake {
	out := []mistake{}
	for _, e := range list {
		out = append(out, mistake{e.Line, e.Column, e.Problem, e.Remedy})
	}
	return out
}

// configReport is the answer of check --json.
type configReport struct {
	File     string    `json:"file"`
	OK       bool      `json:"ok"`
	Agents   int       `json:"agents"`
	Grants   int       `json:"grants"`
	Errors   []mistake `json:"errors"`
	Warnings []mistake `json:"warnings"`
}

// checkConfig checks the config of the home.
func (w *world) checkConfig(asJSON bool) error {
	h, err := w.home()
	if err != nil {
		return err
	}
	disk, err := h.read()
	if err != nil {
		return err
	}
	cfg, err := h.load(disk)
	var wrong config.Errors
	if asJSON && (err == nil || errors.As(err, &wrong)) {
		report := configReport{File: h.configPath(), OK: err == nil, Errors: mistakes(wrong), Warnings: []mistake{}}
		if err == nil {
			report.Agents, report.Grants, report.Warnings = len(cfg.Agents), len(cfg.Policy.Rules()), mistakes(cfg.Warnings)
		}
		if err == nil {
			err = w.identityWorks(h, disk, cfg)
		}
		return errors.Join(w.printJSON(report), err)
	}
	if err != nil {
		return err
	}
	for _, warning := range cfg.Warnings {
		w.say("warning: %v", warning)
		w.hint(warning.Remedy)
	}
	err = w.printf("%s is right: %s, %s\n", shown(h.configPath()), counted(len(cfg.Agents), "agent"), counted(len(cfg.Policy.Rules()), "grant"))
	return errors.Join(err, w.identityWorks(h, disk, cfg))
}

// identityWorks reports why no value in the vault will be opened. What systemd
// gives the broker is not there for whoever types the command, nor is the keyring of
// another user.
func (w *world) identityWorks(h home, disk durable.Disk, cfg *config.Config) error {
	vault := w.embedded(disk, cfg, nil)
	if vault.IsCredential() && w.getenv("CREDENTIALS_DIRECTORY") == "" {
		return nil
	}
	if vault.InKeyring() && h.checkOwner() != nil {
		return nil
	}
	return h.checkIdentity(vault)
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// checkRequest asks what would be decided: agent, secret and door are args.
func (w *world) checkRequest(c *cobra.Command, asJSON bool, args []string) error {
	name, err := nameArg(c, args[1])
	if err != nil {
		return err
	}
	return w.asOwner(c.Context(), func(client *broker.Client) error {
		found, err := client.Check(c.Context(), args[0], string(name), args[2])
		if err != nil {
			return err
		}
		if asJSON {
			err = w.printJSON(found)
		} else {
			err = w.printf("%s\n", shown(decision(&found)))
		}
		if err == nil && !found.Allow {
			err = exitAnswer(exitDenied)
		}
		return err
	})
}

// decision is what would be decided, in a sentence.
func decision(d *broker.Check) string {
	if d.Allow {
		text := fmt.Sprintf("%s gets %s by the %s door, leased for at most %s: %s",
			d.Agent, d.Secret, d.Door, config.FormatDuration(time.Duration(d.TTLSeconds)*time.Second), rule(d))
		if !d.Exists {
			text += "; but there is no such secret yet"
		}
		return text
	}
	return fmt.Sprintf("%s does not get %s by the %s door: %s", d.Agent, d.Secret, d.Door, denial(d))
}

// rule says which rule decides.
func rule(d *broker.Check) string {
	if d.Line == 0 {
		return "by no rule"
	}
	return fmt.Sprintf("the grant at %s:%d", filepath.Base(broker.ConfigFile), d.Line)
}

// denial says why not.
func denial(d *broker.Check) string {
	switch grant.Code(d.Reason) {
	case grant.CodeNoGrant:
		return "no grant names it"
	case grant.CodeOwnSecret:
		return "names under own/ are the broker's own credentials and are never handed out"
	case grant.CodeDenied:
		return rule(d) + " denies it"
	case grant.CodeDoor:
		return rule(d) + " does not open that door"
	case grant.CodeHours:
		return rule(d) + " does not give it at this hour"
	case grant.CodeWeekday:
		return rule(d) + " does not give it on this day"
	case grant.CodeMaxLeases:
		return "as many leases as " + rule(d) + " allows are held"
	case grant.CodeLeasesPerHour:
		return "as many leases as " + rule(d) + " allows in an hour were given"
	}
	return d.Reason
}
