package ssh

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"secretctl/providers"
)

// maxFile is the largest authorized_keys file that is read, in bytes. A sanity
// check: sshd has no limit, and reads all of it at every login.
const maxFile = 16 << 20

// rounds is how often an edit is made anew because somebody else changed the
// file meanwhile.
const rounds = 5

// What is run on the hosts: what both scripts begin with, and what is theirs.
var (
	//go:embed begin.sh
	beginScript string
	//go:embed look.sh
	lookScript string
	//go:embed change.sh
	changeScript string
)

// tools are the programs that the scripts take.
var tools = []string{"cat", "cksum", "cp", "head", "id", "ln", "ls", "mv", "printf", "rm", "sleep", "tail"}

// file is the authorized_keys file of a login.
type file struct {
	*conn
	path string // as the config has it
}

// look reads the file, changing nothing. missing: there is none.
func (f *file) look(ctx context.Context) (content []byte, missing bool, err error) {
	status, content, _, err := f.run(ctx, lookScript)
	switch {
	case err != nil:
		return nil, false, err
	case status == "missing":
		return nil, true, nil
	case status != "end":
		return nil, false, f.trouble(status)
	}
	return content, false, nil
}

// apply changes the file as decide says, given what it holds. Where decide
// returns nil nothing is done. It reports whether it changed the file.
func (f *file) apply(ctx context.Context, decide func(content []byte, missing bool) (*edit, error)) (changed bool, err error) {
	for range rounds {
		content, missing, err := f.look(ctx)
		if err != nil {
			return false, err
		}
		e, err := decide(content, missing)
		if e == nil || err != nil {
			return false, err
		}
		status, err := f.change(ctx, e)
		switch {
		case err != nil:
			return false, err
		case status == "done":
			return true, nil
		case status != "changed":
			return false, f.trouble(status)
		}
	}
	return false, f.trouble("changed")
}

// change replaces the file by what it becomes, unless it is no longer what it
// was.
func (f *file) change(ctx context.Context, e *edit) (status string, err error) {
	status, _, ran, err := f.run(ctx, changing(e))
	if err != nil && ran {
		return "", &providers.CallError{Outcome: providers.Unknown, Code: providers.CodeUnavailable, Problem: err.Error()}
	}
	return status, err
}

// changing is the script of an edit.
func changing(e *edit) string {
	var write strings.Builder
	for _, p := range e.parts {
		switch {
		case p.text != "":
			fmt.Fprintf(&write, "printf %%s %s\n", quote(p.text))
		case p.from == 0:
			fmt.Fprintf(&write, "head -n %d \"$f\"\n", p.to)
		default:
			fmt.Fprintf(&write, "tail -n +%d \"$f\" | head -n %d\n", p.from+1, p.to-p.from)
		}
	}
	return fmt.Sprintf("was='%s'\nwill='%s'\nwrite() {\n:\n%s}\n%s", cksum(e.was), cksum(e.result()), write.String(), changeScript)
}

// compose makes what sh is given: one compound command, so that a shell that is
// cut off while it reads it has run nothing.
func compose(word, path, script string) string {
	return fmt.Sprintf("{\nn=%s\nf=%s\ntools='%s'\n%s%s\nexit\n}\n", word, quote(relative(path)), strings.Join(tools, " "), beginScript, script)
}

