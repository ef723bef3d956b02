package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// dies has the broker die at a durable write of a rotation of the first target,
// and reports whether it did. It did not when the rotation ended before.
func (h *rotateHome) dies(what writes, n int) bool {
	file := filepath.Join(h.dir, deathFile)
	require.NoError(h.t, os.WriteFile(file+".new", fmt.Appendf(nil, "%s %d", what, n), 0o600))
	require.NoError(h.t, os.Rename(file+".new", file))
	defer func() { require.NoError(h.t, os.Remove(file)) }()
	p, err := h.rotate(h.targets[0].name)
	if err == nil && p.Ended {
		require.NoError(h.t, h.broker.stop(syscall.SIGKILL))
		return false
	}
	select {
	case <-h.broker.ended:
		h.broker.cmd = nil
	case <-time.After(patience):
		h.t.Fatalf("the rotation is over (%v, %v), and the broker lives", p, err)
	}
	return true
}

// resumed is what a broker made of a rotation that was cut short.
type resumed struct {
	first, last providers.Progress
	begun       bool // the journal had it
	lost        error
}

// resumes waits until the broker has no rotation under way, and tries all the
// while what it hands out.
func (h *rotateHome) resumes() (r resumed) {
	x := h.targets[0]
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(patience); ; {
		require.False(h.t, time.Now().After(deadline), "the rotation does not end: %v", r.last)
		err := h.asOwner(h.t.Context(), func(c *broker.Client) error {
			// What came before the death is no news: it has its id from before.
			all, err := c.History(h.t.Context(), secret.Name(x.name))
			if err != nil || len(all) == 0 {
				return err
			}
			if r.last = all[0]; !r.begun && !r.last.Ended {
				r.begun, r.first = true, r.last
			}
			return h.tryHandedOut(c, x)
		})
		if err != nil {
			r.lost = errors.Join(r.lost, err)
		}
		if r.last.Ended || r.last.ID == "" {
			return r
		}
		<-look.C
	}
}

// tryHandedOut logs in with what a lease gives.
func (h *rotateHome) tryHandedOut(c *broker.Client, x *target) error {
	lease, err := c.Lease(h.t.Context(), broker.LeaseRequest{Secret: x.name, Door: "value"})
	if err != nil {
		return fmt.Errorf("leasing: %w", err)
	}
	defer lease.Value.Clear()
	var value string
	if err := lease.Value.Use(func(b []byte) error { value = string(b); return nil }); err != nil {
		return err
	}
	err = x.login(value)
	if errors.Is(err, errRefused) {
		// It may be of before what happened meanwhile.
		if again := h.current(c, x); again == lease.Version {
			return errors.Join(fmt.Errorf("version %d is handed out", again), err)
		}
		err = nil
	}
	if gone := c.Release(h.t.Context(), lease.LeaseID); !errors.Is(gone, broker.ErrNoSuchLease) { // it ends with its version
		err = errors.Join(err, gone)
	}
	return err
}

func (h *rotateHome) current(c *broker.Client, x *target) uint64 {
	all, err := c.List(h.t.Context(), x.name)
	require.NoError(h.t, err)
	require.Len(h.t, all, 1)
	return all[0].Version
}

// killedAtEvery kills the broker at each durable write of a rotation, or at one of
// so many, one after the other, and returns what was wrong after each.
func killedAtEvery(t *testing.T, what writes, start func(testing.TB) *target, step, more int) (wrong []error) {
	x := start(t)
	x.lines = `grace = "0s"`
	h := newRotateHome(t, "10m", "", x)
	steps, ends := make(map[string]int), make(map[string]int)
	n, deaths := 0, 0
	for ; ; n += step {
		died := h.dies(what, n)
		h.serve()
		r := h.resumes()
		if r.begun {
			steps[r.first.Step]++
		}
		ends[r.last.State]++
		at := fmt.Sprintf("killed at write %d, found %s, ended %s", n, r.first.Step, r.last.State)
		err := errors.Join(r.lost, h.whole())
		if s := r.last.State; s != "done" && s != "rolled-back" && s != "" {
			err = errors.Join(err, errors.New("it is neither done nor rolled back"))
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", at, err))
		}
		if !died || more > 0 && len(wrong) >= more {
			break
		}
		deaths++
	}
	t.Logf("killed at %d writes: resumed from %s; ended %s", deaths, counts(steps), counts(ends))
	return wrong
}

func counts(m map[string]int) string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		all = append(all, fmt.Sprintf("%q %d", key, m[key]))
	}
	return strings.Join(all, ", ")
}

// TestRotateKilled: whenever the broker is killed, it goes on by itself once it
// runs again: what it hands out is always accepted, and in the end there is one
// credential at the service, the one that is handed out.
func TestRotateKilled(t *testing.T) {
	needRoot(t)
	t.Parallel()
	what := commits
	if os.Getenv("SECRETCTL_LONG") != "" {
		what = anyWrite
	}
	for name, start := range realTargets() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			step := 1
			if name == "ssh" {
				step = several(3, 1) // a login takes long
			}
			require.Empty(t, killedAtEvery(t, what, start, step, 0))
		})
	}
}

// TestRotateKilledShows: were the journal not written, that would be seen.
func TestRotateKilledShows(t *testing.T) {
	needRoot(t)
	t.Parallel()
	for _, name := range []string{"redis", "gitea"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wrong := killedAtEvery(t, lies, targets[name], 1, 1)
			require.Len(t, wrong, 1)
			require.ErrorContains(t, wrong[0], "the service would let in 2 credentials")
		})
	}
}
