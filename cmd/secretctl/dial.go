package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"runtime"
	"strconv"
	"strings"

	"secretctl/broker"
	"secretctl/sock"
)

// anySocket is the socket that SECRETCTL_SOCKET names: whose it is, its answers
// say.
const anySocket broker.Socket = ""

// asking is what is done with a connection to one of the sockets.
type asking func(c *broker.Client, s broker.Socket) error

// ask speaks to the owner's socket where this user is an owner, else to the
// agent's. fn may be called twice: a socket tells that it does not serve a user
// only when it is asked.
func (w *world) ask(ctx context.Context, asAgent bool, fn asking) error {
	if path, ok := w.namedSocket(); ok {
		return on(ctx, path, true, anySocket, fn)
	}
	if asAgent {
		return w.askAsAgent(ctx, fn)
	}
	refused := w.askOwner(ctx, fn)
	switch {
	case errors.Is(refused, errNotOwner), errors.Is(refused, sock.ErrNotRunning):
		err := w.askAsAgent(ctx, fn)
		if errors.Is(err, sock.ErrNotRunning) && errors.Is(refused, errNotOwner) {
			return refused
		}
		return err
	}
	return refused
}

// asOwner speaks to the owner's socket.
func (w *world) asOwner(ctx context.Context, fn func(c *broker.Client) error) error {
	asking := func(c *broker.Client, _ broker.Socket) error { return fn(c) }
	if path, ok := w.namedSocket(); ok {
		return on(ctx, path, true, anySocket, asking)
	}
	err := w.askOwner(ctx, asking)
	if errors.Is(err, errNotOwner) {
		return notOwner()
	}
	return err
}

// asAgent speaks to the agent's socket.
func (w *world) asAgent(ctx context.Context, fn func(c *broker.Client) error) error {
	asking := func(c *broker.Client, _ broker.Socket) error { return fn(c) }
	if path, ok := w.namedSocket(); ok {
		return on(ctx, path, true, anySocket, asking)
	}
	return w.askAsAgent(ctx, asking)
}

func (w *world) namedSocket() (path string, ok bool) {
	path = w.getenv("SECRETCTL_SOCKET")
	return path, path != ""
}

// errNotOwner means that the owner's socket does not serve this user, or that
// the user cannot get to it.
var errNotOwner = &broker.Error{Code: broker.CodeDenied, Message: "this user is not an owner of the broker"}

// notOwner is errNotOwner with what would make this user one.
func notOwner() error {
	name := strconv.Itoa(os.Getuid())
	if u, err := user.LookupId(name); err == nil {
		name = strconv.Quote(u.Username)
	}
	return hinted(errNotOwner, fmt.Sprintf("an owner can put owners = [%s] into [broker] of secretctl.toml", name))
}

// askOwner asks at the home's own socket. Grants do not bind an owner, so being
// denied there means that this user is none.
func (w *world) askOwner(ctx context.Context, fn asking) error {
	h, err := w.ofSudoer().home()
	if err != nil {
		return err
	}
	err = on(ctx, h.socket(broker.OwnerSocket), h.named, broker.OwnerSocket, fn)
	if errors.Is(err, broker.ErrDenied) || errors.Is(err, fs.ErrPermission) {
		return errNotOwner
	}
	return err
}

// sharedAgentSocket is where the agent's socket is when the home is not in the
// agent's reach.
func sharedAgentSocket() string {
	if runtime.GOOS == "darwin" {
		return "/Library/Application Support/secretctl/run/agent.sock"
	}
	return "/run/secretctl/agent.sock"
}

// askAsAgent asks at the home's agent socket, or else at the one that all homes
// of the machine share.
func (w *world) askAsAgent(ctx context.Context, fn asking) error {
	var tried []string
	var closed error // the home's socket may be there, but this user cannot get to it
	if h, err := w.home(); err == nil {
		path := h.socket(broker.AgentSocket)
		err := on(ctx, path, h.named, broker.AgentSocket, fn)
		switch {
		case errors.Is(err, fs.ErrPermission):
			closed = err
		case !errors.Is(err, sock.ErrNotRunning):
			return err
		}
		tried = append(tried, path)
	}
	path := sharedAgentSocket()
	err := on(ctx, path, false, broker.AgentSocket, fn)
	switch {
	case errors.Is(err, sock.ErrNotRunning) && closed != nil:
		return closed
	case errors.Is(err, sock.ErrNotRunning):
		return notRunning(append(tried, path)...)
	}
	return err
}

// on connects to a socket and asks there.
func on(ctx context.Context, path string, sticky bool, s broker.Socket, fn asking) error {
	c, err := broker.Dial(ctx, path, sock.DialOptions{AllowSticky: sticky})
	if errors.Is(err, sock.ErrNotRunning) {
		return notRunning(path)
	} else if errors.Is(err, fs.ErrPermission) {
		return hinted(err, "the owner can let this user pass: secretctl serve says where")
	} else if err != nil {
		return err
	}
	defer c.Close()
	return fn(c, s)
}

func notRunning(tried ...string) error {
	return hinted(sock.ErrNotRunning, "secretctl serve (nobody answers at "+strings.Join(tried, ", nor at ")+"); if it is another user's: export SECRETCTL_SOCKET=…/run/agent.sock")
}
