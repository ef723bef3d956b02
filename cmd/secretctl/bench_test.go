package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
	"secretctl/broker/secret/canary"
)

// BenchmarkCold: a command from the start of its process to its end, beside the
// least program that asks one request over a socket.
func BenchmarkCold(b *testing.B) {
	h := newTestHome(b)
	h.run(canary.New(b, "weather")+"\n", "set", "weather")
	bin := b.TempDir()
	for name, pkg := range map[string]string{"secretctl": ".", "onereq": "../../testdata/limits/onereq"} {
		out, err := exec.Command("go", "build", "-o", filepath.Join(bin, "built"), pkg).CombinedOutput()
		require.NoError(b, err, "%s", out)
		// As when it is installed: what the linker wrote is in the kernel's cache in
		// small pieces, each of which a process pays for that maps it.
		program, err := os.ReadFile(filepath.Join(bin, "built"))
		require.NoError(b, err)
		require.NoError(b, os.WriteFile(filepath.Join(bin, name), program, 0o755))
	}
	log, err := os.Create(filepath.Join(h.dir, "limit.log"))
	require.NoError(b, err)
	defer log.Close()
	plain := limitServer(b, h.dir, "limit", func() error { return nil })
	// A get has its record on the disk before the value leaves.
	recording := limitServer(b, h.dir, "recording", func() error {
		_, err := log.Write(make([]byte, 500))
		return errors.Join(err, log.Sync())
	})
	commands := [][]string{{"onereq", plain}, {"onereq", recording}, {"secretctl", "get", "weather"}, {"secretctl", "status"}, {"secretctl", "version"}}
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
	b.ReportMetric(middle(took[1])*1000, "recorded-ms")
	b.ReportMetric(middle(took[2])/middle(took[1]), "get-to-recorded-ratio")
	for i, args := range commands[2:] {
		b.ReportMetric(middle(took[i+2])*1000, args[1]+"-ms")
		b.ReportMetric(middle(took[i+2])/limit, args[1]+"-ratio")
	}
}

// limitServer is the least server there can be, at the socket it returns: it does
// something and answers with 200 bytes.
func limitServer(b *testing.B, dir, name string, do func() error) (socket string) {
	socket = filepath.Join(dir, name+".sock")
	l, err := net.Listen("unix", socket)
	require.NoError(b, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := do(); err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(make([]byte, 200))
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	b.Cleanup(func() { server.Close(); <-served })
	return socket
}

// middle returns the median in seconds.
func middle(d []time.Duration) float64 {
	slices.Sort(d)
	return d[len(d)/2].Seconds()
}

// BenchmarkRotateAll: 1,000 secrets rotated at once, from the command's start to
// the last one published and announced, beside the same writes to the disk with
// nothing else: for each secret a file in the vault, a record in the log, and
// what the journal and the ledger write of a rotation that is kept whole.
func BenchmarkRotateAll(b *testing.B) {
	const n = 1000
	var config strings.Builder
	for i := range n {
		fmt.Fprintf(&config, "[secret.\"m/k-%d\"]\nrotate = { provider = \"generate\", schedule = \"\" }\n", i)
	}
	for b.Loop() {
		h := newTestHome(b)
		require.NoError(b, h.broker.stop(syscall.SIGTERM))
		require.NoError(b, os.WriteFile(filepath.Join(h.dir, "home", "secretctl.toml"), []byte(config.String()), 0o600))
		require.NoError(b, h.broker.start(filepath.Join(h.dir, "serve.log"), h.env))
		for i := range n / 100 { // what is not there is not rotated
			var names []string
			for j := range 100 {
				names = append(names, fmt.Sprintf("m/k-%d", 100*i+j))
			}
			h.run("", append([]string{"rotate"}, names...)...)
		}
		began := time.Now()
		h.run("", "rotate", "--all")
		took := time.Since(began).Seconds()
		require.NoError(b, h.broker.stop(syscall.SIGTERM))
		limit := rotationWrites(b, n).Seconds()
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(took, "s")
		b.ReportMetric(limit, "limit-s")
		b.ReportMetric(took/limit, "ratio")
	}
}

// rotationWrites is how long the writes of n rotations take, made by as many at
// a time as the broker makes.
func rotationWrites(b *testing.B, n int) time.Duration {
	disk, err := durable.OpenHome(canary.Dir(b))
	require.NoError(b, err)
	db, err := disk.OpenDB("journal")
	require.NoError(b, err)
	defer db.Close()
	log, err := disk.OpenFile("log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(b, err)
	defer log.Close()
	entry, record := make([]byte, 900), make([]byte, 400)
	next := make(chan int)
	began := time.Now()
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for i := range next {
				name := fmt.Sprintf("k-%d", i)
				// begun, asked for, to be published; the ledger's two; published; to be
				// forgotten, forgotten in the ledger, ended.
				for range 9 {
					err := db.Update(func(tx durable.Tx) error { return tx.Put("journal", []byte(name), entry) })
					require.NoError(b, err)
				}
				require.NoError(b, durable.WriteFile(disk, name, record, 0o600))
				_, err := log.Write(record)
				require.NoError(b, errors.Join(err, log.Sync()))
				require.NoError(b, durable.Remove(disk, name))
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	writers.Wait()
	return time.Since(began)
}
