package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"secretctl/providers"
	"secretctl/providers/builtin"
)

const providersHelp = `Lists what can replace a secret, or says all about one of them: its options for
rotate = { provider = "…" } in secretctl.toml, what the credential that manages
it must be allowed to do, and where its vendor documents that.`

func providersCommand(w *world) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "providers [NAME]",
		Short:   "list what can replace a secret, and with which options",
		Long:    providersHelp,
		Example: "  secretctl providers\n  secretctl providers ssh",
		Args:    takesSome(0, "NAME"),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
			for _, k := range builtin.Kinds() {
				if len(args) == 0 {
					names = append(names, cobra.CompletionWithDesc(k.Name, k.Summary))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			kinds := builtin.Kinds()
			if len(args) == 1 {
				kind, ok := builtin.Find(args[0])
				if !ok {
					return hinted(fmt.Errorf("there is no provider %q", args[0]), "secretctl providers")
				}
				kinds = []providers.Kind{kind}
			}
			switch {
			case asJSON:
				return w.printJSON(kindReplies(kinds))
			case len(args) == 1:
				return w.printKind(&kinds[0])
			}
			return w.printTable([]string{"PROVIDER", "SCHEDULE", "OVERLAP", "WHAT IT REPLACES"}, kindRows(kinds))
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func kindRows(kinds []providers.Kind) (rows [][]cell) {
	for _, k := range kinds {
		schedule, overlap := k.Schedule, "no"
		if k.Overlap {
			overlap = "yes"
		}
		if schedule == "" {
			schedule = "by hand"
		}
		rows = append(rows, cells(k.Name, schedule, overlap, k.Summary))
	}
	return rows
}

// shapes say what the shapes of services mean to a person.
var shapes = map[providers.Shape]string{
	providers.ShapeSet:     "we choose the value and set it",
	providers.ShapeCreate:  "the service makes another one beside the old",
	providers.ShapeRoll:    "the service replaces it in place: the old one dies at once",
	providers.ShapeRefresh: "the old one is spent by asking for the new one",
	providers.ShapeManual:  "you make it at a page and give it to rotate --stdin",
}

func (w *world) printKind(k *providers.Kind) error {
	rows := [][]cell{}
	add := func(name, text string) {
		if text != "" {
			rows = append(rows, []cell{{name, bold}, {text: text}})
		}
	}
	add("provider", k.Name)
	add("replaces", k.Summary)
	add("how", shapes[k.Shape])
	add("page", k.Page)
	add("schedule", k.Schedule)
	add("permission", k.Permission)
	docs := k.Docs
	if docs != "" && k.Read != "" {
		docs += " (read " + k.Read + ")"
	}
	add("documented", docs)
	if err := w.printColumns(rows); err != nil || len(k.Options) == 0 {
		return err
	}
	if err := w.printf("\n"); err != nil {
		return err
	}
	var options [][]cell
	for _, o := range k.Options {
		options = append(options, cells(o.Name, optionNeed(&o), o.Example, o.Help))
	}
	return w.printTable([]string{"OPTION", "", "EXAMPLE", ""}, options)
}

// optionNeed says whether an option has to be set.
func optionNeed(o *providers.Option) string {
	switch {
	case o.Required:
		return "required"
	case o.Default != nil:
		return fmt.Sprintf("default %v", o.Default)
	}
	return ""
}

// kindReply is a provider in JSON.
type kindReply struct {
	Name       string        `json:"name"`
	Summary    string        `json:"summary"`
	Shape      string        `json:"shape"`
	Overlap    bool          `json:"overlap"`
	Schedule   string        `json:"schedule"`
	Permission string        `json:"permission"`
	Docs       string        `json:"docs"`
	Read       string        `json:"docs_read"`
	Page       string        `json:"page"`
	Options    []optionReply `json:"options"`
}

type optionReply struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Required bool   `json:"required"`
	Default  any    `json:"default"`
	Help     string `json:"help"`
	Example  string `json:"example"`
}

func kindReplies(kinds []providers.Kind) []kindReply {
	out := make([]kindReply, len(kinds))
	for i, k := range kinds {
		out[i] = kindReply{k.Name, k.Summary, string(k.Shape), k.Overlap, k.Schedule, k.Permission, k.Docs, k.Read, k.Page, []optionReply{}}
		for _, o := range k.Options {
			out[i].Options = append(out[i].Options, optionReply{o.Name, string(o.Type), o.Required, o.Default, o.Help, o.Example})
		}
	}
	return out
}
