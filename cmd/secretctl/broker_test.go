package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret/canary"
)

// brokerProcess is a broker that a test runs, one at a time.
type brokerProcess struct {
	as    *syscall.Credential // nil: who runs the test
	name  string              // of the program, see TestMain; "": secretctl
	cmd   *exec.Cmd           // nil: none
	log   string
	from  int64 // where in the log it began
	ended chan error
}

// start returns when the broker says that it is ready. What it says is appended
// to the log.
func (b *brokerProcess) start(log string, env []string, args ...string) error {
	if b.cmd != nil {
		return errors.New("there is a broker already")
	}
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if b.from, err = f.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(stageDir, "secretctl"), append([]string{"serve"}, args...)...)
	if b.name != "" {
		cmd.Args[0] = b.name
	}
	cmd.Stderr, cmd.Env, cmd.Dir = f, env, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: b.as}
	if err := cmd.Start(); err != nil {
		return err
	}
	b.cmd, b.log, b.ended = cmd, log, make(chan error, 1)
	go func() { b.ended <- cmd.Wait() }() // stop and kill wait for it
	ready := poll(func() bool {
		select {
		case err := <-b.ended:
			b.ended <- err
			return true
		default:
			return strings.Contains(b.said(), "secretctl: ready owner=")
		}
	})
	select {
	case err := <-b.ended:
		b.cmd = nil
		return fmt.Errorf("the broker ended (%v):\n%s", err, b.said())
	default:
	}
	if !ready {
		return fmt.Errorf("the broker is not ready:\n%s", b.said())
	}
	return nil
}

// said returns what the broker has said since it was started.
func (b *brokerProcess) said() string {
	text, err := os.ReadFile(b.log)
	if err != nil {
		return err.Error()
	}
	return string(text[b.from:])
}

// stop sends a signal that must end the broker, cleanly unless it is SIGKILL.
func (b *brokerProcess) stop(sig syscall.Signal) error {
	if b.cmd == nil {
		return errors.New("there is no broker")
	}
	if err := b.cmd.Process.Signal(sig); err != nil {
		return err
	}
	select {
	case err := <-b.ended:
		b.cmd = nil
		if sig == syscall.SIGKILL {
			err = nil
		}
		return err
	case <-time.After(patience):
		return fmt.Errorf("the broker does not end:\n%s", b.said())
	}
}

// kill ends the broker without ceremony, if there is one.
func (b *brokerProcess) kill() {
	if b.cmd != nil {
		_ = b.cmd.Process.Kill()
		<-b.ended
		b.cmd = nil
	}
}

// testHome is a home with a broker on it, for tests that are no scripts.
type testHome struct {
	t      testing.TB
	dir    string
	env    []string
	broker brokerProcess
}

// newTestHome makes a home and starts a broker on it.
func newTestHome(t testing.TB) *testHome {
	h := madeTestHome(t)
	h.serve()
	return h
}

// madeTestHome makes a home on which there is no broker yet.
func madeTestHome(t testing.TB) *testHome {
	dir := canary.Dir(t)
	h := &testHome{t: t, dir: dir, env: []string{
		"SECRETCTL_HOME=" + filepath.Join(dir, "home"), "HOME=/no-home", "PATH=/usr/bin:/bin", "TERM=xterm",
		"GORACE=atexit_sleep_ms=10", "GOCOVERDIR=" + os.Getenv("GOCOVERDIR"),
	}}
	t.Cleanup(h.broker.kill)
	h.run("", "init")
	return h
}

// serve starts a broker on the home.
func (h *testHome) serve() {
	require.NoError(h.t, h.broker.start(filepath.Join(h.dir, "serve.log"), h.env))
}

// command prepares a command on the home.
func (h *testHome) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(h.t.Context(), filepath.Join(stageDir, "secretctl"), args...)
	cmd.Env = h.env
	return cmd
}

// run runs a command that must succeed and returns its stdout.
func (h *testHome) run(stdin string, args ...string) string {
	cmd := h.command(args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(h.t, err, "%v: %s", args, &stderr)
	return string(out)
}
