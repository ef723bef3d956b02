package hook

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"mvdan.cc/sh/v3/syntax"
)

// Blocked says why a tool is not to be used, "" where nothing speaks against it.
func (e *Event) Blocked() (why string) {
	switch e.Tool {
	case "Bash":
		return blockedCommand(e.string(e.input.Get("command")))
	case "Read", "NotebookRead":
		return blockedFile(e.string(e.input.Get("file_path")))
	case "Grep":
		if e.string(e.input.Get("output_mode")) != "content" {
			return "" // it names files
		}
		if why := blockedFile(e.string(e.input.Get("path"))); why != "" {
			return why
		}
		return blockedFile(e.string(e.input.Get("glob")))
	}
	return ""
}

// secretFiles are the files that hold credentials: by the base name, or by the
// end of the path where the base name says nothing.
var secretFiles = []string{
	".env", ".env.*", "*.env", ".envrc", ".netrc", "_netrc", ".pgpass", ".git-credentials", ".npmrc", ".pypirc",
	"id_rsa", "id_ecdsa", "id_ed25519", "*.pem", "*.key", "*.p12", "*.pfx", "*.keystore",
	".secretctl/identity.txt", ".aws/credentials", ".docker/config.json", ".kube/config", "gh/hosts.yml",
	"gcloud/application_default_credentials.json", ".codex/auth.json", ".claude/.credentials.json",
	".openclaw/openclaw.json*", ".openclaw/credentials/*",
}

// samples are files that look like those and hold none.
var samples = []string{"*.example", "*.sample", "*.template", "*.dist", "*.pub", "*.schema"}

// blockedFile says why a file is not to be read.
func blockedFile(name string) string {
	name = strings.Trim(name, `"'`)
	base := path.Base(name)
	for _, pattern := range samples {
		if ok, _ := path.Match(pattern, base); ok {
			return ""
		}
	}
	for _, pattern := range secretFiles {
		if ok, _ := path.Match(pattern, ending(name, 1+strings.Count(pattern, "/"))); ok {
			return "it reads " + base + ", where credentials are"
		}
	}
	return ""
}

// ending returns the last n elements of a path.
func ending(name string, n int) string {
	all := strings.Split(path.Clean(name), "/")
	return strings.Join(all[max(0, len(all)-n):], "/")
}

// readers are programs that print what they read.
var readers = []string{
	"cat", "tac", "nl", "less", "more", "most", "head", "tail", "bat", "batcat", "view", "grep", "egrep", "fgrep", "rg", "ag", "sed",
	"awk", "cut", "sort", "uniq", "paste", "strings", "xxd", "od", "hexdump", "base64", "base32", "openssl", "jq", "yq", "diff", "cmp",
}

// secretName matches the names of variables that hold credentials.
var secretName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)(?:^|_)(?:(?:api)?_?key|token|secret|password|passwd|credentials?)(?:$|_)`)
})

// expansion matches the use of a variable, as [wordText] writes it.
var expansion = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`) })

// blockedCommand says why a shell's command is not to be run. It looks at each
// simple command in it, without running or expanding anything. What cannot be read
// is left to the shell.
func blockedCommand(text string) (why string) {
	file, err := syntax.NewParser().Parse(strings.NewReader(text), "")
	if err != nil {
		return ""
	}
	v := visitor{taken: map[syntax.Node]bool{}}
	syntax.Walk(file, v.visit)
	return v.why
}

// visitor looks for what is not to be run.
type visitor struct {
	why   string
	taken map[syntax.Node]bool // statements of which the output goes elsewhere than into the transcript
}

// visit looks at one node, knowing of those around it what they do with output.
func (v *visitor) visit(n syntax.Node) bool {
	switch n := n.(type) {
	case nil:
		return false
	case *syntax.CmdSubst:
		v.take(n.Stmts)
	case *syntax.ProcSubst:
		v.take(n.Stmts)
	case *syntax.BinaryCmd:
		if n.Op == syntax.Pipe || n.Op == syntax.PipeAll {
			v.taken[n.X] = true
		}
		v.pass(n, n.X, n.Y)
	case *syntax.Subshell:
		v.pass(n, stmtNodes(n.Stmts)...)
	case *syntax.Block:
		v.pass(n, stmtNodes(n.Stmts)...)
	case *syntax.Stmt:
		taken := v.taken[n] || slices.ContainsFunc(n.Redirs, takesOutput)
		if n.Cmd != nil {
			v.taken[n.Cmd] = taken
		}
		for _, r := range n.Redirs {
			if r.Op == syntax.RdrIn && !taken {
				v.block(blockedInput(n.Cmd, wordText(r.Word)))
			}
		}
	case *syntax.CallExpr:
		v.block(blockedCall(words(n), v.taken[n]))
	case *syntax.DeclClause:
		v.block(blockedDecl(n, v.taken[n]))
	}
	return v.why == ""
}

