package child

import (
	"os"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// screen is our terminal while it is a wire to the program's.
type screen struct {
	tty, master *os.File
	before      *term.State // how it was; nil: it is not a wire now
	typing      *typing
	unsent      []byte // typed, and not yet taken by the program's terminal
}

// taken reports whether the terminal is a wire.
func (s *screen) taken() bool { return s.before != nil }

// take makes the terminal a wire, unless this job is in the background, where
// the terminal is another's.
func (s *screen) take() {
	if s.taken() || !foreground(s.tty) {
		return
	}
	before, err := term.MakeRaw(int(s.tty.Fd()))
	if err != nil {
		return // it is gone, or going: the relay will see
	}
	s.before = before
	resize(s.master, s.tty)
	if s.typing, err = startTyping(s.tty, s.master, s.unsent); err != nil {
		s.release()
	}
}

// release makes the terminal what it was.
func (s *screen) release() {
	if !s.taken() {
		return
	}
	if s.typing != nil {
		s.unsent = s.typing.stop()
		s.typing = nil
	}
	if foreground(s.tty) {
		_ = term.Restore(int(s.tty.Fd()), s.before)
	}
	s.before = nil
}

// foreground reports whether this process may use the terminal. One that is not
// in its session may, as far as the kernel cares.
func foreground(tty *os.File) bool {
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp()
}

// imitate gives a terminal the settings of another.
func imitate(to, from *os.File) error {
	settings, err := unix.IoctlGetTermios(int(from.Fd()), getTermios)
	if err != nil {
		return err
	}
	return unix.IoctlSetTermios(int(to.Fd()), setTermios, settings)
}

// typing passes on what is typed.
type typing struct {
	wake   *wake
	ended  chan struct{}
	unsent []byte // after ended
}

func startTyping(from, to *os.File, unsent []byte) (*typing, error) {
	w, err := newWake()
	if err != nil {
		return nil, err
	}
	t := &typing{wake: w, ended: make(chan struct{}), unsent: unsent}
	go t.run(int(from.Fd()), int(to.Fd())) // until stop
	return t, nil
}

// stop returns what was typed and not passed on.
func (t *typing) stop() []byte {
	t.wake.wake()
	<-t.ended
	t.wake.close()
	return t.unsent
}

func (t *typing) run(from, to int) {
	defer close(t.ended)
	buf := make([]byte, 4096)
	for {
		for len(t.unsent) > 0 {
			// A program that does not read must not keep us from being stopped.
			_, woken, err := t.wake.await(to, unix.POLLOUT)
			if err != nil || woken {
				return
			}
			n, err := unix.Write(to, t.unsent)
			if err == unix.EINTR || err == unix.EAGAIN {
				continue
			}
			if err != nil {
				t.unsent = nil
				return
			}
			t.unsent = t.unsent[n:]
		}
		_, woken, err := t.wake.await(from, unix.POLLIN)
		if err != nil || woken {
			return
		}
		n, err := unix.Read(from, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return // the terminal is gone; the program hears of it by signal
		}
		t.unsent = buf[:n]
	}
}
