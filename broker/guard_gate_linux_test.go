package broker_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"secretctl/broker"
	"secretctl/broker/audit"
)

// queued is how many bytes the kernel holds for a client to read.
func queued(t *testing.T, c *net.UnixConn) (n int) {
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	var failed error
	require.NoError(t, raw.Control(func(fd uintptr) { n, failed = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }))
	require.NoError(t, failed)
	return n
}

// stuck asks for the weather and reads nothing, until no more of the answer
// fits into the kernel.
func (h *home) stuck() *net.UnixConn {
	conn, err := net.Dial("unix", h.path(broker.AgentSocket))
	require.NoError(h.t, err)
	h.t.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprint(conn, "POST /v1/leases HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{\"secret\":\"weather\"}")
	require.NoError(h.t, err)
	c := conn.(*net.UnixConn)
	before := 0
	require.Eventually(h.t, func() bool {
		n := queued(h.t.(*testing.T), c)
		full := n > 0 && n == before
		before = n
		return full
	}, patience, 5*time.Millisecond)
	return c
}

// Whatever takes power away answers when no byte leaves any more: not even of
// the chunk that was on its way.
func TestNoByteAfterTheAnswer(t *testing.T) {
	for name, stop := range map[string]func(b *broker.Broker) error{
		"kill": func(b *broker.Broker) error { _, err := b.Kill(broker.Owner()); return err },
		"revoke all": func(b *broker.Broker) error {
			_, err := b.Revoke(broker.Owner(), broker.Selection{All: true})
			return err
		},
		"revoke": func(b *broker.Broker) error {
			_, err := b.Revoke(broker.Owner(), broker.Selection{Secret: "weather"})
			return err
		},
		"remove": func(b *broker.Broker) error { return b.Remove(context.Background(), broker.Owner(), "weather") },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t, selfAgent())
			b := h.broker()
			h.serve(b)
			set(t, b, "weather", strings.Repeat("sunny ", 150_000))
			c := h.stuck()
			require.NoError(t, stop(b))
			there := queued(t, c)
			require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
			got, _ := io.ReadAll(c)
			require.Len(t, got, there, "something was sent after the answer")
		})
	}
}

// An answer that is on its way when its lease ends is cut off: who reads on gets
// no more than the chunk that was leaving.
func TestCutOffHalfWay(t *testing.T) {
	const size = 900_000
	for name, s := range map[string]broker.Selection{
		"its lease":  {Agent: "claw"},
		"everything": {All: true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t, selfAgent())
			b := h.broker()
			h.serve(b)
			set(t, b, "weather", strings.Repeat("sunny ", size/6))
			c := h.stuck()
			// Another's lease keeps the value in memory.
			_, err := b.Lease(t.Context(), broker.Owner(), broker.LeaseRequest{Secret: "weather"})
			require.NoError(t, err)
			revoked := make(chan error, 1)
			go func() { _, err := b.Revoke(broker.Owner(), s); revoked <- err }()
			require.Eventually(t, func() bool { return len(b.Leases(b.Agent(uint32(os.Getuid())))) == 0 }, patience, time.Millisecond)
			require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
			got, _ := io.ReadAll(c)
			require.NoError(t, <-revoked)
			require.Less(t, len(got), size)
			require.NoError(t, b.Reload()) // what was deferred is written before what is waited for
			require.Empty(t, h.recorded(audit.EventUndelivered), "it had ended before")
		})
	}
}

// Who takes none of an answer has no lease, and holds nobody up: not those who
// take power away, nor the next.
func TestAnswerNotTaken(t *testing.T) {
	h := newHome(t, selfAgent())
	b := h.broker()
	h.serve(b)
	set(t, b, "weather", strings.Repeat("sunny ", 150_000))
	h.stuck()
	require.Eventually(t, func() bool { return len(b.Leases(broker.Owner())) == 0 }, patience, 5*time.Millisecond)
	killed := make(chan error, 1)
	go func() { _, err := b.Kill(broker.Owner()); killed <- err }()
	select {
	case err := <-killed:
		require.NoError(t, err)
	case <-time.After(patience):
		require.FailNow(t, "the answer still holds the gate")
	}
	require.NoError(t, b.Reload()) // what was deferred is written before what is waited for
	undelivered := h.recorded(audit.EventUndelivered)
	require.Len(t, undelivered, 1)
	require.Equal(t, "not_taken", undelivered[0].Reason)
	require.Equal(t, h.recorded(audit.EventLease)[0].Lease, undelivered[0].Lease)
}

// Answers that were taken whole leave nothing behind: more of them than there
// are buffers, of many chunks each, with characters on their borders.
func TestAnswersLeaveNothing(t *testing.T) {
	h := newHome(t, selfAgent())
	b := h.broker()
	h.serve(b)
	text := strings.Repeat("é\n", 16<<10)
	set(t, b, "weather", text)
	c := h.client(broker.OwnerSocket)
	for range 80 {
		handed, err := c.Lease(t.Context(), broker.LeaseRequest{Secret: "weather"})
		require.NoError(t, err)
		require.Equal(t, text, reveal(t, handed.Value))
		handed.Value.Clear()
	}
	killed := make(chan error, 1)
	go func() { _, err := b.Kill(broker.Owner()); killed <- err }()
	select {
	case err := <-killed:
		require.NoError(t, err)
	case <-time.After(patience):
		require.FailNow(t, "an answer still holds the gate")
	}
}
