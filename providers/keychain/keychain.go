// Package keychain is the store that the operating system keeps for its users:
// the Keychain of macOS, and on Linux the Secret Service, which is
// gnome-keyring, KeePassXC or KWallet. A version of a secret is an item there.
//
// It guards against a keyring that does not work and is taken for one that is
// empty: locked, gone, restarted and stuck are errors of their own, each with
// what to type, and none is a hang or a window that nobody is there to answer.
// It does not guard against other programs of the same user. Whatever is
// unlocked for us on the Secret Service is unlocked for them; the Keychain goes
// by the program, and only where that is signed.
//
// Of the values that pass through here, nothing readable stays in memory that is
// ours: they are sealed and opened in place, in slices that end cleared. What we
// cannot clear are the session's key and the big numbers it was agreed with, the
// copies that the Security framework makes on macOS, and whatever the keyring
// itself does.
package keychain

import (
	"context"
	"fmt"
	"runtime"
	"strconv"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// The names of the options.
const (
	labelOption      = "label"
	collectionOption = "collection"
)

// Kind is this kind of store.
func Kind() providers.StoreKind {
	return providers.StoreKind{
		Name:    "keychain",
		Summary: "the Keychain of macOS, or the Secret Service on Linux (gnome-keyring, KeePassXC)",
		Options: []providers.Option{
			{
				Name: labelOption, Type: providers.Text, Example: `"laptop"`,
				Help: "tells these items from those of another home in the same keyring; without it the store's name in the config",
			},
			{
				Name: collectionOption, Type: providers.Text, Example: `"login"`,
				Help: "the collection (KeePassXC: the database) on Linux; without it the one that is set as default",
			},
		},
		Open: func(s providers.StoreSetup) (providers.Store, error) {
			label, collection := s.Options.Text(labelOption), s.Options.Text(collectionOption)
			if label == "" {
				label = s.Name
			}
			if collection == "session" {
				return nil, &providers.OptionError{
					Option:  collectionOption,
					Problem: `the collection "session" is forgotten when you log out`,
					Remedy:  collectionOption + ` = "login"`,
				}
			}
			if label == identityLabel {
				return nil, &providers.OptionError{
					Option:  labelOption,
					Problem: strconv.Quote(label) + " is where the identities of vaults are, which nobody is served",
					Remedy:  labelOption + ` = "laptop"`,
				}
			}
			return open(label, collection), nil
		},
	}
}

// identityLabel is that of the items which open vaults. No store of a config has it.
const identityLabel = "vault/identity"

// Items is a store that says which versions it has without opening any.
type Items interface {
	providers.Store
	// Versions returns those of a secret, in order.
	Versions(ctx context.Context, name secret.Name) ([]uint64, error)
}

// Identities is where the keyring has the identities of vaults. It calls nothing
// until it is asked for one.
func Identities() Items { return open(identityLabel, "") }

// RemoveIdentity is the command by which a person removes an identity.
func RemoveIdentity(name secret.Name, version uint64) string {
	if runtime.GOOS == "darwin" {
		return fmt.Sprintf("security delete-generic-password -s %s/%s -a %s@%d", application, identityLabel, name, version)
	}
	return fmt.Sprintf("secret-tool clear %s %s %s %s %s %s %s %d", attrApplication, application, attrLabel, identityLabel, attrName, name, attrVersion, version)
}

// The attributes of an item of the Secret Service. A keyring shows them to all that may ask it, and
// gnome-keyring keeps them hashed and not sealed, so that nothing of the value is in them.
const (
	attrApplication = "application"
	attrLabel       = "label"
	attrName        = "name"
	attrVersion     = "version"
	attrSalt        = "salt"
)

// application is what our items can be known by among those of others.
const application = "secretctl"

// saltLen is the length of a salt, in bytes.
const saltLen = 16

// checked makes a value of the bytes, which it clears, where their sum is the
// one that is wanted.
func checked(salt, value []byte, want providers.Sum) (secret.Value, error) {
	if !want.IsZero() && providers.SaltedSum(salt, value) != want {
		clear(value)
		return secret.Value{}, providers.ErrChanged
	}
	return secret.New(value)
}
