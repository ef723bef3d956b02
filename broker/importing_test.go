package broker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
)

// give imports values over a connection: pairs of a name and a text.
func give(t testing.TB, c *broker.Client, dry bool, pairs ...string) []string {
	in := entries(t, pairs...)
	got, err := c.Import(t.Context(), in, broker.ImportOptions{DryRun: dry})
	require.NoError(t, err)
	for _, e := range in {
		e.Value.Clear()
	}
	return actions(got)
}

// entries are such values.
func entries(t testing.TB, pairs ...string) (out []broker.ImportEntry) {
	for i := 0; i < len(pairs); i += 2 {
		v := value(t, pairs[i+1])
		t.Cleanup(v.Clear)
		env := strings.ToUpper(strings.NewReplacer("/", "_", "-", "_").Replace(pairs[i]))
		out = append(out, broker.ImportEntry{Name: secret.Name(pairs[i]), Env: env, Value: v})
	}
	return out
}

// actions are the results of an import in short.
func actions(results []broker.ImportResult) (out []string) {
	for _, r := range results {
		out = append(out, fmt.Sprintf("%s %s %d", r.Name, r.Action, r.Version))
	}
	return out
}

// What is new is created, what differs updated, what is the same left, and a
// dry run says the same and does nothing.
func TestImport(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	h.serve(b)
	c := h.client(broker.OwnerSocket)
	first := []string{"openai/key", canary.New(t, "one"), "openai/empty", "", "openai/binary", "\x00\xff\n" + canary.New(t, "two"), "openai/large", large}
	for _, dry := range []bool{true, false} {
		got := give(t, c, dry, first...)
		require.Equal(t, []string{"openai/key created 1", "openai/empty created 1", "openai/binary created 1", "openai/large created 1"}, got)
		list, err := c.List(t.Context(), "")
		require.NoError(t, err)
		require.Len(t, list, map[bool]int{true: 0, false: 4}[dry])
	}
	second := append(first[:0:0], first...)
	second[1] = canary.New(t, "other")
	for _, dry := range []bool{true, false} {
		got := give(t, c, dry, second...)
		require.Equal(t, []string{"openai/key updated 2", "openai/empty unchanged 1", "openai/binary unchanged 1", "openai/large unchanged 1"}, got)
	}
	for i := 0; i < len(second); i += 2 {
		issued := leaseNamed(t, b, second[i])
		require.Equal(t, second[i+1], reveal(t, issued.Value), second[i])
	}
	available := askAs(t, agentUID, question{h.path(broker.AgentSocket), "GET /v1/secrets", ""})[0]
	require.Contains(t, available.Body, `"env":"OPENAI_KEY"`)
	list, err := c.List(t.Context(), "openai/key")
	require.NoError(t, err)
	require.Equal(t, "OPENAI_KEY", list[0].Env)
	require.Len(t, h.recorded("set"), 5, "one record a version, none for what is as it was")
}

// One secret named twice gets its values one after the other.
func TestImportTwice(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	got, err := b.Import(t.Context(), broker.Owner(), entries(t, "openai/key", "one", "openai/key", "two", "openai/key", "two"), broker.ImportOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"openai/key created 1", "openai/key updated 2", "openai/key unchanged 2"}, actions(got))
	require.Equal(t, "two", reveal(t, leaseNamed(t, b, "openai/key").Value))
}

// Values that together fill the locked memory go in all the same.
func TestImportLarge(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	h.serve(b)
	var pairs []string
	for i := range 5 {
		pairs = append(pairs, fmt.Sprintf("openai/large-%d", i), strings.Repeat("x", 500_000)+canary.New(t, fmt.Sprint(i)))
	}
	c := h.client(broker.OwnerSocket)
	for i := 0; i < len(pairs); i += 4 {
		give(t, c, false, pairs[i:min(i+4, len(pairs))]...)
	}
	for i := 0; i < len(pairs); i += 2 {
		require.Equal(t, pairs[i+1], reveal(t, leaseNamed(t, b, pairs[i]).Value))
	}
}

