package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// pty is a terminal with a command on it.
type pty struct {
	t      *testing.T
	master *os.File
	slave  *os.File // kept open, so that its settings can be looked at
	cmd    *exec.Cmd
	taken  sync.WaitGroup

	mu    sync.Mutex
	shown bytes.Buffer // what the terminal would show
}

// onTerminal starts a command on a terminal of its own.
func onTerminal(t *testing.T, cmd *exec.Cmd) *pty {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	p := &pty{t: t, master: master, slave: slave, cmd: cmd}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, cmd.Start())
	p.taken.Go(p.take)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = slave.Close()
		p.taken.Wait() // the last slave is closed, so the master ends
		_ = master.Close()
	})
	return p
}

func (p *pty) take() {
	buf := make([]byte, 4096)
	for {
		n, err := p.master.Read(buf)
		p.mu.Lock()
		p.shown.Write(buf[:n])
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (p *pty) screen() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shown.String()
}

// await waits until the terminal shows a text.
func (p *pty) await(text string) {
	require.True(p.t, poll(func() bool { return strings.Contains(p.screen(), text) }), "%q is not on the screen:\n%s", text, p.screen())
}

// echoes reports whether the terminal shows what is typed.
func (p *pty) echoes() bool {
	settings, err := unix.IoctlGetTermios(int(p.slave.Fd()), unix.TCGETS)
	require.NoError(p.t, err)
	return settings.Lflag&unix.ECHO != 0
}

// awaitHidden waits until it does not.
func (p *pty) awaitHidden(prompt string) {
	p.await(prompt)
	require.True(p.t, poll(func() bool { return !p.echoes() }))
}

func (p *pty) enter(text string) {
	_, err := p.master.WriteString(text)
	require.NoError(p.t, err)
}

// ends waits for the command, but not for ever, and returns its exit code, or
// its signal as 128 + n.
func (p *pty) ends() int {
	impatient := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer impatient.Stop()
	_ = p.cmd.Wait()
	status := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
