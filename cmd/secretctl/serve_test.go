package main

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSecondSignalEndsAtOnce: a clean stop waits for a request that does not
// end; the second signal does not.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	h := newTestHome(t)
	path := filepath.Join(h.dir, "home", "run", "owner.sock")
	conn, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("PUT /v1/secret?name=key HTTP/1.1\r\nHost: secretctl\r\nContent-Length: 100\r\n\r\nbegun"))
	require.NoError(t, err)
	h.run("", "status") // so that the request before was accepted

	broker := h.broker.cmd.Process
	require.NoError(t, broker.Signal(syscall.SIGTERM))
	require.True(t, poll(func() bool { _, err := os.Stat(path); return err != nil }), "it does not stop at all")
	require.True(t, poll(func() bool { return broker.Signal(syscall.SIGTERM) != nil }))
	err = <-h.broker.ended
	status := h.broker.cmd.ProcessState.Sys().(syscall.WaitStatus)
	h.broker.cmd = nil
	require.True(t, status.Signaled(), "it ended by itself: %v", err)
}
