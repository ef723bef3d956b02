package main

import (
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret/canary"
)

// BenchmarkCold: a command from the start of its process to its end, beside the
// least program that asks one request over a socket.
func BenchmarkCold(b *testing.B) {
	h := newTestHome(b)
	h.run(canary.New(b, "weather")+"\n", "set", "weather")
	bin := b.TempDir()
	for name, pkg := range map[string]string{"secretctl": ".", "onereq": "../../testdata/limits/onereq"} {
		out, err := exec.Command("go", "build", "-o", filepath.Join(bin, name), pkg).CombinedOutput()
		require.NoError(b, err, "%s", out)
	}
	socket := filepath.Join(h.dir, "limit.sock")
	l, err := net.Listen("unix", socket)
	require.NoError(b, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 200))
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() { server.Close(); <-served }()

	commands := [][]string{{"onereq", socket}, {"secretctl", "get", "weather"}, {"secretctl", "status"}, {"secretctl", "version"}}
	took := make([][]time.Duration, len(commands))
	for b.Loop() {
		for range 100 { // in turns: what else the machine does meets all of them
			for i, args := range commands {
				cmd := exec.Command(filepath.Join(bin, args[0]), args[1:]...)
				cmd.Env = h.env
				began := time.Now()
				require.NoError(b, cmd.Run())
				took[i] = append(took[i], time.Since(began))
			}
		}
	}
	limit := middle(took[0])
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(limit*1000, "onereq-ms")
	for i, args := range commands[1:] {
		b.ReportMetric(middle(took[i+1])*1000, args[1]+"-ms")
		b.ReportMetric(middle(took[i+1])/limit, args[1]+"-ratio")
	}
}

// middle returns the median in seconds.
func middle(d []time.Duration) float64 {
	slices.Sort(d)
	return d[len(d)/2].Seconds()
}
