package source

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"secretctl/broker/secret"
)

// Serve is the main of the helper: it answers the broker at descriptor 3 until
// that is gone.
func Serve(s *Source) error {
	conn := os.NewFile(3, "broker")
	unix.CloseOnExec(3)
	if info, err := conn.Stat(); err != nil || info.Mode().Type() != os.ModeSocket {
		return errors.New("this is started by the broker (secretctl serve), and by nobody else")
	}
	defer conn.Close()
	if err := secret.Harden(); err != nil {
		return err
	}
	go endWith(conn)
	return s.Run(conn)
}

// endWith ends this process when the other end of the socket has gone, whatever is
// being done.
func endWith(conn *os.File) {
	for {
		// No event is asked for: a hang-up is told of always.
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(conn.Fd())}}, -1)
		if !errors.Is(err, unix.EINTR) {
			os.Exit(0)
		}
	}
}
