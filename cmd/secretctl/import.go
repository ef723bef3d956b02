package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/broker/secret"
	"secretctl/cmd/secretctl/dotenv"
)

const importHelp = `Moves the secrets of .env files into the vault. What looks like a secret goes in,
by its key or its value; the rest stays. The broker reads each value back and
compares it, and only then is the file rewritten, as a whole: in the place of
the value stands secret://NAME, and no other byte is another. run resolves that.

Names are made from keys: OPENAI_API_KEY becomes openai-api-key. It says so where
readers of .env files disagree about a value: a # or a $ cuts a secret short in
some. It prints the grant that an agent needs, and where the old plaintext still
is; the keys themselves should be replaced at their services.

A file must be yours, and be the file itself. With --user, which needs root,
files of another user are opened and rewritten by a process that has become that
user for good; a secret that is there already with another value is then updated
only where --map names it, since that user decides what is in those files. So is
one made that another agent is granted.

It can be run again after a crash, or when a file has new secrets in it.
--undo writes the values back into the files.

With --sops the files are those of SOPS, whose key is sealed to age: what is
encrypted in them goes in, once the MAC over all of it is right, and the files
stay as they are. db: password: becomes db/password.`

func importCommand(w *world) *cobra.Command {
	m := importing{w: w}
	c := &cobra.Command{
		Use:   "import FILE…",
		Short: "move the secrets of .env files into the vault",
		Long:  importHelp,
		Example: "  secretctl import --dry-run .env\n  secretctl import --prefix blog .env .env.production\n" +
			"  sudo secretctl import --user aiagent /home/aiagent/.openclaw/.env\n  secretctl import --undo .env",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return importNothing(c)
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if err := m.parse(c, args); err != nil {
				return err
			}
			return m.run(c.Context())
		},
	}
	f := c.Flags()
	f.BoolVar(&m.dryRun, "dry-run", false, "only show what would happen")
	f.StringVar(&m.choosing.prefix, "prefix", "", "what the names begin with: --prefix blog makes blog/openai-api-key")
	f.StringArrayVar(&m.maps, "map", nil, "take a key, as KEY=NAME (again for more)")
	f.BoolVar(&m.choosing.all, "all", false, "take what does not look secret too")
	f.BoolVar(&m.keep, "keep", false, "leave the files as they are")
	f.BoolVar(&m.undo, "undo", false, "write the values back into the files")
	f.StringVar(&m.user, "user", "", "whose files they are, if not yours (root only)")
	f.StringVar(&m.store, "store", "", "where the values are to rest; by default where the config says, or age")
	f.BoolVar(&m.sops, "sops", false, "they are files of SOPS: dotenv, .yaml or .json, sealed to age")
	f.StringVar(&m.identity, "identity", "", "with --sops: the file with the age identities that open them; by default that of sops")
	jsonFlag(c, &m.json)
	return c
}

// importNothing says which files there are to import.
func importNothing(c *cobra.Command) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	found, err := filepath.Glob(".env*")
	found = slices.DeleteFunc(found, func(name string) bool { return !regular(name) || strings.Contains(name, "example") })
	if err != nil || len(found) == 0 {
		return &usageError{pathOf(c), "import needs FILE: there is no .env file in " + dir, findPlaintext}
	}
	for i := range found {
		found[i] = shellWord(found[i])
	}
	return &usageError{pathOf(c), "import needs FILE", "secretctl import --dry-run " + strings.Join(found, " ")}
}

// findPlaintext is the hint for somebody who does not know where it is.
const findPlaintext = "secretctl scan says which files in your home have secrets in them"

func regular(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular()
}

// importing is what import was asked for.
type importing struct {
	w                        *world
	choosing                 choosing
	maps                     []string
	paths                    []string // absolute
	user, store              string
	dryRun, keep, undo, json bool
	sops                     bool
	identity                 string // the file with those that open what sops made
}

const ownNames = "names that begin with own/ are the broker's own, and nobody gets them back"

