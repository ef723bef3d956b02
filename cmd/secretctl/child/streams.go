package child

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/creack/pty"
	"golang.org/x/term"
)

// streams is how a program is connected. There are three ways:
//
//   - without a filter it has our own files;
//   - where stdout is a terminal it has one of its own, and ours is made a wire to
//     it: at once where stdin is a terminal too, else, since what stdin is a pipe
//     of may be using the keyboard, when the program does;
//   - else it has our stdin, and a pipe in place of each output, or, for a stderr
//     that is a terminal, one that only looks like one. It is then of our process
//     group, and what is typed at the terminal of that reaches it without us.
type streams struct {
	files    [3]*os.File // the program's
	theirs   []*os.File  // those of them that we close once it has them
	relays   []*relay
	own      bool     // the program has a terminal of its own, as its stdout
	later    bool     // and does not have the keyboard yet
	master   *os.File // of the program's terminal, or of what looks like one; nil is none
	terminal *os.File // ours, whose size that has
}

// connect makes the streams.
func (c *Command) connect() (s *streams, err error) {
	s = &streams{files: [3]*os.File{c.Stdin, c.Stdout, c.Stderr}}
	if c.Filter == nil {
		return s, nil
	}
	defer func() {
		if err != nil {
			s.started()
			s.close()
		}
	}()
	in, out, diag := isTerminal(c.Stdin), isTerminal(c.Stdout), isTerminal(c.Stderr)
	if s.own, s.later = out, out && !in; out || diag {
		s.terminal = c.Stderr
		if out {
			s.terminal = c.Stdout
		}
		if err := s.addTerminal(c.Filter); err != nil {
			return nil, err
		}
	}
	if s.own && in {
		s.files[0] = s.theirs[0]
	}
	for i, to := range []*os.File{c.Stdout, c.Stderr} {
		switch {
		case i == 0 && out, i == 1 && diag:
			s.files[1+i] = s.theirs[0]
		case i == 1 && !out && sameFile(c.Stdout, c.Stderr):
			s.files[2] = s.files[1] // so that what is written to both stays in its order
		default:
			if s.files[1+i], err = s.addPipe(to, c.Filter); err != nil {
				return nil, err
			}
		}
	}
	for _, r := range s.relays {
		r.again = c.Again
		r.start()
	}
	return s, nil
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

func sameFile(a, b *os.File) bool {
	i, err := a.Stat()
	j, err2 := b.Stat()
	return err == nil && err2 == nil && os.SameFile(i, j)
}

// addTerminal makes a terminal for the program that is like ours.
func (s *streams) addTerminal(filter func(io.Writer) io.WriteCloser) error {
	master, slave, err := pty.Open()
	if err != nil {
		return fmt.Errorf("making a terminal: %w", err)
	}
	r := &relay{from: master, to: s.terminal, filter: filter, shared: true}
	s.master, s.theirs, s.relays = master, append(s.theirs, slave), append(s.relays, r)
	resize(master, s.terminal)
	if s.own {
		err = imitate(slave, s.terminal)
	} else { // our own terminal does what there is to do to output
		_, err = term.MakeRaw(int(slave.Fd()))
	}
	if err != nil {
		return fmt.Errorf("making a terminal: %w", err)
	}
	return nil
}

// addPipe makes a pipe from the program.
func (s *streams) addPipe(to *os.File, filter func(io.Writer) io.WriteCloser) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.theirs = append(s.theirs, w)
	s.relays = append(s.relays, &relay{from: r, to: to, filter: filter})
	return w, nil
}

// resize gives a terminal the size of another. Where it has none, it has none.
func resize(to, from *os.File) { _ = pty.InheritSize(from, to) }

// hungUp is closed when nothing can be shown any more at the terminal of the
// program's; nil while there is none.
func (s *streams) hungUp() <-chan struct{} {
	if s.master == nil {
		return nil
	}
	return s.relays[0].ended // the terminal's is always the first
}

// hangUp closes the program's terminal, as that of a window that is closed.
func (s *streams) hangUp() {
	s.master.Close()
	s.master = nil
}

// started lets go of the files that the program now has.
func (s *streams) started() {
	for _, f := range s.theirs {
		f.Close()
	}
	s.theirs = nil
}

// settle returns when all that the program has written is where it goes.
func (s *streams) settle() {
	for _, r := range s.relays {
		r.settle(false)
	}
}

// finish does that for the last time.
func (s *streams) finish() (err error) {
	for _, r := range s.relays {
		r.settle(true)
		err = errors.Join(err, r.err)
	}
	return err
}

// close lets go of everything.
func (s *streams) close() {
	for _, r := range s.relays {
		r.stop()
	}
}
