package lease

import (
	"container/heap"
	"errors"
	"fmt"
	"time"

	"secretctl/broker/clock"
)

// maxBackstep is how far the wall clock may go back before leases are no
// longer trusted to it: NTP's ordinary corrections are smaller.
const maxBackstep = 2 * time.Second

// Wake fits the leases to the clocks as they are now, after the records have
// been applied and before the first request. Leases of another boot get a new
// boot deadline: what is left of them by the wall clock, never more than their
// ttl, and nothing if that clock went back during their life. It returns an
// error, and changes nothing, when a clock has gone back while the broker was
// down: how long it was down cannot be known then, and the caller moves the
// epoch.
func (t *Table) Wake(now clock.Reading, bootID string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if back := t.last.Wall.Sub(now.Wall); back > maxBackstep {
		return fmt.Errorf("the wall clock is %v behind the last record", back.Round(time.Second))
	}
	same := sameBoot(t.bootID, bootID)
	if same && now.Boot < t.last.Boot {
		return errors.New("the boot clock is behind the last record of the same boot")
	}
	if now.Wall.Before(t.last.Wall) {
		now.Wall = t.last.Wall // a step back too small to matter gives nobody time
	}
	for _, r := range t.leases {
		if !same || r.foreign {
			r.wake(now)
		}
	}
	heap.Init(&t.ends)
	t.bootID, t.last.Boot = bootID, now.Boot
	return nil
}

// wake gives a lease of another boot its deadline in this one.
func (r *row) wake(now clock.Reading) {
	left := max(min(r.Expires.Sub(now.Wall), r.TTL), 0)
	if r.stepped {
		left = 0
	}
	r.BootDeadline, r.foreign = now.Boot+left, false
}
