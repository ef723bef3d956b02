package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/broker/secret"
	"secretctl/cmd/secretctl/dotenv"
	"secretctl/cmd/secretctl/openclaw"
	"secretctl/sock"
)

const migrateHelp = `Moves the credentials in OpenClaw's config, .env and auth-profile stores into the
vault and leaves references in their places:

  1. reads openclaw.json with its includes, .env and the stores
  2. stores what it found, read back and compared, as an owner
  3. looks whether a grant gives the agent these secrets; if none does, it prints
     one to add and ends here, with OpenClaw's files as they were
  4. has OpenClaw's own "secrets apply" write the references
  5. removes the plaintext that this leaves in openclaw.json.bak*, .env and the stores
  6. searches all of OpenClaw's files for every value, and says where one still is

It can be stopped anywhere and run again: until step 4 OpenClaw's files are as
they were, and from step 2 on the vault has every value.

With sudo and --user root stores, and a child that has become that user for good
does the rest.`

func openclawMigrateCommand(w *world) *cobra.Command {
	var m migrating
	c := &cobra.Command{
		Use:     "migrate",
		Short:   "move OpenClaw's credentials into the vault",
		Long:    migrateHelp,
		Example: "  sudo secretctl openclaw migrate --user aiagent --dry-run",
		Args:    takes(),
		RunE:    func(c *cobra.Command, _ []string) error { return m.run(w, c) },
	}
	m.place.flags(c)
	f := c.Flags()
	f.BoolVar(&m.dryRun, "dry-run", false, "show what would be moved, and change nothing")
	f.BoolVar(&m.gatewayAuth, "include-gateway-auth", false, "also gateway.auth.*; then no gateway starts while the broker is down")
	f.StringVar(&m.prefix, "prefix", defaultPrefix, "what the names begin with")
	jsonFlag(c, &m.json)
	return c
}

// migrating is what migrate was asked for.
type migrating struct {
	place
	dryRun, gatewayAuth, json bool
	prefix                    string
}

func (m *migrating) run(w *world, c *cobra.Command) error {
	if _, err := nameArg(c, m.prefix+"/x"); err != nil {
		return err
	}
	if m.user != "" {
		return m.runAs(w, c)
	}
	if err := m.find(w); err != nil {
		return err
	}
	vault := importer(owner{w})
	if m.child {
		conn, err := inherited(importFD)
		if err != nil {
			return usage(c, "--as-child is for secretctl itself")
		}
		defer conn.Close()
		vault = parent{conn}
	}
	return m.migrate(c.Context(), w, vault)
}

// runAs has a child do it that has become the agent's user, and stores what the
// child finds.
func (m *migrating) runAs(w *world, c *cobra.Command) error {
	a, err := agentAccount(m.user)
	if err != nil {
		return err
	}
	w = w.ofSudoer()
	args := append([]string{"openclaw", "migrate", "--prefix", m.prefix}, m.args(w)...)
	for flag, on := range map[string]bool{"--dry-run": m.dryRun, "--include-gateway-auth": m.gatewayAuth, "--json": m.json} {
		if on {
			args = append(args, flag)
		}
	}
	cmd := a.command(c.Context(), w, args...)
	ours, theirs, err := socketPair()
	if err != nil {
		return err
	}
	defer ours.Close()
	cmd.ExtraFiles = []*os.File{theirs} // it is importFD there
	err = cmd.Start()
	theirs.Close() // the child has its own: when it ends, ours ends
	if err != nil {
		return a.ended(cmd, err)
	}
	bad := serveImports(c.Context(), ours, owner{w}, m.prefix, m.dryRun)
	return cmp.Or(a.ended(cmd, cmd.Wait()), bad)
}

// migration is one migration under way.
type migration struct {
	*migrating
	w      *world
	vault  importer
	dir    *os.Root
	node   openclaw.Node
	env    *environment
	config *openclaw.Config
	found  openclaw.Found
	result map[string]broker.ImportResult // by name

	resumed bool // an earlier run ended before it was done
}

