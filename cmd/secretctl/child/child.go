// Package child runs one program as if nobody stood between it and the person:
// its terminal stays a terminal, ^C and ^Z do what they do, signals are passed
// on and its exit is reported. What it writes goes through a filter.
//
// Between this process and the program is a keeper: this binary again, with no
// other work than to be the program's parent. It leads the session of the
// program's terminal, without which the kernel would not let ^Z stop anything,
// and it guards against a program that outlives this process: when this one is
// gone, by SIGKILL too, it kills the program. On Linux the kernel kills the
// program when the keeper is killed. Beside files made for the program there is
// a guard, which removes them when both are gone; see [Dir].
//
// It does not guard against what the program starts: that is not found, nor
// ended, once it has left the program's process group. Where a process in the
// background still writes when the program has ended, its next write fails.
package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Command is a program to run.
type Command struct {
	Path string   // as [Find] returned it
	Args []string // Args[0] is the name the program is told
	Env  []byte   // its whole environment, each KEY=VALUE followed by a NUL; cleared by Run

	Stdin, Stdout, Stderr *os.File

	// Filter stands between the program and Stdout, and between it and Stderr.
	// Closing what it returns writes what it holds back. With nil the program
	// writes to the files itself.
	Filter func(dst io.Writer) io.WriteCloser

	// Again says that another program may follow, which needs Stdout as well: its
	// reader is not told when this one closes it.
	Again bool

	// Files are the program's, and there at least as long as it; nil is none.
	Files *Dir

	// Signals are passed on like those that this process gets.
	Signals <-chan syscall.Signal
}

// StartError is why a program did not start.
type StartError struct {
	Name string
	Err  error // of the kernel
}

func (e *StartError) Error() string { return fmt.Sprintf("running %q: %v", e.Name, e.Err) }

func (e *StartError) Unwrap() error { return e.Err }

// Part does what this process is for when it is one of those that this package
// starts, and returns its exit code. It comes before anything else in main.
func Part(args []string) (code int, ok bool) {
	if len(args) != 2 {
		return 0, false
	}
	switch args[1] {
	case keeperArg:
		return keep(), true
	case guardArg:
		return guardFiles(), true
	}
	return 0, false
}

// errKeeper is the end of a keeper that said nothing of its program's.
var errKeeper = errors.New("the process that kept the program was killed, and the program with it")

// stopTime is how long a program has to end after a SIGTERM.
const stopTime = 10 * time.Second

// passed are the signals that a program gets when this process does. SIGHUP and
// SIGINT stay ignored, for both, where they were so when this process started;
// of other signals Go's runtime does not keep that.
var passed = []os.Signal{
	unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2,
}

// heeded returns those of the signals that were not ignored at the start.
func heeded(signals ...os.Signal) (out []os.Signal) {
	for _, s := range signals {
		if !signal.Ignored(s) {
			out = append(out, s)
		}
	}
	return out
}

// Run runs the program to its end and returns how that was. When ctx is done
// the program gets a SIGTERM, and a SIGKILL where that does not end it soon. A
// program that did not start is a [*StartError].
func (c *Command) Run(ctx context.Context) (syscall.WaitStatus, error) {
	defer clear(c.Env)
	s, err := c.connect()
	if err != nil {
		return 0, err
	}
	defer s.close()
	r := &running{Command: c, streams: s}
	if err := r.start(); err != nil {
		return 0, err
	}
	return r.wait(ctx)
}

// running is a program that runs.
type running struct {
	*Command
	*streams
	keeper *exec.Cmd
	link   *os.File   // to the keeper
	events chan event // of the keeper; closed when there will be no more
	pid    int        // the program's; 0 before it has started
	screen *screen    // our terminal, when the program has one of its own; else nil
	wanted bool       // the program waits for the keyboard
	caught bool       // SIGTSTP is
}

// start starts the keeper and hands it the order.
func (r *running) start() error {
	ours, theirs, err := socketPair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	r.link, r.events = ours, make(chan event)
	r.keeper = &exec.Cmd{
		Path: self, Args: []string{"secretctl", keeperArg},
		Stdin: r.files[0], Stdout: r.files[1], Stderr: r.files[2],
		ExtraFiles: []*os.File{theirs},
	}
	if r.Files != nil {
		r.keeper.ExtraFiles = append(r.keeper.ExtraFiles, r.Files.lock)
	}
	if r.own {
		r.keeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 1}
	}
	if err := r.keeper.Start(); err != nil {
		ours.Close()
		return fmt.Errorf("starting the keeper: %w", err)
	}
	r.streams.started()
	if r.own {
		r.screen = &screen{tty: r.Stdin, master: r.master}
		if r.later {
			r.screen.tty = r.Stdout
		}
	}
	o := order{own: r.own, later: r.later, path: r.Path, args: r.Args, env: r.Env}
	frame := o.encode()
	defer clear(frame)
	if _, err := ours.Write(frame); err != nil {
		ours.Close()
		_ = r.keeper.Wait()
		return fmt.Errorf("starting the keeper: %w", err)
	}
	return nil
}

