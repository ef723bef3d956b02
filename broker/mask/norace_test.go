//go:build !race

package mask_test

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/mask"
)

const raceEnabled = false

// TestSteadyState: a Writer that has been written to allocates nothing, hits or
// none.
func TestSteadyState(t *testing.T) {
	secrets := keys(100)
	text := logs(1<<20, secrets)
	w := mask.NewWriter(io.Discard, newSet(t, secrets), mask.Options{})
	defer w.Close()
	require.Zero(t, testing.AllocsPerRun(10, func() {
		_, _ = w.Write(text)
	}))
}
