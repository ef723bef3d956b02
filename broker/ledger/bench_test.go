package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
	"secretctl/broker/ledger"
	"secretctl/broker/secret"
)

// holdingMany returns a real ledger with n secrets.
func holdingMany(b *testing.B, n int) *ledger.Ledger {
	d, err := durable.OpenHome(b.TempDir())
	require.NoError(b, err)
	require.NoError(b, ledger.Create(d, ledger.Name))
	l := opened(b, d)
	for done := 0; done < n; {
		var batch []*ledger.Entry
		for ; done < n && len(batch) < 5000; done++ {
			e := entry(secret.Name(fmt.Sprintf("team-%d/secret-%d", done%100, done)), 2)
			batch = append(batch, &e)
		}
		require.NoError(b, l.Put(batch...))
	}
	return l
}

// BenchmarkPut is what one write costs with few secrets and with many, and the
// ratio of the two. They alternate, so that the disk's mood is the same for both.
func BenchmarkPut(b *testing.B) {
	sizes := [2]int{10, 100_000}
	var ledgers [2]*ledger.Ledger
	for i, n := range sizes {
		ledgers[i] = holdingMany(b, n)
	}
	var spent [2]time.Duration
	rnd := seeded(1)
	for b.Loop() {
		for i, l := range ledgers {
			at := rnd.IntN(sizes[i])
			e := entry(secret.Name(fmt.Sprintf("team-%d/secret-%d", at%100, at)), 2)
			began := time.Now()
			if err := l.Put(&e); err != nil {
				b.Fatal(err)
			}
			spent[i] += time.Since(began)
		}
	}
	for i, n := range sizes {
		b.ReportMetric(float64(spent[i].Nanoseconds())/float64(b.N), fmt.Sprintf("ns/put-of-%d", n))
	}
	b.ReportMetric(float64(spent[1])/float64(spent[0]), "ratio")
}

// BenchmarkCurrent is what a lease asks of the ledger.
func BenchmarkCurrent(b *testing.B) {
	l := holdingMany(b, 1000)
	for b.Loop() {
		if _, err := l.Current("team-7/secret-7"); err != nil {
			b.Fatal(err)
		}
	}
}
