package child

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// guardArg is the one argument of a process that is a guard.
const guardArg = "guard-files"

// guard is our end of a process that removes a [Dir] once nobody holds it, for
// when this process and the keeper are killed at once, as a SIGKILL to their
// process group does. It has a session of its own, so that this spares it. It
// knows no value, only where the files are.
type guard struct {
	process *exec.Cmd
	tell    io.WriteCloser
}

// newGuard starts the guard of a directory.
func newGuard(dir string) (*guard, error) {
	g := &guard{process: &exec.Cmd{
		Path: self, Args: []string{"secretctl", guardArg}, Dir: "/", SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}}
	var err error
	if g.tell, err = g.process.StdinPipe(); err != nil {
		return nil, err
	}
	if err := g.process.Start(); err != nil {
		return nil, fmt.Errorf("starting the guard of the files: %w", err)
	}
	return g, g.note(dir)
}

// note tells the guard of a path, the directory's first, before there is
// anything at it.
func (g *guard) note(path string) error {
	if _, err := io.WriteString(g.tell, path+"\x00"); err != nil {
		return fmt.Errorf("telling the guard of the files: %w", err)
	}
	return nil
}

// end waits for the end of a guard whose directory nobody holds any more.
func (g *guard) end() {
	g.tell.Close()
	_ = g.process.Wait() // what it could not remove, Sweep tries again
}

// guardFiles is the life of a guard. It returns the exit code.
func guardFiles() int {
	// Who ends a service tells all its processes. This one ends when the others
	// have.
	signal.Ignore(passed...)
	noted, err := io.ReadAll(os.Stdin) // until the process that makes the files lets go of it
	paths := strings.Split(string(noted), "\x00")
	dir, links := paths[0], paths[1:len(paths)-1]
	if err != nil || dir == "" {
		return 1
	}
	d, err := lockDir(dir, unix.LOCK_EX) // until the keeper does
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 1
	}
	if d != nil {
		defer d.lock.Close()
	}
	if removeFiles(dir, links) != nil {
		return 1
	}
	return 0
}
