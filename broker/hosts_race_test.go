package broker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/storetest"
)

// TestHostsRace has three hosts do everything at once.
func TestHostsRace(t *testing.T) {
	store := new(storetest.Memory)
	var hosts []*broker.Broker
	var homes []*home
	for range 3 {
		b, h := hostOf(t, store, sharing)
		hosts, homes = append(hosts, b), append(homes, h)
	}
	mint(t, hosts[0], "weather", "one")
	var lost atomic.Int32
	var spurious sync.Map
	ctx, stop := context.WithTimeout(context.Background(), 8*time.Second)
	defer stop()
	var all sync.WaitGroup
	for i, b := range hosts {
		for w := range 4 {
			all.Go(func() {
				r := rand.New(rand.NewPCG(uint64(i), uint64(w)))
				for ctx.Err() == nil {
					var err error
					switch k := r.IntN(9); {
					case k < 4:
						var l *broker.Issued
						if l, err = b.Lease(ctx, b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"}); err == nil {
							_, _ = b.Renew(ctx, b.Agent(agentUID), l.ID.String())
							_ = b.Release(b.Agent(agentUID), l.ID.String())
						}
					case k == 4:
						homes[i].clock.Advance(time.Minute)
					case k == 5 && i == 0 && w == 0:
						id := fmt.Sprint(r.Uint64())
						c := providers.Claim{ID: id, Tag: id, Phase: "p", State: json.RawMessage(`{}`)}
						if _, err = b.Vault().Claim(ctx, "weather", c, func(string) bool { return true }); err == nil {
							if len(b.Mine()) == 0 {
								lost.Add(1)
							}
							if n, err := b.Vault().Reserve("weather"); err == nil {
								v, _ := secret.New([]byte("value " + id))
								_ = b.Vault().Publish(ctx, "weather", providers.Version{Number: n}, v)
								v.Clear()
							}
							if len(b.Mine()) == 0 {
								lost.Add(1)
							}
							_ = b.Vault().Unclaim(ctx, "weather", id)
						}
					case k == 6:
						v, _ := secret.New([]byte("value " + fmt.Sprint(r.Uint64())))
						_, err = b.Set(ctx, broker.Owner(), "weather", "", v)
						v.Clear()
					case k == 7:
						_, err = b.Rollback(ctx, broker.Owner(), "weather")
					case k == 8:
						_ = b.Reload()
						_ = b.Followed()
					}
					if err != nil {
						n, _ := spurious.LoadOrStore(fmt.Sprintf("%.60s", err.Error()), new(atomic.Int32))
						n.(*atomic.Int32).Add(1)
					}
				}
			})
		}
	}
	all.Wait()
	spurious.Range(func(k, v any) bool { t.Log(v.(*atomic.Int32).Load(), k); return true })
	t.Log("claims of which the host forgot that they are its own:", lost.Load())
	for _, h := range homes {
		for w, n := range h.sorted() {
			t.Log(n, w)
		}
	}
	var values []string
	for i, b := range hosts {
		homes[i].clock.Advance(2 * time.Minute)
		b.ClearValues()
		l, err := b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
		require.NoError(t, err)
		values = append(values, fmt.Sprint(l.Version, reveal(t, l.Value)))
	}
	require.Equal(t, values[0], values[1])
	require.Equal(t, values[0], values[2])
}

func (h *home) sorted() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[string]int{}
	for _, w := range h.warned {
		for i := range w {
			if w[i] >= '0' && w[i] <= '9' {
				w = w[:i] + "#" + w[i+1:]
			}
		}
		out[fmt.Sprintf("%.140s", w)]++
	}
	return out
}
