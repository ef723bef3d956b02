package openbao_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/openbao"
	"secretctl/rotation"
)

// way is the way to the server, which is slow or cut for the first host.
type way struct {
	*pair
	mu   sync.Mutex
	wait time.Duration
	cut  bool
}

func (w *way) set(wait time.Duration, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wait, w.cut = wait, cut
}

func (w *way) RoundTrip(req *http.Request) (*http.Response, error) {
	w.mu.Lock()
	wait, cut := w.wait, w.cut
	w.mu.Unlock()
	if req.URL.Port() == w.hosts[0].port {
		if time.Sleep(wait); cut {
			return nil, errors.New("no route to host")
		}
	}
	return w.pair.RoundTrip(req)
}

// inPair runs a test with two hosts that have the shared secret, which is live.
func inPair(t *testing.T, alone, rolls bool, do func(t *testing.T, p *pair, w *way, owner *broker.Caller)) {
	who := peer(t)
	synctest.Test(t, func(t *testing.T) {
		w := &way{}
		p := newPair(t, who, alone, 1)
		w.pair = p
		if rolls {
			p.keys.rolls = true
			for _, h := range p.hosts {
				h.stop()
				h.start()
			}
		}
		defer openbao.Via(w)()
		defer p.end()
		first := "key-000000-first"
		p.keys.live[first] = ""
		owner, err := p.hosts[0].broker.AsOwner(who)
		require.NoError(t, err)
		keepAs(t, p, owner, shared, first)
		_, err = p.hosts[1].lease()
		require.NoError(t, err)
		do(t, p, w, owner)
	})
}

func keepAs(t *testing.T, p *pair, owner *broker.Caller, name secret.Name, text string) {
	v, err := secret.New([]byte(text))
	require.NoError(t, err)
	defer v.Clear()
	_, err = p.hosts[0].broker.Set(t.Context(), owner, name, "bao", v)
	require.NoError(t, err)
}

func claimNow(p *pair, i int, id string) error {
	_, err := p.hosts[i].broker.Vault().Claim(p.t.Context(), shared, providers.Claim{ID: id, Phase: "planned"}, func(string) bool { return false })
	return err
}

// TestHostsBeatsStarve: a host whose store is slow, and which has many leases, still
// says in time that it rotates.
func TestHostsBeatsStarve(t *testing.T) {
	inPair(t, false, false, func(t *testing.T, p *pair, w *way, owner *broker.Caller) {
		for n := range 100 {
			name := secret.Name(fmt.Sprintf("many/k%d", n))
			keepAs(t, p, owner, name, fmt.Sprintf("a value, %d", n))
			_, err := p.hosts[0].broker.Lease(t.Context(), owner, broker.LeaseRequest{Secret: string(name), TTLSeconds: 3600})
			require.NoError(t, err)
		}
		require.NoError(t, claimNow(p, 0, "r1"))
		require.NoError(t, p.hosts[0].broker.Vault().Keep(t.Context(), shared, providers.Claim{ID: "r1", Phase: "planned", State: []byte(`{}`)}, nil))
		w.set(8*time.Second, false)
		for range 50 {
			time.Sleep(time.Minute)
			var claimed *providers.ClaimedError
			require.ErrorAs(t, claimNow(p, 1, "r2"), &claimed, "the host lives, and reaches the server")
		}
	})
}

// TestHostsRestarted: a host that was started again, and waits with its rotation for
// what the service asked to be waited for, keeps it.
func TestHostsRestarted(t *testing.T) {
	inPair(t, false, false, func(t *testing.T, p *pair, _ *way, _ *broker.Caller) {
		p.keys.refuses = &providers.CallError{Outcome: providers.DefinitelyNot, Code: providers.CodeRateLimited, Problem: "too many", RetryAfter: 2 * time.Hour}
		a := p.hosts[0]
		require.NoError(t, a.rotate(1))
		time.Sleep(10 * time.Second)
		var claimed *providers.ClaimedError
		for range 20 {
			time.Sleep(time.Minute)
			require.ErrorAs(t, claimNow(p, 1, "r2"), &claimed)
		}
		a.stop()
		a.start()
		for n := range 20 {
			time.Sleep(time.Minute)
			_, err := a.lease()
			require.NoError(t, err)
			require.ErrorAs(t, claimNow(p, 1, "r2"), &claimed, "%d minutes after the start of a host that lives", n)
		}
	})
}

