package ledger_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
	"secretctl/broker/ledger"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// TestFormatV1 reads a ledger as the first version of this program wrote it.
// The file is never made anew: a format that changes gets one of its own.
func TestFormatV1(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "testdata", "formats", "ledger-v1.db"))
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, ledger.Name), b, 0o600))
	d, err := durable.OpenHome(dir)
	require.NoError(t, err)
	l := opened(t, d)

	require.Equal(t, v1Entries()[:2], secrets(t, l, ""))
	for _, want := range v1Entries() {
		got, err := l.Raw(want.Name)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	n, err := l.Count()
	require.NoError(t, err)
	require.Equal(t, 2, n)
	must, err := l.MustRotate()
	require.NoError(t, err)
	require.Equal(t, []secret.Name{"openai/api-key"}, must)
	require.Equal(t, map[secret.Name]uint64{"github": 2, "openai/api-key": 7, "stripe": 0}, changes(t, l, 0))
	require.Equal(t, map[secret.Name]uint64{"stripe": 0}, changes(t, l, 3))

	put(t, l, entry("github", 3))
	requireCurrent(t, l, "github", 3)
}

// v1Entries is what the file says; the last one was removed.
func v1Entries() []ledger.Entry {
	at := func(day int) time.Time { return time.Date(2026, time.March, day, 12, 0, 0, 5000, time.UTC) }
	return []ledger.Entry{
		{
			Name: "github", Store: "age", Env: "GITHUB_TOKEN", Created: at(1), Rotated: at(2), Current: 2, Previous: 1, Next: 3, Change: 3,
			Versions: map[uint64]ledger.Version{1: {Sum: providers.Sum{1, 0xff}, Created: at(1)}, 2: {Sum: providers.Sum{2, 0xff}, Created: at(2)}},
		},
		{
			Name: "openai/api-key", Store: "keychain", Created: at(3), Current: 7, Pending: 8, Next: 9, Rotate: true, Change: 2,
			Versions: map[uint64]ledger.Version{7: {Sum: providers.Sum{7}, Created: at(3)}, 8: {Sum: providers.Sum{8}, Created: at(4)}},
		},
		{
			Name: "stripe", Store: "age", Created: at(5), Next: 4, Removed: true, Change: 4,
			Versions: map[uint64]ledger.Version{3: {Sum: providers.Sum{3}, Created: at(5)}},
		},
	}
}
