package child

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// bufferSize is how much is read at a time, in bytes: what a pipe holds.
const bufferSize = 64 << 10

// lastWords is how much is taken at most of what a program left behind in a pipe
// or terminal that others still write to, in bytes: more than either holds
// unless it was made larger.
const lastWords = 1 << 20

// relay passes on what a program writes.
type relay struct {
	from, to *os.File
	filter   func(io.Writer) io.WriteCloser
	shared   bool // from is used by others too, so it is theirs to close
	again    bool // so is to, when this is over

	wake  *wake
	asks  chan bool     // whether it is the last time
	done  chan struct{} // an answer to each
	ended chan struct{} // closed when nothing more is passed on
	err   error         // why, when that is the filter's fault; after ended
}

// errFilter means that something could not be filtered, so it was not passed on.
var errFilter = errors.New("filtering what the program writes: the filter broke, so its output was cut off")

func (r *relay) start() {
	r.asks, r.done, r.ended = make(chan bool), make(chan struct{}), make(chan struct{})
	r.wake, r.err = newWake()
	if r.err != nil {
		close(r.ended)
		return
	}
	go r.run() // until stop
}

// run passes on until the program's end is closed, or ours is.
func (r *relay) run() {
	defer close(r.ended)
	if !r.shared {
		defer r.from.Close() // the program's next write fails as it would have
	}
	defer func() {
		if recover() != nil { // what it says may be of what was filtered
			r.err = errFilter
		}
	}()
	filter := r.filter(r.to)
	buf := make([]byte, bufferSize)
	for {
		ready, woken, err := r.wake.await(int(r.from.Fd()), unix.POLLIN)
		switch {
		case err != nil:
			r.err = err
			return
		case woken:
			last, more := <-r.asks, r.rest(filter, buf)
			if err := filter.Close(); err != nil || !more || last {
				return
			}
			filter = r.filter(r.to)
			r.done <- struct{}{}
		case ready && !r.pass(filter, buf):
			r.close(filter)
			return
		}
	}
}

// pass passes on what there is, and reports whether there may be more.
func (r *relay) pass(filter io.Writer, buf []byte) bool {
	n, err := unix.Read(int(r.from.Fd()), buf)
	if err == unix.EINTR || err == unix.EAGAIN {
		return true
	}
	if err != nil || n <= 0 {
		return false
	}
	_, err = filter.Write(buf[:n])
	return err == nil
}

// rest passes on what was written until now.
func (r *relay) rest(filter io.Writer, buf []byte) bool {
	for range lastWords / bufferSize {
		if !readable(int(r.from.Fd())) {
			return true
		}
		if !r.pass(filter, buf) {
			return false
		}
	}
	return true
}

// close ends the filter. Whoever reads a pipe of ours is told of the end as by
// the program itself.
func (r *relay) close(filter io.Closer) {
	if filter.Close() == nil && !r.again && r.to == os.Stdout && !isTerminal(r.to) {
		r.to.Close()
	}
}

// settle returns when all that was written is passed on, and, the last time, the
// filter is closed.
func (r *relay) settle(last bool) {
	if r.wake != nil {
		r.wake.wake()
	}
	select {
	case r.asks <- last:
	case <-r.ended:
		return
	}
	select {
	case <-r.done:
	case <-r.ended:
	}
}

// stop ends the relay where settle has not.
func (r *relay) stop() {
	defer r.from.Close()
	if r.ended == nil {
		return // it was never started
	}
	r.settle(true)
	if r.wake != nil {
		r.wake.close()
	}
}
