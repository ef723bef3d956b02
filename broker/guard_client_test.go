package broker_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/sock"
)

// impostor answers one request with this body, as a broker would not.
func (h *home) impostor(body string) *broker.Client {
	l, err := net.Listen("unix", h.path("impostor"))
	require.NoError(h.t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = fmt.Fprintf(c, "HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	}()
	h.t.Cleanup(func() { _ = l.Close(); <-done })
	c, err := broker.Dial(h.t.Context(), h.path("impostor"), sock.DialOptions{AllowSticky: true})
	require.NoError(h.t, err)
	h.t.Cleanup(func() { _ = c.Close() })
	return c
}

// An answer is read as strictly as a request is.
func TestAnswersAreReadStrictly(t *testing.T) {
	for body, ok := range map[string]bool{
		`{"secret":"a","version":1,"value":"x"}`:                   true,
		`{"secret":"a","version":1,"value":"x","colour":}`:         false,
		`{"secret":"a","version":1,"value":"x","colour":"y"}`:      false,
		`{"secret":"a","secret":"b","value":"x"}`:                  false,
		`{"secret":"a","value":"x"}{}`:                             false,
		`{"secret":"a","value":"x`:                                 false,
		`{"secret":"a","value":"x\`:                                false,
		`{"secret":"a","value_base64":"*"}`:                        false,
		`{"secret":"a","version":1,"value":"x","issued_at":"now"}`: false,
	} {
		handed, err := newHome(t, grants).impostor(body).Lease(t.Context(), broker.LeaseRequest{Secret: "a"})
		require.Equal(t, ok, err == nil, "%s: %v", body, err)
		if ok {
			require.Equal(t, "x", reveal(t, handed.Value))
			handed.Value.Clear()
		}
	}
}

// Whoever waits for changes stops when told to, and when the broker stops.
func TestWaitingEnds(t *testing.T) {
	h := newHome(t, selfAgent())
	b := h.broker()
	l, err := b.Listen(broker.AgentSocket, h.path(broker.AgentSocket))
	require.NoError(t, err)
	serving, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- b.Serve(serving, broker.AgentSocket, l) }()
	t.Cleanup(func() { stop(); _ = l.Close() })

	wait := func(ctx context.Context) chan error {
		c := h.client(broker.AgentSocket)
		present, err := c.Changes(ctx, "")
		require.NoError(t, err)
		ended := make(chan error, 1)
		go func() { _, err := c.Changes(ctx, present.Cursor); ended <- err }()
		return ended
	}
	ends := func(ended chan error) (err error) {
		t.Helper()
		select {
		case err = <-ended:
		case <-time.After(10 * time.Second): // they would wait for 25
			require.FailNow(t, "it goes on waiting")
		}
		return err
	}
	patient := wait(t.Context())
	require.Eventually(t, b.Awaited, patience, time.Millisecond)
	ctx, giveUp := context.WithCancel(t.Context())
	impatient := wait(ctx)
	giveUp()
	require.ErrorIs(t, ends(impatient), context.Canceled)
	stop()
	require.NoError(t, ends(patient), "it is answered and not cut off")
	require.NoError(t, ends(served))
}
