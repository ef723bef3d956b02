package broker_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/audit"
)

// serving is a home whose agent and owner are this process, with one secret.
func serving(t *testing.T) (*home, *broker.Broker) {
	h := newHome(t, selfAgent())
	b := h.broker()
	h.serve(b)
	mint(t, b, "weather", "sunny")
	return h, b
}

// raw writes what it is told and returns the answer's status, 0 for none.
func (h *home) raw(s broker.Socket, parts ...string) (status int) {
	conn, err := net.Dial("unix", h.path(s))
	require.NoError(h.t, err)
	defer conn.Close()
	require.NoError(h.t, conn.SetDeadline(time.Now().Add(patience)))
	for _, part := range parts {
		_, _ = io.WriteString(conn, part) // who is refused is hung up on
	}
	got, _ := io.ReadAll(io.LimitReader(conn, 64))
	_, _ = fmt.Sscanf(string(got), "HTTP/1.1 %d", &status)
	return status
}

// No request is larger than its limit, whatever it says of its length, and none
// makes the broker put memory aside for what has not come.
func TestRequestsAreBounded(t *testing.T) {
	h, b := serving(t)
	long := `{"secret":"weather","reason":"` + strings.Repeat("x", 64<<10) + `"}`
	const post, put = "POST /v1/leases HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", "PUT /v1/secret?name=big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
	for name, c := range map[string]struct {
		socket broker.Socket
		parts  []string
		want   int
	}{
		"just right":          {broker.AgentSocket, []string{post, "Content-Length: 20\r\n\r\n", `{"secret":"weather"}`}, http.StatusCreated},
		"too long":            {broker.AgentSocket, []string{post, fmt.Sprintf("Content-Length: %d\r\n\r\n", len(long)), long}, http.StatusRequestEntityTooLarge},
		"in chunks":           {broker.AgentSocket, []string{post, "Transfer-Encoding: chunked\r\n\r\n", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(long), long)}, http.StatusRequestEntityTooLarge},
		"said to be enormous": {broker.AgentSocket, []string{post, "Content-Length: 4611686018427387904\r\n\r\n", long}, http.StatusRequestEntityTooLarge},
		"header":              {broker.AgentSocket, []string{post, "X: " + strings.Repeat("x", 64<<10) + "\r\n\r\n"}, http.StatusRequestHeaderFieldsTooLarge},
		"a value":             {broker.OwnerSocket, []string{put, fmt.Sprintf("Content-Length: %d\r\n\r\n", broker.MaxValue+1), strings.Repeat("x", broker.MaxValue+1)}, http.StatusRequestEntityTooLarge},
		"a selection":         {broker.OwnerSocket, []string{"POST /v1/revoke HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", "Transfer-Encoding: chunked\r\n\r\n", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", 2<<20, strings.Repeat(" ", 2<<20))}, http.StatusRequestEntityTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, h.raw(c.socket, c.parts...))
		})
	}
	_, err := b.Versions("big")
	require.ErrorIs(t, err, broker.ErrNotFound)
}

// A request whose body does not come is given up, as one whose header does not.
func TestBodyThatDoesNotCome(t *testing.T) {
	h, _ := serving(t)
	conn, err := net.Dial("unix", h.path(broker.AgentSocket))
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "POST /v1/leases HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{")
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(8*time.Second)))
	_, err = io.Copy(io.Discard, conn)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

// What is not JSON, or only to a lenient reader, is no request.
func TestNotQuiteJSON(t *testing.T) {
	h, b := serving(t)
	for _, body := range []string{
		`{"secret":"weather","colour":}`, `{"secret":"weather","colour":,"pinned":true}`,
		"{\"secret\":\"weather\",\"reason\":\"a\nb\"}", "{\"secret\":\"weather\",\"reason\":\"a\x00\"}",
		"{\"secret\":\"weather\",\"reason\":\"\\\"\xff\"}", "{\"secret\":\"weather\",\"reason\":\"\xff\\n\"}",
	} {
		got := question{h.path(broker.AgentSocket), "POST /v1/leases", body}.ask()
		require.Equal(t, broker.CodeBadRequest, got.code(), "%q: %s", body, got.Body)
	}
	require.Empty(t, b.Leases(broker.Owner()))
}

// A caller's words are in the log in a form that cannot be taken for anything
// else.
func TestStatedReason(t *testing.T) {
	h := newHome(t, grants)
	b := h.broker()
	mint(t, b, "weather", "sunny")
	said := "the \"weekly\" report\n\x1b[2J" + strings.Repeat("x", 300)
	_, err := b.Lease(t.Context(), b.Agent(agentUID), broker.LeaseRequest{Secret: "weather", Reason: said})
	require.NoError(t, err)
	got := h.recorded(audit.EventLease)[0].Stated
	require.True(t, strings.HasPrefix(got, "the 'weekly' report<U+000A><U+001B>[2Jxxx"), got)
	require.LessOrEqual(t, len(got), 200)
}

// An error that is not meant for callers is not told to them.
func TestInternalErrorsStayInside(t *testing.T) {
	h := newHome(t, selfAgent())
	b, store := h.hook(nil)
	mint(t, b, "weather", "sunny")
	store.deleting = func() error { return fmt.Errorf("deleting: %w", io.ErrClosedPipe) }
	h.serve(b)
	got := question{h.path(broker.OwnerSocket), "DELETE /v1/secret?name=weather", ""}.ask()
	require.Equal(t, broker.CodeInternal, got.code())
	require.NotContains(t, got.Body, io.ErrClosedPipe.Error())
}

// Values pass through a broker, and through a client, without staying: as many
// as one likes, one after the other.
func TestValuesPassThrough(t *testing.T) {
	h, b := serving(t)
	owner := h.client(broker.OwnerSocket)
	for i := range 8 {
		v := value(t, large)
		_, err := owner.Set(t.Context(), "weather", "", v)
		v.Clear()
		require.NoError(t, err, i)
	}
	for i := range 8 {
		handed, err := owner.Lease(t.Context(), broker.LeaseRequest{Secret: "weather"})
		require.NoError(t, err, i)
		require.Equal(t, len(large), handed.Value.Len())
		handed.Value.Clear()
	}
	_, err := b.Revoke(broker.Owner(), broker.Selection{All: true})
	require.NoError(t, err)
}

// Health is not ok while nothing is handed out.
func TestHealth(t *testing.T) {
	h, b := serving(t)
	health := func() string {
		return question{h.path(broker.AgentSocket), "GET /v1/health", ""}.ask().Body
	}
	require.Contains(t, health(), `"ok":true`)
	_, err := b.Kill(broker.Owner())
	require.NoError(t, err)
	require.Contains(t, health(), `"ok":false`)
}
