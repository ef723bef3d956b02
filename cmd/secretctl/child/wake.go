package child

import (
	"os"

	"golang.org/x/sys/unix"
)

// wake interrupts a goroutine that waits for a file. Go's own waiting is not for
// files that were opened by others, nor for every terminal.
type wake struct{ r, w *os.File }

func newWake() (*wake, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &wake{r, w}, nil
}

// wake makes one await, this or the next, return.
func (w *wake) wake() { _, _ = w.w.Write([]byte{0}) }

func (w *wake) close() {
	w.r.Close()
	w.w.Close()
}

// await waits until fd is ready for POLLIN or POLLOUT, or wake was called. What
// has failed is ready: the next use says why.
func (w *wake) await(fd int, events int16) (ready, woken bool, err error) {
	for {
		ready, woken, err = poll(fd, int(w.r.Fd()), events, -1)
		switch {
		case err == unix.EINTR:
			continue
		case woken:
			_, err = w.r.Read(make([]byte, 1))
		}
		return ready, woken, err
	}
}

// readable reports whether a read of fd would return at once, with data.
func readable(fd int) bool {
	for {
		ready, _, err := poll(fd, -1, unix.POLLIN, 0)
		if err != unix.EINTR {
			return ready && err == nil
		}
	}
}
