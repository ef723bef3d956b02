package broker_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"

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

// ack is what a broker that will die has acknowledged: one of these.
type ack struct {
	Began   string // a step, which the death may leave done or not
	Version uint64 // of the secret "a"
	Lease   string
	Revoked string
	Killed  *bool
}

// actDie is the act of working on a home until a change of the disk, given by
// number, at which the process kills itself. Each ack is a line on stdout.
func actDie(args []string) error {
	disk, err := durable.OpenHome(args[0])
	if err != nil {
		return err
	}
	at, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	hook := &durable.Hook{Disk: disk, Before: func(op durable.Op) durable.Verdict {
		if op.N == at {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
		return durable.Verdict{}
	}}
	b, err := broker.Open(context.Background(), realOptions(hook))
	if err != nil {
		return err
	}
	if err := work(b, json.NewEncoder(os.Stdout)); err != nil {
		return err
	}
	return b.Close()
}

func realOptions(d durable.Disk) broker.Options {
	return broker.Options{
		Home: "/home", Disk: d, Clock: clock.System(), Stores: map[string]providers.Store{"age": age.New(d, "vault")},
		Load: func() (*config.Config, error) { return config.ParseOptions{}.Parse("secretctl.toml", nil) },
	}
}

// work does one of everything and says so.
func work(b *broker.Broker, out *json.Encoder) error {
	defer broker.OneImportWriter()()
	ctx, owner := context.Background(), broker.Owner()
	step := func(name string, do func() (ack, error)) error {
		if err := out.Encode(ack{Began: name}); err != nil {
			return err
		}
		a, err := do()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return out.Encode(a)
	}
	flag := func(on bool) *bool { return &on }
	var id string
	for _, s := range []struct {
		name string
		do   func() (ack, error)
	}{
		{"resume", func() (ack, error) { return ack{Killed: flag(false)}, b.Resume(owner) }},
		{"set", func() (ack, error) {
			v, err := secret.New([]byte(canary.Of("value")))
			if err != nil {
				return ack{}, err
			}
			version, err := b.Set(ctx, owner, "a", "", v)
			return ack{Version: version}, err
		}},
		{"import", func() (ack, error) {
			var in []broker.ImportEntry
			for _, name := range []secret.Name{"b", "a", "c/d"} {
				v, err := secret.New([]byte(canary.Of("imported")))
				if err != nil {
					return ack{}, err
				}
				defer v.Clear()
				in = append(in, broker.ImportEntry{Name: name, Value: v})
			}
			got, err := b.Import(ctx, owner, in, broker.ImportOptions{})
			if err != nil {
				return ack{}, err
			}
			return ack{Version: got[1].Version}, nil
		}},
		{"lease", func() (ack, error) {
			issued, err := b.Lease(ctx, owner, broker.LeaseRequest{Secret: "a", TTLSeconds: 3600})
			if err != nil {
				return ack{}, err
			}
			id = issued.ID.String()
			return ack{Lease: id}, nil
		}},
		{"lease", func() (ack, error) {
			issued, err := b.Lease(ctx, owner, broker.LeaseRequest{Secret: "a", TTLSeconds: 3600})
			if err != nil {
				return ack{}, err
			}
			return ack{Lease: issued.ID.String()}, nil
		}},
		{"revoke", func() (ack, error) {
			_, err := b.Revoke(owner, broker.Selection{IDs: []string{id}})
			return ack{Revoked: id}, err
		}},
		{"kill", func() (ack, error) { _, err := b.Kill(owner); return ack{Killed: flag(true)}, err }},
	} {
		if err := step(s.name, s.do); err != nil {
			return err
		}
	}
	return nil
}

// TestKill9EveryOp: a real process on a real disk kills itself at every change
// in turn, again and again on the same home: nothing acknowledged is lost, and
// it always starts again.
func TestKill9EveryOp(t *testing.T) {
	kills := 200
	if long() {
		kills = 2_000
	}
	h := newHome(t, "")
	rnd := rand.New(rand.NewPCG(1, 2))
	died, ops := 0, 80 // about as many as one life has
	for n := 0; died < kills; n++ {
		require.Less(t, n, 2*kills, "lives are shorter than that")
		at := n
		if n >= ops {
			at = rnd.IntN(ops)
		}
		said, killed := h.die(at)
		if killed {
			died++
		}
		b, err := broker.Open(t.Context(), realOptions(h.disk))
		require.NoError(t, err, "life %d, killed at change %d", n, at)
		require.NoError(t, b.Degraded())
		said.check(t, b)
		require.NoError(t, b.Close())
	}
	t.Logf("%d kills", died)
}

// life is what one process acknowledged.
type life struct {
	doing   string
	version uint64
	leases  map[string]bool
	killed  bool
}

// die runs a life that ends at a change. It reports whether it did: a life can
// be shorter.
func (h *home) die(at int) (l life, killed bool) {
	cmd := as(h.t, 0, "die", h.dir, strconv.Itoa(at))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(h.t, err)
	require.NoError(h.t, cmd.Start())
	l.leases = map[string]bool{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var a ack
		require.NoError(h.t, json.Unmarshal(lines.Bytes(), &a))
		l.take(a)
	}
	err = cmd.Wait()
	if err == nil {
		return l, false
	}
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(h.t, status.Signaled() && status.Signal() == syscall.SIGKILL, "it ended otherwise: %v", err)
	return l, true
}

func (l *life) take(a ack) {
	l.doing = a.Began
	if a.Began == "resume" {
		l.killed = true // how every life before has ended, or none has been
	}
	switch {
	case a.Version != 0:
		l.version = a.Version
	case a.Lease != "":
		l.leases[a.Lease] = true
	case a.Revoked != "":
		l.leases[a.Revoked] = false
	case a.Killed != nil:
		if l.killed = *a.Killed; l.killed {
			clear(l.leases)
		}
	}
}

// check holds a broker against it.
func (l *life) check(t *testing.T, b *broker.Broker) {
	status, err := b.Status(context.Background())
	require.NoError(t, err)
	if l.doing != "kill" && l.doing != "resume" && l.version != 0 {
		require.Equal(t, l.killed, status.Killed)
	}
	if l.version != 0 {
		versions, err := b.Versions("a")
		require.NoError(t, err)
		newest := []uint64{l.version}
		if l.doing == "import" { // it may be done, and not have said so
			newest = append(newest, l.version+1)
		}
		require.Contains(t, newest, versions[0].Version, "during %q", l.doing)
	}
	live := map[string]bool{}
	for _, lease := range b.Leases(broker.Owner()) {
		live[lease.ID.String()] = true
	}
	for id, in := range l.leases {
		switch {
		case !in:
			require.False(t, live[id], "a revoked lease is back")
		case l.doing != "revoke" && l.doing != "kill":
			require.True(t, live[id], "an acknowledged lease is gone during %q", l.doing)
		}
	}
}

// TestFaultEveryOp fails every change of a life in every way a disk has: what is
// acknowledged all the same is there when it starts again, and it does.
func TestFaultEveryOp(t *testing.T) {
	faults := map[string]durable.Verdict{
		"EIO": {Err: syscall.EIO}, "ENOSPC": {Err: syscall.ENOSPC}, "EDQUOT": {Err: syscall.EDQUOT},
		"EROFS": {Err: syscall.EROFS}, "EMFILE": {Err: syscall.EMFILE}, "EINTR": {Err: syscall.EINTR},
		"short write": {Err: syscall.ENOSPC, Short: 7},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			failed := 0
			for at := 0; ; at++ {
				ops, refused := oneFault(t, at, fault)
				if at >= ops {
					break
				}
				if refused {
					failed++
				}
			}
			require.NotZero(t, failed, "no fault was ever noticed")
		})
	}
}

