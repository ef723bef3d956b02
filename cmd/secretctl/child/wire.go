package child

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// The two ends of a keeper's link are one binary, so nothing here has a version.

// order is what a keeper is to run.
type order struct {
	own   bool // the program has a terminal of its own, on descriptor 1
	later bool // which it is not in front of yet
	path  string
	args  []string
	env   []byte // entries, each followed by a NUL
}

// maxOrder is the largest order, in bytes: more than a kernel takes. A sanity
// check.
const maxOrder = 16 << 20

// encode returns the order as it is sent: its length, then texts that are each
// followed by a NUL, which none of them holds. The caller clears it.
func (o *order) encode() []byte {
	size := 4 + 32 + len(o.path) + len(o.env)
	for _, s := range o.args {
		size += len(s) + 1
	}
	b := make([]byte, 4, size) // it must not grow: what it grew out of would stay
	text := func(s string) { b = append(append(b, s...), 0) }
	text(strconv.FormatBool(o.own))
	text(strconv.FormatBool(o.later))
	text(o.path)
	text(strconv.Itoa(len(o.args)))
	for _, s := range o.args {
		text(s)
	}
	b = append(b, o.env...)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

var errOrder = errors.New("the order is malformed")

// readOrder reads an order. The caller clears its env.
func readOrder(r io.Reader) (*order, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxOrder {
		return nil, errOrder
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	whole := true
	text := func() string {
		head, rest, ok := bytes.Cut(b, []byte{0})
		b, whole = rest, whole && ok
		return string(head)
	}
	o := &order{own: text() == "true", later: text() == "true", path: text()}
	count, err := strconv.Atoi(text())
	for i := 0; i < count && err == nil && whole; i++ {
		o.args = append(o.args, text())
	}
	whole = whole && err == nil
	if o.env = b; !whole || len(b) > 0 && b[len(b)-1] != 0 {
		clear(b)
		return nil, errOrder
	}
	return o, nil
}

// happening is what a keeper has to say.
type happening byte

const (
	started     happening = iota + 1 // with the program's pid
	startFailed                      // with the errno
	stopped                          // with the signal
	wants                            // the keyboard; it is stopped until it is told that it has it
	ended                            // with the wait status
)

// event is one happening.
type event struct {
	what happening
	with uint32
}

func (e event) send(w io.Writer) error {
	b := binary.BigEndian.AppendUint32([]byte{byte(e.what)}, e.with)
	_, err := w.Write(b)
	return err
}

func readEvent(r io.Reader) (event, error) {
	var b [5]byte
	_, err := io.ReadFull(r, b[:])
	return event{happening(b[0]), binary.BigEndian.Uint32(b[1:])}, err
}

// command is what a keeper is told, with a byte that says more.
type command byte

const (
	passOn  command = iota + 1 // a signal that the program may have got already
	passNow                    // a signal that it gets again
	passAll                    // a signal that it and its process group get
	goOn                       // the program was stopped and goes on
	front                      // it has the keyboard
)

// socketPair makes a link.
func socketPair() (ours, theirs *os.File, err error) {
	syscall.ForkLock.RLock() // neither end may slip into another child
	defer syscall.ForkLock.RUnlock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	unix.CloseOnExec(fds[0])
	unix.CloseOnExec(fds[1])
	return os.NewFile(uintptr(fds[0]), "keeper"), os.NewFile(uintptr(fds[1]), "keeper"), nil
}
