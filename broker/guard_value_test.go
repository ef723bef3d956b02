package broker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
)

// hooked is a store that does something before it gives a value.
type hooked struct {
	providers.Store
	before   func() error // what it returns is the store's error
	deleting func() error // the same of deleting
	gave     atomic.Int64 // how many values
}

func (s *hooked) Get(ctx context.Context, name secret.Name, version uint64, want providers.Sum) (secret.Value, error) {
	if s.before != nil {
		if err := s.before(); err != nil {
			return secret.Value{}, err
		}
	}
	if err := ctx.Err(); err != nil {
		return secret.Value{}, err
	}
	v, err := s.Store.Get(ctx, name, version, want)
	if err == nil { // it is asked again when there was no room
		s.gave.Add(1)
	}
	return v, err
}

func (s *hooked) Delete(ctx context.Context, name secret.Name, version uint64) error {
	if s.deleting != nil {
		if err := s.deleting(); err != nil {
			return err
		}
	}
	return s.Store.Delete(ctx, name, version)
}

// hook opens a broker whose store does something first.
func (h *home) hook(before func() error) (*broker.Broker, *hooked) {
	store := &hooked{Store: h.stores()["age"], before: before}
	b, err := h.openWith(map[string]providers.Store{"age": store})
	require.NoError(h.t, err)
	h.t.Cleanup(func() { require.NoError(h.t, b.Close()) })
	return b, store
}

// large is a value of which the locked memory holds a few.
var large = strings.Repeat("x", 700<<10)

// largeNames are more secrets of that size than it holds.
func largeNames(t *testing.T, b *broker.Broker) (names []string) {
	for i := range 8 {
		names = append(names, fmt.Sprintf("openai/large-%d", i))
		set(t, b, names[i], large)
	}
	return names
}

func leaseNamed(t *testing.T, b *broker.Broker, name string) *broker.Issued {
	issued, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: name})
	require.NoError(t, err, name)
	return issued
}

// A value whose lease ends while it is being opened is not handed out, and the
// memory it was opened into is free again.
func TestEndedWhileOpening(t *testing.T) {
	h := newHome(t, grants)
	var b *broker.Broker
	b, store := h.hook(func() error {
		_, err := b.Revoke(broker.Owner(), broker.Selection{Secret: "weather"})
		return err
	})
	set(t, b, "weather", large)
	for range 10 {
		_, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
		require.Error(t, err)
	}
	store.before = nil
	leaseWeather(t, b)
	for _, name := range largeNames(t, b)[:3] {
		issued := leaseNamed(t, b, name)
		require.NoError(t, issued.Value.Use(func([]byte) error { return nil }))
	}
	require.Equal(t, int64(14), store.gave.Load())
}

// That a value could not be opened once is not remembered, though other leases
// on its version live.
func TestOpenedAgainAfterAFailure(t *testing.T) {
	h := newHome(t, grants)
	b, store := h.hook(nil)
	mint(t, b, "weather", "sunny")
	leaseWeather(t, b)
	for _, name := range largeNames(t, b) { // the weather leaves the memory
		leaseNamed(t, b, name)
	}
	store.before = func() error { return errors.New("the vault is elsewhere") }
	_, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
	require.ErrorIs(t, err, broker.ErrStoreUnavailable)
	store.before = nil
	require.Equal(t, canary.New(t, "sunny"), reveal(t, leaseWeather(t, b).Value))
}

// What is used stays in memory; what is not gives way.
func TestLastUsedStays(t *testing.T) {
	h := newHome(t, grants)
	b, store := h.hook(nil)
	var names []string
	for i := range 80 { // 5 MiB
		names = append(names, fmt.Sprintf("openai/key-%d", i))
		set(t, b, names[i], large[:64<<10])
	}
	for _, name := range names {
		leaseNamed(t, b, name)
		leaseNamed(t, b, names[0])
	}
	require.Equal(t, int64(len(names)), store.gave.Load())
	leaseNamed(t, b, names[1])
	require.Equal(t, int64(len(names)+1), store.gave.Load(), "this one had to go")
}

// The opening is everybody's who waits for it: it goes on when the first has
// hung up, and who hangs up while waiting is let go at once.
func TestWaitingForOneOpening(t *testing.T) {
	h := newHome(t, grants)
	first, hangUp := context.WithCancel(t.Context())
	opening, goOn := make(chan struct{}), make(chan struct{})
	b, store := h.hook(func() error { close(opening); <-goOn; return nil })
	mint(t, b, "weather", "sunny")
	ask := func(ctx context.Context) chan error {
		answer := make(chan error, 1)
		go func() {
			_, err := b.Lease(ctx, b.Agent(agentUID), broker.LeaseRequest{Secret: "weather"})
			answer <- err
		}()
		return answer
	}
	opens := ask(first)
	<-opening
	hangUp()
	waits := ask(t.Context())
	require.Eventually(t, func() bool { return len(b.Leases(broker.Owner())) == 2 }, patience, time.Millisecond)
	gone := ask(first)
	select {
	case err := <-gone:
		require.ErrorIs(t, err, broker.ErrStoreUnavailable)
	case <-time.After(patience):
		require.Fail(t, "who had hung up was kept waiting")
	}
	close(goOn)
	require.NoError(t, <-waits)
	require.NoError(t, <-opens)
	require.Equal(t, int64(1), store.gave.Load())
}