func (m *migrating) migrate(ctx context.Context, w *world, vault importer) (err error) {
	if os.Geteuid() == 0 {
		// Root would run OpenClaw on what others can change.
		if err := sock.TrustedPath(m.dir, 0, true); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return hinted(fmt.Errorf("opening %s: %w", m.dir, err), "sudo secretctl openclaw migrate --user NAME")
		}
	}
	dir, err := os.OpenRoot(m.dir)
	if err != nil {
		return hinted(fmt.Errorf("OpenClaw's directory %s cannot be opened: %w", m.dir, reason(err)), "say where it is: --dir DIR")
	}
	defer dir.Close()
	s := &migration{migrating: m, w: w, vault: vault, dir: dir}
	defer s.clear()
	_, err = dir.Lstat(planFile)
	s.resumed = err == nil
	if err := s.look(ctx); err != nil {
		return err
	}
	if err := s.store(ctx); err != nil {
		return err
	}
	s.did("stored")
	if err := s.print(); err != nil || m.dryRun {
		return err
	}
	if len(s.found.Credentials) > 0 {
		if err := s.granted(ctx); err != nil {
			return err
		}
		if err := s.apply(ctx); err != nil {
			return err
		}
	}
	if err := s.clean(ctx); err != nil {
		return err
	}
	if len(s.found.Credentials) > 0 {
		s.w.hint("a gateway that runs takes the references with: openclaw gateway restart; secretctl openclaw install prints a unit that has it reload when a secret changes")
	}
	return nil
}

// did tells tests which step is done.
func (s *migration) did(step string) {
	if testOnlyStep != nil {
		testOnlyStep(step)
	}
}

func (s *migration) clear() {
	s.found.Clear()
	s.env.clear()
	if s.config != nil {
		s.config.Clear()
	}
}

// look reads OpenClaw's files.
func (s *migration) look(ctx context.Context) (err error) {
	if s.env, err = readEnvironment(s.dir, ".env"); err != nil {
		return err
	}
	if s.config, err = openclaw.ReadConfig(s.dir); err != nil {
		return err
	}
	if err := s.found.AddConfig(s.config, s.env, s.gatewayAuth); err != nil {
		return err
	}
	if s.hasStores() {
		if err := s.findNode(); err != nil {
			return err
		}
		if err := s.found.AddStores(ctx, s.node); err != nil {
			return err
		}
	}
	for _, name := range s.legacy() {
		s.found.Left = append(s.found.Left, openclaw.Left{File: name, Why: "is of an older version: openclaw doctor --fix takes it over, then run this again"})
	}
	return s.found.AssignNames(s.prefix)
}

// databases are the names of the databases with auth profiles in them.
func (s *migration) databases() (names []string) {
	for _, pattern := range []string{"state/openclaw.sqlite", "agents/*/agent/openclaw-agent.sqlite"} {
		found, _ := fs.Glob(s.dir.FS(), pattern) // the patterns are right
		names = append(names, found...)
	}
	return names
}

func (s *migration) hasStores() bool { return len(s.databases()) > 0 }

func (s *migration) legacy() (names []string) {
	for _, pattern := range []string{"agents/*/agent/auth-profiles.json", "agents/*/agent/auth.json", "credentials/oauth.json"} {
		found, _ := fs.Glob(s.dir.FS(), pattern)
		names = append(names, found...)
	}
	return names
}

// findNode finds the node that OpenClaw runs on.
func (s *migration) findNode() error {
	path := s.path(s.w)
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, "node")
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && filepath.IsAbs(dir) {
			s.node = openclaw.Node{Path: file, Dir: s.dir.Name(), Env: s.environ(path)}
			return nil
		}
	}
	return hinted(errors.New("node, which OpenClaw runs on and which can read its databases, is not on the PATH of this user"),
		"put it there, and run this again")
}

// environ is the environment of OpenClaw's programs.
func (s *migration) environ(path string) []string {
	env := []string{"PATH=" + path, "OPENCLAW_STATE_DIR=" + s.dir.Name()}
	for _, key := range []string{"HOME", "USER", "LOGNAME", "LANG", "TMPDIR"} {
		if value, ok := s.w.env(key); ok {
			env = append(env, key+"="+value)
		}
	}
	return env
}

// store puts what was found into the vault, which reads it back and compares.
func (s *migration) store(ctx context.Context) error {
	s.result = map[string]broker.ImportResult{}
	var entries []broker.ImportEntry
	for _, c := range s.found.Credentials {
		if _, ok := s.result[c.Name]; ok {
			continue // one value at several places
		}
		s.result[c.Name] = broker.ImportResult{}
		entries = append(entries, broker.ImportEntry{Name: secret.Name(c.Name), Env: c.Env, Value: c.Value})
	}
	if len(entries) == 0 {
		return nil
	}
	results, err := s.vault.Import(ctx, entries, s.dryRun)
	if err != nil {
		return err
	}
	for _, r := range results {
		s.result[string(r.Name)] = r
	}
	return nil
}

// movedRow is a line of the answer.
type movedRow struct {
	File   string `json:"file"`
	Path   string `json:"path"`
	Secret string `json:"secret"`
	Action string `json:"action"` // created, updated, unchanged or left
	Why    string `json:"why"`
}

