//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/providers/keychain/keychaintest"
	"secretctl/providers/servertest"
	"secretctl/providers/ssh/sshtest"
)

// TestReadme follows README.md as a reader would: what it says to type is
// typed, and what it shows must come out.
func TestReadme(t *testing.T) {
	text := readReadme(t)
	r := newReader(t)
	keyring := keychaintest.GnomeOf(t, servertest.User(joel))
	r.owner.env = append(r.owner.env, "DBUS_SESSION_BUS_ADDRESS="+keyring.Address)
	require.NoError(t, r.follow(text))
	for _, row := range rowsOf(text, "### Files of the home") {
		path := strings.NewReplacer("NAME", "weather/api-key", "@N", "@1").Replace(row[0])
		_, err := os.Stat(filepath.Join(r.owner.home, ".secretctl", path))
		require.NoError(t, err)
	}
	require.Len(t, r.windows, 2, "a broker and a watcher")
}

// TestReadmeIsHeldToItsWords: a reader that follows anything proves nothing.
func TestReadmeIsHeldToItsWords(t *testing.T) {
	block := func(kind string, lines ...string) string {
		return "\n```" + kind + "\n" + strings.Join(lines, "\n") + "\n```\n"
	}
	home := block("sh", "secretctl init > out", "grep -q made out")
	right := home + block("console", "$ grep -c age1 out", "1", "$ secretctl get key", "…", "$ echo $?", "5") +
		block("console running", "$ secretctl serve", "secretctl: ready owner=…")
	for name, c := range map[string]struct{ text, wrong string }{
		"as it is":              {right, ""},
		"no blocks":             {"# secretctl\n", "there are no blocks"},
		"an open block":         {home + "```sh\n", "a block has no end"},
		"another kind":          {block("bash", "true"), `"bash" is no kind of block`},
		"an empty block":        {block("console"), "nothing is typed"},
		"output first":          {block("console", "1", "$ true"), "nothing is typed"},
		"another output":        {home + block("console", "$ grep -c age1 out", "2"), "what is shown is not what it prints"},
		"output not shown":      {home + block("console", "$ grep -c age1 out"), "what is shown is not what it prints"},
		"output not printed":    {block("console", "$ true", "1"), "what is shown is not what it prints"},
		"a line too few":        {block("console", "$ printf 'a\\nb\\n'", "b"), "what is shown is not what it prints"},
		"a failing command":     {block("console", "$ secretctl get key", "…"), "secretctl get key: it ends with 5"},
		"a failing script":      {block("sh", "false", "true"), "it ends with 1"},
		"another exit code":     {block("console", "$ secretctl get key", "…", "$ echo $?", "3"), "echo $?: what is shown is not what it prints"},
		"never said":            {block("console running", "$ echo ready", "stopped"), "it does not say"},
		"said before":           {block("console running", "$ echo ready", "ready") + block("console running", "ready"), "it does not say"},
		"nothing runs":          {block("console running", "stopped"), "nothing runs yet"},
		"a mistaken config":     {home + block("toml", "[agent.claw]", "uidd = 7"), `unknown key "uidd"`},
		"an unknown command":    {block("sh install", "sudo secretctl start"), "there is no such command"},
		"an unknown flag":       {block("sh install", "secretctl serve --daemon | cat"), "unknown flag: --daemon"},
		"an argument too many":  {block("sh install", "sudo -u x env A=b secretctl status now"), "takes no arguments"},
		"no shell":              {block("sh install", "echo 'a"), "bash -n"},
		"another path":          {block("sh install", "sudo -e /etc/secretctl.toml"), "/etc/secretctl.toml is in no unit file"},
		"an installed config":   {block("toml install", "[brokers]"), `unknown key "brokers"`},
		"an unknown target":     {block("sh source", "make everything"), "there is no such target"},
		"no command of sources": {block("sh source", "secretctl serve"), "only make and go run"},
	} {
		t.Run(name, func(t *testing.T) {
			err := newReader(t).follow(c.text)
			if c.wrong == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.wrong)
		})
	}
}