// TestHostsRetireElsewhere: kill --upstream does not end, at a service with one
// credential, what another host is just making, as it does not where that is this one.
func TestHostsRetireElsewhere(t *testing.T) {
	inPair(t, true, false, func(t *testing.T, p *pair, _ *way, _ *broker.Caller) {
		p.keys.unsure = providers.Maybe(providers.CodeUnavailable, "try later")
		require.NoError(t, p.hosts[0].rotate(1))
		time.Sleep(20 * time.Second)
		require.Equal(t, "staged", p.record().Rotation.Phase, "the service has the new one")
		_, err := p.hosts[0].engine.Retire(t.Context(), shared, 1)
		require.ErrorIs(t, err, rotation.ErrBusy)
		require.Zero(t, p.keys.revokes)
		out, err := p.hosts[1].engine.Retire(t.Context(), shared, 1)
		t.Logf("%+v %v", out, err)
		require.Zero(t, p.keys.revokes, "the service was told to end its one credential")
	})
}

// TestHostsRolled: the answer of a service that replaces its key in place has come, and
// then there is no way to the store. When it is there again, some host has the key.
func TestHostsRolled(t *testing.T) {
	inPair(t, false, true, func(t *testing.T, p *pair, w *way, _ *broker.Caller) {
		p.keys.whenIssued(func() { w.set(0, true) })
		require.NoError(t, p.hosts[0].rotate(1))
		time.Sleep(11 * time.Minute)
		p.keys.whenIssued(nil)
		_ = p.hosts[1].rotate(1)
		time.Sleep(5 * time.Minute)
		w.set(0, false)
		time.Sleep(time.Hour)
		_, err := p.hosts[1].engine.GiveUp(shared) // which has nothing that works
		require.NoError(t, err)
		time.Sleep(time.Hour)
		works := false
		for _, h := range p.hosts {
			value, err := h.lease()
			works = works || err == nil && p.keys.works(value)
			p, ok, _ := h.engine.Last(shared)
			t.Logf("host %s: %v %s %s %v", h.port, ok, p.State, p.Reason, p.Error)
		}
		require.True(t, works, "the one key that works was in the journal of the first host, and is nowhere now")
	})
}

// once is a way on which one request of the second host gets no answer.
type once struct {
	*pair
	mu sync.Mutex
	at string // the end of its path; "": none
}

func (o *once) RoundTrip(req *http.Request) (*http.Response, error) {
	o.mu.Lock()
	hit := o.at != "" && req.URL.Port() == o.hosts[1].port && strings.HasSuffix(req.URL.Path, o.at)
	if hit {
		o.at = ""
	}
	o.mu.Unlock()
	if hit {
		return nil, errors.New("the connection was reset")
	}
	return o.pair.RoundTrip(req)
}

// TestHostsTakeOverStumbles: a host that takes a rotation over, and of which the one
// request for the new value gets no answer, loses nothing of it.
func TestHostsTakeOverStumbles(t *testing.T) {
	inPair(t, false, false, func(t *testing.T, p *pair, _ *way, _ *broker.Caller) {
		o := &once{pair: p}
		defer openbao.Via(o)()
		p.keys.unsure = providers.Maybe(providers.CodeUnavailable, "try later")
		require.NoError(t, p.hosts[0].rotate(1))
		time.Sleep(20 * time.Second)
		require.Equal(t, "staged", p.record().Rotation.Phase)
		require.Len(t, p.keys.live, 2)
		p.hosts[0].stop()
		p.hosts[0].back = time.Now() // and it never comes back
		time.Sleep(11 * time.Minute)
		p.keys.unsure = nil
		o.mu.Lock()
		o.at = "/@2"
		o.mu.Unlock()
		require.Error(t, p.hosts[1].rotate(1))
		time.Sleep(2 * time.Minute)
		require.NoError(t, p.hosts[1].rotate(1))
		time.Sleep(3 * time.Hour)
		t.Log(p.record())
		require.Len(t, p.keys.live, 1, "a key is left at the service that nobody knows of")
	})
}

