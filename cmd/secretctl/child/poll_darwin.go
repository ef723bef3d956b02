package child

import "golang.org/x/sys/unix"

// poll waits for fd to be ready for the events (POLLIN, POLLOUT), or for other
// (-1: none) to be readable, for so many milliseconds (-1: for ever). It is
// select(2): poll(2) does not know devices here.
func poll(fd, other int, events int16, ms int) (ready, woken bool, err error) {
	if max(fd, other) >= unix.FD_SETSIZE {
		return false, false, unix.EMFILE
	}
	var in, out unix.FdSet
	set := &in
	if events == unix.POLLOUT {
		set = &out
	}
	set.Set(fd)
	if other >= 0 {
		in.Set(other)
	}
	var limit *unix.Timeval
	if ms >= 0 {
		t := unix.NsecToTimeval(int64(ms) * 1e6)
		limit = &t
	}
	if _, err := unix.Select(max(fd, other)+1, &in, &out, nil, limit); err != nil {
		return false, false, err
	}
	return set.IsSet(fd), other >= 0 && in.IsSet(other), nil
}
