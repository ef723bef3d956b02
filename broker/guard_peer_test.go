package broker_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/sock"
)

// selfAgent is a config in which this process's uid is the agent.
func selfAgent() string {
	return strings.Replace(grants, "61001", fmt.Sprint(os.Getuid()), 1)
}

// peer returns this process as the peer of a connection, and what ends it.
func peer(t *testing.T) (p *sock.Peer, end func() error) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := sock.Listen(path, sock.ListenOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	client, err := net.Dial("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	accepted, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = accepted.Close() })
	return accepted.(*sock.Conn).Peer(), accepted.Close
}

// A peer that is gone is nobody, on either socket, whatever its uid may do.
func TestGoneIsNobody(t *testing.T) {
	b := newHome(t, selfAgent()).broker()
	p, end := peer(t)
	for _, name := range []func(*sock.Peer) (*broker.Caller, error){b.AsAgent, b.AsOwner} {
		_, err := name(p)
		require.NoError(t, err)
	}
	require.NoError(t, end())
	for _, name := range []func(*sock.Peer) (*broker.Caller, error){b.AsAgent, b.AsOwner} {
		_, err := name(p)
		require.ErrorIs(t, err, broker.ErrDenied)
	}
}

// Root and the broker's own uid are owners without the config saying so, and
// they are two.
func TestOwnersByNature(t *testing.T) {
	needRoot(t)
	const brokerUID = 61030
	h := newHome(t, grants)
	b, err := broker.Open(t.Context(), broker.Options{
		Home: h.dir, Disk: h.disk, Clock: h.clock, UID: brokerUID, Version: "test",
		Stores: h.stores(), Load: h.load, Warn: h.warn,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	h.serve(b)
	for uid, want := range map[uint32]int{0: http.StatusOK, brokerUID: http.StatusOK, brokerUID + 1: http.StatusForbidden} {
		got := askAs(t, uid, question{h.path(broker.OwnerSocket), "GET /v1/status", ""})[0]
		require.Equal(t, want, got.Status, "uid %d", uid)
	}
}

// conversation is a connection that stays open between requests.
type conversation struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func converse(t *testing.T, path string) *conversation {
	conn, err := net.Dial("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &conversation{t, conn, bufio.NewReader(soon{conn})}
}

// soon reads what comes before the broker hangs up on those who say nothing.
type soon struct{ net.Conn }

func (s soon) Read(b []byte) (int, error) {
	if err := s.SetReadDeadline(time.Now().Add(4 * time.Second)); err != nil {
		return 0, err
	}
	return s.Conn.Read(b)
}

// lease asks for a lease and returns the status of the answer.
func (c *conversation) lease() int {
	const body = `{"secret":"weather"}`
	_, err := fmt.Fprintf(c.conn, "POST /v1/leases HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	require.NoError(c.t, err)
	return c.status()
}

// status reads an answer.
func (c *conversation) status() int {
	resp, err := http.ReadResponse(c.r, nil)
	require.NoError(c.t, err)
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(c.t, err)
	return resp.StatusCode
}

// Who a caller is gets decided at each request, not when the connection was
// made: the config that no longer names it, or names what it must run, counts at
// once.
func TestNamedAtEachRequest(t *testing.T) {
	needRoot(t)
	for name, later := range map[string]string{
		"no agent any more":         grants,
		"narrowed to a program":     strings.Replace(selfAgent(), "uid = 0\n", "uid = 0\nexe = [\"/bin/true\"]\n", 1),
		"another uid has the agent": strings.Replace(grants, "61001", "61005", 1),
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t, selfAgent())
			b := h.broker()
			h.serve(b)
			mint(t, b, "weather", "sunny")
			c := converse(t, h.path(broker.AgentSocket))
			require.Equal(t, http.StatusCreated, c.lease())
			h.configure(later)
			require.NoError(t, b.Reload())
			require.Equal(t, http.StatusForbidden, c.lease())
			require.Len(t, b.Leases(broker.Owner()), 1, "nothing more was handed out")
		})
	}
}

// A stranger is turned away before it has said anything.
func TestStrangersAreNotListenedTo(t *testing.T) {
	h := newHome(t, grants)
	h.serve(h.broker())
	require.Equal(t, http.StatusForbidden, converse(t, h.path(broker.AgentSocket)).status())
}

// An agent has so many connections as the config says. An owner has any number:
// it must get in to stop things.
func TestMaxConnections(t *testing.T) {
	h := newHome(t, selfAgent()+"[broker]\nmax_connections = 2\n")
	b := h.broker()
	h.serve(b)
	mint(t, b, "weather", "sunny")
	for range 2 {
		require.Equal(t, http.StatusCreated, converse(t, h.path(broker.AgentSocket)).lease())
	}
	third := converse(t, h.path(broker.AgentSocket))
	_, err := third.r.ReadByte()
	require.ErrorIs(t, err, io.EOF)
	for range 4 {
		require.Equal(t, http.StatusCreated, converse(t, h.path(broker.OwnerSocket)).lease())
	}
}