// TestHostsTakeOverNobody: a rotation that a host took over, and did not come to begin,
// is gone on with by somebody, though nobody asks that host again.
func TestHostsTakeOverNobody(t *testing.T) {
	inPair(t, false, false, func(t *testing.T, p *pair, _ *way, _ *broker.Caller) {
		o := &once{pair: p}
		defer openbao.Via(o)()
		p.keys.unsure = providers.Maybe(providers.CodeUnavailable, "try later")
		require.NoError(t, p.hosts[0].rotate(1))
		time.Sleep(20 * time.Second)
		p.hosts[0].stop()
		time.Sleep(11 * time.Minute)
		p.keys.unsure = nil
		o.mu.Lock()
		o.at = "/@2"
		o.mu.Unlock()
		require.Error(t, p.hosts[1].rotate(1))
		p.hosts[0].start()
		for range 24 { // the scheduler of the first host wants it still
			time.Sleep(10 * time.Minute)
			if p.record().Current == 1 {
				_ = p.hosts[0].rotate(1)
			}
		}
		r := p.record()
		require.Equal(t, uint64(2), r.Current, "the second host says every two minutes that it has it, and does nothing: %+v", r.Rotation)
	})
}

// TestHostsRetireInGrace: kill --upstream ends the old version at a service that has
// both, though another host waits out its grace.
func TestHostsRetireInGrace(t *testing.T) {
	inPair(t, false, false, func(t *testing.T, p *pair, _ *way, _ *broker.Caller) {
		require.NoError(t, p.hosts[0].rotate(1))
		time.Sleep(20 * time.Second)
		require.Equal(t, uint64(2), p.record().Current)
		require.Len(t, p.keys.live, 2)
		out, err := p.hosts[1].engine.Retire(t.Context(), shared, 1)
		t.Logf("%+v %v", out, err)
		require.Len(t, p.keys.live, 1, "the leaked key lives on, and the host at which the owner pulls the switch can do nothing")
	})
}

// TestHostsGivenByHand: where the new value is not accepted and the old one is dead,
// one that is made by hand is taken.
func TestHostsGivenByHand(t *testing.T) {
	inPair(t, false, true, func(t *testing.T, p *pair, _ *way, _ *broker.Caller) {
		p.keys.unsure = providers.Not(providers.CodeInvalid, "it is not accepted")
		require.NoError(t, p.hosts[0].rotate(1))
		time.Sleep(30 * time.Minute)
		now, err := p.hosts[0].engine.Get(shared)
		require.NoError(t, err)
		require.Equal(t, "needs-owner", now.State)
		byHand := "key-000009-by-hand"
		p.keys.mu.Lock()
		p.keys.unsure = nil
		clear(p.keys.live)
		p.keys.live[byHand] = ""
		p.keys.mu.Unlock()
		v, err := secret.New([]byte(byHand))
		require.NoError(t, err)
		_, err = p.hosts[0].engine.Start(rotation.Order{Secret: shared, By: "owner", Value: v})
		require.NoError(t, err)
		time.Sleep(3 * time.Hour)
		now, err = p.hosts[0].engine.Get(shared)
		if err == nil {
			t.Log(now.State, now.Step, *now.Error)
		}
		require.Equal(t, byHand, p.inForce())
	})
}