// parse reads the arguments. None is repeated in a message that may be a value.
func (m *importing) parse(c *cobra.Command, args []string) error {
	if err := m.parseSOPS(c); err != nil {
		return err
	}
	for _, flag := range []string{"prefix", "map", "all", "keep", "store"} {
		if m.undo && c.Flags().Changed(flag) {
			return usage(c, "--undo does not go with --%s", flag)
		}
	}
	for _, arg := range args {
		path, err := filepath.Abs(arg)
		if err != nil {
			return err
		}
		if slices.Contains(m.paths, path) {
			return usage(c, "%s is named twice", path)
		}
		m.paths = append(m.paths, path)
	}
	if p := strings.TrimSuffix(m.choosing.prefix, "/"); p != "" {
		if _, err := secret.ParseName(p); err != nil {
			return usage(c, "--prefix: %v", err)
		}
		if secret.Name(p + "/").Own() {
			return usage(c, "--prefix: %s", ownNames)
		}
		m.choosing.prefix = p + "/"
	}
	m.choosing.names = make(map[string]secret.Name)
	for _, text := range m.maps {
		key, arg, ok := strings.Cut(text, "=")
		if !ok {
			return usage(c, "--map needs KEY=NAME")
		}
		name, err := secret.ParseName(arg)
		if err != nil {
			return usage(c, "--map: %s cannot have that name: names are such as openai/api-key", key)
		}
		if name.Own() {
			return usage(c, "--map: %s", ownNames)
		}
		if _, twice := m.choosing.names[key]; twice {
			return usage(c, "--map names %s twice", key)
		}
		m.choosing.names[key] = name
	}
	return nil
}

func (m *importing) run(ctx context.Context) (err error) {
	if m.sops {
		return m.runSOPS(ctx)
	}
	files, err := m.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.close()) }()
	plans, err := m.plans(files)
	defer func() {
		for _, p := range plans {
			p.file.Clear()
		}
	}()
	if err != nil {
		return err
	}
	if m.undo {
		return m.restore(ctx, files, plans)
	}
	if err := m.checkMaps(plans); err != nil {
		return err
	}
	if err := differ(plans); err != nil {
		return err
	}
	for _, p := range plans {
		if m.keep {
			break // nothing will be replaced
		}
		if err := p.replace(); err != nil {
			return err
		}
	}
	if err := m.take(ctx, plans); err != nil {
		return err
	}
	if testOnlyStep != nil {
		testOnlyStep("taken")
	}
	if !m.dryRun && !m.keep {
		err = m.rewrite(files, plans)
	}
	if !m.dryRun {
		m.search(files, plans)
	}
	return errors.Join(err, m.report(ctx, plans))
}

// open returns the files as the user who has them.
func (m *importing) open(ctx context.Context) (envFiles, error) {
	if m.user != "" {
		return m.openAs(ctx)
	}
	return &ownFiles{home: ownHome(), step: testOnlyStep}, nil
}

// testOnlyStep is told when the broker has the values, and each step of rewriting a
// file. Only tests set it.
var testOnlyStep func(name string)

// plans reads the files and decides what becomes of their entries. On an error it
// returns what it has read.
func (m *importing) plans(files envFiles) (plans []*plan, err error) {
	progress := m.w.progress(len(m.paths), "files read")
	defer progress.end()
	for _, path := range m.paths {
		content, err := files.open(path)
		if err != nil {
			return plans, err
		}
		f, err := dotenv.Parse(content)
		if err != nil {
			clear(content)
			var wrong *dotenv.ParseError
			if errors.As(err, &wrong) {
				return plans, hinted(fmt.Errorf("reading %s: %w", path, err), wrong.Remedy)
			}
			return plans, err
		}
		if format := f.Foreign(); format != "" && !m.undo {
			f.Clear()
			return plans, foreign(path, format)
		}
		var p *plan
		if m.undo {
			p = references(path, f)
		} else if p, err = m.choosing.plan(path, f); err != nil {
			f.Clear()
			return plans, err
		}
		plans = append(plans, p)
		progress.step()
	}
	return plans, nil
}

// foreign refuses a file whose readers do not know references.
func foreign(path, format string) error {
	return hinted(fmt.Errorf("%s is %s, and import reads .env files, of KEY=value: nothing was changed", path, format),
		"put each value in with secretctl set NAME, or write them into a .env file and import that; OpenClaw's config: secretctl openclaw migrate")
}

// checkMaps refuses a --map that is of no key in any file: it is a mistake.
func (m *importing) checkMaps(plans []*plan) error {
	for key := range m.choosing.names {
		if !slices.ContainsFunc(plans, func(p *plan) bool { return p.last(key) != nil }) {
			return fmt.Errorf("--map: no file has the key %s", key)
		}
	}
	return nil
}

