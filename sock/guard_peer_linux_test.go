package sock_test

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"secretctl/sock"
)

// Whom the kernel does not name, or does not pin, is not let in; the next is.
func TestPeerThatCannotBeNamed(t *testing.T) {
	for name, d := range map[string]denied{
		"its uid":     {unix.SYS_GETSOCKOPT, 2, unix.SO_PEERCRED, unix.EPERM},
		"its process": {unix.SYS_GETSOCKOPT, 2, unix.SO_PEERPIDFD, unix.ESRCH},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			l, path := listen(t, sock.ListenOptions{Admit: func(*sock.Peer) error { asked++; return nil }})
			unnamed := dial(t, path)
			hungUp := make(chan error, 1)
			go func() { // on another thread, where nothing is denied
				_, err := read(unnamed)
				hungUp <- errors.Join(err, l.Close())
			}()
			var err error
			denying(t, []denied{d}, func() { _, err = l.Accept() })
			require.ErrorIs(t, err, net.ErrClosed)
			require.ErrorIs(t, <-hungUp, io.EOF)
			require.Zero(t, asked)
		})
	}
}

// That there are no descriptors left passes: it is told to whoever serves, to
// wait, whether they are this process's or the machine's.
func TestNoDescriptorsLeft(t *testing.T) {
	for _, errno := range []syscall.Errno{unix.EMFILE, unix.ENFILE} {
		l, path := listen(t, sock.ListenOptions{})
		dial(t, path)
		var err error
		late := time.AfterFunc(patience, func() { _ = l.Close() })
		denying(t, []denied{{unix.SYS_GETSOCKOPT, 2, unix.SO_PEERPIDFD, errno}}, func() { _, err = l.Accept() })
		late.Stop()
		require.ErrorIs(t, err, errno)
		var passing interface{ Temporary() bool } // as net/http asks
		require.ErrorAs(t, err, &passing)
		require.True(t, passing.Temporary())
	}
}
