package mask_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"secretctl/broker/mask"
	"secretctl/broker/secret/canary"
)

// TestNothingStays: what has been masked is nowhere in the memory of a Writer,
// however that grew, nor is a form in that of its making.
func TestNothingStays(t *testing.T) {
	value := canary.New(t, "value")
	set := newSet(t, []known{{"a", value}})
	synctest.Test(t, func(t *testing.T) {
		s := new(screen)
		w := mask.NewWriter(s, set, mask.Options{})
		for _, before := range []int{10, 5000, 100_000, 0} {
			write(t, w, strings.Repeat("x", before)+value[:30])
			old := w.Kept()
			require.True(t, bytes.Contains(old, []byte(value[:30])), "it is not where it is looked for")
			write(t, w, value[30:]+"........")
			require.False(t, bytes.Contains(w.Kept(), []byte(value[:8])), before)
		}
		write(t, w, value[:30])
		require.NoError(t, w.Close())
		require.Equal(t, make([]byte, len(w.Kept())), w.Kept())
	})
	forms := mask.UsedForms([]byte(`"` + value + `"`))
	require.NotEmpty(t, forms)
	for _, form := range forms {
		require.Equal(t, make([]byte, len(form)), form)
	}
}