// TestReadmeInstallsAsTheUnitsSay: what the unit files tell to type, README.md
// tells too, in the same words.
func TestReadmeInstallsAsTheUnitsSay(t *testing.T) {
	blocks, err := blocksOf(readReadme(t))
	require.NoError(t, err)
	installs := ""
	for _, b := range blocks {
		if b.kind == "sh install" || b.kind == "toml install" {
			installs += b.text
		}
	}
	said := regexp.MustCompile(`(?m)^#? *((?:sudo|secretctl service|owners =|agent_socket =) .*)$`)
	for _, unit := range []string{systemdUnit, launchdUnit} {
		found := said.FindAllStringSubmatch(unit, -1)
		require.Greater(t, len(found), 4)
		for _, line := range found {
			require.Contains(t, installs, line[1])
		}
	}
}

// TestReadmeReference: the tables are those of the program.
func TestReadmeReference(t *testing.T) {
	text := readReadme(t)
	var commands, methods, codes, exits []string
	root := rootCommand(&world{})
	root.InitDefaultHelpCmd()
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if c.HasParent() && !c.Hidden && !slices.Contains([]string{"service", "openclaw", "helper", "hook", "identity"}, pathOf(c)) {
			commands = append(commands, strings.TrimSpace(pathOf(c.Parent())+" "+c.Use))
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(root)
	for _, m := range broker.Methods() {
		if m.Socket == broker.AgentSocket {
			methods = append(methods, m.Pattern)
		}
	}
	for _, code := range found(t, `Code = "(\w+)"`, "../../broker/error.go") {
		if !slices.Contains([]string{"not_found", "conflict", "not_durable"}, code) { // for owners
			codes = append(codes, code)
		}
	}
	for code := range exitOverdue + 1 {
		exits = append(exits, strconv.Itoa(code))
	}
	require.ElementsMatch(t, commands, column(rowsOf(text, "### Commands"), 0))
	require.ElementsMatch(t, exits, column(rowsOf(text, "### Exit codes"), 0))
	require.ElementsMatch(t, found(t, `getenv\("(\w+)"\)`, "*.go"), column(rowsOf(text, "### Environment"), 0))
	api := rowsOf(text, "### The agent's socket")
	require.GreaterOrEqual(t, len(api), len(methods))
	require.ElementsMatch(t, methods, column(api[:len(methods)], 0))
	require.ElementsMatch(t, codes, column(api[len(methods):], 1))
}

// TestReadmeFlags: the commands have the flags that the table gives them.
func TestReadmeFlags(t *testing.T) {
	root, seen := rootCommand(&world{}), 0
	for _, row := range rowsOf(readReadme(t), "### Commands") {
		for _, flag := range regexp.MustCompile("`(--?[a-z-]+)").FindAllStringSubmatch(row[1], -1) {
			c, _, err := root.Find(strings.Fields(row[0]))
			require.NoError(t, err)
			if name, long := strings.CutPrefix(flag[1], "--"); long {
				require.NotNil(t, c.Flag(name), "%s %s", row[0], flag[1])
			} else {
				require.NotNil(t, c.Flags().ShorthandLookup(flag[1][1:]), "%s %s", row[0], flag[1])
			}
			seen++
		}
	}
	require.Greater(t, seen, 15)
}

// TestReadmeLinks: a link within the page leads somewhere.
func TestReadmeLinks(t *testing.T) {
	text := readReadme(t)
	var anchors []string
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		anchors = append(anchors, strings.ReplaceAll(regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(heading[1]), ""), " ", "-"))
	}
	links := regexp.MustCompile(`\]\(#([^)]*)\)`).FindAllStringSubmatch(text, -1)
	require.NotEmpty(t, links)
	for _, link := range links {
		require.Contains(t, anchors, link[1])
	}
}

func readReadme(t *testing.T) string {
	text, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	return string(text)
}

// rowsOf returns the cells of the tables below a heading, without their marks.
func rowsOf(text, heading string) (rows [][]string) {
	_, text, _ = strings.Cut(text, "\n"+heading+"\n")
	text, _, _ = strings.Cut(text, "\n#")
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(line, "|\n "), " | ")
		for i := range cells {
			cells[i] = strings.ReplaceAll(strings.Trim(cells[i], "` "), `\|`, "|")
		}
		if regexp.MustCompile("^\\| (`|\\d)").MatchString(line) {
			rows = append(rows, cells)
		}
	}
	return rows
}

