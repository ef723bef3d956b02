package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// agentAccount finds the account of an agent's user for --user. Only root can
// become another user, and root is nobody's agent.
func agentAccount(name string) (account, error) {
	if os.Geteuid() != 0 {
		return account{}, hinted(errors.New("only root can become another user"), "say it with sudo, or as that user without --user")
	}
	a, err := lookupAccount(name)
	switch {
	case err != nil:
		return account{}, err
	case a.uid == 0:
		return account{}, hinted(fmt.Errorf("%q is root", name), "name the user that the agent runs as")
	case a.home == "":
		return account{}, fmt.Errorf("no home is known of the user %q", name)
	}
	return a, nil
}

// command is a command of this program as that user: the kernel makes it that
// user before its first instruction. It has no terminal, which it could type at,
// and nothing of our environment but what is named here; what it prints reaches
// ours as text (see [plainLines]).
func (a account) command(ctx context.Context, w *world, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, selfPath(), args...)
	cmd.Args[0] = "secretctl"
	cmd.Dir = "/"
	cmd.Env = []string{"HOME=" + a.home, "PATH=" + filepath.Join(a.home, ".local", "bin") + ":/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin"}
	if u, err := user.LookupId(strconv.FormatUint(uint64(a.uid), 10)); err == nil {
		cmd.Env = append(cmd.Env, "USER="+u.Username, "LOGNAME="+u.Username)
	}
	for _, key := range []string{"SECRETCTL_HOME", "LANG"} {
		if value, ok := w.env(key); ok {
			cmd.Env = append(cmd.Env, key+"="+value)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: a.uid, Gid: a.gid, Groups: a.groups}, Setsid: true}
	cmd.Stdout, cmd.Stderr = &plainLines{to: w.stdout}, &plainLines{to: w.stderr}
	return cmd
}

// ended says how a command has ended: what it said on stderr says why.
func (a account) ended(cmd *exec.Cmd, err error) error {
	for _, said := range []io.Writer{cmd.Stdout, cmd.Stderr} {
		said.(*plainLines).end()
	}
	var code *exec.ExitError
	switch {
	case errors.As(err, &code) && code.Exited():
		return exitAnswer(code.ExitCode())
	case errors.Is(err, os.ErrPermission):
		return hinted(fmt.Errorf("starting a process of uid %d: %w", a.uid, reason(err)), "every user must be able to run "+cmd.Path)
	}
	return err
}

// plainLines passes lines on without what a terminal would obey: the process that
// writes them runs as an agent's user, who may have it say anything.
type plainLines struct {
	to   io.Writer
	rest []byte // of a line that has not ended
}

// longestLine is how much of a line is kept until it ends, in bytes.
const longestLine = 64 << 10

func (p *plainLines) Write(b []byte) (int, error) {
	p.rest = append(p.rest, b...)
	for {
		line, rest, ended := bytes.Cut(p.rest, []byte("\n"))
		if !ended && len(line) < longestLine {
			return len(b), nil
		}
		p.rest = append([]byte(nil), rest...)
		if _, err := fmt.Fprintln(p.to, shown(string(line))); err != nil {
			return len(b), err
		}
	}
}

// end passes on what has no end of a line.
func (p *plainLines) end() {
	if len(p.rest) > 0 {
		_, _ = p.Write([]byte("\n"))
	}
}
