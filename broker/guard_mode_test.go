package broker_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
)

// modeAs returns the mode of a broker with a uid and a binary of its own.
func (h *home) modeAs(uid uint32, exe string) broker.Status {
	b, err := broker.Open(h.t.Context(), broker.Options{
		Home: h.dir, Disk: h.disk, Clock: h.clock, UID: uid, Exe: exe, Version: "test",
		Stores: h.stores(), Load: h.load, Warn: h.warn,
	})
	require.NoError(h.t, err)
	status, err := b.Status(context.Background())
	require.NoError(h.t, err)
	require.NoError(h.t, b.Close())
	return status
}

// An agent that can write any of what the broker runs or reads is not held back,
// by its uid or by a group of its.
func TestModeNamesEveryWayIn(t *testing.T) {
	needRoot(t)
	const daemon = 1 // an account and a group of it on every Linux and macOS
	conf := "[agent.daemon]\nuid = 1\n"
	exe := programs(t, "secretctl")[0]
	for _, name := range []string{"secretctl.toml", "identity.txt", "vault", exe} {
		for how, open := range map[string]func(path string) error{
			"its own":     func(path string) error { return os.Chown(path, daemon, 0) },
			"its group's": func(path string) error { return writableBy(path, daemon) },
		} {
			t.Run(filepath.Base(name)+", "+how, func(t *testing.T) {
				h := newHome(t, conf)
				path := name
				if !filepath.IsAbs(path) {
					path = filepath.Join(h.dir, name)
				}
				require.Equal(t, "separate", h.modeAs(0, exe).Mode)
				require.NoError(t, open(path))
				status := h.modeAs(0, exe)
				require.NoError(t, os.Chown(path, 0, 0))
				require.NoError(t, os.Chmod(path, 0o700))
				require.Contains(t, status.Mode, "not effective")
				require.Contains(t, strings.Join(status.ModeReasons, "\n"), "can write "+path)
			})
		}
	}
}

func writableBy(path string, gid int) error {
	if err := os.Chown(path, 0, gid); err != nil {
		return err
	}
	return os.Chmod(path, 0o770)
}

// Who is root, or the broker itself, is no other user.
func TestModeOfOneself(t *testing.T) {
	needRoot(t)
	for uid, reason := range map[uint32]string{0: "is root", 61030: "has the uid of the broker"} {
		status := newHome(t, fmt.Sprintf("[agent.claw]\nuid = %d\n", uid)).modeAs(61030, "")
		require.Equal(t, "same-user", status.Mode)
		require.Contains(t, status.ModeReasons[0], reason)
	}
}

// The mode of the whole is that of the agent it holds back least, wherever in
// the config it stands.
func TestModeIsTheWeakest(t *testing.T) {
	needRoot(t)
	conf := "[agent.self]\nuid = 0\n"
	for i := range 8 {
		conf += fmt.Sprintf("[agent.a%d]\nuid = %d\n", i, 61101+i)
	}
	for range 8 {
		require.Equal(t, "same-user", newHome(t, conf).modeAs(61030, "").Mode)
	}
}

// Sudoers are read as far as to see whom they name.
func TestSudoersName(t *testing.T) {
	for line, want := range map[string]bool{
		"claw ALL=(ALL) ALL":         true,
		"claw\tbox = /bin/ls":        true,
		"ALL ALL=(ALL) NOPASSWD:ALL": true,
		"#61001 ALL=(ALL) ALL":       true,
		"#6100 ALL=(ALL) ALL":        false,
		"# claw ALL=(ALL) ALL":       false,
		"other ALL=(ALL) ALL":        false,
		"Defaults env_reset":         false,
		"claw":                       false,
	} {
		require.Equal(t, want, broker.NamedIn("Defaults x\n\n"+line+"\n", "claw", agentUID), line)
	}
}

// A program that others can put in another's place is neither what an agent is
// narrowed to nor what is given the checkpoints.
func TestProgramsNobodyElseCanReplace(t *testing.T) {
	needRoot(t)
	dir, err := os.MkdirTemp("", "sc") // below /tmp, where everybody can add
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	path := filepath.Join(dir, "program")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700))
	h := newHome(t, grants)
	b := h.broker()
	mint(t, b, "weather", "sunny")
	for name, conf := range map[string]string{
		"anchor": grants + fmt.Sprintf("[audit]\nanchor = [%q]\n", path),
		"exe":    strings.Replace(grants, "uid = 61001\n", fmt.Sprintf("uid = 61001\nexe = [%q]\n", path), 1),
		"absent": strings.Replace(grants, "uid = 61001\n", "uid = 61001\nexe = [\"/nowhere\"]\n", 1),
	} {
		h.configure(conf)
		require.Error(t, b.Reload(), name)
	}
	leaseWeather(t, b) // the config before is in force
}

// The command that gets the checkpoints is looked at each time it would run.
func TestAnchorIsLookedAtAgain(t *testing.T) {
	needRoot(t)
	ship := programs(t, "ship")[0]
	out := ship + ".out"
	require.NoError(t, os.WriteFile(ship, []byte("#!/bin/sh\n/bin/cat >"+out+"\n"), 0o755))
	h := newHome(t, grants+fmt.Sprintf("[audit]\nanchor = [%q]\n", ship))
	b := h.broker()
	require.NoError(t, os.Chmod(ship, 0o777))
	ran := h.run(b)
	_, err := b.Kill(broker.Owner())
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Contains(h.warnings(), "chmod go-w") }, patience, 5*time.Millisecond)
	ran()
	require.NoFileExists(t, out)
}

// warnings is what the owner was told.
func (h *home) warnings() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.warned, "\n")
}

// run does what is due by the clock until it is told to end.
func (h *home) run(b *broker.Broker) (end func()) {
	ctx, cancel := context.WithCancel(h.t.Context())
	ran := make(chan error, 1)
	go func() { ran <- b.Run(ctx) }()
	return func() { cancel(); require.NoError(h.t, <-ran) }
}
