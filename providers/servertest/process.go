// Package servertest runs real servers for the tests of providers, and cuts the
// lines to them.
//
// It guards against servers that outlive their test, and against tests that
// pass because there was no server.
package servertest

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"secretctl/broker/secret/canary"

	"github.com/stretchr/testify/require"
)

// Missing skips a test for want of something, or fails it where nothing may be
// missing.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("SECRETCTL_TEST_STRICT") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// Program finds a program in PATH or, the newest of several, by one of the
// patterns.
func Program(t testing.TB, name string, patterns ...string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, p := range patterns {
		if found, err := filepath.Glob(p); err == nil && len(found) > 0 {
			return found[len(found)-1]
		}
	}
	Missing(t, "needs "+name+": make deps installs it where that is possible")
	return ""
}

// Account is a user that servers run as: nobody we are, when we are root.
type Account struct {
	uid, gid int
	drop     bool
}

// Unprivileged returns the first of these accounts that there is, and ourselves
// when we are not root.
func Unprivileged(t testing.TB, names ...string) Account {
	if os.Getuid() != 0 {
		return Account{os.Getuid(), os.Getgid(), false}
	}
	for _, name := range append(names, "nobody") {
		if u, err := user.Lookup(name); err == nil {
			uid, err := strconv.Atoi(u.Uid)
			require.NoError(t, err)
			gid, err := strconv.Atoi(u.Gid)
			require.NoError(t, err)
			return Account{uid, gid, true}
		}
	}
	t.Fatal("there is no account for a server to run as")
	return Account{}
}

// User is the account with this uid, which need not have a name.
func User(uid int) Account { return Account{uid, uid, uid != os.Getuid()} }

// Ourselves is the account that the test runs as.
func Ourselves() Account { return Account{os.Getuid(), os.Getgid(), false} }

// Dir makes a folder for the account, that nobody else can read.
func (a Account) Dir(t testing.TB) string {
	dir := canary.Dir(t)
	require.NoError(t, os.Chown(dir, a.uid, a.gid))
	require.NoError(t, os.Chmod(dir, 0o700))
	return dir
}

// Give hands a file to the account.
func (a Account) Give(t testing.TB, path string) {
	require.NoError(t, os.Chown(path, a.uid, a.gid))
}

// Command prepares a command of the account's, with an environment of its own,
// that ends with the test.
func (a Account) Command(t testing.TB, dir, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir, cmd.Env = dir, []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "HOME=" + dir}
	cmd.SysProcAttr = diesWithTest()
	if a.drop {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return cmd
}

// Process is a server that runs.
type Process struct {
	t     testing.TB
	cmd   *exec.Cmd
	ended chan struct{}
}

// Start starts the command. It is killed when the test ends.
func Start(t testing.TB, cmd *exec.Cmd) *Process {
	require.NoError(t, cmd.Start())
	p := &Process{t, cmd, make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended does not matter
		close(p.ended)
	}()
	t.Cleanup(p.Kill)
	return p
}

// Ready waits until up returns true. It returns false when the process ends
// before.
func (p *Process) Ready(up func() bool) bool {
	for deadline := time.After(30 * time.Second); ; {
		select {
		case <-p.ended:
			return false
		case <-deadline:
			p.t.Fatal("the server runs, and never is ready")
		case <-time.After(2 * time.Millisecond):
			if up() {
				return true
			}
		}
	}
}

// Wait waits for the process to end by itself.
func (p *Process) Wait() { <-p.ended }

// Kill ends the process as kill -9 does, and waits for its end.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

// Pause stops the process where it is, until Resume.
func (p *Process) Pause() { require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGSTOP)) }

// Resume lets a paused process go on.
func (p *Process) Resume() { require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGCONT)) }
