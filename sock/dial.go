package sock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// DialOptions says how a socket is reached.
type DialOptions struct {
	// AllowSticky accepts a sticky directory of root's, such as /tmp, on the way:
	// only where the person named the path.
	AllowSticky bool
}

// Dial connects to a socket that can be trusted to be the broker's: before a
// byte is sent, the uid that listens there must own the socket's directory, and
// the directory and all above it must belong to root or that uid and be
// writable by no one else. It fails with [ErrNotRunning] or [ErrUntrusted].
func Dial(ctx context.Context, path string, o DialOptions) (*net.UnixConn, error) {
	if err := checkPath(path, len(path)); err != nil {
		return nil, fmt.Errorf("connecting to the broker: %w", err)
	}
	conn, err := connect(ctx, path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return nil, fmt.Errorf("%s: %w", path, ErrNotRunning)
	case err != nil:
		return nil, fmt.Errorf("connecting to the broker: %w", err)
	}
	uid, err := server(conn)
	if err == nil {
		err = checkServer(path, uid, o)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// How long a client waits for a place in a full queue, and between two looks.
const (
	queueTime = 5 * time.Second
	queueLook = 10 * time.Millisecond
)

// connect waits while the server's queue is full, as connect(2) does unless the
// socket is one that never waits, as all of Go's are: else anybody could keep
// the others out by filling it.
func connect(ctx context.Context, path string) (*net.UnixConn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if errors.Is(err, syscall.EAGAIN) {
		c, err = queue(ctx, &d, path)
	}
	if err != nil {
		return nil, err
	}
	return c.(*net.UnixConn), nil
}

func queue(ctx context.Context, d *net.Dialer, path string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, queueTime)
	defer cancel()
	look := time.NewTicker(queueLook)
	defer look.Stop()
	for {
		c, err := d.DialContext(ctx, "unix", path)
		if !errors.Is(err, syscall.EAGAIN) {
			return c, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-look.C:
		}
	}
}

func server(c *net.UnixConn) (uid uint32, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { uid, failed = serverUID(int(fd)) })
	return uid, errors.Join(err, failed)
}

func checkServer(path string, uid uint32, o DialOptions) error {
	if err := admissible(uid); err != nil {
		return fmt.Errorf("%s: %w: the server's %w", path, ErrUntrusted, err)
	}
	dir := dirOf(path)
	owner, err := ownerOf(dir)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", dir, ErrUntrusted, err)
	}
	if owner != uid {
		return fmt.Errorf("%s: %w: it belongs to uid %d, but uid %d listens on the socket in it", dir, ErrUntrusted, owner, uid)
	}
	// A link would lead out of the directory that was looked at.
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s: %w: it is not itself a socket", path, ErrUntrusted)
	}
	return TrustedPath(dir, uid, o.AllowSticky)
}