func column(rows [][]string, n int) (cells []string) {
	for _, row := range rows {
		cells = append(cells, strings.Trim(row[n], "` "))
	}
	return cells
}

// found returns what an expression captures in the code, each once.
func found(t *testing.T, expr, pattern string) (all []string) {
	paths, err := filepath.Glob(pattern)
	require.NoError(t, err)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		for _, match := range regexp.MustCompile(expr).FindAllStringSubmatch(string(text), -1) {
			all = append(all, match[1])
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// block is a fenced block. Its kind is what stands after the fence: "console",
// "sh" and "toml" are followed; "… install" and "sh source" cannot be, and are
// checked; "console running" stays, or goes on with what stays.
type block struct {
	kind, text string
	line       int
}

var fenced = regexp.MustCompile("(?ms)^```([^\n]*)\n(.*?)^```$")

func blocksOf(text string) (blocks []block, err error) {
	for _, at := range fenced.FindAllStringSubmatchIndex(text, -1) {
		blocks = append(blocks, block{text[at[2]:at[3]], text[at[4]:at[5]], 1 + strings.Count(text[:at[0]], "\n")})
	}
	switch {
	case strings.Count(text, "```") != 2*len(blocks):
		return nil, errors.New("a block has no end")
	case len(blocks) == 0:
		return nil, errors.New("there are no blocks")
	}
	return blocks, nil
}

// reader is somebody who follows a README: an owner, and an agent that is
// another user.
type reader struct {
	t            *testing.T
	owner, agent *typist
	windows      []*window
	deploy       string // user@host:port of a host that takes the key in ~/.ssh/id_deploy
}

// typist is a user at a shell.
type typist struct {
	prompt, home string
	env          []string
	as           *syscall.Credential
}

// The uids of the two. A session bus serves nobody who is in no list of users: joel
// is who is called bin everywhere.
const (
	aiagent = 54321
	joel    = 2
)

// newReader gives a README what it supposes to be there.
func newReader(t *testing.T) *reader {
	needRoot(t)
	for _, program := range []string{"age", "curl"} {
		needProgram(t, program)
	}
	gatherCoverage(t)
	dir, err := os.MkdirTemp("", "sc")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o711))
	r := &reader{
		t:     t,
		owner: newTypist(t, "$ ", filepath.Join(dir, "joel"), joel),
		agent: newTypist(t, "aiagent$ ", filepath.Join(dir, "aiagent"), aiagent),
	}
	r.owner.env = append(r.owner.env, "SECRETCTL_HOME="+filepath.Join(r.owner.home, ".secretctl")) // since it is in /tmp
	for name, value := range map[string]string{"billing-key": "demo-bill-77e1d0", "weather-key": "demo-wx-c0ffee", "new-key": "demo-sk-5f0c2b"} {
		_, code := r.owner.run("mkdir -p elsewhere; echo " + value + " > " + name + ".txt")
		require.Zero(t, code)
	}
	host := sshtest.Start(t)
	key, public := sshtest.Key(t, "deploy")
	host.Authorize(public)
	ssh := filepath.Join(r.owner.home, ".ssh")
	require.NoError(t, os.Mkdir(ssh, 0o755))
	known, err := os.ReadFile(host.KnownHosts)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(ssh, "known_hosts"), known, 0o644))
	require.NoError(t, key.Use(func(b []byte) error { return os.WriteFile(filepath.Join(ssh, "id_deploy"), b, 0o644) }))
	require.NoError(t, os.Chown(ssh, joel, joel)) // its files are removed
	r.deploy = host.Target()
	const payments = "demo-pay-4c1d9f27b8e3"
	out, code := r.owner.run("mkdir shop && cd shop && printf 'PORT=3000\\nPAYMENTS_API_KEY=" + payments + "\\n' >.env && " +
		"echo 'the payments key is " + payments + "' >notes.txt && cd")
	require.Zero(t, code, out)
	return r
}

// needProgram fails or skips a test that needs a program.
func needProgram(t *testing.T, name string) {
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("SECRETCTL_TEST_STRICT") != "" {
		t.Fatal("this test needs " + name)
	}
	t.Skip("needs " + name)
}

