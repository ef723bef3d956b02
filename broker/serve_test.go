package broker_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/clock"
	"secretctl/broker/config"
	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/age"
)

// actServe is the act of being a broker on a home until stdin ends.
func actServe(args []string) error {
	disk, err := durable.OpenHome(args[0])
	if err != nil {
		return err
	}
	if len(args) > 1 { // a CPU profile of all of it
		f, err := os.Create(args[1])
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer f.Close()
		defer pprof.StopCPUProfile()
	}
	return serveDisk(args[0], disk)
}

// serveDisk says "ready" on stdout once both sockets answer.
func serveDisk(dir string, disk durable.Disk) error {
	if err := secret.Harden(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b, err := broker.Open(ctx, broker.Options{
		Home: dir, Disk: disk, Clock: clock.System(), UID: uint32(os.Getuid()), Version: "test",
		Stores: map[string]providers.Store{"age": age.New(disk, "vault")},
		Load: func() (*config.Config, error) {
			data, err := os.ReadFile(filepath.Join(dir, broker.ConfigFile))
			if err != nil {
				return nil, err
			}
			return config.ParseOptions{}.Parse(broker.ConfigFile, data)
		},
		Warn: func(s string) { fmt.Fprintln(os.Stderr, s) },
	})
	if err != nil {
		return err
	}
	var done sync.WaitGroup
	for _, s := range []broker.Socket{broker.AgentSocket, broker.OwnerSocket} {
		l, err := b.Listen(s, filepath.Join(dir, "run", string(s)+".sock"))
		if err != nil {
			return err
		}
		done.Go(func() {
			if err := b.Serve(ctx, s, l); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			_ = l.Close()
		})
	}
	done.Go(func() { _ = b.Run(ctx) })
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	cancel()
	done.Wait()
	return b.Close()
}

// process is a broker in a process of its own.
type process struct {
	*exec.Cmd
	stop func() error // ends it cleanly and waits
}

// start starts the test binary as a broker on the home, whose config it reads
// from the file in it.
func (h *home) start(act string, args ...string) *process {
	require.NoError(h.t, os.WriteFile(filepath.Join(h.dir, broker.ConfigFile), []byte(h.config), 0o600))
	path, err := stage()
	require.NoError(h.t, err)
	cmd := exec.Command(path, append([]string{h.dir}, args...)...)
	cmd.Env = []string{actVariable + "=" + act, "GORACE=atexit_sleep_ms=10", canary.Environ()}
	cmd.Dir, cmd.Stderr = "/", os.Stderr
	cmd.SysProcAttr = diesWithTest()
	in, err := cmd.StdinPipe()
	require.NoError(h.t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(h.t, err)
	require.NoError(h.t, cmd.Start())
	p := &process{cmd, sync.OnceValue(func() error { in.Close(); return cmd.Wait() })}
	h.t.Cleanup(func() { _ = p.stop() })
	watchdog := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(h.t, err)
	require.Equal(h.t, "ready\n", line)
	return p
}

func TestProcess(t *testing.T) {
	h := newHome(t, grants)
	b, err := h.open()
	require.NoError(t, err)
	mint(t, b, "weather", "sunny")
	require.NoError(t, b.Close())
	p := h.start("serve")
	handed, err := h.client(broker.OwnerSocket).Lease(t.Context(), broker.LeaseRequest{Secret: "weather"})
	require.NoError(t, err)
	require.Equal(t, canary.New(t, "sunny"), reveal(t, handed.Value))
	handed.Value.Clear()
	require.NoError(t, p.stop())
}

// actPrepare is the act of making a home whose agent is this process's uid,
// with one secret that it may have.
func actPrepare(args []string) error {
	disk, err := durable.OpenHome(args[0])
	if err != nil {
		return err
	}
	if err := broker.Init(disk, clock.System(), func() error {
		_, err := age.Init(disk, time.Now(), age.Wanted{})
		return err
	}); err != nil {
		return err
	}
	conf := fmt.Sprintf("[agent.claw]\nuid = %d\n[[grant]]\nagent = \"claw\"\nsecrets = [\"weather\", \"w/*\"]\nttl = \"15m\"\n", os.Getuid())
	if err := os.WriteFile(filepath.Join(args[0], broker.ConfigFile), []byte(conf), 0o600); err != nil {
		return err
	}
	b, err := broker.Open(context.Background(), broker.Options{
		Home: args[0], Disk: disk, Clock: clock.System(), UID: uint32(os.Getuid()), Version: "test",
		Stores: map[string]providers.Store{"age": age.New(disk, "vault")},
		Load:   func() (*config.Config, error) { return config.ParseOptions{}.Parse(broker.ConfigFile, []byte(conf)) },
	})
	if err != nil {
		return err
	}
	v, err := secret.New([]byte(canary.Of("weather")))
	if err != nil {
		return err
	}
	if _, err := b.Set(context.Background(), broker.Owner(), "weather", "", v); err != nil {
		return err
	}
	return b.Close()
}
