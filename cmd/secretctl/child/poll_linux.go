package child

import "golang.org/x/sys/unix"

// poll waits for fd to be ready for the events (POLLIN, POLLOUT), or for other
// (-1: none) to be readable, for so many milliseconds (-1: for ever).
func poll(fd, other int, events int16, ms int) (ready, woken bool, err error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}, {Fd: int32(other), Events: unix.POLLIN}}
	_, err = unix.Poll(fds, ms)
	return fds[0].Revents != 0, fds[1].Revents != 0, err
}
