package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"secretctl/broker"
	"secretctl/broker/config"
	"secretctl/cmd/secretctl/dotenv"
)

// importedFile is a file in import --json.
type importedFile struct {
	File      string          `json:"file"`
	Rewritten bool            `json:"rewritten"`
	Entries   []importedEntry `json:"entries"`
	Unread    []unreadBy      `json:"unread_by"` // readers that do not read the file at all
	Strays    []int           `json:"stray_lines"`
	Remains   []remain        `json:"remains"`
}

type importedEntry struct {
	Key      string           `json:"key"`
	Line     int              `json:"line"`
	Secret   *string          `json:"secret"` // null where none is meant
	Action   string           `json:"action"`
	Why      string           `json:"why"`
	Disagree []dotenv.Dialect `json:"disagree"` // readers that read another value
}

type unreadBy struct {
	Reader dotenv.Dialect `json:"reader"`
	Line   int            `json:"line"`
}

// report prints what became of the files.
func (m *importing) report(ctx context.Context, plans []*plan) error {
	if m.json {
		return m.w.printJSON(imported(plans))
	}
	if err := m.tables(plans); err != nil {
		return err
	}
	m.warn(plans)
	if m.dryRun {
		m.w.say("nothing was changed: this is what would be")
	}
	if m.undo {
		return nil
	}
	if m.sops {
		m.w.say("the files stay as they are: whoever has their key can read them")
		return m.grant(ctx, plans)
	}
	return errors.Join(m.grant(ctx, plans), m.leftovers(plans))
}

func imported(plans []*plan) []importedFile {
	out := []importedFile{}
	for _, p := range plans {
		f := importedFile{p.path, p.done, []importedEntry{}, []unreadBy{}, append([]int{}, p.file.Strays()...), append([]remain{}, p.remain...)}
		for _, r := range p.file.Refusals() {
			f.Unread = append(f.Unread, unreadBy{r.Dialect, r.Line})
		}
		for _, m := range p.moves {
			e := importedEntry{m.entry.Key, m.entry.Line, nil, m.action, m.why, append([]dotenv.Dialect{}, m.entry.Disagree...)}
			if m.name != "" {
				e.Secret = new(string(m.name))
			}
			f.Entries = append(f.Entries, e)
		}
		out = append(out, f)
	}
	return out
}

// tables prints a table a file.
func (m *importing) tables(plans []*plan) error {
	for i, p := range plans {
		if len(plans) > 1 {
			space := "\n"
			if i == 0 {
				space = ""
			}
			if err := m.w.printf("%s%s\n", space, shown(p.path)); err != nil {
				return err
			}
		}
		if err := m.w.printTable([]string{"KEY", "SECRET", "ACTION", "WHY"}, p.rows()); err != nil {
			return err
		}
		if len(p.moves) == 0 {
			m.w.say("%s has no KEY=value", p.path)
		}
	}
	return nil
}

func (p *plan) rows() (rows [][]cell) {
	for _, m := range p.moves {
		name, why := string(m.name), m.why
		if name == "" {
			name = "-"
		}
		if m.taken() && m.action != actionRestored && len(m.entry.Disagree) > 0 {
			why += "; read otherwise by " + dialects(m.entry.Disagree)
		}
		row := cells(m.entry.Key, name, m.action, why)
		switch m.action {
		case actionLeft:
			row[2].style = faint
		case actionUpdated:
			row[2].style = bold
		default:
			row[2].style = green
		}
		rows = append(rows, row)
	}
	return rows
}

func dialects(all []dotenv.Dialect) string {
	names := make([]string, len(all))
	for i, d := range all {
		names[i] = string(d)
	}
	return strings.Join(names, ", ")
}

