package keychain

import (
	"context"
	"testing"
	"time"

	"secretctl/providers"
)

// SetSettle has keyrings that prompt be left alone for that long after a change.
func SetSettle(t *testing.T, d time.Duration) {
	was := settle
	settle = d
	t.Cleanup(func() { settle = was })
}

// Fill writes to the bus of a store that has a link.
func Fill(ctx context.Context, s providers.Store, b []byte) error {
	return s.(*store).current().call(ctx, "/", "a.b.c", []any{b})
}

// Settle is how long such keyrings are left alone.
func Settle() time.Duration { return settle }
