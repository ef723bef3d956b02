package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"secretctl/broker/mask"
	"secretctl/broker/secret"
	"secretctl/cmd/secretctl/child"
)

// runner runs a command, again where it is to be restarted.
type runner struct {
	w        *world
	plan     *runPlan
	assigned []assignment
	leases   *leases

	salt  mask.Salt
	known []mask.Fingerprint
	set   atomic.Pointer[mask.Set] // of known; nil: nothing is masked

	signals chan syscall.Signal // for the command
	turns   chan turn           // of the rotations
}

// run returns how the command ended, as an exitAnswer, or why it did not run.
func (r *runner) run(ctx context.Context) error {
	r.w.sweepRuns()
	ctx, cancel := context.WithCancel(ctx)
	var working sync.WaitGroup
	defer working.Wait()
	defer cancel()
	r.signals, r.turns = make(chan syscall.Signal, 1), make(chan turn)
	if !r.plan.needsBroker() {
		return r.start(ctx, nil)
	}
	// A command that is not there is told of before anything is leased.
	if _, err := child.Find(r.plan.argv[0], r.w.getenv("PATH")); err != nil && len(r.plan.envFiles) == 0 {
		return notRun(err)
	}
	r.salt = mask.NewSalt()
	r.leases = newLeases(r.w, r.plan)
	r.leases.first = r.names
	over := make(chan error, 1)
	working.Go(func() { over <- r.leases.run(ctx) })
	select {
	case <-r.leases.ready:
	case err := <-over:
		return err
	}
	v := make(values)
	v.add(r.leases.taken)
	watching := &rotations{runner: r, versions: versionsOf(v), cursor: r.leases.cursor}
	working.Go(func() { watching.watch(ctx) })
	return r.start(ctx, v)
}

// sweepRuns removes the files of this user's runs that were killed with all that
// would have removed them.
func (w *world) sweepRuns() {
	for _, root := range child.Roots(w.getenv("XDG_RUNTIME_DIR")) {
		if err := child.Sweep(root); err != nil {
			w.say("removing what a killed run left behind: %v", err)
		}
	}
}

// start runs the command, and again as long as that is asked for.
func (r *runner) start(ctx context.Context, v values) error {
	for {
		next, err := r.once(ctx, v)
		if err != nil || next == nil {
			next.clear()
			return err
		}
		v = next
	}
}

// once runs the command to its end. It returns values when it is to be started
// again with them.
func (r *runner) once(ctx context.Context, v values) (next values, err error) {
	defer v.clear()
	c := &child.Command{Args: r.plan.argv, Signals: r.signals, Again: r.plan.rotate == onRotateRestart}
	if c.Stdin, c.Stdout, c.Stderr, err = r.w.streams(); err != nil {
		return nil, err
	}
	if err := r.learn(v); err != nil {
		return nil, err
	}
	if len(r.known) > 0 {
		c.Filter = func(dst io.Writer) io.WriteCloser { return newMasked(dst, &r.set) }
	}
	if c.Files, err = r.makeFiles(v); err != nil {
		return nil, err
	}
	if c.Files != nil {
		defer func() { err = errors.Join(err, c.Files.Remove()) }()
	}
	if c.Env, err = r.environment(v, os.Environ(), c.Files); err != nil {
		return nil, err
	}
	if c.Path, err = child.Find(r.plan.argv[0], variable(c.Env, "PATH")); err != nil {
		clear(c.Env)
		return nil, notRun(err)
	}
	v.clear()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	type end struct {
		status syscall.WaitStatus
		err    error
	}
	over := make(chan end, 1)
	go func() { // awaited below
		status, err := c.Run(ctx)
		over <- end{status, err}
	}()
	var old []*replaced
	for {
		select {
		case e := <-over:
			for _, o := range old {
				r.leases.giveBack(o)
			}
			switch {
			case next != nil:
				return next, e.err
			case e.err != nil:
				return nil, notRun(e.err)
			}
			return nil, exitAnswer(codeOf(e.status))
		case t := <-r.turns:
			if t.action == onRotateSignal {
				r.refresh(c.Files, t.values)
				time.AfterFunc(reloadTime, func() { r.leases.giveBack(t.old) })
				continue
			}
			next.clear() // of a turn before, which the command did not live to see
			next, old = t.values, append(old, t.old)
			r.w.say("a secret was replaced: starting %s again", r.plan.argv[0])
			stop()
		}
	}
}

// reloadTime is how long a command that got a signal may go on with what it had.
// When it has taken the new values nobody can tell.
const reloadTime = 2 * time.Second

// refresh puts new values into the files of a command that runs, and tells it.
func (r *runner) refresh(files *child.Dir, v values) {
	defer v.clear()
	err := r.learn(v)
	for _, f := range r.plan.files {
		if h := v[f.name]; h != nil && err == nil {
			err = h.Value.Use(func(b []byte) error { return files.Replace(f.path, b) })
		}
	}
	if err != nil {
		r.w.say("a secret was replaced, and its file could not be: %v", err)
		return
	}
	r.w.say("a secret was replaced: %s gets a %s", r.plan.argv[0], unix.SignalName(r.plan.signal))
	select {
	case r.signals <- r.plan.signal:
	default: // it has not heard of the one before yet
	}
}

// codeOf returns the exit code that says how a command ended.
func codeOf(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// notRun gives a command that did not start its exit code.
func notRun(err error) error {
	var failed *child.StartError
	switch {
	case !errors.As(err, &failed):
		return err
	case errors.Is(failed.Err, syscall.E2BIG):
		return commandFailure{hinted(fmt.Errorf("running %q: its arguments and environment are too large", failed.Name),
			"hand large values on with --file"), exitCannotRun}
	case errors.Is(failed.Err, fs.ErrNotExist):
		return commandFailure{err, exitNoCommand}
	}
	return commandFailure{err, exitCannotRun}
}

// variable returns the value of a variable in an environment of NUL-terminated
// entries.
func variable(env []byte, key string) string {
	for entry := range bytes.SplitSeq(env, []byte{0}) {
		if value, ok := bytes.CutPrefix(entry, []byte(key+"=")); ok {
			return string(value) // asked for PATH alone
		}
	}
	return ""
}

func versionsOf(v values) map[secret.Name]uint64 {
	versions := make(map[secret.Name]uint64)
	for name, h := range v {
		versions[name] = h.Version
	}
	return versions
}

// filesOnly reports whether a secret goes into files and into no variable, so
// that a command can be given a new value while it runs.
func (r *runner) filesOnly(name secret.Name) bool {
	return !slices.ContainsFunc(r.assigned, func(a assignment) bool { return a.name == name })
}