func (s *migration) rows() (rows []movedRow) {
	for _, c := range s.found.Credentials {
		rows = append(rows, movedRow{c.File, strings.Join(c.Path, "."), c.Name, s.result[c.Name].Action, ""})
	}
	for _, l := range s.found.Left {
		rows = append(rows, movedRow{l.File, l.Path, "", "left", l.Why})
	}
	return rows
}

func (s *migration) print() error {
	rows := s.rows()
	if s.json {
		return s.w.printJSON(rows)
	}
	if len(rows) == 0 {
		s.w.say("no credential is left in %s that could be moved", s.dir.Name())
	}
	var table [][]cell
	for _, r := range rows {
		table = append(table, cells(r.File, r.Path, r.Secret, r.Action, r.Why))
	}
	return s.w.printTable([]string{"FILE", "PATH", "SECRET", "ACTION", "WHY"}, table)
}

// granted looks whether the agent may have what its config is to refer to:
// otherwise OpenClaw would be left without its credentials.
func (s *migration) granted(ctx context.Context) error {
	var may []broker.Available
	err := s.w.atSocket(s.socket).asAgent(ctx, func(c *broker.Client) (err error) {
		may, err = c.Available(ctx)
		return err
	})
	if err != nil && !errors.Is(err, broker.ErrDenied) {
		return err
	}
	var missing []string
	for name := range s.result {
		if !slices.ContainsFunc(may, func(a broker.Available) bool { return a.Name == name }) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	me := strconv.Itoa(os.Getuid())
	s.w.say("the values are in the vault; OpenClaw's files are as they were, because nothing grants %s to uid %s", strings.Join(missing, ", "), me)
	if err := s.w.printf("%s", grantFor(me, err != nil, s.prefix)); err != nil {
		return err
	}
	return hinted(errors.New("a grant is missing"), "add it to secretctl.toml, reload the broker (SIGHUP), and run this again")
}

// grantFor is the grant to add, for an agent who may not be declared yet.
func grantFor(uid string, undeclared bool, prefix string) string {
	var b strings.Builder
	if undeclared {
		fmt.Fprintf(&b, "[agent.openclaw]\nuid = %s\n\n", uid)
	}
	fmt.Fprintf(&b, "[[grant]]\nagent = \"openclaw\"\nsecrets = [\"%s/*\"]\ndoors = [\"value\"]\n", prefix)
	return b.String()
}

// atSocket is the world with SECRETCTL_SOCKET set, where a path is given.
func (w *world) atSocket(path string) *world {
	if path == "" {
		return w
	}
	other := *w
	other.env = func(key string) (string, bool) {
		if key == "SECRETCTL_SOCKET" {
			return path, true
		}
		return w.env(key)
	}
	return &other
}

// planFile is where the plan lies from when OpenClaw's files are first changed
// until nothing is left to be done. It holds no value.
const planFile = "secretctl-plan.json"

// apply has OpenClaw write the references, and writes those for which OpenClaw's
// plan has no target.
func (s *migration) apply(ctx context.Context) error {
	copied, err := installCopy()
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(openclaw.NewPlan(openclaw.NewProvider(copied, s.socket), s.found.Credentials), "", "  ")
	if err != nil {
		return err
	}
	plan := filepath.Join(s.dir.Name(), planFile)
	if err := s.dir.WriteFile(planFile, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the plan %s: %w", plan, reason(err))
	}
	s.did("planned")
	path := s.path(s.w)
	argv := []string{"openclaw", "secrets", "apply", "--from", plan, "--allow-exec", "--json"}
	command, err := s.findCommand(path)
	if err == nil {
		cmd := exec.CommandContext(ctx, command, argv[1:]...)
		cmd.Env, cmd.Dir = s.environ(path), s.dir.Name()
		s.w.say("openclaw secrets apply: OpenClaw writes the references")
		err = cmd.Run() // what it says may hold anything: it is not repeated
	}
	if err != nil {
		return hinted(fmt.Errorf("openclaw secrets apply: %w; the values are in the vault, and OpenClaw's files are as they were", err),
			"see what it says, then run this again: "+strings.Join(argv, " "))
	}
	s.did("applied")
	if s.node.Path != "" {
		if _, err := s.node.ReplaceShared(ctx, s.found.Credentials); err != nil {
			return err
		}
	}
	s.did("shared")
	return nil
}

// clean removes the plaintext that is left, and says what stays.
func (s *migration) clean(ctx context.Context) error {
	now, err := openclaw.ReadConfig(s.dir)
	if err != nil {
		return err
	}
	defer now.Clear()
	uses := now.Uses(openclaw.ProviderAlias)
	for _, c := range s.found.Credentials {
		if c.Agent == "" && c.Provider == "" && !slices.Contains(uses, c.Name) {
			return hinted(fmt.Errorf("openclaw secrets apply has ended well, and its config does not refer to %s: nothing was removed", c.Name),
				"see what it says: openclaw secrets audit --allow-exec")
		}
	}
	backups, err := openclaw.Backups(s.dir)
	if err != nil {
		return fmt.Errorf("looking for openclaw.json.bak*: %w", reason(err))
	}
	var bad []error
	for _, name := range backups {
		n, err := now.ScrubBackup(s.dir, name)
		if bad = append(bad, err); n > 0 {
			s.w.say("%s: %d values replaced by references", name, n)
		}
	}
	s.did("backups")
	bad = append(bad, s.cleanEnv(ctx, now))
	s.did("env")
	bad = append(bad, s.cleanStores(ctx))
	s.did("stores")
	left, err := openclaw.Search(s.dir, s.found.Credentials)
	bad = append(bad, err)
	for _, r := range left {
		s.w.say("%s still holds the value of %s", r.File, r.Name)
	}
	if len(left) > 0 {
		s.w.hint("what is in transcripts and logs cannot be taken out: replace these keys at their services, then secretctl set NAME")
	}
	if err := errors.Join(bad...); err != nil {
		return err
	}
	if err := s.dir.Remove(planFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the plan: %w", reason(err))
	}
	return nil
}

// cleanEnv empties the variables of .env whose values are in the vault now and
// that OpenClaw has left, because it does not know their names.
func (s *migration) cleanEnv(ctx context.Context, now *openclaw.Config) error {
	env, err := readEnvironment(s.dir, ".env")
	if err != nil || env.file == nil {
		return err
	}
	defer env.clear()
	var emptied []string
	for i, e := range env.file.Entries() {
		moved := slices.ContainsFunc(s.found.Credentials, func(c *openclaw.Credential) bool { return c.Is(e.Value) })
		if !moved && s.resumed {
			// The run before this one has moved it, and the vault knows what it moved.
			if moved, err = s.inVault(ctx, now.Uses(openclaw.ProviderAlias), e.Value); err != nil {
				return err
			}
		}
		if moved {
			env.file.Replace(i, nil)
			emptied = append(emptied, e.Key)
		}
	}
	if len(emptied) == 0 {
		return nil
	}
	text := env.file.Bytes()
	defer clear(text)
	s.w.say(".env: %s emptied", strings.Join(emptied, ", "))
	return openclaw.ReplaceFile(s.dir, ".env", env.text, text)
}

// inVault reports whether a value is that of one of these secrets.
func (s *migration) inVault(ctx context.Context, names []string, value []byte) (is bool, err error) {
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, s.prefix+"/") })
	if len(value) == 0 || len(names) == 0 {
		return false, nil
	}
	v, err := secret.New(slices.Clone(value))
	if err != nil {
		return false, err
	}
	defer v.Clear()
	var entries []broker.ImportEntry
	for _, name := range names {
		entries = append(entries, broker.ImportEntry{Name: secret.Name(name), Value: v})
	}
	results, err := s.vault.Import(ctx, entries, true)
	return slices.ContainsFunc(results, func(r broker.ImportResult) bool { return r.Action == "unchanged" }), err
}

