package canary

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// orphans is how long the processes that a command leaves behind may keep its
// output open.
const orphans = 10 * time.Second

// Watch runs a command whose tests mint canaries, passes its output through, and
// then searches all that the run wrote: the output, its temporary directory, and
// what is new in the working directory and in the machine's temporary one, as
// well as, meanwhile, the arguments and environment of every process. It says
// on stderr what it searched and found, and returns the exit code: the command's
// own, or 1 where anything was found or nothing searched. keep leaves the
// temporary directory there.
func Watch(ctx context.Context, command []string, keep bool, stdout, stderr io.Writer) int {
	w, err := newWatcher()
	if err != nil {
		fmt.Fprintln(stderr, "canaries:", err)
		return 1
	}
	code, err := w.run(ctx, command, stdout, stderr)
	err = errors.Join(err, w.search())
	if keep {
		fmt.Fprintln(stderr, "canaries: kept", w.dir)
	} else {
		err = errors.Join(err, os.RemoveAll(w.dir))
	}
	return max(code, w.found.report(stderr, err))
}

// watcher watches one run.
type watcher struct {
	seed  string
	dir   string // of its own, with the temporary directory of the run in it
	tmp   string // that directory
	began time.Time
	found *findings
}

func newWatcher() (*watcher, error) {
	dir, err := os.MkdirTemp("", "cn")
	if err != nil {
		return nil, err
	}
	w := &watcher{
		seed: rand.Text(), dir: dir, tmp: filepath.Join(dir, "tmp"),
		// Files may have the time of the clock tick before.
		began: time.Now().Add(-time.Second),
	}
	w.found = newFindings(w.seed)
	// As in /tmp, every uid finds its way, and only root removes what is another's.
	return w, errors.Join(os.Chmod(dir, 0o711), os.Mkdir(w.tmp, 0o700), os.Chmod(w.tmp, 0o777|os.ModeSticky))
}

// run runs the command and returns its exit code. Its output is kept in files
// beside the temporary directory.
func (w *watcher) run(ctx context.Context, command []string, stdout, stderr io.Writer) (int, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = orphans
	cmd.Env = append(os.Environ(), Variable+"="+w.seed, "TMPDIR="+w.tmp)
	cmd.Stdin = os.Stdin
	for _, o := range []struct {
		name string
		to   *io.Writer
		too  io.Writer
	}{{"stdout", &cmd.Stdout, stdout}, {"stderr", &cmd.Stderr, stderr}} {
		f, err := os.Create(filepath.Join(w.dir, o.name))
		if err != nil {
			return 1, err
		}
		defer f.Close()
		*o.to = io.MultiWriter(f, o.too)
	}
	ended, end := context.WithCancel(ctx)
	var sampling sync.WaitGroup
	sampling.Go(func() { w.found.sample(ended) })
	err := cmd.Run()
	end()
	sampling.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil // -1 for a signal
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}
