//go:build unix

package sock

import (
	"errors"

	"golang.org/x/sys/unix"
)

var errDescriptors = errors.New("descriptors were passed, which nothing here takes")

// closePassed closes the descriptors that came in control messages.
func closePassed(control []byte) {
	messages, _ := unix.ParseSocketControlMessage(control)
	for _, m := range messages {
		fds, _ := unix.ParseUnixRights(&m)
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}
}
