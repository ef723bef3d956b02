package ledger_test

import (
	"flag"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"secretctl/broker/durable"
	"secretctl/broker/ledger"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// TestMain sets the size of the random tests; the command line can change it.
func TestMain(m *testing.M) {
	checks := "50"
	if os.Getenv("SECRETCTL_LONG") != "" {
		checks = "10000"
	}
	for name, value := range map[string]string{"rapid.checks": checks, "rapid.steps": "50"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

var start = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

// made returns an empty ledger, open, and its disk.
func made(t testing.TB) (*ledger.Ledger, *durable.Mem) {
	d := durable.NewMem()
	require.NoError(t, ledger.Create(d, ledger.Name))
	return opened(t, d), d
}

// opened opens the ledger of a disk. It is closed with the test.
func opened(t testing.TB, d durable.Disk) *ledger.Ledger {
	l, err := ledger.Open(d)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// entry is what is known of a secret after some versions of it were put.
func entry(name secret.Name, versions uint64) ledger.Entry {
	e := ledger.Entry{Name: name, Store: "age", Created: start, Current: versions, Previous: versions - 1, Next: versions + 1, Versions: map[uint64]ledger.Version{}}
	for n := max(e.Previous, 1); n <= versions; n++ {
		e.Versions[n] = ledger.Version{Sum: providers.Sum{byte(n), 1}, Created: start.Add(time.Duration(n) * time.Hour)}
	}
	return e
}

// removed is what is known of it once it is gone.
func removed(e ledger.Entry) ledger.Entry {
	e.Removed, e.Current, e.Previous, e.Pending = true, 0, 0, 0
	return e
}

// put writes entries, which must work, and returns them as they are now.
func put(t testing.TB, l *ledger.Ledger, entries ...ledger.Entry) []ledger.Entry {
	t.Helper()
	var all []*ledger.Entry
	for i := range entries {
		all = append(all, &entries[i])
	}
	require.NoError(t, l.Put(all...))
	return entries
}

// secrets returns every secret there is.
func secrets(t testing.TB, l *ledger.Ledger, prefix string) (all []ledger.Entry) {
	t.Helper()
	require.NoError(t, l.Each(prefix, func(e *ledger.Entry) bool { all = append(all, *e); return true }))
	return all
}

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }
