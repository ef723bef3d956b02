package broker_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/clock"
	"secretctl/broker/durable"
	"secretctl/broker/secret"
)

// BenchmarkGrowth: what a broker costs with 1, 10,000 and 100,000 secrets: its
// memory, its first answer after a start, a set, and a lease against that of the
// broker with one. The homes are in memory, where no disk hides the growth.
func BenchmarkGrowth(b *testing.B) {
	var base *target
	for _, n := range []int{1, 10_000, 100_000} {
		h := homeOf(b, n)
		var first []float64
		for range rounds {
			began := time.Now()
			p := h.start("serve")
			h.leased(b)
			first = append(first, float64(time.Since(began).Microseconds())/1000)
			require.NoError(b, p.stop())
		}
		p := h.start("serve")
		leases := h.lease()
		b.Run(fmt.Sprintf("secrets=%d", n), func(b *testing.B) {
			h.leased(b)
			resident := float64(residentKiB(b, p.Process.Pid)) / 1024
			setting := h.setting(b)
			if base == nil {
				base = leases
			}
			against := *base
			for b.Loop() {
				interleave(b, 16, &against, leases)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(first), "ms-to-first-value")
			b.ReportMetric(resident, "MiB-idle")
			b.ReportMetric(setting, "µs/set")
			b.ReportMetric(leases.rate()/against.rate(), "lease-ratio")
		})
	}
}

// homeOf makes a home of n secrets, "weather" and s/1 to s/n-1.
func homeOf(b *testing.B, n int) *home {
	dir, err := os.MkdirTemp("/dev/shm", "sc")
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, os.RemoveAll(dir)) })
	disk, err := durable.OpenHome(dir)
	require.NoError(b, err)
	h := &home{t: b, dir: dir, disk: disk, clock: clock.NewFake(start), config: benchGrants}
	require.NoError(b, h.init())
	of, err := h.open()
	require.NoError(b, err)
	mint(b, of, "weather", "sunny")
	for i := 1; i < n; i++ {
		mint(b, of, fmt.Sprintf("s/%d", i), "sunny")
	}
	require.NoError(b, of.Close())
	return h
}

// setting returns how many µs a set takes over the owner's socket.
func (h *home) setting(b *testing.B) float64 {
	owner := h.client(broker.OwnerSocket)
	var took []float64
	for i := range 300 {
		v := value(b, fmt.Sprintf("ghp_%040d", i))
		began := time.Now()
		_, err := owner.Set(b.Context(), secret.Name(fmt.Sprintf("s/new/%d", i)), "", v)
		require.NoError(b, err)
		took = append(took, float64(time.Since(began).Microseconds()))
		v.Clear()
	}
	return median(took)
}
