package broker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"secretctl/broker/durable"
)

// actLimit is the act of being the least that a server of secrets can be: what
// a broker is measured against. args are a directory and a kind: "peer" answers
// over net/http, "each" first makes a line of 300 bytes durable, "group" makes
// the lines of all who wait durable together.
func actLimit(args []string) error {
	dir, kind := args[0], args[1]
	disk, err := durable.OpenHome(dir)
	if err != nil {
		return err
	}
	f, err := disk.OpenFile(kind+".log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	var record func() error
	switch kind {
	case "peer":
		record = func() error { return nil }
	case "each":
		var mu sync.Mutex
		record = func() error {
			mu.Lock()
			defer mu.Unlock()
			return appendDurably(f, limitLine)
		}
	case "group":
		g := &groupLimit{file: f, batch: newBatch()}
		record = g.append
	default:
		return fmt.Errorf("no limit %q", kind)
	}
	l, err := net.Listen("unix", filepath.Join(dir, kind+".sock"))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/secret/{name}", func(w http.ResponseWriter, r *http.Request) {
		if err := record(); err != nil {
			http.Error(w, "log", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(limitBody)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	err = server.Shutdown(context.Background())
	if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
		return serveErr
	}
	return err
}

// limitBody is as long as a lease's answer.
var limitBody = []byte(`{"lease_id":"0192f6f07c3f7b1a9d8e1f2e3d4c5b6a","secret":"weather","value":"ghp_0123456789abcdefghijklmnopqrstuvwxyzAB","expires_at":"2026-08-22T12:34:56.789012345Z","issued_at":"2026-08-22T12:19:56.789012345Z"}` + "\n")

var limitLine = append(make([]byte, 299), '\n')

func appendDurably(f durable.File, lines []byte) error {
	if _, err := f.Write(lines); err != nil {
		return err
	}
	return f.Sync()
}

// batch is lines that become durable together.
type batch struct {
	lines []byte
	done  chan struct{}
	err   error
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

// groupLimit is a log whose first caller in a batch writes it for the others.
type groupLimit struct {
	file    durable.File
	writing sync.Mutex // held by who writes a batch

	mu    sync.Mutex
	batch *batch // what the next write takes
}

func (g *groupLimit) append() error {
	g.mu.Lock()
	mine := g.batch
	leads := len(mine.lines) == 0
	mine.lines = append(mine.lines, limitLine...)
	g.mu.Unlock()
	if !leads {
		<-mine.done
		return mine.err
	}
	g.writing.Lock()
	g.mu.Lock()
	g.batch = newBatch()
	g.mu.Unlock()
	mine.err = appendDurably(g.file, mine.lines)
	g.writing.Unlock()
	close(mine.done)
	return mine.err
}
