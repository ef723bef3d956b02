package broker_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret/canary"
)

// actVariable names, in the environment of a process that a test starts, what
// the process is to do.
const actVariable = "SECRETCTL_ACT"

// acts is what such a process can do: act → its main.
var acts = map[string]func(args []string) error{
	"ask":     actAsk,
	"hold":    actHold,
	"die":     actDie,
	"limit":   actLimit,
	"prepare": actPrepare,
	"serve":   actServe,
}

func perform(name string, args []string) int {
	act, ok := acts[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "no act %q\n", name)
		return 2
	}
	if err := act(args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// stageDir is the directory that stage made, if it did.
var stageDir atomic.Pointer[string]

// stage is a copy of the test binary that every uid can run.
var stage = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "act")
	if err != nil {
		return "", err
	}
	stageDir.Store(&dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	self, err := os.Open(exe)
	if err != nil {
		return "", err
	}
	defer self.Close()
	path := filepath.Join(dir, "act")
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		return "", err
	}
	if _, err := io.Copy(out, self); err != nil {
		return "", err
	}
	return path, out.Close()
})

// needRoot fails or skips a test that starts processes under other uids.
func needRoot(t testing.TB) {
	if os.Getuid() == 0 {
		return
	}
	if os.Getenv("SECRETCTL_TEST_STRICT") != "" {
		t.Fatal("this test needs root: it starts processes under other uids")
	}
	t.Skip("needs root: a second uid")
}

// as prepares a process of another uid that performs an act.
func as(t testing.TB, uid uint32, act string, args ...string) *exec.Cmd {
	needRoot(t)
	path, err := stage()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = []string{actVariable + "=" + act, "GORACE=atexit_sleep_ms=10", canary.Environ()}
	cmd.Dir = "/"
	cmd.SysProcAttr = diesWithTest()
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid}
	return cmd
}
