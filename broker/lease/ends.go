package lease

import (
	"time"

	"secretctl/broker/clock"
)

// ends is a heap of the leases in force, the one that ends soonest by the boot
// clock first. Each lease is in it once, however often it is renewed.
type ends []*row

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].BootDeadline < e[j].BootDeadline }

func (e ends) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].at, e[j].at = i, j
}

func (e *ends) Push(x any) {
	r := x.(*row)
	r.at = len(*e)
	*e = append(*e, r)
}

func (e *ends) Pop() any {
	last := len(*e) - 1
	r := (*e)[last]
	(*e)[last] = nil
	*e = (*e)[:last]
	return r
}

// sweepBatch is how many leases Sweep forgets before it lets others have the
// table: less than a millisecond's work.
const sweepBatch = 256

// Sweep forgets the leases whose boot deadline has passed. The cost is that of
// the leases that end, not of those that are held, nor of the time gone by. It
// returns how many ended.
func (t *Table) Sweep(now clock.Reading) (ended int) {
	for {
		n := t.sweep(now.Boot)
		if ended += n; n < sweepBatch {
			return ended
		}
	}
}

func (t *Table) sweep(boot time.Duration) (n int) {
	t.mu.Lock()
	var freed []held
	for ; n < sweepBatch && len(t.ends) > 0 && t.ends[0].BootDeadline <= boot; n++ {
		freed = t.dropLocked(t.ends[0], freed)
	}
	t.mu.Unlock()
	t.tell(freed)
	return n
}
