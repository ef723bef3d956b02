package rotation

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
	"secretctl/broker/ledger"
)

// TestReseal: what is sealed in the journal is replaced, all of it or nothing, and
// the rest of each entry is as it was.
func TestReseal(t *testing.T) {
	db, err := durable.NewMem().OpenDB(ledger.Name)
	require.NoError(t, err)
	j := journal{db: db}
	for _, r := range []*Rotation{
		{Secret: "a", ID: "1", State: Staged, Sealed: []byte("old a"), To: 3, Tag: "tag"},
		{Secret: "b", ID: "2", State: Staged},
		{Secret: "c", ID: "3", State: Staged, Sealed: []byte("old c")},
		{Secret: "d", ID: "4", State: Done},
	} {
		require.NoError(t, j.save(r))
	}
	before, err := j.flights()
	require.NoError(t, err)
	require.Len(t, before, 3)

	broken := errors.New("it does not open")
	err = Reseal(db, func(sealed []byte) ([]byte, error) {
		if bytes.HasSuffix(sealed, []byte("c")) {
			return nil, broken
		}
		return []byte("new"), nil
	})
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, `"c"`)
	same, err := j.flights()
	require.NoError(t, err)
	require.Equal(t, before, same)

	require.NoError(t, Reseal(db, func(sealed []byte) ([]byte, error) {
		return bytes.Replace(sealed, []byte("old"), []byte("new"), 1), nil
	}))
	after, err := j.flights()
	require.NoError(t, err)
	before[0].Sealed, before[2].Sealed = []byte("new a"), []byte("new c")
	require.Equal(t, before, after)
}