// wait does what there is to do while the program runs.
func (r *running) wait(ctx context.Context) (syscall.WaitStatus, error) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, heeded(passed...)...)
	signal.Notify(signals, unix.SIGWINCH, unix.SIGCONT)
	defer signal.Stop(signals)
	// A reader that goes away is told of by the write, not by a signal.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, heeded(unix.SIGPIPE)...)
	defer signal.Stop(pipe)

	var listening sync.WaitGroup
	listening.Go(func() { r.listen() })
	defer listening.Wait()
	defer r.link.Close()
	if screen := r.screen; screen != nil {
		defer screen.release()
	}
	if r.later { // what is typed is not the program's yet, and ^Z stops it too
		r.caught = true
		signal.Notify(signals, unix.SIGTSTP)
	}
	r.takeScreen()
	var background, kill <-chan time.Time
	done := ctx.Done()
	for {
		if r.screen != nil && !r.later && !r.screen.taken() && background == nil {
			background = time.After(lookAgain)
		}
		select {
		case e, ok := <-r.events:
			if !ok || e.what == ended || e.what == startFailed {
				status, err := r.over(e)
				return status, errors.Join(err, r.streams.finish())
			}
			r.happened(e)
		case s := <-signals:
			r.signalled(s.(syscall.Signal))
		case s := <-r.Signals:
			r.tell(passOn, byte(s))
		case <-r.hungUp():
			if r.screen != nil {
				r.screen.release()
				r.screen = nil
			}
			r.hangUp()
		case <-background:
			background = nil
			r.takeScreen()
		case <-done:
			done, kill = nil, time.After(stopTime)
			r.tell(passOn, byte(unix.SIGTERM))
		case <-kill:
			r.tell(passOn, byte(unix.SIGKILL))
		}
	}
}

// happened does what there is to do about what the keeper says.
func (r *running) happened(e event) {
	switch e.what {
	case started:
		r.pid = int(e.with)
	case stopped:
		r.suspend()
	case wants:
		r.later, r.wanted = false, true
		r.takeScreen()
	}
}

// over returns how the program ended, after the last thing that the keeper said;
// the zero event when it was killed.
func (r *running) over(e event) (syscall.WaitStatus, error) {
	_ = r.keeper.Wait() // what there is to know is in its state
	switch e.what {
	case ended:
		return syscall.WaitStatus(e.with), nil
	case startFailed:
		return 0, &StartError{r.Args[0], syscall.Errno(e.with)}
	}
	if r.pid != 0 {
		_ = unix.Kill(r.pid, unix.SIGKILL) // where the kernel has not done so already
		return 0, errKeeper
	}
	status := r.keeper.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() && slices.Contains(passed, os.Signal(status.Signal())) {
		return status, nil // a ^C before it had anything to keep
	}
	return 0, errKeeper
}

// listen passes on what the keeper says.
func (r *running) listen() {
	defer close(r.events)
	for {
		e, err := readEvent(r.link)
		if err != nil {
			return
		}
		r.events <- e
		if e.what == ended || e.what == startFailed {
			return
		}
	}
}

// tell gives the keeper a command. A keeper that is gone is heard of elsewhere.
func (r *running) tell(c command, with byte) { _, _ = r.link.Write([]byte{byte(c), with}) }

// signalled does what a signal to this process asks for.
func (r *running) signalled(s syscall.Signal) {
	switch s {
	case unix.SIGWINCH:
		if r.master != nil {
			resize(r.master, r.terminal)
		}
		if !r.own {
			// The program was told by its terminal, but before the size was there.
			r.tell(passNow, byte(s))
		}
	case unix.SIGCONT:
		if r.screen != nil {
			r.screen.release() // whoever had the terminal meanwhile has changed it
			r.takeScreen()
		}
	case unix.SIGTSTP:
		r.tell(passAll, byte(s))
	case unix.SIGINT, unix.SIGQUIT:
		if r.later { // typed at a terminal whose group the program is not of
			r.tell(passAll, byte(s))
			return
		}
		r.tell(passOn, byte(s))
	default:
		r.tell(passOn, byte(s))
	}
}

// suspend stops this process as the program on its terminal was stopped, with
// the terminal as it was, and has the program go on when this one does.
func (r *running) suspend() {
	r.streams.settle()
	if r.screen != nil {
		r.screen.release()
	}
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, unix.SIGCONT)
	defer signal.Stop(continued)
	r.stopJob()
	select {
	case <-continued:
	case <-time.After(orphanTime):
	}
	r.takeScreen()
	r.tell(goOn, 0)
}

// stopJob stops the whole job, as the terminal would have. Where there is nobody
// to continue it the kernel stops nothing.
func (r *running) stopJob() {
	if !r.caught {
		_ = unix.Kill(0, unix.SIGTSTP)
		return
	}
	// Go does not give a SIGTSTP back that it was asked to catch, and SIGSTOP stops
	// anybody. A parent in another session is no shell that would continue us.
	parent, err := unix.Getsid(os.Getppid())
	if ours, err2 := unix.Getsid(0); err == nil && err2 == nil && parent == ours {
		_ = unix.Kill(0, unix.SIGSTOP)
	}
}

// takeScreen makes our terminal a wire to the program's, when it is time and it
// is ours to use.
func (r *running) takeScreen() {
	if r.screen == nil || r.later {
		return
	}
	r.screen.take()
	if r.wanted && r.screen.taken() {
		r.wanted = false
		r.tell(front, 0)
	}
}

// orphanTime is how long it takes at most from a SIGTSTP to the stop.
const orphanTime = 200 * time.Millisecond

// lookAgain is how often a job in the background looks whether it still is.
const lookAgain = 250 * time.Millisecond