func (v *visitor) block(why string) {
	if v.why == "" {
		v.why = why
	}
}

func (v *visitor) take(all []*syntax.Stmt) {
	for _, s := range all {
		v.taken[s] = true
	}
}

// pass has the output of the parts go where that of the whole goes.
func (v *visitor) pass(whole syntax.Node, parts ...syntax.Node) {
	for _, p := range parts {
		v.taken[p] = v.taken[p] || v.taken[whole]
	}
}

func stmtNodes(all []*syntax.Stmt) (nodes []syntax.Node) {
	for _, s := range all {
		nodes = append(nodes, s)
	}
	return nodes
}

// takesOutput reports whether a redirection sends output into a file.
func takesOutput(r *syntax.Redirect) bool {
	switch r.Op {
	case syntax.RdrOut, syntax.AppOut, syntax.RdrAll, syntax.AppAll, syntax.RdrClob:
		to := wordText(r.Word)
		return (r.N == nil || r.N.Value == "1") && to != "/dev/stdout" && to != "/dev/stderr" && to != "/dev/tty"
	}
	return false
}

// wrappers run the command that follows them.
var wrappers = []string{"sudo", "command", "exec", "time", "nice", "nohup", "builtin", "xargs"}

// words are the words of a command, without what only wraps it.
func words(n *syntax.CallExpr) (all []string) {
	for _, w := range n.Args {
		all = append(all, wordText(w))
	}
	for len(all) > 1 && slices.Contains(wrappers, all[0]) && !strings.HasPrefix(all[1], "-") {
		all = all[1:]
	}
	return all
}

// wordText is a word without its quotes, and with its variables as they are
// written.
func wordText(w *syntax.Word) string {
	var b strings.Builder
	parts := slices.Clone(w.Parts)
	for len(parts) > 0 {
		p := parts[0]
		parts = parts[1:]
		switch p := p.(type) {
		case *syntax.Lit:
			b.WriteString(strings.ReplaceAll(p.Value, `\`, ""))
		case *syntax.SglQuoted:
			b.WriteString(p.Value)
		case *syntax.DblQuoted:
			parts = append(slices.Clone(p.Parts), parts...)
		case *syntax.ParamExp:
			if p.Param != nil && !p.Length {
				b.WriteString("${" + p.Param.Value + "}")
			}
		}
	}
	return b.String()
}

// blockedInput says why a file is not to be the input of a command.
func blockedInput(cmd syntax.Command, file string) string {
	if call, ok := cmd.(*syntax.CallExpr); ok {
		if all := words(call); len(all) > 0 && slices.Contains(readers, path.Base(all[0])) {
			return blockedFile(file)
		}
	}
	return ""
}

// blockedDecl says why a declaration is not to be run: without a name to declare
// it lists what there is.
func blockedDecl(n *syntax.DeclClause, taken bool) string {
	for _, a := range n.Args {
		if a.Name != nil {
			return ""
		}
	}
	if taken || n.Variant.Value == "local" || n.Variant.Value == "nameref" {
		return ""
	}
	return printsEnvironment
}

const printsEnvironment = "it prints the environment, where credentials are"

// blockedCall says why a simple command is not to be run.
func blockedCall(all []string, taken bool) string {
	if len(all) == 0 {
		return ""
	}
	name, args := path.Base(all[0]), all[1:]
	if slices.Contains(readers, name) {
		for _, arg := range args {
			if why := blockedFile(arg); why != "" {
				return why
			}
			if strings.HasPrefix(arg, "/proc/") && path.Base(arg) == "environ" {
				return printsEnvironment
			}
		}
	}
	switch {
	case taken:
	case strings.HasPrefix(name, "secretctl") && len(args) > 0 && args[0] == "get":
		return "it prints a secret"
	case name == "printenv" && (len(args) == 0 || slices.ContainsFunc(args, secretName().MatchString)):
		return printsEnvironment
	case name == "env" && !slices.ContainsFunc(args, isProgram), name == "set" && len(args) == 0:
		return printsEnvironment
	case name == "echo", name == "printf":
		for _, m := range expansion().FindAllStringSubmatch(strings.Join(args, " "), -1) {
			if secretName().MatchString(m[1]) {
				return "it prints the variable " + m[1]
			}
		}
	}
	return ""
}

// isProgram reports whether an argument of env is what it runs.
func isProgram(arg string) bool { return !strings.HasPrefix(arg, "-") && !strings.Contains(arg, "=") }
