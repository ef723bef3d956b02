package keychain

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/keybase/dbus"
	"golang.org/x/sys/unix"

	"secretctl/providers"
)

// writeTime bounds one write to the bus: a bus that takes nothing is given up,
// and with it whoever waits to write.
const writeTime = 20 * time.Second

// busAddress is where the user's session bus is. The library would start a bus of
// its own where it finds none, on which there is no keyring.
func busAddress() (string, error) {
	if address := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); address != "" {
		return address, nil
	}
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		dir = filepath.Join("/run/user", strconv.Itoa(os.Geteuid()))
	}
	path := filepath.Join(dir, "bus")
	if _, err := os.Stat(path); err != nil {
		return "", &providers.StoreError{
			Kind:    providers.ErrUnavailable,
			Problem: "there is no session bus, by which the keyring is reached: DBUS_SESSION_BUS_ADDRESS is not set and " + path + " is not there",
			Remedy:  "start the broker in your session, or say where its bus is: DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$(id -u)/bus secretctl serve",
		}
	}
	return "unix:path=" + url.PathEscape(path), nil
}

// socketOf reads one address of a bus. Of the transports that there are, only
// sockets of this machine keep others from listening.
func socketOf(address string) (*net.UnixAddr, bool) {
	pairs, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return nil, false
	}
	for pair := range strings.SplitSeq(pairs, ",") {
		key, value, _ := strings.Cut(pair, "=")
		path, err := url.PathUnescape(value)
		switch {
		case err != nil || path == "":
		case key == "path":
			return &net.UnixAddr{Net: "unix", Name: path}, true
		case key == "abstract":
			return &net.UnixAddr{Net: "unix", Name: "@" + path}, true
		}
	}
	return nil, false
}

// dialBus connects to the first of the addresses that answers.
func dialBus(ctx context.Context, addresses string) (*dbus.Conn, error) {
	err := errors.New("it is not at a unix socket")
	for address := range strings.SplitSeq(addresses, ";") {
		socket, ok := socketOf(address)
		if !ok {
			continue
		}
		var conn *dbus.Conn
		if conn, err = dialSocket(ctx, socket); err == nil {
			return conn, nil
		}
	}
	if failed := (*providers.StoreError)(nil); errors.As(err, &failed) || ctx.Err() != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	return nil, &providers.StoreError{
		Kind:    providers.ErrUnavailable,
		Problem: fmt.Sprintf("the session bus at %q, by which the keyring is reached, does not answer: %v", addresses, err),
		Remedy:  "log in again, or say where the bus is: DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$(id -u)/bus secretctl serve",
	}
}

func dialSocket(ctx context.Context, socket *net.UnixAddr) (*dbus.Conn, error) {
	raw, err := new(net.Dialer).DialContext(ctx, "unix", socket.Name)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	conn, err := greet(raw.(*net.UnixConn))
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = raw.Close() // nothing was asked by it
		return nil, err
	}
	return conn, nil
}

// greet begins the protocol with whoever listens, once that is known to be no
// other user: the name of a socket that ended can be taken by anybody.
func greet(raw *net.UnixConn) (*dbus.Conn, error) {
	uid, err := peer(raw)
	if err != nil {
		return nil, err
	}
	if own := os.Geteuid(); uid != 0 && uid != own {
		return nil, &providers.StoreError{
			Kind:    providers.ErrRefused,
			Problem: fmt.Sprintf("the session bus is that of uid %d, and we are %d", uid, own),
			Remedy:  "run the broker as the user whose keyring it is, with DBUS_SESSION_BUS_ADDRESS of that session",
		}
	}
	conn, err := dbus.NewConn(timed{raw})
	if err != nil {
		return nil, err
	}
	if err = conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))}); err == nil {
		err = conn.Hello()
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// peer returns the uid of the process at the other end.
func peer(c *net.UnixConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var inner error
	err = raw.Control(func(fd uintptr) { cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, inner); err != nil {
		return 0, err
	}
	return int(cred.Uid), nil
}

// timed is a connection that is closed when a write takes too long: half a
// message cannot be followed by another.
type timed struct{ *net.UnixConn }

func (c timed) Write(b []byte) (int, error) {
	timer := time.AfterFunc(writeTime, func() { _ = c.Close() })
	defer timer.Stop()
	return c.UnixConn.Write(b)
}