func newTypist(t *testing.T, prompt, home string, uid uint32) *typist {
	require.NoError(t, os.Mkdir(home, 0o711))
	require.NoError(t, os.Chown(home, int(uid), int(uid)))
	return &typist{prompt, home, []string{
		"HOME=" + home, "PATH=" + stageDir + ":/usr/bin:/bin", "TERM=dumb",
		"GORACE=atexit_sleep_ms=10", "GOCOVERDIR=" + filepath.Join(stageDir, "cover"),
	}, &syscall.Credential{Uid: uid, Gid: uid}}
}

// follow does all that a README says.
func (r *reader) follow(text string) error {
	blocks, err := blocksOf(text)
	if err != nil {
		return err
	}
	here := strings.NewReplacer("deploy@web1.example.com", r.deploy, "/home/joel", r.owner.home, `user = "aiagent"`, fmt.Sprintf("uid = %d", aiagent),
		`owners = ["joel"]`, fmt.Sprintf("owners = [%d]", joel))
	for _, b := range blocks {
		b.text = here.Replace(b.text)
		if err := r.followBlock(b); err != nil {
			return fmt.Errorf("line %d: %w", b.line, err)
		}
	}
	return nil
}

func (r *reader) followBlock(b block) error {
	switch b.kind {
	case "console":
		return r.console(b.text)
	case "console running":
		return r.running(b.text)
	case "sh":
		out, code := r.owner.run("set -e\n" + b.text)
		return ended(code, out)
	case "toml":
		return r.configure(filepath.Join(r.owner.home, ".secretctl"), b.text)
	case "toml install":
		home := filepath.Join(r.owner.home, "installed")
		if out, code := r.owner.run("rm -rf " + home + " && SECRETCTL_HOME=" + home + " secretctl init"); code != 0 {
			return ended(code, out)
		}
		return r.configure(home, b.text)
	case "sh install":
		return checkInstall(b.text)
	case "sh source":
		return checkSource(b.text)
	}
	return fmt.Errorf("%q is no kind of block", b.kind)
}

// typing is a command with what is shown below it.
type typing struct {
	who     *typist
	command string
	shown   string
}

// typings reads a console. What is shown above the first command is a typing of
// nobody's.
func (r *reader) typings(text string) (all []typing) {
	for line := range strings.Lines(text) {
		if who, command := r.promptIn(line); who != nil {
			all = append(all, typing{who, command, ""})
			continue
		}
		if len(all) == 0 {
			all = append(all, typing{})
		}
		all[len(all)-1].shown += line
	}
	return all
}

func (r *reader) promptIn(line string) (who *typist, command string) {
	for _, u := range []*typist{r.owner, r.agent} {
		if command, ok := strings.CutPrefix(line, u.prompt); ok {
			return u, strings.TrimSpace(command)
		}
	}
	return nil, ""
}

// console types the commands of a block. Each must end with 0, unless the next
// one asks how it ended.
func (r *reader) console(text string) error {
	all := r.typings(text)
	if len(all) == 0 || all[0].who == nil {
		return errors.New("nothing is typed")
	}
	for i, s := range all {
		out, code := r.enter(s)
		asked := i+1 < len(all) && all[i+1].command == "echo $?"
		if err := ended(code, out); err != nil && !asked {
			return fmt.Errorf("%s: %w", s.command, err)
		}
		if !shows(s.shown, out) {
			return fmt.Errorf("%s: what is shown is not what it prints:\n%s", s.command, out)
		}
	}
	return nil
}

func ended(code int, out string) error {
	if code == 0 {
		return nil
	}
	return fmt.Errorf("it ends with %d:\n%s", code, out)
}

var (
	// prompts is what asks for a value.
	prompts = regexp.MustCompile(`^secretctl set [^ <|]+$`)
	// reports is what only looks: it is typed again until what is on its way to
	// the log or the anchor has come.
	reports = regexp.MustCompile(`^secretctl (audit|check|leases|ls|status|versions)\b`)
)

func (r *reader) enter(s typing) (out string, code int) {
	switch {
	case prompts.MatchString(s.command):
		return r.answer(s)
	case reports.MatchString(s.command):
		poll(func() bool {
			out, code = s.who.run(s.command)
			return shows(s.shown, out)
		})
		return out, code
	}
	return s.who.run(s.command)
}

