package sock

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
)

// DefaultMode lets everybody connect: who is served is decided by uid at
// accept, not by the file's mode, which some systems ignore.
const DefaultMode fs.FileMode = 0o666

// ListenOptions says who is let in. The zero value lets everybody in.
type ListenOptions struct {
	// Mode is the socket's; 0: DefaultMode.
	Mode fs.FileMode
	// Admit is called for every connection before a byte of it is read. When it
	// fails the connection is closed.
	Admit func(*Peer) error
	// Refusal, if any, is written to a connection that Admit refused.
	Refusal []byte
	// MaxPerUID returns how many connections a uid may have open; 0: any number.
	MaxPerUID func(uid uint32) int
}

// Listener accepts connections of peers that are let in.
type Listener struct {
	socket *net.UnixListener // not embedded: only Accept lets in
	path   string
	lock   *os.File
	opts   ListenOptions

	mu      sync.Mutex
	open    map[uint32]int // uid → connections
	unnamed *net.UnixConn  // was accepted when there was no descriptor left to name its peer
	closed  bool
	once    sync.Once
}

// Listen makes the socket. It is locked by a file beside it: a socket that is
// listened on is never taken over ([ErrInUse]), a stale one is replaced. It is
// bound under a private name, given its mode, and only then renamed to its own.
func Listen(path string, o ListenOptions) (*Listener, error) {
	if o.Mode == 0 {
		o.Mode = DefaultMode
	}
	private := strings.TrimSuffix(dirOf(path), "/") + "/." + strings.ToLower(rand.Text())[:8]
	if err := checkPath(path, max(len(path), len(private))); err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	lock, err := lockBeside(path)
	if err != nil {
		return nil, err
	}
	l, err := bind(path, private, o.Mode)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	return &Listener{socket: l, path: path, lock: lock, opts: o, open: make(map[uint32]int)}, nil
}

// maxPath is the longest path of a socket, in bytes, without the NUL that ends
// it: what sun_path of the platform holds.
var maxPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// checkPath refuses a path that no socket can have, or that the kernel would
// not take for a file's: what is trusted is the way to a file.
func checkPath(path string, length int) error {
	if path == "" || path[0] == '@' || strings.ContainsRune(path, 0) {
		return fmt.Errorf("%q is not the path of a file", path)
	}
	if length > maxPath {
		return fmt.Errorf("the path is %d bytes long, and a socket's can have %d here: use a shorter SECRETCTL_HOME, or agent_socket in the config", length, maxPath)
	}
	return nil
}

// lockBeside takes the lock that goes with the path for as long as the file is
// open. The lock file stays: removing it would let two hold it.
func lockBeside(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE|noFollow, 0o600)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	if err := flock(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	return f, nil
}

func bind(path, private string, mode fs.FileMode) (*net.UnixListener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = prepare(int(fd), mode) })
		return errors.Join(err, failed)
	}}
	nl, err := lc.Listen(context.Background(), "unix", private)
	if err != nil {
		return nil, err
	}
	l := nl.(*net.UnixListener)
	l.SetUnlinkOnClose(false)
	err = errors.Join(os.Chmod(private, mode), notOther(path))
	if err == nil {
		err = os.Rename(private, path)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close(), os.Remove(private))
	}
	return l, nil
}

// notOther refuses to replace anything but a socket.
func notOther(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && info.Mode().Type() != fs.ModeSocket {
		return errors.New("there is something that is not a socket")
	}
	return err
}

// Accept returns the next connection that is let in, always a *[Conn]. One
// that is not is closed, and is no error: it is not the listener that failed.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.next()
		if err != nil {
			return nil, err
		}
		conn, err := l.admit(c)
		if conn != nil {
			return conn, nil
		}
		if errno, ok := outOfFiles(err); ok {
			// For whoever serves to wait, instead of cutting off all who wait.
			return nil, &net.OpError{Op: "accept", Net: "unix", Addr: l.Addr(), Err: os.NewSyscallError("accept", errno)}
		}
	}
}

// next returns the connection that was put back, or the next that comes.
func (l *Listener) next() (*net.UnixConn, error) {
	l.mu.Lock()
	c := l.unnamed
	l.unnamed = nil
	l.mu.Unlock()
	if c != nil {
		return c, nil
	}
	return l.socket.AcceptUnix()
}

// putBack keeps a connection for the next Accept, if there is room: of several at
// once, the others are cut off.
func (l *Listener) putBack(c *net.UnixConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unnamed != nil || l.closed {
		c.Close()
		return
	}
	l.unnamed = c
}

// outOfFiles returns the error below err of the kind that passes when others
// close their files.
func outOfFiles(err error) (errno syscall.Errno, ok bool) {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, errno) {
			return errno, true
		}
	}
	return 0, false
}

// admit returns the connection if it is let in, and otherwise closes it and
// says why. One whose peer cannot be named for want of a descriptor is put back.
func (l *Listener) admit(c *net.UnixConn) (*Conn, error) {
	p, err := identify(c)
	if err != nil {
		if _, passes := outOfFiles(err); passes {
			l.putBack(c)
		} else {
			c.Close()
		}
		return nil, err
	}
	if !l.take(p.UID) {
		p.Close()
		c.Close()
		return nil, errors.New("the uid has as many connections as it may")
	}
	conn := &Conn{UnixConn: c, peer: p, release: sync.OnceFunc(func() { l.give(p.UID) })}
	if l.opts.Admit != nil {
		if err := l.opts.Admit(p); err != nil {
			// A fresh connection has room for this: the write does not block.
			_, _ = c.Write(l.opts.Refusal)
			conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

func identify(c *net.UnixConn) (p *Peer, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { p, failed = peerOf(int(fd)) }); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, failed
	}
	err = admissible(p.UID)
	if err == nil {
		err = p.Alive()
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (l *Listener) take(uid uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.opts.MaxPerUID != nil {
		if limit := l.opts.MaxPerUID(uid); limit > 0 && l.open[uid] >= limit {
			return false
		}
	}
	l.open[uid]++
	return true
}

func (l *Listener) give(uid uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[uid]--; l.open[uid] == 0 {
		delete(l.open, uid)
	}
}

// Addr returns the socket's path.
func (l *Listener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Close stops listening and removes the socket, if it still is there.
func (l *Listener) Close() (err error) {
	l.once.Do(func() {
		removed := os.Remove(l.path)
		if errors.Is(removed, fs.ErrNotExist) {
			removed = nil
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.closed = true; l.unnamed != nil {
			_ = l.unnamed.Close() // nothing was read of it
			l.unnamed = nil
		}
		err = errors.Join(removed, l.socket.Close(), l.lock.Close())
	})
	return err
}
