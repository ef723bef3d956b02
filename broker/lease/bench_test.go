package lease_test

import (
	"fmt"
	"testing"
	"time"

	"secretctl/broker/audit"
	"secretctl/broker/clock"
	"secretctl/broker/lease"
)

// held returns a world with n leases in the table, over many agents and
// secrets, that end one after the other within an hour.
func held(n int) (*world, []lease.ID) {
	w := &world{clk: clock.NewFake(start), table: lease.NewTable(nil)}
	ids := make([]lease.ID, n)
	for i := range n {
		l := w.leaseOf(time.Hour + time.Duration(i)*time.Hour/time.Duration(n))
		l.Agent, l.Rule = fmt.Sprint("agent-", i%100), fmt.Sprint("rule-", i%100)
		l.Version = uint64(i)
		ids[i] = l.ID
		w.table.Apply(recordOf(audit.EventLease, l))
	}
	return w, ids
}

var sizes = []int{0, 1, 100, 10_000, 100_000}

func BenchmarkGet(b *testing.B) {
	for _, n := range sizes[1:] {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w, ids := held(n)
			now := w.clk.Now()
			for i := 0; b.Loop(); i++ {
				if _, ok := w.table.Get(ids[i%n], now); !ok {
					b.Fatal("a lease is gone")
				}
			}
		})
	}
}

// BenchmarkIssue is what a lease costs the table from the decision to its end.
func BenchmarkIssue(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w, _ := held(n)
			now := w.clk.Now()
			l := w.leaseOf(90 * time.Minute)
			r := recordOf(audit.EventLease, l)
			decide := allow(l.Rule)
			for b.Loop() {
				l.ID = lease.NewID()
				r.Lease = l.ID.String()
				w.table.Reserve(l.ID, l.Agent, now, decide)
				w.table.Apply(r)
				w.table.Drop(l.ID)
			}
		})
	}
}

func BenchmarkRenew(b *testing.B) {
	for _, n := range sizes[1:] {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w, ids := held(n)
			r := recordOf(audit.EventRenew, w.leaseOf(90*time.Minute))
			for i := 0; b.Loop(); i++ {
				r.Lease = ids[i%n].String()
				w.table.Apply(r)
			}
		})
	}
}

// BenchmarkSweep is a sweep in which nothing has run out.
func BenchmarkSweep(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w, _ := held(n)
			now := w.clk.Now()
			for b.Loop() {
				w.table.Sweep(now)
			}
		})
	}
}

// BenchmarkEnd is the end of every lease at once.
func BenchmarkEnd(b *testing.B) {
	for what, end := range map[string]func(*world){
		"sweep": func(w *world) { w.clk.Advance(3 * time.Hour); w.table.Sweep(w.clk.Now()) },
		"epoch": func(w *world) { w.table.MoveEpoch(1) },
	} {
		for _, n := range sizes[3:] {
			b.Run(fmt.Sprint(what, "-", n), func(b *testing.B) {
				for range b.N {
					b.StopTimer()
					w, _ := held(n)
					b.StartTimer()
					end(w)
				}
			})
		}
	}
}

func BenchmarkSnapshot(b *testing.B) {
	w, _ := held(100_000)
	b.Run("take", func(b *testing.B) {
		for b.Loop() {
			w.table.Snapshot()
		}
	})
	state := w.table.Snapshot()
	b.Run("restore", func(b *testing.B) {
		b.SetBytes(int64(len(state)))
		for b.Loop() {
			if err := w.table.Restore(state); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkList is an agent's listing of its own among everybody's.
func BenchmarkList(b *testing.B) {
	for _, n := range sizes[2:] {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w, _ := held(n)
			now := w.clk.Now()
			for b.Loop() {
				w.table.List(now, func(l *lease.Lease) bool { return l.Agent == "agent-1" })
			}
		})
	}
}
