package providers

import (
	"context"
	"time"

	"secretctl/broker/secret"
)

// StoreKind is one kind of store that this build has.
type StoreKind struct {
	Name    string // `type` in the config
	Summary string // one line
	Options []Option
	// Fresh is how long a value that was opened is believed without asking the store
	// again; 0: for as long as somebody has a lease on it.
	Fresh time.Duration
	// Reference says what is wrong with a reference to a place in such a store, and
	// what would be right; a problem of "" is none. Nil: its stores are no [Referrer].
	Reference func(text string) (problem, remedy string)

	// Open makes the store. It calls nothing and reads no file: a store that does
	// not work says so when it is used, and keeps nobody from the others. The error
	// is an [OptionError].
	Open func(StoreSetup) (Store, error)
}

// StoreSetup is what a store is made with.
type StoreSetup struct {
	Name    string // in the config
	Options Options
	// Own opens the current version of one of the broker's own secrets, which rest
	// in the age store. The caller clears it.
	Own func(context.Context, secret.Name) (secret.Value, error)
	Now func() time.Time // the wall's clock
	// State is the store's own, no secret in it; nil: nothing is kept.
	State State
}

// State is what a store keeps beside the secrets. Nothing depends on it: what is
// lost is found out again.
type State interface {
	Load() ([]byte, error) // fails when there is none
	Save([]byte) error
}
