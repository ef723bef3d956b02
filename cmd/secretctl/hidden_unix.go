//go:build unix

package main

import (
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// hidden runs fn while the terminal shows nothing that is typed. A signal that
// ends the process ends it with the terminal as it was.
func hidden(tty *os.File, fn func() error) error {
	fd := int(tty.Fd())
	before, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return fmt.Errorf("asking the terminal: %w", err)
	}
	silent := *before
	silent.Lflag &^= unix.ECHO
	silent.Lflag |= unix.ICANON | unix.ISIG
	silent.Iflag |= unix.ICRNL
	restore := func() { _ = unix.IoctlSetTermios(fd, setTermios, before) }

	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	var watching sync.WaitGroup
	watching.Go(func() {
		if s, ok := <-ended; ok {
			restore()
			signal.Reset(s)
			_ = unix.Kill(os.Getpid(), s.(syscall.Signal))
		}
	})
	defer func() {
		signal.Stop(ended)
		close(ended)
		watching.Wait()
		restore()
	}()
	if err := unix.IoctlSetTermios(fd, setTermios, &silent); err != nil {
		return fmt.Errorf("silencing the terminal: %w", err)
	}
	return fn()
}
