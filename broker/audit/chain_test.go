package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"
)

// hashes is the storage of a tree as tlog knows it.
type hashes []tlog.Hash

func (h hashes) ReadHashes(at []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(at))
	for i, n := range at {
		out[i] = h[n]
	}
	return out, nil
}

// add stores the record that is the n-th, from 0.
func (h *hashes) add(t require.TestingT, n int64, record []byte) {
	more, err := tlog.StoredHashes(n, record, *h)
	require.NoError(t, err)
	*h = append(*h, more...)
}

// TestTree: at every size the root is that of RFC 6962, as tlog has it, and the
// tree can be taken up again from its frontier.
func TestTree(t *testing.T) {
	const most = 300
	var stored hashes
	var grown tree
	x := newHasher()
	for n := range int64(most + 1) {
		want, err := tlog.TreeHash(n, stored)
		require.NoError(t, err)
		require.Equal(t, want, grown.root(), "%d records", n)
		var again tree
		require.True(t, again.restore(uint64(n), grown.frontier()))
		require.Equal(t, grown.frontier(), again.frontier())
		require.Equal(t, want, again.root())
		require.False(t, again.restore(uint64(n), slices.Concat(grown.frontier(), []tlog.Hash{{}})), "%d records and a node too many", n)
		if n > 0 {
			require.False(t, again.restore(uint64(n), grown.frontier()[1:]), "%d records and a node too few", n)
		}
		record := fmt.Appendf(nil, "record %d", n)
		require.Equal(t, tlog.RecordHash(record), x.leaf(record))
		grown.add(x.leaf(record))
		stored.add(t, n, record)
	}
}

// TestChain: the chain is what the package says that it is.
func TestChain(t *testing.T) {
	x := newHasher()
	for _, body := range []string{"", "a", `{"seq":1`} {
		for _, before := range []tlog.Hash{{}, {1, 2, 3}} {
			all := binary.BigEndian.AppendUint64(before[:], uint64(len(body)))
			require.Equal(t, tlog.Hash(sha256.Sum256(append(all, body...))), x.chain(before, []byte(body)))
		}
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { x.chain(tlog.Hash{}, leafPrefix); x.leaf(leafPrefix) }))
}