// answer types a value at the prompts, which need a terminal. It is root's, who
// is an owner as well.
func (r *reader) answer(s typing) (out string, code int) {
	p := onTerminal(r.t, s.who.command(s.command))
	p.awaitHidden("value of ")
	p.enter("sk-typed\n")
	p.await("once more: ")
	p.enter("sk-typed\n")
	code = p.ends()
	p.await(" version ")
	return p.screen(), code
}

// session runs a command with the directory, the variables and the exit code
// that the last one left behind.
const session = `if [ -e "$0" ]; then . "$0"; fi
%s
code=$?; { export -p; printf 'cd %%q; (exit %%d)\n' "$PWD" $code; } > "$0"; exit $code`

func (u *typist) command(line string) *exec.Cmd {
	cmd := exec.Command("/bin/bash", "-c", fmt.Sprintf(session, line), filepath.Join(u.home, ".session"))
	cmd.Env, cmd.Dir = u.env, u.home
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: u.as}
	return cmd
}

// run returns what a screen would show.
func (u *typist) run(line string) (out string, code int) {
	cmd := u.command(line)
	text, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		return err.Error(), -1
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// shows reports whether a text is what is shown of it.
func shows(shown, text string) bool {
	return regexp.MustCompile("^" + pattern(shown) + "$").MatchString(spaced(text))
}

// pattern is what is shown as an expression: "…" is anything in a line, and on a
// line of its own any lines.
func pattern(shown string) string {
	var b strings.Builder
	for line := range strings.Lines(spaced(shown)) {
		if line == "…\n" {
			b.WriteString(`(?:.*\n)*?`)
			continue
		}
		b.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*?"))
	}
	return b.String()
}

// spaced is a text in which how far columns are apart does not matter.
func spaced(text string) string {
	text = regexp.MustCompile(`[ \t\r]+`).ReplaceAllString(text, " ")
	text = strings.ReplaceAll(text, " \n", "\n")
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text
}

// window is a terminal with a command that stays.
type window struct {
	cmd   *exec.Cmd
	log   string // the file with what it shows
	seen  int    // bytes of it, spaced, that were waited for
	ended chan struct{}
}

// running types the command of a block and leaves it there, or goes on with the
// one before. It waits for what is shown.
func (r *reader) running(text string) error {
	all := r.typings(text)
	switch {
	case len(all) != 1:
		return errors.New("one command stays, or is gone on with")
	case all[0].who != nil:
		r.windows = append(r.windows, r.open(all[0]))
	case len(r.windows) == 0:
		return errors.New("nothing runs yet")
	}
	w := r.windows[len(r.windows)-1]
	if !w.awaits("^" + pattern(all[0].shown)) {
		return fmt.Errorf("it does not say %q, but:\n%s", all[0].shown, w.said())
	}
	if names, ok := strings.CutPrefix(all[0].command, "secretctl watch "); ok {
		return r.awaitWatcher(w, strings.Trim(strings.Fields(names)[0], "'*"))
	}
	return nil
}

// open starts a command in a window. It ends with the test.
func (r *reader) open(s typing) *window {
	w := &window{cmd: s.who.command("exec " + s.command), log: filepath.Join(r.t.TempDir(), "said"), ended: make(chan struct{})}
	log, err := os.Create(w.log)
	require.NoError(r.t, err)
	defer log.Close()
	w.cmd.Stdout, w.cmd.Stderr = log, log
	require.NoError(r.t, w.cmd.Start())
	go func() { defer close(w.ended); _ = w.cmd.Wait() }() // the cleanup waits for it
	r.t.Cleanup(func() {
		_ = w.cmd.Process.Signal(syscall.SIGTERM)
		defer time.AfterFunc(patience, func() { _ = w.cmd.Process.Kill() }).Stop()
		<-w.ended
	})
	return w
}

// awaitWatcher returns when the watcher hears of changes: of one to a secret
// that is removed again.
func (r *reader) awaitWatcher(w *window, prefix string) error {
	defer r.owner.run("secretctl rm --yes " + prefix + "probe")
	heard := poll(func() bool {
		r.owner.run("echo probe | secretctl set " + prefix + "probe")
		return strings.Contains(w.said(), prefix+"probe changed")
	})
	if !heard {
		return fmt.Errorf("it hears of no change:\n%s", w.said())
	}
	return nil
}

// said returns all that a window shows.
func (w *window) said() string {
	text, err := os.ReadFile(w.log)
	if err != nil {
		return err.Error()
	}
	return spaced(string(text))
}

// awaits waits until the window shows a text below what was seen before.
func (w *window) awaits(expr string) (shown bool) {
	re := regexp.MustCompile("(?m)" + expr)
	poll(func() bool {
		over := false
		select {
		case <-w.ended:
			over = true
		default:
		}
		at := re.FindStringIndex(w.said()[w.seen:])
		if shown = at != nil; shown {
			w.seen += at[1]
		}
		return shown || over
	})
	return shown
}

// configure puts tables into the config of a home, and has it checked.
func (r *reader) configure(home, tables string) error {
	path := filepath.Join(home, broker.ConfigFile)
	config, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(withTables(string(config), tables)), 0o600); err != nil {
		return err
	}
	out, code := r.owner.run("SECRETCTL_HOME=" + home + " secretctl check")
	return ended(code, out)
}