// takeTogether is how much is in locked memory at once, in bytes.
const takeTogether = 256 << 10

// take has the broker take the values in, or say what it would do. All of them
// are looked at before the first is stored.
func (m *importing) take(ctx context.Context, plans []*plan) error {
	var moves []*move
	for _, p := range plans {
		for i := range p.moves {
			if p.moves[i].taken() {
				moves = append(moves, &p.moves[i])
			}
		}
	}
	if len(moves) == 0 && !m.dryRun {
		return nil
	}
	return m.w.asOwner(ctx, func(client *broker.Client) error {
		if err := m.pass(ctx, client, moves, true); err != nil {
			return err
		}
		if err := errors.Join(m.checkUpdates(moves), m.checkOthers(moves)); err != nil || m.dryRun {
			return err
		}
		return m.pass(ctx, client, moves, false)
	})
}

// pass sends the values, some at a time.
func (m *importing) pass(ctx context.Context, client *broker.Client, moves []*move, dry bool) error {
	for len(moves) > 0 {
		n, size := 0, 0
		for n < len(moves) && (n == 0 || size+len(moves[n].entry.Value) <= takeTogether) {
			size += len(moves[n].entry.Value)
			n++
		}
		if err := m.send(ctx, client, moves[:n], dry); err != nil {
			return err
		}
		moves = moves[n:]
	}
	return nil
}

func (m *importing) send(ctx context.Context, client *broker.Client, moves []*move, dry bool) error {
	var entries []broker.ImportEntry
	defer func() {
		for _, e := range entries {
			e.Value.Clear()
		}
	}()
	for _, move := range moves {
		value, err := secret.New(slices.Clone(move.entry.Value))
		if err != nil {
			return err
		}
		entries = append(entries, broker.ImportEntry{Name: move.name, Env: move.env, Value: value})
	}
	results, err := client.Import(ctx, entries, broker.ImportOptions{Store: m.store, DryRun: dry})
	if err != nil {
		return err
	}
	if len(results) != len(moves) {
		return errors.New("the broker did not say what became of every value")
	}
	for i, r := range results {
		// What the first pass said is what a person wants to know: by the second,
		// a name that is there twice is unchanged.
		if moves[i].action == "" {
			moves[i].action = r.Action
		}
	}
	return nil
}

// checkUpdates keeps a file from replacing the value of a secret that has the same
// name by chance: another project's, or one that is not for the user whose file
// it is.
func (m *importing) checkUpdates(moves []*move) error {
	for _, move := range moves {
		_, named := m.choosing.names[move.entry.Key]
		if move.action == actionUpdated && !named {
			return hinted(fmt.Errorf("%s is there already, with another value than %s has", move.name, move.entry.Key),
				fmt.Sprintf("if it is to be replaced: --map %s=%s; else give these names a beginning of their own: --prefix P", move.entry.Key, move.name))
		}
	}
	return nil
}

// rewrite rewrites the files of which something was taken. One that cannot be
// does not keep the others from it.
func (m *importing) rewrite(files envFiles, plans []*plan) (err error) {
	progress := m.w.progress(len(plans), "files rewritten")
	defer progress.end()
	for _, p := range plans {
		if len(p.takes()) > 0 {
			err = errors.Join(err, p.rewrite(files))
		}
		progress.step()
	}
	return err
}

func (p *plan) rewrite(files envFiles) error {
	b, err := p.rewritten()
	if err != nil {
		return fmt.Errorf("rewriting %s: %w", p.path, err)
	}
	defer clear(b)
	if err := files.rewrite(p.path, b); err != nil {
		return err
	}
	p.done = true
	return nil
}

// search looks for what is left of the values.
func (m *importing) search(files envFiles, plans []*plan) {
	progress := m.w.progress(len(plans), "files searched for copies")
	defer progress.end()
	for _, p := range plans {
		found, err := files.remains(p.path, p.takes())
		if err != nil {
			found = []remain{{p.path, "its copies could not be searched for: " + err.Error()}}
		}
		for _, r := range found {
			if !m.keep || r.Place != p.path {
				p.remain = append(p.remain, r)
			}
		}
		progress.step()
	}
}
