package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"secretctl/broker/secret/canary"
)

// aRun is a run whose command has started.
type aRun struct {
	t              *testing.T
	h              *testHome
	cmd            *exec.Cmd
	stderr         *bytes.Buffer
	out            *bufio.Reader
	command, files string // the pid of the command and where its files are
	link           string // to one of them
}

// startRun starts a shell script under run, with a secret in its environment and
// in a file.
func startRun(t *testing.T, script string) *aRun {
	h := newTestHome(t)
	h.run(canary.New(t, "key")+"\n", "set", "key")
	r := &aRun{t: t, h: h, stderr: new(bytes.Buffer), link: filepath.Join(t.TempDir(), "link.canary")}
	r.cmd = h.command("run", "--env", "KEY_CANARY=key", "--file", "key=key.canary", "--file", "key="+r.link, "--",
		"sh", "-c", "echo $$ $SECRETCTL_FILES; "+script)
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.cmd.Stderr = r.stderr
	stdout, err := r.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, r.cmd.Start())
	t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	r.out = bufio.NewReader(stdout)
	line := r.line()
	var ok bool
	r.command, r.files, ok = strings.Cut(line, " ")
	require.True(t, ok, line)
	require.FileExists(t, filepath.Join(r.files, "key.canary"))
	require.FileExists(t, r.link)
	require.Contains(t, h.run("", "leases"), "key")
	return r
}

func (r *aRun) line() string {
	line, err := r.out.ReadString('\n')
	require.NoError(r.t, err, r.stderr)
	return strings.TrimSpace(line)
}

// keeper returns the pid of the process between run and the command.
func (r *aRun) keeper() int {
	pid := r.parent(r.command)
	require.NotEqual(r.t, r.cmd.Process.Pid, pid)
	return pid
}

// guard returns the pid of the process that removes the files when all others
// are gone: the child of run's that is not the keeper.
func (r *aRun) guard() (pid int) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", r.cmd.Process.Pid))
	require.NoError(r.t, err)
	keeper := r.keeper()
	for _, path := range tasks {
		children, err := os.ReadFile(path)
		require.NoError(r.t, err)
		for _, child := range strings.Fields(string(children)) {
			n, err := strconv.Atoi(child)
			require.NoError(r.t, err)
			if n != keeper {
				pid = n
			}
		}
	}
	require.NotZero(r.t, pid, "there is no guard")
	return pid
}

// parent returns the pid of a process's parent.
func (r *aRun) parent(of string) int {
	status, err := os.ReadFile("/proc/" + of + "/status")
	require.NoError(r.t, err)
	_, rest, _ := strings.Cut(string(status), "\nPPid:\t")
	line, _, _ := strings.Cut(rest, "\n")
	pid, err := strconv.Atoi(line)
	require.NoError(r.t, err)
	return pid
}

func (r *aRun) kill(pid string, s syscall.Signal) {
	n, err := strconv.Atoi(pid)
	require.NoError(r.t, err)
	require.NoError(r.t, unix.Kill(n, s))
}

// ends waits for run and returns its exit code.
func (r *aRun) ends() int {
	_, _ = io.Copy(io.Discard, r.out)
	_ = r.cmd.Wait()
	status := r.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

func (r *aRun) commandGone() bool {
	state, err := os.ReadFile("/proc/" + r.command + "/stat")
	return err != nil || bytes.Contains(state, []byte(") Z "))
}

// nothingLeft waits until the command, its files and its lease are gone.
func (r *aRun) nothingLeft() {
	require.True(r.t, poll(r.commandGone), "the command goes on")
	require.True(r.t, poll(func() bool {
		_, err := os.Stat(r.files)
		_, linkErr := os.Lstat(r.link)
		return os.IsNotExist(err) && os.IsNotExist(linkErr)
	}), "the files are there still")
	require.True(r.t, poll(func() bool { return !strings.Contains(r.h.run("", "leases"), "key") }), "the lease goes on")
}

// TestRunEndsWithItsCommand: and the lease and the files with both, whichever
// way.
func TestRunEndsWithItsCommand(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*aRun)
		code int
	}{
		"by itself":                 {func(r *aRun) { r.kill(r.command, unix.SIGUSR1) }, 7},
		"the command is killed":     {func(r *aRun) { r.kill(r.command, unix.SIGKILL) }, 137},
		"run is killed":             {func(r *aRun) { r.kill(strconv.Itoa(r.cmd.Process.Pid), unix.SIGKILL) }, 137},
		"run is told to end":        {func(r *aRun) { r.kill(strconv.Itoa(r.cmd.Process.Pid), unix.SIGTERM) }, 143},
		"the keeper is killed":      {func(r *aRun) { r.kill(strconv.Itoa(r.keeper()), unix.SIGKILL) }, 125},
		"the group is killed":       {func(r *aRun) { r.kill(strconv.Itoa(-r.cmd.Process.Pid), unix.SIGTERM) }, 143},
		"the group is killed hard":  {func(r *aRun) { r.kill(strconv.Itoa(-r.cmd.Process.Pid), unix.SIGKILL) }, 137},
		"the guard is killed":       {func(r *aRun) { r.kill(strconv.Itoa(r.guard()), unix.SIGKILL); r.kill(r.command, unix.SIGUSR1) }, 7},
		"the group is interrupted":  {func(r *aRun) { r.kill(strconv.Itoa(-r.cmd.Process.Pid), unix.SIGINT) }, 130},
		"the keeper is told to end": {func(r *aRun) { r.kill(strconv.Itoa(r.keeper()), unix.SIGTERM); r.kill(r.command, unix.SIGUSR1) }, 7},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRun(t, `trap 'exit 7' USR1; echo ready; while :; do sleep 0.02; done`)
			require.Equal(t, "ready", r.line())
			c.end(r)
			require.Equal(t, c.code, r.ends(), r.stderr)
			r.nothingLeft()
		})
	}
}