// oneFault lives once with one failing change.
func oneFault(t *testing.T, at int, fault durable.Verdict) (ops int, refused bool) {
	mem := durable.NewMem()
	require.NoError(t, initHome(mem, clock.System()))
	hook := &durable.Hook{Disk: mem, Before: func(op durable.Op) durable.Verdict {
		ops = op.N + 1
		if op.N == at {
			return fault
		}
		return durable.Verdict{}
	}}
	said := life{leases: map[string]bool{}}
	b, err := broker.Open(context.Background(), realOptions(hook))
	if err == nil {
		read, write, errPipe := os.Pipe()
		require.NoError(t, errPipe)
		err = work(b, json.NewEncoder(write))
		require.NoError(t, write.Close())
		for lines := bufio.NewScanner(read); lines.Scan(); {
			var a ack
			require.NoError(t, json.Unmarshal(lines.Bytes(), &a))
			said.take(a)
		}
		require.NoError(t, read.Close())
		_ = b.Close() // the fault can be in closing
	}
	again, errAgain := broker.Open(context.Background(), realOptions(mem))
	require.NoError(t, errAgain, "change %d", at)
	require.NoError(t, again.Degraded(), "change %d", at)
	said.check(t, again)
	require.NoError(t, again.Close())
	return ops, err != nil
}
