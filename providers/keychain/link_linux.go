package keychain

import (
	"context"
	"errors"
	"io"
	"net"
	"path"
	"slices"
	"time"

	"github.com/keybase/dbus"
	"github.com/keybase/go-keychain/secretservice"
)

// link is a connection to the bus of its own with one session over it. A session
// that ended takes its connection along: on a new connection the path of an old
// session names nothing, whatever the keyring calls its next.
type link struct {
	conn       *dbus.Conn
	session    dbus.ObjectPath
	key        []byte
	collection dbus.ObjectPath
}

// connect opens a link to the collection, "" being the default one.
func connect(ctx context.Context, collection string) (*link, error) {
	address, err := busAddress()
	if err != nil {
		return nil, err
	}
	conn, err := dialBus(ctx, address)
	if err != nil {
		return nil, err
	}
	l := &link{conn: conn}
	if l.collection, err = l.find(ctx, collection); err == nil {
		err = l.agree(ctx)
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// close ends the session too. It does not wait for a write that is stuck.
func (l *link) close() { go func() { _ = l.conn.Close() }() }

// agree opens the session.
func (l *link) agree(ctx context.Context) error {
	private := newPrivate()
	var theirs dbus.Variant
	err := l.call(ctx, secretservice.SecretServiceObjectPath, "org.freedesktop.Secret.Service.OpenSession",
		[]any{secretservice.AuthenticationDHAES, dbus.MakeVariant(public(private))}, &theirs, &l.session)
	if err != nil {
		return err
	}
	half, ok := theirs.Value().([]byte)
	if !ok {
		return errGarbled
	}
	l.key, err = sessionKey(half, private)
	return err
}

// find returns the collection of that name: its own, or the one that its path
// ends with.
//
// It asks for the default one first in any case. When a client comes as another
// goes, gnome-keyring (42.1) now and then does not take notice of the one that
// comes. It then says that it has no collection, and aborts when it is asked for a
// session.
func (l *link) find(ctx context.Context, name string) (dbus.ObjectPath, error) {
	const service = "org.freedesktop.Secret.Service"
	var first dbus.ObjectPath
	if err := l.call(ctx, secretservice.SecretServiceObjectPath, service+".ReadAlias", []any{"default"}, &first); err != nil {
		return "", err
	}
	switch {
	case name == "" && first == secretservice.NullPrompt:
		return "", errNoCollection
	case name == "":
		return first, nil
	}
	var all []dbus.ObjectPath
	if err := l.property(ctx, secretservice.SecretServiceObjectPath, service, "Collections", &all); err != nil {
		return "", err
	}
	for _, p := range all {
		if path.Base(string(p)) == name {
			return p, nil
		}
	}
	for _, p := range all {
		var label string
		if err := l.property(ctx, p, "org.freedesktop.Secret.Collection", "Label", &label); err != nil {
			return "", err
		}
		if label == name {
			return p, nil
		}
	}
	return "", errNoCollection
}

// call calls a method and stores what it returns. It returns by the deadline also
// where the bus takes nothing: the library sees to the deadline of an answer, not
// to that of a question.
func (l *link) call(ctx context.Context, object dbus.ObjectPath, method string, args []any, out ...any) error {
	done := make(chan *dbus.Call, 1)
	go func() {
		done <- l.conn.Object(secretservice.SecretServiceInterface, object).CallWithContext(ctx, method, 0, args...)
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case c := <-done:
		return c.Store(out...)
	}
}

// property reads a property.
func (l *link) property(ctx context.Context, object dbus.ObjectPath, face, name string, out any) error {
	var v dbus.Variant
	if err := l.call(ctx, object, "org.freedesktop.DBus.Properties.Get", []any{face, name}, &v); err != nil {
		return err
	}
	return dbus.Store([]any{v.Value()}, out)
}

// unlocked returns nil when what is in the collection can be opened. It is asked
// before anything else: of a locked one some keyrings say that it is empty, and
// some open a window to unlock it.
func (l *link) unlocked(ctx context.Context) error {
	var locked bool
	err := l.property(ctx, l.collection, "org.freedesktop.Secret.Collection", "Locked", &locked)
	if err == nil && locked {
		err = errLocked
	}
	return err
}

// search returns the items with these attributes.
func (l *link) search(ctx context.Context, a secretservice.Attributes) (items []dbus.ObjectPath, err error) {
	err = l.call(ctx, l.collection, "org.freedesktop.Secret.Collection.SearchItems", []any{a}, &items)
	slices.Sort(items)
	return items, err
}

// prompted does what a prompt is for, and waits until it has been done. That it
// was is looked at, since what prompts say of their end does not reach everybody:
// KeePassXC tells all the bus, gnome-keyring us alone. Most prompts ask nobody.
func (l *link) prompted(ctx context.Context, prompt dbus.ObjectPath, did func() (bool, error)) error {
	if prompt == secretservice.NullPrompt || prompt == "" {
		return nil
	}
	if err := l.call(ctx, prompt, "org.freedesktop.Secret.Prompt.Prompt", []any{""}); err != nil {
		return err
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		done, err := did()
		if err != nil {
			return err
		}
		if done {
			rest(ctx)
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(errAsks, ctx.Err())
		case <-time.After(wait):
		}
	}
}

// settle is how long a keyring that prompts is left alone after a change. It is
// for KeePassXC, which has its file written 150 ms and one derivation of its key (a
// second, unless set otherwise) after the first change, and which, at 2.7.4, ends
// with a segmentation fault when another change comes while it writes. What is not
// in the file yet is not durable either.
var settle = 1500 * time.Millisecond

func rest(ctx context.Context) {
	select {
	case <-ctx.Done(): // it is done all the same
	case <-time.After(settle):
	}
}

// The states that are no errors of the protocol.
var (
	errLocked       = errors.New("the collection is locked")
	errNoCollection = errors.New("there is no such collection")
	errAsks         = errors.New("the keyring asks somebody")
	errItemLocked   = errors.New("the item is locked in a collection that is not")
)

// isLocked is the error of the protocol for a collection or an item.
const isLocked = "org.freedesktop.Secret.Error.IsLocked"

// stale reports whether the error may be of the link alone, and a new one work.
func stale(err error) bool {
	switch nameOf(err) {
	case "org.freedesktop.Secret.Error.NoSession", "org.freedesktop.DBus.Error.NoReply", "org.freedesktop.DBus.Error.Disconnected":
		return true
	}
	if errors.Is(err, errNoCollection) || gone(err) { // of a keyring that was another
		return true
	}
	var network net.Error
	return errors.Is(err, dbus.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network) && !network.Timeout()
}

// gone reports whether what was asked is not there. KeePassXC takes an item away a
// part at a time.
func gone(err error) bool {
	switch nameOf(err) {
	case "org.freedesktop.Secret.Error.NoSuchObject", "org.freedesktop.DBus.Error.UnknownObject",
		"org.freedesktop.DBus.Error.UnknownInterface", "org.freedesktop.DBus.Error.UnknownMethod":
		return true
	}
	return false
}

// nameOf returns which error of the protocol it is, "" for another.
func nameOf(err error) string {
	var e dbus.Error
	var p *dbus.Error
	switch {
	case errors.As(err, &e):
		return e.Name
	case errors.As(err, &p):
		return p.Name
	}
	return ""
}