// Values of the greatest length go in however many they are: none has to make do
// with what those before it leave of the locked memory.
func TestImportLargest(t *testing.T) {
	h := newHome(t, grants)
	h.start("serve")
	var body strings.Builder
	for i := range 12 {
		v := canary.New(t, fmt.Sprint(i))
		fmt.Fprintf(&body, "{\"name\":\"openai/largest-%d\",\"size\":%d}\n%s%s", i, broker.MaxValue, v, strings.Repeat("x", broker.MaxValue-len(v)))
	}
	require.Equal(t, 200, h.raw(broker.OwnerSocket, fmt.Sprintf("POST /v1/import HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", body.Len(), body.String())))
	list, err := h.client(broker.OwnerSocket).List(t.Context(), "openai/*")
	require.NoError(t, err)
	require.Len(t, list, 12)
}

// What cannot be imported is refused with its name, and nothing of its batch is
// there afterwards.
func TestImportRefusals(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	h.serve(b)
	mint(t, b, "weather", "sunny")
	for body, want := range map[string]int{
		"{\"name\":\"openai/a\",\"size\":5}\nfive!": 200,
		"": 200,
		"{\"name\":\"openai/b\",\"size\":5}\nfour":                              400,
		"{\"name\":\"openai/b\",\"size\":5":                                     400,
		"{\"name\":\"Openai B\",\"size\":1}\nx":                                 400,
		"{\"name\":\"openai/b\",\"env\":\"A=B\",\"size\":1}\nx":                 400,
		"{\"name\":\"openai/b\",\"env\":\"LD_PRELOAD\",\"size\":1}\nx":          400,
		"{\"name\":\"openai/b\",\"size\":-1}\nx":                                400,
		"{\"name\":\"openai/b\",\"size\":1048577}\nx":                           413,
		"{\"name\":\"openai/b\",\"x\":\"" + strings.Repeat("x", 2000) + "\"}\n": 400,
	} {
		require.Equal(t, want, h.raw(broker.OwnerSocket, fmt.Sprintf("POST /v1/import HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)), body)
	}
	_, err := b.Import(t.Context(), broker.Owner(), entries(t, "openai/c", "x"), broker.ImportOptions{Store: "nowhere"})
	require.ErrorContains(t, err, "nowhere")
	list, err := b.List("openai/*")
	require.NoError(t, err)
	require.Len(t, list, 1, "openai/a only")
}

// forgetful gives back something else than it was given.
type forgetful struct {
	providers.Store
	of secret.Name
}

func (s forgetful) Get(ctx context.Context, name secret.Name, version uint64, want providers.Sum) (secret.Value, error) {
	v, err := s.Store.Get(ctx, name, version, want)
	if err == nil && name == s.of {
		v.Clear()
		return secret.New([]byte("something else"))
	}
	return v, err
}

// A value that does not come back as it was given is not in the vault, and
// neither are the others of its batch.
func TestImportReadsBack(t *testing.T) {
	h := newHome(t, grants)
	b, err := h.openWith(map[string]providers.Store{"age": forgetful{h.stores()["age"], "openai/b"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	_, err = b.Import(t.Context(), broker.Owner(), entries(t, "openai/a", "one", "openai/b", "two"), broker.ImportOptions{})
	require.ErrorContains(t, err, `importing "openai/b"`)
	list, err := b.List("")
	require.NoError(t, err)
	require.Empty(t, list)
	require.Empty(t, h.recorded("set"))
	n := 0
	require.NoError(t, h.stores()["age"].List(t.Context(), func(secret.Name, uint64, providers.Sum) error { n++; return nil }))
	require.Zero(t, n, "versions nobody knows of stay in the store")
}

// Whichever value is the first that cannot be taken in, those of the batches
// before it are, and nobody ever knows of the others, though some were in the
// store by then.
func TestImportStopsInOrder(t *testing.T) {
	defer broker.ImportInBatches(2)()
	const n = 9
	var pairs []string
	for i := range n {
		pairs = append(pairs, fmt.Sprintf("openai/%c", 'a'+i), canary.New(t, fmt.Sprint(i)))
	}
	for bad := range n {
		t.Run(fmt.Sprint(bad), func(t *testing.T) {
			h := newHome(t, grants)
			name := secret.Name(pairs[2*bad])
			b, err := h.openWith(map[string]providers.Store{"age": forgetful{h.stores()["age"], name}})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, b.Close()) })
			results, err := b.Import(t.Context(), broker.Owner(), entries(t, pairs...), broker.ImportOptions{})
			require.ErrorContains(t, err, fmt.Sprintf("importing %q", name))
			done := bad / 2 * 2
			var want []string
			for i := range done {
				want = append(want, pairs[2*i]+" created 1")
			}
			require.Equal(t, want, actions(results))
			list, err := b.List("")
			require.NoError(t, err)
			require.Len(t, list, done)
			var recorded []string
			for _, r := range h.recorded("set") {
				recorded = append(recorded, string(r.Secret)+" created 1")
			}
			require.Equal(t, want, recorded, "in order")
			left := 0
			require.NoError(t, h.stores()["age"].List(t.Context(), func(secret.Name, uint64, providers.Sum) error { left++; return nil }))
			require.Equal(t, done, left, "versions nobody knows of stay in the store")
		})
	}
}

// Two imports of the same names in opposite order end, and each secret has the
// value of one of them.
func TestImportsCross(t *testing.T) {
	defer broker.ImportInBatches(1)()
	h := newHome(t, grants)
	b := h.broker()
	var pairs, turned []string
	for i := range 20 {
		pairs = append(pairs, fmt.Sprintf("openai/%d", i), canary.New(t, "one"))
		turned = append(turned, fmt.Sprintf("openai/%d", 19-i), canary.New(t, "other"))
	}
	both := [][]broker.ImportEntry{entries(t, pairs...), entries(t, turned...)}
	together(2, func(i int) {
		_, err := b.Import(context.Background(), broker.Owner(), both[i], broker.ImportOptions{})
		assert.NoError(t, err)
	})
	for i := range 20 {
		got := reveal(t, leaseNamed(t, b, pairs[2*i]).Value)
		require.Contains(t, []string{pairs[2*i+1], turned[2*(19-i)+1]}, got)
	}
}

// Without a record nothing is imported.
func TestImportNeedsRecord(t *testing.T) {
	h := newHome(t, grants)
	undo := h.spoilLog()
	b := h.broker()
	_, err := b.Import(t.Context(), broker.Owner(), entries(t, "openai/a", "one"), broker.ImportOptions{})
	require.ErrorIs(t, err, broker.ErrStoreUnavailable)
	undo()
}

// A lease that is bound ends with its connection, and not before.
func TestBoundLease(t *testing.T) {
	h := newHome(t, selfAgent())
	b := h.broker()
	h.serve(b)
	mint(t, b, "weather", "sunny")
	ask := broker.LeaseRequest{Secret: "weather", Pinned: true, Bound: true}
	alive := func() int { return len(b.Leases(broker.Owner())) }
	ends := func(n int) {
		t.Helper()
		require.Eventually(t, func() bool { return alive() == n }, patience, time.Millisecond)
	}
	first, second := h.client(broker.AgentSocket), h.client(broker.AgentSocket)
	one, err := first.Lease(t.Context(), ask)
	require.NoError(t, err)
	for range 40 { // more than a connection remembers at first, and most are over
		more, err := first.Lease(t.Context(), ask)
		require.NoError(t, err)
		require.NoError(t, first.Release(t.Context(), more.LeaseID))
	}
	_, err = second.Lease(t.Context(), broker.LeaseRequest{Secret: "weather", Pinned: true})
	require.NoError(t, err)
	_, err = second.Renew(t.Context(), one.LeaseID, true)
	require.NoError(t, err)
	require.NoError(t, first.Close())
	third := h.client(broker.AgentSocket)
	other, err := third.Lease(t.Context(), ask)
	require.NoError(t, err)
	_, err = second.Renew(t.Context(), one.LeaseID, true)
	require.NoError(t, err, "it had gone over to the second connection")
	require.Equal(t, 3, alive())
	require.NoError(t, second.Close())
	ends(2)
	require.Eventually(t, func() bool { // it has ended before it is in the log
		all := h.recorded("release")
		return all[len(all)-1].Reason == "hung_up"
	}, patience, time.Millisecond)
	_, err = h.client(broker.AgentSocket).Renew(t.Context(), other.LeaseID, false)
	require.NoError(t, err, "it is on another connection")
}

// A broker that stops does not end the leases that are bound: their holder finds
// the next broker.
func TestBoundLeaseSurvivesRestart(t *testing.T) {
	h := newHome(t, selfAgent())
	p := h.start("serve")
	set := h.client(broker.OwnerSocket)
	_, err := set.Set(t.Context(), "weather", "", value(t, "sunny"))
	require.NoError(t, err)
	c := h.client(broker.AgentSocket)
	one, err := c.Lease(t.Context(), broker.LeaseRequest{Secret: "weather", Pinned: true, Bound: true})
	require.NoError(t, err)
	p.stop()
	h.start("serve")
	c = h.client(broker.AgentSocket)
	_, err = c.Renew(t.Context(), one.LeaseID, true)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	owner := h.client(broker.OwnerSocket)
	require.Eventually(t, func() bool {
		leases, err := owner.Leases(t.Context())
		return err == nil && len(leases) == 0
	}, patience, time.Millisecond)
}

// Whoever asks again for reuse holds one lease: on the version it has, renewed,
// or on the new one.
func TestReuse(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	mint(t, b, "weather", "sunny")
	agent := b.Agent(agentUID)
	ask := broker.LeaseRequest{Secret: "weather", Pinned: true, Reuse: true, Group: "c0ffee"}
	one, err := b.Lease(t.Context(), agent, ask)
	require.NoError(t, err)
	for range 3 {
		again, err := b.Lease(t.Context(), agent, ask)
		require.NoError(t, err)
		require.Equal(t, one.ID, again.ID)
	}
	require.Equal(t, "c0ffee", h.recorded("lease")[0].Group)
	others, err := b.Lease(t.Context(), b.Agent(otherUID), ask)
	require.NoError(t, err)
	require.NotEqual(t, one.ID, others.ID, "another agent's")
	mint(t, b, "weather", "rain")
	two, err := b.Lease(t.Context(), agent, ask)
	require.NoError(t, err)
	require.NotEqual(t, one.ID, two.ID)
	require.EqualValues(t, 2, two.Version)
	require.Len(t, b.Leases(agent), 1, "the one before is over")
	require.NoError(t, b.Release(agent, two.ID.String()))
	three, err := b.Lease(t.Context(), agent, ask)
	require.NoError(t, err)
	require.NotEqual(t, two.ID, three.ID)

	// All at once, and while the last place is its own.
	mint(t, b, "weather", "snow")
	ids := make([]string, 8)
	together(len(ids), func(i int) {
		issued, err := b.Lease(t.Context(), agent, ask)
		if assert.NoError(t, err) {
			ids[i] = issued.ID.String()
		}
	})
	for _, id := range ids {
		require.Equal(t, ids[0], id)
	}
	h.configure(strings.Replace(grants, "agent = \"claw\"\n", "agent = \"claw\"\nmax_leases = 1\n", 1))
	require.NoError(t, b.Reload())
	agent = b.Agent(agentUID)
	_, err = b.Lease(t.Context(), agent, ask) // renewed: it counts under the limit now
	require.NoError(t, err)
	mint(t, b, "weather", "hail")
	_, err = b.Lease(t.Context(), agent, ask)
	require.NoError(t, err)
	require.Len(t, b.Leases(agent), 1)

	for _, wrong := range []broker.LeaseRequest{
		{Secret: "weather", Reuse: true},
		{Secret: "weather", Pinned: true, Bound: true, Reuse: true},
		{Secret: "weather", Group: "C0FFEE"},
		{Secret: "weather", Group: strings.Repeat("0", 33)},
	} {
		var e *broker.Error
		_, err := b.Lease(t.Context(), agent, wrong)
		require.True(t, errors.As(err, &e))
		require.Equal(t, broker.CodeBadRequest, e.Code)
	}
}

// TestReuseIsBounded: what an agent says of its consumers takes no more memory
// than so many consumers.
func TestReuseIsBounded(t *testing.T) {
	h := newHome(t, strings.Replace(grants, "agent = \"claw\"\n", "agent = \"claw\"\nmax_leases = 10\n", 1))
	b := h.broker()
	mint(t, b, "weather", "sunny")
	agent := b.Agent(agentUID)
	for i := range 1100 {
		issued, err := b.Lease(t.Context(), agent, broker.LeaseRequest{Secret: "weather", Pinned: true, Reuse: true, Reason: fmt.Sprint(i)})
		require.NoError(t, err)
		require.NoError(t, b.Release(agent, issued.ID.String()))
	}
	_, copied, _ := b.Vault().Holders("weather", 1)
	require.Equal(t, 1000, copied)
	other, err := b.Lease(t.Context(), b.Agent(otherUID), broker.LeaseRequest{Secret: "weather", Pinned: true, Reuse: true})
	require.NoError(t, err)
	require.NoError(t, b.Release(b.Agent(otherUID), other.ID.String()))
	_, copied, _ = b.Vault().Holders("weather", 1)
	require.Equal(t, 1001, copied, "another agent's is remembered")
}
