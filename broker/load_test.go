package broker_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"secretctl/broker"
)

// actHold is the act of opening as many connections as it is told, sending the
// beginning of a request on each, and holding them until stdin ends.
func actHold(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	limit := unix.Rlimit{Cur: uint64(n) + 64, Max: uint64(n) + 64}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	held := 0
	for range n {
		conn, err := net.Dial("unix", args[0])
		for try := 0; errors.Is(err, unix.EAGAIN) && try < 1000; try++ {
			<-time.After(time.Millisecond) // the backlog is full
			conn, err = net.Dial("unix", args[0])
		}
		if err != nil {
			continue
		}
		defer conn.Close()
		if _, err := fmt.Fprint(conn, "POST /v1/leases HTTP/1.1\r\n"); err == nil {
			held++
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(held); err != nil {
		return err
	}
	_, _ = os.Stdin.Read(make([]byte, 1))
	return nil
}

// hold has another uid hold n connections until release is called.
func (h *home) hold(uid uint32, n int) (held int, release func()) {
	cmd := as(h.t, uid, "hold", h.path(broker.AgentSocket), strconv.Itoa(n))
	in, err := cmd.StdinPipe()
	require.NoError(h.t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(h.t, err)
	require.NoError(h.t, cmd.Start())
	require.NoError(h.t, json.NewDecoder(out).Decode(&held))
	return held, func() { in.Close(); _ = cmd.Wait() }
}

// answered asks n times as an honest uid and returns how long the answers took,
// sorted.
func (h *home) answered(t *testing.T, socket broker.Socket, uid uint32, n int) (took []time.Duration) {
	q := question{h.path(socket), "POST /v1/leases", `{"secret":"weather"}`}
	questions := slices.Repeat([]question{q}, n)
	for _, r := range askAs(t, uid, questions...) {
		require.Equal(t, http.StatusCreated, r.Status, "%s%s", r.Body, r.Err)
		took = append(took, r.Took)
	}
	slices.Sort(took)
	return took
}

// weatherProcess is a broker in a process of its own with one secret.
func weatherProcess(t *testing.T, config string, args ...string) (*home, *process) {
	needRoot(t)
	h := newHome(t, config)
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "sunny")
	require.NoError(t, b.Close())
	return h, h.start("serve", args...)
}

// TestSlowloris: a thousand clients that send a byte a second are all cut by the
// time a whole request must have come.
func TestSlowloris(t *testing.T) {
	const clients = 1000
	h := newHome(t, strings.Replace(grants, "61001", fmt.Sprint(os.Getuid()), 1)+"[broker]\nmax_connections = 2000\n")
	h.serve(h.broker())
	var conns []net.Conn
	lasted := make(chan time.Duration, clients)
	for range clients {
		began := time.Now()
		conn, err := net.Dial("unix", h.path(broker.AgentSocket))
		require.NoError(t, err)
		defer conn.Close()
		conns = append(conns, conn)
		go func() {
			_, _ = io.Copy(io.Discard, conn)
			lasted <- time.Since(began)
		}()
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	const request = "POST /v1/leases HTTP/1.1\r\nHost: x\r\n"
	for cut, i := 0, 0; cut < clients; {
		select {
		case took := <-lasted:
			require.Less(t, took, 8*time.Second)
			cut++
		case <-tick.C:
			require.Less(t, i, len(request), "%d clients are still there", clients-cut)
			for _, conn := range conns {
				_, _ = conn.Write([]byte(request[i : i+1])) // who was cut is told so
			}
			i++
		}
	}
}
