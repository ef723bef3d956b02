package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
)

// benchGrants lets this process, as the agent, have everything.
var benchGrants = fmt.Sprintf(`
[broker]
max_connections = 200
[agent.claw]
uid = %d
[[grant]]
agent = "claw"
secrets = ["weather", "s/*"]
ttl = "15m"
`, os.Getuid())

func (h *home) lease() *target {
	return newTarget(h.path(broker.AgentSocket), "POST", "/v1/leases", `{"secret":"weather","ttl_seconds":1}`)
}

// limit starts a server that does the least there is to do.
func (h *home) limit(kind string) *target {
	h.start("limit", kind)
	return newTarget(h.dir+"/"+kind+".sock", "GET", "/v1/secret/a", "")
}

// BenchmarkLease: a lease with its durable record, beside the limit: a bare
// server that makes a line durable, for all who wait together or, where a lone
// caller fares better so, for each.
func BenchmarkLease(b *testing.B) {
	h := weatherHome(b)
	h.start("serve")
	limits := h.limit("group")
	each := h.limit("each")
	for _, clients := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			limit, alone, lease := *limits, *each, h.lease()
			for b.Loop() {
				interleave(b, clients, &limit, &alone, lease)
			}
			best := limit.rate()
			if clients == 1 {
				best = max(best, alone.rate())
			}
			report(b, lease, best)
			b.ReportMetric(lease.percentile(50), "p50-µs")
			b.ReportMetric(lease.percentile(99)/lease.percentile(50), "p99/p50")
		})
	}
}

// BenchmarkAnswer: what is answered without a new record or a value, and a
// renewal, beside a bare net/http server.
func BenchmarkAnswer(b *testing.B) {
	h := weatherHome(b)
	h.start("serve")
	peer := h.limit("peer")
	agent := h.path(broker.AgentSocket)
	for _, c := range []struct{ name, method, url string }{
		{"health", "GET", "/v1/health"},
		{"list", "GET", "/v1/leases"},
		{"secrets", "GET", "/v1/secrets"},
	} {
		for _, clients := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%s/clients=%d", c.name, clients), func(b *testing.B) {
				limit, answer := *peer, newTarget(agent, c.method, c.url, "")
				for b.Loop() {
					interleave(b, clients, &limit, answer)
				}
				report(b, answer, limit.rate())
			})
		}
	}
}

// BenchmarkRenew: a renewal is as durable as a lease, so it has the same limit.
func BenchmarkRenew(b *testing.B) {
	h := weatherHome(b)
	h.start("serve")
	group := h.limit("group")
	for _, clients := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			limit := *group
			renew := newTarget(h.path(broker.AgentSocket), "POST", "/v1/leases/"+h.leased(b)+"/renew", "")
			for b.Loop() {
				interleave(b, clients, &limit, renew)
			}
			report(b, renew, limit.rate())
		})
	}
}

// BenchmarkHeld: leases while 10,000 are held, against the same while none is.
func BenchmarkHeld(b *testing.B) {
	none, many := weatherHome(b), weatherHome(b)
	none.start("serve")
	many.start("serve")
	hold := newTarget(many.path(broker.AgentSocket), "POST", "/v1/leases", `{"secret":"weather","ttl_seconds":900}`)
	for len(hold.times) < 10_000 {
		hold.load(b, 64, 100*time.Millisecond)
	}
	b.ResetTimer()
	without, with := none.lease(), many.lease()
	for b.Loop() {
		interleave(b, 16, without, with)
	}
	report(b, with, without.rate())
	b.ReportMetric(float64(len(hold.times)), "held")
}

func report(b *testing.B, g *target, limit float64) {
	b.ReportMetric(0, "ns/op") // a round's length says nothing
	b.ReportMetric(g.rate(), "req/s")
	b.ReportMetric(limit, "limit/s")
	b.ReportMetric(g.rate()/limit, "ratio")
}

// weatherHome is a home with the secret "weather", which is this process's.
func weatherHome(t testing.TB) *home {
	h := newHome(t, benchGrants)
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "sunny")
	require.NoError(t, b.Close())
	return h
}

// leased takes a lease over the agent's socket and returns its id.
func (h *home) leased(t testing.TB) string {
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", h.path(broker.AgentSocket))
	}}}
	defer client.CloseIdleConnections()
	answer, err := client.Post("http://broker/v1/leases", "application/json", strings.NewReader(`{"secret":"weather"}`))
	require.NoError(t, err)
	defer answer.Body.Close()
	var lease struct {
		ID string `json:"lease_id"`
	}
	require.NoError(t, json.NewDecoder(answer.Body).Decode(&lease))
	require.NotEmpty(t, lease.ID)
	return lease.ID
}

// BenchmarkImport: 10,000 secrets at once over the owner's socket, beside the
// same bytes in as many files, made durable one after the other.
func BenchmarkImport(b *testing.B) {
	const n = 10_000
	var in []broker.ImportEntry
	v := value(b, canary.New(b, "imported"))
	for i := range n {
		in = append(in, broker.ImportEntry{Name: secret.Name(fmt.Sprintf("s/%d", i)), Value: v})
	}
	for b.Loop() {
		h := newHome(b, benchGrants)
		p := h.start("serve")
		began := time.Now()
		_, err := h.client(broker.OwnerSocket).Import(b.Context(), in, broker.ImportOptions{})
		require.NoError(b, err)
		took := time.Since(began).Seconds()
		require.NoError(b, p.stop())

		dir := canary.Dir(b)
		began = time.Now()
		for i := range n / 10 {
			f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
			require.NoError(b, err)
			_, err = f.Write(make([]byte, 300))
			require.NoError(b, err)
			require.NoError(b, errors.Join(f.Sync(), f.Close()))
		}
		each := time.Since(began).Seconds() * 10
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(took, "s")
		b.ReportMetric(each, "limit-s")
		b.ReportMetric(took/each, "ratio")
	}
}