// withTables puts what is in a table below its header, where that is there, and
// a new table at the end.
func withTables(config, tables string) string {
	for _, table := range regexp.MustCompile(`(?m)^\[[^\n]*\n(?:[^\[\n][^\n]*\n|\n)*`).FindAllString(tables, -1) {
		header, body, _ := strings.Cut(table, "\n")
		at := strings.Index(config, "\n"+header+"\n")
		if at < 0 || strings.HasPrefix(header, "[[") {
			config += "\n" + table
			continue
		}
		at += len("\n" + header + "\n")
		config = config[:at] + body + config[at:]
	}
	return config
}

// checkInstall checks what cannot be typed in a test: that a shell understands
// it, that secretctl would, and that the paths are those of the unit files.
func checkInstall(text string) error {
	if out, err := exec.Command("/bin/bash", "-n", "-c", text).CombinedOutput(); err != nil {
		return fmt.Errorf("bash -n: %w: %s", err, out)
	}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, " # ")
		for command := range strings.SplitSeq(line, "|") {
			if args := withoutPrefix(strings.Fields(command)); len(args) > 0 && args[0] == "secretctl" {
				if err := understood(args[1:]); err != nil {
					return fmt.Errorf("%s: %w", strings.TrimSpace(command), err)
				}
			}
		}
	}
	for _, at := range regexp.MustCompile(`(?m)(?:^|[\s"=])((?:/Library/Application Support)?(?:/[\w.-]+)+)`).FindAllStringSubmatch(text, -1) {
		path, units := at[1], systemdUnit+launchdUnit
		known := func(path string) bool { return strings.Contains(path, "secretctl") && strings.Contains(units, path) }
		if strings.Contains(path, "secretctl") && !known(path) && !known(filepath.Dir(path)) {
			return fmt.Errorf("%s is in no unit file", path)
		}
	}
	return nil
}

// withoutPrefix is a command without what it is run through.
func withoutPrefix(words []string) []string {
	for len(words) > 0 {
		switch word := words[0]; {
		case word == "sudo", word == "env", strings.Contains(word, "="):
			words = words[1:]
		case word == "-u" && len(words) > 1:
			words = words[2:]
		default:
			return words
		}
	}
	return nil
}

// understood reports whether secretctl has such a command, with these flags and
// so many arguments.
func understood(args []string) error {
	root := rootCommand(&world{stdout: io.Discard, stderr: io.Discard})
	c, rest, err := root.Find(args)
	if err != nil || c == root {
		return errors.New("there is no such command")
	}
	if err := c.ParseFlags(rest); err != nil {
		return err
	}
	return c.ValidateArgs(c.Flags().Args())
}

var _ = TestDemo // what runs the demo, so that the README need not

// checkSource checks what is typed in the source tree and would take too long.
func checkSource(text string) error {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		words := withoutPrefix(strings.Fields(line))
		switch {
		case len(words) == 2 && words[0] == "make":
			if !strings.Contains(string(makefile), "\n"+words[1]+":") {
				return fmt.Errorf("make %s: there is no such target", words[1])
			}
		case len(words) > 3 && slices.Equal(words[:3], []string{"go", "run", "./cmd/secretctl"}):
			if err := understood(words[3:]); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s: only make and go run are typed in the source tree", strings.TrimSpace(line))
		}
	}
	return nil
}
