package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret/canary"
)

// TestNoArgv: while set waits for the rest of its value and after get was
// answered, no process on the machine has the value in its arguments.
func TestNoArgv(t *testing.T) { lookEverywhere(t, "cmdline") }

// TestNoEnv: nor in its environment.
func TestNoEnv(t *testing.T) { lookEverywhere(t, "environ") }

func lookEverywhere(t *testing.T, file string) {
	needRoot(t) // the environment of a broker is shown to root alone
	h := newTestHome(t)
	value := canary.New(t, "key")
	set := h.command("set", "key")
	stdin, err := set.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, set.Start())
	_, err = stdin.Write([]byte(value))
	require.NoError(t, err)
	require.Empty(t, holders(t, file, value))
	require.NoError(t, stdin.Close())
	require.NoError(t, set.Wait())
	require.Equal(t, value+"\n", h.run("", "get", "key"))
	require.Empty(t, holders(t, file, value))

	// It would be found: a process that has something else both ways.
	const decoy = "decoy-8d1f6e0b2c"
	leak := h.command("audit", "--follow", "--agent", decoy)
	leak.Env = append(leak.Env, "LEAK="+decoy)
	require.NoError(t, leak.Start())
	require.NotEmpty(t, holders(t, file, decoy))
	require.NoError(t, leak.Process.Kill())
	_ = leak.Wait()
}

// TestServeKeepsItsMemory: a broker of an ordinary user is closed to that user's
// other processes, dumps no core, and keeps values from being swapped out.
func TestServeKeepsItsMemory(t *testing.T) {
	needRoot(t)
	dir := canary.Dir(t)
	require.NoError(t, os.Chown(dir, 54321, 54321))
	b := &brokerProcess{as: &syscall.Credential{Uid: 54321, Gid: 54321}}
	t.Cleanup(b.kill)
	env := []string{"SECRETCTL_HOME=" + filepath.Join(dir, "home"), "GORACE=atexit_sleep_ms=10", "GOCOVERDIR=" + filepath.Join(stageDir, "cover")}
	require.NoError(t, b.start(filepath.Join(dir, "serve.log"), env, "--init"))

	proc := fmt.Sprintf("/proc/%d/", b.cmd.Process.Pid)
	info, err := os.Stat(proc + "mem")
	require.NoError(t, err)
	require.Zero(t, info.Sys().(*syscall.Stat_t).Uid, "its memory is open to its user")
	limits, err := os.ReadFile(proc + "limits")
	require.NoError(t, err)
	require.Regexp(t, `(?m)^Max core file size +0 +0 `, string(limits))
	status, err := os.ReadFile(proc + "status")
	require.NoError(t, err)
	require.Regexp(t, `(?m)^VmLck:\s+[1-9]\d{3,} kB`, string(status))
}

// TestServeOutlivesItsReader: whoever reads what the broker says may go away.
func TestServeOutlivesItsReader(t *testing.T) {
	h := newTestHome(t)
	require.NoError(t, h.broker.stop(syscall.SIGTERM))
	cmd := h.command("serve")
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	require.True(t, poll(func() bool {
		_, err := os.Stat(filepath.Join(h.dir, "home", "run", "owner.sock"))
		return err == nil
	}))
	require.NoError(t, stderr.Close())
	for range 3 { // each is said, to nobody
		require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
		h.run("", "audit", "--event", "reload")
	}
	require.True(t, poll(func() bool { return strings.Contains(h.run("", "audit"), "reload") }))
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait())
}

// holders lists the processes that have the value in a file of /proc.
func holders(t *testing.T, file, value string) (pids []string) {
	looked := false
	all, err := filepath.Glob("/proc/[0-9]*/" + file)
	require.NoError(t, err)
	for _, path := range all {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		looked = looked || path == "/proc/"+strconv.Itoa(os.Getpid())+"/"+file
		if bytes.Contains(text, []byte(value)) {
			pids = append(pids, path)
		}
	}
	require.True(t, looked, "not even this process was seen")
	return pids
}
