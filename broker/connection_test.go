package broker_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
)

// say writes text to the broker.
func (c *conversation) say(text string) {
	_, err := io.WriteString(c.conn, text)
	require.NoError(c.t, err)
}

// hear reads an answer to a request of this method.
func (c *conversation) hear(method string) (*http.Response, string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	require.NoError(c.t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	return resp, string(body)
}

// ends says that the broker hangs up and has said all.
func (c *conversation) ends() {
	c.t.Helper()
	rest, err := io.ReadAll(c.r)
	require.NoError(c.t, err)
	require.Empty(c.t, string(rest))
}

const health = "GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n"

// Requests that come together, or in any pieces, are answered one by one, in
// their order.
func TestRequestsOfOneConnection(t *testing.T) {
	h, _ := serving(t)
	three := health + "POST /v1/leases HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n{\"secret\":\r\nA\r\n\"weather\"}\r\n0\r\n\r\n" + health
	for _, piece := range []int{len(three), 1, 7, 100} {
		c := converse(t, h.path(broker.AgentSocket))
		for rest := three; rest != ""; {
			n := min(piece, len(rest))
			c.say(rest[:n])
			rest = rest[n:]
		}
		for _, want := range []int{http.StatusOK, http.StatusCreated, http.StatusOK} {
			require.Equal(t, want, c.status(), "in pieces of %d", piece)
		}
	}
}

// What nobody reads of a request is not taken for the next one. When it is
// long, the connection ends, and the answer arrives.
func TestUnreadBody(t *testing.T) {
	h, _ := serving(t)
	with := func(body string) string {
		return fmt.Sprintf("GET /v1/health HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	c := converse(t, h.path(broker.AgentSocket))
	c.say(with(health) + health)
	for range 2 {
		require.Equal(t, http.StatusOK, c.status())
	}
	go func() { _, _ = io.WriteString(c.conn, with(strings.Repeat("x", 600<<10))) }()
	resp, _ := c.hear("GET")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.True(t, resp.Close)
	c.ends()
}

// An old client, and one that asks for it, gets one answer and an end.
func TestConnectionEnds(t *testing.T) {
	h, _ := serving(t)
	for _, request := range []string{
		"GET /v1/health HTTP/1.0\r\n\r\n",
		"GET /v1/health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
		"GET /v1/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
	} {
		c := converse(t, h.path(broker.AgentSocket))
		c.say(request + health)
		resp, body := c.hear("GET")
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.True(t, resp.Close, request)
		require.Contains(t, body, `"ok":true`)
		c.ends()
	}
}

// A long answer has no length beforehand: an old client reads to the end, a new
// one reads chunks and may go on.
func TestLongAnswer(t *testing.T) {
	h, b := serving(t)
	for range 200 {
		_, err := b.Lease(t.Context(), b.Agent(uint32(os.Getuid())), broker.LeaseRequest{Secret: "weather"})
		require.NoError(t, err)
	}
	var bodies []string
	for _, version := range []string{"1.0", "1.1"} {
		c := converse(t, h.path(broker.OwnerSocket))
		c.say("GET /v1/audit?from=1 HTTP/" + version + "\r\nHost: x\r\n\r\n")
		resp, body := c.hear("GET")
		require.EqualValues(t, -1, resp.ContentLength)
		require.Greater(t, strings.Count(body, "\n"), 200)
		bodies = append(bodies, body)
		if version == "1.1" {
			c.say(health)
			require.Equal(t, http.StatusOK, c.status())
			continue
		}
		c.ends()
	}
	require.True(t, strings.HasPrefix(bodies[1], bodies[0]), "both are the log from its beginning")
}

// HEAD says what GET would, without the body.
func TestHead(t *testing.T) {
	h, _ := serving(t)
	c := converse(t, h.path(broker.AgentSocket))
	c.say("HEAD /v1/health HTTP/1.1\r\nHost: x\r\n\r\n" + health)
	resp, body := c.hear("HEAD")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Empty(t, body)
	require.Equal(t, http.StatusOK, c.status())
}

// A client that waits to be asked for its body is asked when it is wanted, and
// when it is not the answer comes instead.
func TestExpect(t *testing.T) {
	h, _ := serving(t)
	c := converse(t, h.path(broker.AgentSocket))
	c.say("POST /v1/leases HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 20\r\n\r\n")
	line, err := c.r.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 100 Continue\r\n", line)
	_, err = c.r.ReadString('\n')
	require.NoError(t, err)
	c.say(`{"secret":"weather"}`)
	require.Equal(t, http.StatusCreated, c.status())
	c.say("GET /v1/health HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 20\r\n\r\n")
	resp, _ := c.hear("GET")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.True(t, resp.Close, "the body may come or not")
	c.ends()

	c = converse(t, h.path(broker.AgentSocket))
	c.say("GET /v1/health HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\n\r\n")
	require.Equal(t, http.StatusBadRequest, c.status())
}

// What is not HTTP/1.1 is told so, and no further word of it is read.
func TestNotHTTP(t *testing.T) {
	h, _ := serving(t)
	for _, words := range []string{
		"hello\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"GET /v1/health HTTP/1.1\r\nHost : x\r\n\r\n",
		"GET /v1/health HTTP/1.1\r\n folded\r\n\r\n",
		"POST /v1/leases HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
		"POST /v1/leases HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: nonsense\r\n\r\n{}",
	} {
		c := converse(t, h.path(broker.AgentSocket))
		c.say(words + health)
		resp, body := c.hear("GET")
		require.Equal(t, http.StatusBadRequest, resp.StatusCode, words)
		require.Contains(t, body, `"bad_request"`)
		c.ends()
	}
}

const poll = "GET /v1/changes?since=%s HTTP/1.1\r\nHost: x\r\n\r\n"

// cursor asks for the present one.
func (c *conversation) cursor() string {
	c.say(fmt.Sprintf(poll, ""))
	_, body := c.hear("GET")
	_, rest, _ := strings.Cut(body, `"cursor":"`)
	cursor, _, ok := strings.Cut(rest, `"`)
	require.True(c.t, ok, body)
	return cursor
}

// Who hangs up while it waits gives its place back at once.
func TestHangUpWhileWaiting(t *testing.T) {
	h := newHome(t, selfAgent()+"[broker]\nmax_connections = 1\n")
	b := h.broker()
	h.serve(b)
	for range 3 {
		var c *conversation
		require.Eventually(t, func() bool {
			c = converse(t, h.path(broker.AgentSocket))
			_, _ = io.WriteString(c.conn, health)
			_, err := http.ReadResponse(c.r, nil)
			return err == nil
		}, 10*time.Second, time.Millisecond, "the place of the one before is free")
		c = &conversation{t, c.conn, bufio.NewReader(soon{c.conn})}
		c.say(fmt.Sprintf(poll, c.cursor()))
		require.NoError(t, c.conn.Close())
	}
}

// Waiting takes nothing of what comes next: a request sent meanwhile is answered
// after.
func TestRequestWhileWaiting(t *testing.T) {
	h, b := serving(t)
	c := converse(t, h.path(broker.AgentSocket))
	for range 3 {
		c.say(fmt.Sprintf(poll, c.cursor()))
		c.say(health[:9])
		mint(t, b, "weather", "rain")
		_, body := c.hear("GET")
		require.Contains(t, body, "weather")
		c.say(health[9:])
		require.Equal(t, http.StatusOK, c.status())
	}
	c.say("nonsense\r\n\r\n")
	require.Equal(t, http.StatusBadRequest, c.status(), "and is told what is wrong with it")
}

// When the broker stops, who waits is answered, and who says nothing, or is in
// the middle of a request, is hung up on.
func TestStopEndsConnections(t *testing.T) {
	h := newHome(t, selfAgent())
	b := h.broker()
	ctx, stop := context.WithCancel(t.Context())
	l, err := b.Listen(broker.AgentSocket, h.path(broker.AgentSocket))
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- b.Serve(ctx, broker.AgentSocket, l) }()
	silent, said, half, waiting := converse(t, h.path(broker.AgentSocket)), converse(t, h.path(broker.AgentSocket)),
		converse(t, h.path(broker.AgentSocket)), converse(t, h.path(broker.AgentSocket))
	said.say(health)
	require.Equal(t, http.StatusOK, said.status())
	half.say(health[:10])
	waiting.say(fmt.Sprintf(poll, waiting.cursor()))
	require.Eventually(t, b.Awaited, patience, time.Millisecond)
	began := time.Now()
	stop()
	require.NoError(t, <-served)
	require.Less(t, time.Since(began), 4*time.Second)
	silent.ends()
	said.ends()
	if _, err := io.ReadAll(half.r); err != nil {
		require.ErrorIs(t, err, syscall.ECONNRESET, "its words were not read any more")
	}
	resp, _ := waiting.hear("GET")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	waiting.ends()
}

// A panic ends the connection it is on; the broker says so and serves on.
func TestPanic(t *testing.T) {
	h := newHome(t, selfAgent())
	b, store := h.hook(nil)
	var panics atomic.Bool
	store.deleting = func() error {
		if panics.Load() {
			panic("out of cheese")
		}
		return nil
	}
	h.serve(b)
	mint(t, b, "weather", "sunny")
	panics.Store(true)
	c := converse(t, h.path(broker.OwnerSocket))
	c.say("PUT /v1/secret?name=weather HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nrain")
	c.ends()
	require.Contains(t, h.warnings(), "out of cheese")
	panics.Store(false)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() { mint(t, b, "weather", "rain") })
	}
	all.Wait()
	require.Equal(t, http.StatusCreated, converse(t, h.path(broker.AgentSocket)).lease())
}