// cleanStores compacts the databases in which a value is still to be found: in
// their free pages, or their logs.
func (s *migration) cleanStores(ctx context.Context) error {
	if s.node.Path == "" {
		return nil
	}
	left, err := openclaw.Search(s.dir, s.found.Credentials)
	if err != nil {
		return nil // the search after this one says so
	}
	var files []string
	for _, name := range s.databases() {
		// What the run before this one has moved cannot be searched for any more.
		if s.resumed || slices.ContainsFunc(left, func(r openclaw.Residue) bool { return strings.HasPrefix(r.File, name) }) {
			files = append(files, name)
		}
	}
	if len(files) == 0 {
		return nil
	}
	return s.node.Compact(ctx, files)
}

// environment is OpenClaw's .env.
type environment struct {
	name string
	text []byte
	file *dotenv.File // nil: there is none
}

func readEnvironment(dir *os.Root, name string) (*environment, error) {
	text, err := dir.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return &environment{name: name}, nil
	} else if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, reason(err))
	}
	file, err := dotenv.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return &environment{name, text, file}, nil
}

// Lookup returns a copy of the last value of a variable.
func (e *environment) Lookup(key string) (value []byte, file string, ok bool) {
	if e.file == nil {
		return nil, "", false
	}
	for _, entry := range slices.Backward(e.file.Entries()) {
		if entry.Key == key {
			return slices.Clone(entry.Value), e.name, true
		}
	}
	return nil, "", false
}

func (e *environment) clear() {
	if e != nil && e.file != nil {
		e.file.Clear()
		clear(e.text)
	}
}
