package lease

import (
	"fmt"
	"time"

	"secretctl/broker/clock"
)

// maxBackstep is how far the wall clock may go back before leases are no
// longer trusted to it: NTP's ordinary corrections are smaller.
const maxBackstep = 2 * time.Second

// Wake fits the restored leases to the clocks as they are now, after the
// records have been applied and before the first request. Leases of another
// boot get a new boot deadline: what is left of them by the wall clock, and
// never more than their ttl. It returns an error, and changes nothing, when a
// clock has gone back while the broker was down: how long it was down cannot
// be known then, and the caller moves the epoch.
func (t *Table) Wake(now clock.Reading, bootID string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if back := t.last.Wall.Sub(now.Wall); back > maxBackstep {
		return fmt.Errorf("the wall clock is %v behind the last record", back.Round(time.Second))
	}
	if bootID == t.bootID {
		if now.Boot < t.last.Boot {
			return fmt.Errorf("the boot clock is behind the last record of the same boot")
		}
		t.swept = int64(now.Boot / time.Second)
		t.relistLocked()
		return nil
	}
	for _, l := range t.leases {
		left := min(l.Expires.Sub(now.Wall), l.TTL)
		l.BootDeadline = now.Boot + max(left, 0)
	}
	t.bootID = bootID
	t.last.Boot = now.Boot
	t.swept = int64(now.Boot / time.Second)
	t.relistLocked()
	return nil
}

// relistLocked lists every lease under its end again, now that swept is known.
func (t *Table) relistLocked() {
	t.ends = make(map[int64][]ID)
	for _, l := range t.leases {
		end := max(int64(l.BootDeadline/time.Second)+1, t.swept)
		t.ends[end] = append(t.ends[end], l.ID)
	}
}
