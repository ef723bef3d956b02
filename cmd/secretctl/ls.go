package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/broker/config"
	"secretctl/broker/grant"
)

const lsHelp = `Lists what the caller may have. An owner gets every secret with its age; an
agent what grants allow it.

PATTERN is a name, or the beginning of names and a "*".`

func lsCommand(w *world) *cobra.Command {
	var asJSON, asAgent bool
	c := &cobra.Command{
		Use:               "ls [PATTERN]",
		Short:             "list secrets, with age and what is overdue",
		Long:              lsHelp,
		Example:           "  secretctl ls 'openai/*'",
		Args:              takesSome(0, "PATTERN"),
		ValidArgsFunction: completeName(w),
		RunE: func(c *cobra.Command, args []string) error {
			pattern, err := patternArg(c, args)
			if err != nil {
				return err
			}
			l := listing{w, c, pattern, asJSON}
			return w.ask(c.Context(), asAgent, l.list)
		},
	}
	c.Flags().BoolVar(&asAgent, "as-agent", false, "ask at the agent's socket although this user is an owner")
	jsonFlag(c, &asJSON)
	return c
}

// listing is what ls was asked for.
type listing struct {
	w       *world
	c       *cobra.Command
	pattern string
	json    bool
}

// list prints what a socket answers. Whose socket it is can be seen in the
// answer: only an owner is told where a secret rests.
func (l listing) list(client *broker.Client, s broker.Socket) error {
	if s != broker.AgentSocket {
		all, err := client.List(l.c.Context(), l.pattern)
		if err != nil {
			return err
		}
		if len(all) == 0 || all[0].Store != "" {
			return l.owner(all)
		}
	}
	all, err := client.Available(l.c.Context())
	if err != nil {
		return err
	}
	return l.agent(all)
}

func (l listing) owner(all []broker.SecretInfo) error {
	if l.json {
		return l.w.printJSON(all)
	}
	if len(all) == 0 && l.pattern == "" {
		l.w.say("there are no secrets yet")
		l.w.hint("secretctl set NAME")
	}
	return l.w.printTable([]string{"NAME", "STORE", "VERSION", "AGE", "OF MAX AGE", "NEXT ROTATION", "STATE"}, infoRows(all))
}

// infoRows are the lines of a table of secrets.
func infoRows(all []broker.SecretInfo) (rows [][]cell) {
	for _, i := range all {
		used, next := "-", "-"
		if i.MaxAgeSeconds != nil {
			limit := seconds(*i.MaxAgeSeconds)
			used = bar(seconds(i.AgeSeconds), limit) + " " + config.FormatDuration(limit)
		}
		if i.NextRotation != nil {
			next = i.NextRotation.Local().Format(time.DateTime)
		}
		age := span(seconds(i.AgeSeconds))
		if i.AtLeast {
			age = "≥ " + age // it was imported, and is older
		}
		version := strconv.FormatUint(i.Version, 10)
		if i.Version == 0 {
			version, age, used = "-", "-", "-"
		}
		row := cells(i.Name, i.Store, version, age, used, next, "ok")
		switch last := i.LastRotation; {
		case i.Version == 0:
			row[len(row)-1] = cell{"not opened yet", ""}
		case i.Ended: // nothing is handed out
			row[len(row)-1] = cell{"ended", red}
		case i.Overdue:
			row[len(row)-1] = cell{"overdue", red}
		case i.Suspended:
			row[len(row)-1] = cell{"suspended", red}
		case last != nil && last.Error != nil:
			row[len(row)-1] = cell{last.State, red}
		case last != nil && last.State == "retiring":
			row[len(row)-1] = cell{"retiring", ""}
		}
		rows = append(rows, row)
	}
	return rows
}

func (l listing) agent(all []broker.Available) error {
	meant := []broker.Available{}
	var rows [][]cell
	for _, a := range all {
		if !matches(l.pattern, a.Name) {
			continue
		}
		meant = append(meant, a)
		rows = append(rows, cells(a.Name, doorList(a.Doors), config.FormatDuration(seconds(a.MaxTTLSeconds))))
	}
	if l.json {
		return l.w.printJSON(meant)
	}
	if len(all) == 0 {
		l.w.say("nothing is granted to this user")
	}
	return l.w.printTable([]string{"NAME", "DOORS", "MAX TTL"}, rows)
}

func doorList(doors []grant.Door) string {
	names := make([]string, len(doors))
	for i, d := range doors {
		names[i] = string(d)
	}
	return strings.Join(names, ",")
}