// TestRunLeavesToTheNext: where run, its keeper and the guard are killed at once
// the files are left, and the next run, or a broker that starts, removes them.
func TestRunLeavesToTheNext(t *testing.T) {
	for name, next := range map[string]func(*testHome){
		"run": func(h *testHome) { h.run("", "run", "--", "true") },
		"serve": func(h *testHome) {
			require.NoError(h.t, h.broker.stop(unix.SIGTERM))
			require.NoError(h.t, h.broker.start(filepath.Join(h.dir, "serve.log"), h.env))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRun(t, "exec sleep 1000")
			require.NoError(t, unix.Kill(r.cmd.Process.Pid, unix.SIGSTOP)) // or it might be quicker
			require.NoError(t, unix.Kill(r.guard(), unix.SIGKILL))
			require.NoError(t, unix.Kill(r.keeper(), unix.SIGKILL))
			require.True(t, poll(r.commandGone), "the kernel does not end the command")
			require.NoError(t, unix.Kill(r.cmd.Process.Pid, unix.SIGKILL))
			r.ends()
			require.DirExists(t, r.files)
			next(r.h)
			require.NoDirExists(t, r.files)
			require.NoError(t, os.Remove(r.link)) // which the next run at that path would
			r.nothingLeft()
		})
	}
}

// TestRunPassesEachSignalOnce: whether it was sent to run alone or to its whole
// group, as a terminal does.
func TestRunPassesEachSignalOnce(t *testing.T) {
	for _, s := range []syscall.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2} {
		name := strings.TrimPrefix(unix.SignalName(s), "SIG")
		for to, sign := range map[string]int{"alone": 1, "group": -1} {
			t.Run(name+" "+to, func(t *testing.T) {
				t.Parallel()
				// perl, since a shell waits for its own children before it runs a trap.
				r := startRun(t, fmt.Sprintf(`exec perl -e '$| = 1; $SIG{%s} = sub { print "got\n" }; $SIG{ALRM} = sub { exit 7 };
					print "ready\n"; while (1) { my $left = select(undef, undef, undef, 1000); alarm 1 }'`, name))
				require.Equal(t, "ready", r.line())
				r.kill(strconv.Itoa(sign*r.cmd.Process.Pid), s)
				rest, err := io.ReadAll(r.out) // a second one would come before the alarm
				require.NoError(t, err)
				require.Equal(t, "got\n", string(rest))
				require.Equal(t, 7, r.ends())
			})
		}
	}
}

// TestRunKeepsWhatIsIgnored: what was ignored at the start is so for the command
// too, as nohup needs it. Of other signals Go's runtime does not remember it.
func TestRunKeepsWhatIsIgnored(t *testing.T) {
	h := newTestHome(t)
	h.run(canary.New(t, "key")+"\n", "set", "key")
	const show = `trap '' HUP INT; "$0" run --env KEY_CANARY=key -- grep SigIgn /proc/self/status; grep SigIgn /proc/self/status`
	cmd := exec.Command("sh", "-c", show, filepath.Join(stageDir, "secretctl"))
	cmd.Env = h.env
	out, err := cmd.Output()
	require.NoError(t, err)
	under, direct, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	require.Equal(t, direct, under)
}
