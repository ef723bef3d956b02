package openbao_test

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers/openbao"
)

// cutWay is the way to the server, cut for either host now and then: before what is
// asked is done, or after.
type cutWay struct {
	*pair
	mu   sync.Mutex
	rand *rand.Rand
	till [2]time.Time
}

func (w *cutWay) RoundTrip(req *http.Request) (*http.Response, error) {
	i := 0
	if req.URL.Port() == w.hosts[1].port {
		i = 1
	}
	w.mu.Lock()
	now := time.Now()
	cut := now.Before(w.till[i])
	begins := !cut && w.rand.IntN(40) == 0
	after := w.rand.IntN(2) == 0
	if begins {
		w.till[i] = now.Add(time.Duration(w.rand.IntN(1500)) * time.Second)
	}
	w.mu.Unlock()
	switch {
	case cut, begins && !after:
		return nil, errors.New("no route to host")
	case begins:
		_, _ = w.pair.RoundTrip(req)
		return nil, errors.New("the connection was reset")
	}
	return w.pair.RoundTrip(req)
}

func (w *cutWay) reached(i int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !time.Now().Before(w.till[i])
}

// TestHostsCut: hosts that are cut off from the server now and then, and die now and
// then, rotate a secret as often as it is wanted, and lose nothing.
func TestHostsCut(t *testing.T) {
	rounds, seed := 20, uint64(os.Getpid())
	if os.Getenv("SECRETCTL_LONG") != "" {
		rounds = 400
	}
	for _, alone := range []bool{false, true} {
		t.Run(map[bool]string{false: "beside", true: "alone"}[alone], func(t *testing.T) {
			who := peer(t)
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, who, alone, seed)
				w := &cutWay{pair: p, rand: rand.New(rand.NewPCG(seed, 7))}
				defer openbao.Via(w)()
				defer p.end()
				first := "key-000000-first"
				p.keys.live[first] = ""
				v, err := secret.New([]byte(first))
				require.NoError(t, err)
				owner, err := p.hosts[0].broker.AsOwner(who)
				require.NoError(t, err)
				for {
					if _, err = p.hosts[0].broker.Set(t.Context(), owner, shared, "", v); err == nil {
						break
					}
					time.Sleep(time.Minute)
				}
				v.Clear()
				for n := range rounds {
					w.round(n%2 == 0)
					if len(p.wrong) > 0 {
						t.Fatalf("seed %d round %d: %s", seed, n, strings.Join(p.wrong, "\n"))
					}
				}
			})
		})
	}
}

func (p *cutWay) round(deadly bool) {
	before := p.record().Current
	for _, h := range p.hosts {
		h.mu.Lock()
		h.effects, h.dieAt, h.before = 0, 0, p.pair.rand.IntN(2) == 0
		if deadly && p.pair.rand.IntN(2) != 0 {
			h.dieAt = 1 + p.pair.rand.IntN(60)
		}
		h.mu.Unlock()
	}
	for end := time.Now().Add(72 * time.Hour); ; {
		time.Sleep(7 * time.Second)
		now := p.record()
		quiet := now.Current != before && now.Rotation == nil
		for _, h := range p.hosts {
			if up, anew := h.up(); !up {
				quiet = false
				continue
			} else if anew {
				quiet = false
			}
			if _, err := h.engine.Get(shared); err == nil {
				quiet = false
			} else if now.Current == before && time.Since(h.asked) > 5*time.Minute {
				_ = h.rotate(before)
			}
			if p.pair.rand.IntN(8) == 0 {
				value, err := h.lease()
				if err == nil && !p.keys.works(value) && !p.keys.alone {
					p.find("host %s hands out a key that does not work: version %d is in force", h.port, now.Current)
				}
			}
		}
		if quiet {
			break
		}
		if time.Now().After(end) {
			p.find("it does not end: version %d is in force, before it was %d; rotation %+v", now.Current, before, now.Rotation)
			for _, h := range p.hosts {
				g, err := h.engine.Get(shared)
				p.find("host %s: %+v %v", h.port, g, err)
			}
			return
		}
	}
	now := p.record()
	p.keys.mu.Lock()
	live := len(p.keys.live)
	p.keys.mu.Unlock()
	if !p.keys.works(p.inForce()) {
		p.find("version %d is in force and does not work; the service has %d", now.Current, live)
	}
	if live != 1 {
		p.find("the service has %d keys", live)
	}
	for i, h := range p.hosts {
		for range 200 {
			time.Sleep(time.Minute)
			if p.reached(i) && !h.isDead() {
				break
			}
		}
		time.Sleep(3 * time.Minute)
		value, err := h.lease()
		if err == nil && value != p.inForce() {
			p.find("host %s hands out another key than the one in force", h.port)
		}
	}
}
