package providers

import (
	"context"

	"secretctl/broker/secret"
)

// Referrer is a Store in which people keep secrets of their own too, each at a place
// that a reference names. Those are read and never written.
type Referrer interface {
	Store
	// Refer opens what lies at a reference now, which its kind's Reference has found
	// right. It is ErrAbsent when nothing does.
	Refer(ctx context.Context, ref string) (secret.Value, error)
}