// run has a script run by sh on the host and returns what it said last, and what
// it printed between saying "content" and that. Where there is an error, ran
// tells whether the script may nevertheless have run, or may yet.
func (f *file) run(ctx context.Context, script string) (status string, content []byte, ran bool, err error) {
	s, err := f.client.NewSession()
	if err != nil {
		return "", nil, false, f.noShell(ctx)
	}
	defer s.Close()
	// A word that neither the file nor a shell's greetings have in them.
	word := rand.Text()
	stdin, err := s.StdinPipe()
	if err != nil {
		return "", nil, false, f.noShell(ctx)
	}
	stdout, err := s.StdoutPipe()
	if err != nil {
		return "", nil, false, f.noShell(ctx)
	}
	if err := s.Start("exec sh"); err != nil {
		return "", nil, false, f.noShell(ctx)
	}
	// A command that reads nothing may end before it has all. Its end is what counts:
	// with Session.Stdin, Wait would say that the writing failed.
	var writing sync.WaitGroup
	writing.Go(func() {
		_, _ = io.WriteString(stdin, compose(word, f.path, script))
		_ = stdin.Close()
	})
	defer writing.Wait()
	defer s.Close()
	out, err := io.ReadAll(io.LimitReader(stdout, maxFile))
	if err == nil && len(out) == maxFile {
		return "", nil, true, providers.Not(providers.CodeOptions, "%s on %s is too large", f.path, f.host.text)
	}
	ended := s.Wait()
	words := bytes.Split(out, []byte(word+":"))
	if len(words) > 1 {
		last := words[len(words)-1]
		if status, whole := bytes.CutSuffix(last, []byte("\n")); whole && string(status) != "begin" {
			if len(words) > 2 {
				content, _ = bytes.CutPrefix(words[len(words)-2], []byte("content\n"))
			}
			return string(status), content, true, nil
		}
	}
	exit := (*ssh.ExitError)(nil)
	if len(words) == 1 && ctx.Err() == nil && (ended == nil || errors.As(ended, &exit)) {
		// Something else ran to its end, such as the one command that the key is for.
		return "", nil, false, f.noShell(ctx)
	}
	return "", nil, true, unreachable(ctx, f.host, "ended the connection before the file could be looked at or changed")
}

// relative is a path that no program takes for an option.
func relative(path string) string {
	if strings.HasPrefix(path, "/") {
		return path
	}
	return "./" + path
}

// noShell is a login that may not run a shell.
func (f *file) noShell(ctx context.Context) error {
	if ctx.Err() != nil {
		return unreachable(ctx, f.host, "")
	}
	return &providers.CallError{
		Outcome: providers.DefinitelyNot, Code: providers.CodeDenied,
		Problem: f.host.text + " does not run sh for this key: it may be restricted to one command",
		Remedy:  `name a key that may: admin = "own/…"`,
	}
}

// trouble says what a status of the scripts means. Nothing was done then, unless
// it is none of theirs. A machine that may be hostile has said it: nothing of it
// is shown but words that the scripts have.
func (f *file) trouble(status string) error {
	e := &providers.CallError{Outcome: providers.DefinitelyNot, Code: providers.CodeOptions}
	tool, isTool := strings.CutPrefix(status, "tool ")
	where := fmt.Sprintf("%s on %s", f.path, f.host.text)
	switch {
	case status == "home":
		e.Problem, e.Remedy = fmt.Sprintf("the user's home on %s cannot be entered", f.host.text), "authorized_keys must be absolute there"
	case status == "missing":
		e.Problem, e.Remedy = "there is no "+where, "set authorized_keys to the file that sshd reads: sshd -T | grep authorizedkeys"
	case status == "link":
		e.Problem, e.Remedy = where+" is a symbolic link", "set authorized_keys to the file it leads to"
	case status == "odd":
		e.Problem, e.Remedy = where+" is no regular file", "set authorized_keys to the file that sshd reads: sshd -T | grep authorizedkeys"
	case status == "owner":
		e.Problem, e.Remedy = where+" belongs to another user", "chown it to the user who logs in"
	case status == "unreadable":
		e.Problem, e.Remedy = where+" cannot be read", "chmod u+r "+f.path
	case status == "readonly":
		e.Problem, e.Remedy = where+" or its directory cannot be written", "chmod u+w both, or let what manages the file change the key"
	case isTool && slices.Contains(tools, tool):
		e.Problem, e.Remedy = fmt.Sprintf("%s lacks the program %s", f.host.text, tool), "install "+tool
	case status == "locked":
		e.Code, e.Problem, e.Remedy = providers.CodeUnavailable, where+" is being edited by another secretctl", fmt.Sprintf("if it is not: rm %s.secretctl-lock", f.path)
	case status == "changed":
		e.Code, e.Problem = providers.CodeUnavailable, where+" was changed again and again while it was to be edited"
	case status == "unwritten":
		e.Code, e.Problem, e.Remedy = providers.CodeUnavailable, "no copy of "+where+" could be written in its directory", "see whether the disk is full"
	default:
		e.Outcome, e.Code, e.Problem = providers.Unknown, providers.CodeUnavailable, fmt.Sprintf("the answer of %s to what looks at %s makes no sense", f.host.text, f.path)
	}
	return e
}