// warn says what a person has to look at: values about which readers disagree, and
// what was not understood.
func (m *importing) warn(plans []*plan) {
	for _, p := range plans {
		for _, move := range p.moves {
			if move.taken() && len(move.entry.Disagree) > 0 && !m.undo {
				m.w.say("warning: %s: line %d: %s has another value, or none, for %s", p.path, move.entry.Line, move.entry.Key, dialects(move.entry.Disagree))
				m.w.hint("if your program is one of these, see that it gets what it got before: secretctl get " + string(move.name))
			}
		}
		for _, r := range p.file.Refusals() {
			if !m.undo {
				m.w.say("note: %s: %s does not read this file: it gives up in line %d", p.path, r.Dialect, r.Line)
			}
		}
		if n := p.file.Strays(); len(n) > 0 && !m.undo {
			m.w.say("note: %s: not KEY=value, and left: line %s", p.path, numbers(n))
		}
	}
}

func numbers(all []int) string {
	texts := make([]string, len(all))
	for i, n := range all {
		texts[i] = strconv.Itoa(n)
	}
	return strings.Join(texts, ", ")
}

// grant prints what the config needs for an agent to get what was imported.
func (m *importing) grant(ctx context.Context, plans []*plan) error {
	names := importedNames(plans)
	if len(names) == 0 {
		return nil
	}
	agent := m.agent()
	names = m.notGranted(ctx, agent, names)
	if len(names) == 0 {
		return m.w.printf("\n%s may have all of these already\n", shown(agent))
	}
	for i := range names {
		names[i] = strconv.Quote(names[i])
	}
	where := "secretctl.toml"
	if h, err := m.w.home(); err == nil {
		where = h.configPath()
	}
	if agent == "" {
		agent = "NAME" // of an [agent.NAME] in the config
	}
	return m.w.printf("\nfor an agent to get them, add to %s\n\n[[grant]]\nagent = %q\nsecrets = [%s]\nttl = \"15m\"\n", shown(where), agent, strings.Join(names, ", "))
}

func importedNames(plans []*plan) (names []string) {
	for _, p := range plans {
		for _, m := range p.moves {
			if m.taken() && !slices.Contains(names, string(m.name)) {
				names = append(names, string(m.name))
			}
		}
	}
	slices.Sort(names)
	return names
}

// agent returns which agent is probably meant: the only one there is, or the one
// whose files these are; "" when that cannot be told.
func (m *importing) agent() string {
	cfg, err := m.config()
	if err != nil {
		return ""
	}
	uid, isUser := m.uid()
	for _, a := range cfg.Agents {
		if len(cfg.Agents) == 1 || isUser && a.UID == uid {
			return a.Name
		}
	}
	return ""
}

// config reads the config, if it is this user's to read.
func (m *importing) config() (*config.Config, error) {
	h, err := m.w.home()
	if err != nil {
		return nil, err
	}
	disk, err := h.read()
	if err != nil {
		return nil, err
	}
	return h.load(disk)
}

// notGranted returns the names that an agent does not get, as things are.
func (m *importing) notGranted(ctx context.Context, agent string, names []string) []string {
	if agent == "" {
		return names
	}
	var denied []string
	err := m.w.asOwner(ctx, func(client *broker.Client) error {
		for _, name := range names {
			found, err := client.Check(ctx, agent, name, "value")
			if err != nil {
				return err
			}
			if !found.Allow {
				denied = append(denied, name)
			}
		}
		return nil
	})
	if err != nil {
		return names
	}
	return denied
}

// leftovers prints where the old plaintext still is, and what helps.
func (m *importing) leftovers(plans []*plan) error {
	names := importedNames(plans)
	var rows [][]cell
	for _, p := range plans {
		for _, r := range p.remain {
			if row := cells("  "+r.Place, r.What); !slices.ContainsFunc(rows, func(other []cell) bool { return slices.Equal(other, row) }) {
				rows = append(rows, row)
			}
		}
	}
	if m.dryRun || len(names) == 0 && len(rows) == 0 {
		return nil
	}
	if err := m.w.printf("\nwhere the old plaintext still is\n"); err != nil {
		return err
	}
	if err := m.w.printColumns(append(rows, cells("  snapshots, backups, a disk's spare blocks", "cannot be searched, nor cleaned"))); err != nil {
		return err
	}
	if len(names) == 0 {
		return nil
	}
	return m.w.printf("\nwhat was in a file may be known: replace each key at its service, then here\n%s", setLines(names))
}

func setLines(names []string) string {
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "  secretctl set %s\n", name)
	}
	return b.String()
}
