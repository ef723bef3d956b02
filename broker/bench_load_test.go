package broker_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// target is something that answers requests over a socket.
type target struct {
	path    string // of its socket
	request string // the bytes of one
	rates   []float64
	times   []time.Duration // every answer's
}

func newTarget(path, method, url, body string) *target {
	return &target{path: path, request: fmt.Sprintf(
		"%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", method, url, len(body), body)}
}

// load keeps n requests in flight, each over a connection of its own, for d,
// and adds what it measured.
func (g *target) load(t testing.TB, n int, d time.Duration) {
	times := make([][]time.Duration, n)
	errs := make([]error, n)
	var all sync.WaitGroup
	began := time.Now()
	for i := range n {
		all.Go(func() { times[i], errs[i] = g.ask(began.Add(d)) })
	}
	all.Wait()
	took := time.Since(began)
	answers := 0
	for i := range n {
		require.NoError(t, errs[i])
		answers += len(times[i])
		g.times = append(g.times, times[i]...)
	}
	g.rates = append(g.rates, float64(answers)/took.Seconds())
}

// ask asks one request after the other.
func (g *target) ask(until time.Time) (times []time.Duration, err error) {
	conn, err := net.Dial("unix", g.path)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	for began := time.Now(); began.Before(until); {
		if _, err := io.WriteString(conn, g.request); err != nil {
			return nil, err
		}
		if err := readAnswer(r); err != nil {
			return nil, err
		}
		now := time.Now()
		times = append(times, now.Sub(began))
		began = now
	}
	return times, nil
}

// readAnswer reads an answer as a lean client would: net/http's own costs more
// than what is measured.
func readAnswer(r *bufio.Reader) error {
	length := -1
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 20")) {
			return fmt.Errorf("answered %q", line)
		}
		if n, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(n))); err != nil {
				return err
			}
		}
		if len(line) == 2 {
			break
		}
	}
	if length < 1 {
		return fmt.Errorf("an answer of %d bytes", length)
	}
	_, err := r.Discard(length)
	return err
}

// rounds is how often each target has its turn.
const rounds = 7

// interleave lets the targets take turns, so that whatever else the machine
// does meets all of them.
func interleave(t testing.TB, clients int, targets ...*target) {
	for i := range rounds {
		for j := range targets {
			targets[(i+j)%len(targets)].load(t, clients, 300*time.Millisecond)
		}
	}
}

func (g *target) rate() float64 { return median(g.rates) }

func (g *target) percentile(p int) float64 {
	slices.Sort(g.times)
	return float64(g.times[len(g.times)*p/100].Microseconds())
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
