package keychain

import (
	"context"
	"errors"
	"strconv"

	"secretctl/providers"
)

// explain makes an error of the contract, which tells what to type. What the
// keyring says itself is not repeated.
func (s *store) explain(err error) error {
	which, name := "the keyring", nameOf(err)
	if s.collection != "" {
		which = "the keyring's collection " + strconv.Quote(s.collection)
	}
	failed := &providers.StoreError{Kind: providers.ErrUnavailable, Err: err}
	var already *providers.StoreError
	switch {
	case err == nil, errors.As(err, &already), errors.Is(err, providers.ErrAbsent), errors.Is(err, providers.ErrExists), errors.Is(err, providers.ErrChanged):
		return err
	case errors.Is(err, errAsks):
		failed.Kind, failed.Problem, failed.Remedy = providers.ErrRefused, which+" asks whether we may, and nobody has said yes", "answer its window, or have it not ask (KeePassXC: Settings, Secret Service Integration)"
	case errors.Is(err, errItemLocked): // no window was opened: there may be nobody to answer it
		failed.Kind, failed.Problem = providers.ErrRefused, which+" would have to ask somebody whether we may"
		failed.Remedy = "have it not ask (KeePassXC: Settings, Secret Service Integration)"
	case errors.Is(err, context.Canceled):
	case errors.Is(err, context.DeadlineExceeded):
		failed.Problem, failed.Remedy = which+" does not answer", "look at what runs: pgrep -l 'gnome-keyring|keepassxc|kwalletd'; end it if it is stuck, and log in again"
	case errors.Is(err, errLocked), name == isLocked:
		failed.Kind, failed.Problem, failed.Remedy = providers.ErrLocked, which+" is locked", remedyLocked
	case errors.Is(err, errNoCollection):
		failed.Problem, failed.Remedy = "the keyring has no default collection", "make one (Seahorse: New, Password Keyring; KeePassXC: expose a group), or name one in the config: collection = \"login\""
		if s.collection != "" {
			failed.Problem, failed.Remedy = which+" is not there", "open it, or name one that is there: busctl --user tree org.freedesktop.secrets"
		}
	case name == "org.freedesktop.DBus.Error.NoReply":
		failed.Problem, failed.Remedy = "the keyring ended while it was asked", "start it: gnome-keyring-daemon --start --components=secrets, or KeePassXC"
	case name == "org.freedesktop.DBus.Error.ServiceUnknown", name == "org.freedesktop.DBus.Error.NameHasNoOwner":
		failed.Problem, failed.Remedy = "no keyring runs in this session", "gnome-keyring-daemon --start --components=secrets, or start KeePassXC with its Secret Service integration on"
	case name == "org.freedesktop.DBus.Error.AccessDenied", name == "org.freedesktop.DBus.Error.AuthFailed":
		failed.Kind, failed.Problem, failed.Remedy = providers.ErrRefused, which+" does not let us", "allow secretctl in the keyring's settings"
	case errors.Is(err, errGarbled):
		failed.Problem, failed.Remedy = errGarbled.Error(), "try again"
	case name != "":
		failed.Problem = which + " refuses: " + name
	}
	return failed
}
