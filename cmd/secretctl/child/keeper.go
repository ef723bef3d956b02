package child

import (
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// keeperArg is the one argument of a process that is a keeper.
const keeperArg = "keep-child"

// linkFD is the keeper's end of the link. The lock of the files follows it, so
// that they stay as long as the program.
const linkFD = 3

// keep is the life of a keeper. It returns the exit code.
func keep() int {
	// The kernel kills the program when the thread ends that started it.
	runtime.LockOSThread()
	unix.CloseOnExec(linkFD)
	unix.CloseOnExec(linkFD + 1)
	link := os.NewFile(linkFD, "link")
	o, err := readOrder(link)
	if err != nil {
		return 1
	}
	k := &keeper{order: o, link: link, got: make(chan os.Signal, 16), ends: make(chan syscall.WaitStatus)}
	return k.keep()
}

// keeper is a keeper with its program.
type keeper struct {
	*order
	link *os.File
	tty  int            // the terminal, when the program has its own
	pid  int            // the program's
	got  chan os.Signal // what this process gets itself
	ends chan syscall.WaitStatus
	last map[syscall.Signal]time.Time // when which came
}

func (k *keeper) keep() int {
	k.last = make(map[syscall.Signal]time.Time)
	signal.Notify(k.got, heeded(passed...)...)
	if err := k.start(); err != nil {
		errno, ok := err.(syscall.Errno)
		if !ok {
			errno = unix.EIO
		}
		_ = event{startFailed, uint32(errno)}.send(k.link)
		return 1
	}
	_ = event{started, uint32(k.pid)}.send(k.link)
	go k.reap() // until the program has ended, which is awaited below
	commands := make(chan [2]byte)
	go readCommands(k.link, commands) // until the link is closed, at the latest by the exit
	for {
		select {
		case status := <-k.ends:
			if status.Stopped() {
				k.stopped(status.StopSignal())
				continue
			}
			_ = event{ended, uint32(status)}.send(k.link)
			return 0
		case s := <-k.got:
			k.last[s.(syscall.Signal)] = time.Now()
		case c, ok := <-commands:
			if !ok {
				k.abandoned()
				return 1
			}
			k.do(command(c[0]), syscall.Signal(c[1]))
		}
	}
}

// start starts the program and lets go of what is the program's.
func (k *keeper) start() error {
	// That environments are strings is the kernel's and Go's way. The program has
	// the same bytes for as long.
	env := strings.Split(strings.TrimSuffix(string(k.env), "\x00"), "\x00")
	if len(k.env) == 0 {
		env = nil
	}
	clear(k.env)
	attr := &syscall.ProcAttr{Env: env, Files: []uintptr{0, 1, 2}, Sys: dying(&syscall.SysProcAttr{Setpgid: k.own})}
	pid, err := syscall.ForkExec(k.path, k.args, attr)
	if err == unix.ENOEXEC { // a script without a first line that says what runs it, as execvp does
		pid, err = syscall.ForkExec("/bin/sh", append([]string{"sh", k.path}, k.args[1:]...), attr)
	}
	if err != nil {
		return err
	}
	k.pid = pid
	if k.own {
		if k.tty, err = unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 10); err != nil {
			return k.undone(err)
		}
		if !k.later {
			k.foreground()
		}
		signal.Ignore(unix.SIGTTOU) // from now on another may be in front, and we still decide
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return k.undone(err)
	}
	defer null.Close()
	for fd := range 3 { // or the program's streams would not end with it
		if err := unix.Dup2(int(null.Fd()), fd); err != nil {
			return k.undone(err)
		}
	}
	return nil
}

// undone ends a program that cannot be kept.
func (k *keeper) undone(err error) error {
	_ = unix.Kill(k.pid, unix.SIGKILL)
	return err
}

// foreground gives the program the terminal.
func (k *keeper) foreground() { _ = unix.IoctlSetPointerInt(k.tty, unix.TIOCSPGRP, k.pid) }

// reap reports the stops and the end of the program.
func (k *keeper) reap() {
	options := 0
	if k.own {
		options = unix.WUNTRACED
	}
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(k.pid, &status, options, nil)
		if err == unix.EINTR {
			continue
		}
		k.ends <- status
		if err != nil || !status.Stopped() {
			return
		}
	}
}

// stopped passes on that the program was stopped. One that only used its terminal
// before it was given it goes on as soon as it is.
func (k *keeper) stopped(by syscall.Signal) {
	switch {
	case by != unix.SIGTTIN && by != unix.SIGTTOU:
	case k.later:
		_ = event{what: wants}.send(k.link)
		return
	default:
		k.foreground()
		k.goOn()
		return
	}
	_ = event{stopped, uint32(by)}.send(k.link)
}

func (k *keeper) goOn() { _ = unix.Kill(-k.pid, unix.SIGCONT) }

// shared is how far apart one signal to many processes may reach two of them.
const shared = 50 * time.Millisecond

// do does what the process at the other end of the link says.
func (k *keeper) do(c command, s syscall.Signal) {
	switch c {
	case goOn:
		k.goOn()
	case front:
		k.later = false
		k.foreground()
		k.goOn()
	case passAll:
		_ = unix.Kill(-k.pid, s)
	case passNow:
		_ = unix.Kill(k.pid, s)
	case passOn:
		if !k.sharedBefore(s) {
			_ = unix.Kill(k.pid, s)
		}
	}
}

// sharedBefore reports whether this process got the signal too. Then it was for
// all of a job: a ^C, a kill of the group, a stop of the service; and the program
// has it already.
func (k *keeper) sharedBefore(s syscall.Signal) bool {
	if s == unix.SIGKILL {
		return false
	}
	wait := time.NewTimer(shared)
	defer wait.Stop()
	for {
		if at, ok := k.last[s]; ok && time.Since(at) < 2*shared {
			delete(k.last, s)
			return true
		}
		select {
		case got := <-k.got:
			k.last[got.(syscall.Signal)] = time.Now()
		case <-wait.C:
			return false
		}
	}
}

// abandoned ends a program whose leases are no longer held.
func (k *keeper) abandoned() {
	if k.own {
		_ = unix.Kill(-k.pid, unix.SIGKILL)
	}
	_ = unix.Kill(k.pid, unix.SIGKILL)
	for status := range k.ends {
		if !status.Stopped() {
			return
		}
	}
}

// readCommands reads what the other end says, until it is gone.
func readCommands(r io.Reader, out chan<- [2]byte) {
	defer close(out)
	for {
		var c [2]byte
		if _, err := io.ReadFull(r, c[:]); err != nil {
			return
		}
		out <- c
	}
}
